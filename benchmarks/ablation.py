"""AUC of each family alone and of all families without it, on unseen slides.

    python benchmarks/ablation.py STORE > ablation.json
    python benchmarks/ablation.py STORE --draw ablation.json

The first command trains one booster for each selection of columns on split `train` of a feature store,
and scores it on split `valid`, whose slides must be different. The second command writes
docs/ablation.svg and prints the table of docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pcam_features.families.registry import FAMILIES
from pcam_features.store.store import Store, open_store

FIGURE = Path(__file__).parents[1] / "docs" / "ablation.svg"
REGIONS = ("center", "ring", "patch")


def choices(columns: list[str]) -> dict[str, np.ndarray]:
    """The columns of each experiment."""
    family = np.array([column.split("__")[0] for column in columns])
    where = np.array([column.split("__")[2] for column in columns])
    region = np.array([name.split("_")[0] if "_minus_" not in name else "both" for name in where])
    found = {"all": np.ones(len(columns), bool)}
    found |= {f"only {name}": family == name for name in FAMILIES}
    found |= {f"only {name} columns": region == name for name in REGIONS}
    return found | {f"without {name}": family != name for name in FAMILIES}


def read(store: Store, split: str) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate([store.features(split, name) for name in FAMILIES], axis=1)
    return values, store.patches(split)["label"].to_numpy()


def run(store: Store, threads: int) -> list[dict[str, object]]:
    from thorough import train

    from pcam_features.evaluate.intervals import auc as area
    from pcam_features.learn.boosting import BoostedTrees

    columns = [column for family in FAMILIES.values() for column in family.columns]
    (values, labels), (other, truth) = read(store, "train"), read(store, "valid")
    found: list[dict[str, object]] = []
    for name, chosen in choices(columns).items():
        some = np.ascontiguousarray(values[:, chosen])
        booster = train(some, labels, threads=threads, seed=0)
        scores = BoostedTrees(booster).margin(np.ascontiguousarray(other[:, chosen]), threads)
        auc = area(truth, scores)
        found.append({"what": name, "columns": int(chosen.sum()), "auc": auc})
        print(found[-1], file=sys.stderr, flush=True)
    return found


def table(found: dict[str, dict[str, object]]) -> str:
    """The results as a Markdown table, sorted by the AUC of the family alone."""
    whole = found["all"]["auc"]
    lines = ["| family | columns | AUC alone | AUC of all without it |", "| --- | ---: | ---: | ---: |"]
    for name in sorted(FAMILIES, key=lambda name: -float(str(found[f"only {name}"]["auc"]))):
        alone, without = found[f"only {name}"], found[f"without {name}"]
        lines.append(f"| `{name}` | {alone['columns']} | {alone['auc']:.4f} | {without['auc']:.4f} |")
    for name in REGIONS:
        one = found[f"only {name} columns"]
        lines.append(f"| all, {name} only | {one['columns']} | {one['auc']:.4f} | |")
    lines.append(f"| **all** | {found['all']['columns']} | **{whole:.4f}** | |")
    return "\n".join(lines)


def figure(found: dict[str, dict[str, object]]) -> str:
    """A chart: bars for each family alone, ticks for all without it, a line for all."""
    left, right, low, high, step = 110, 620, 0.80, 0.94, 24
    names = sorted(FAMILIES, key=lambda name: -float(str(found[f"only {name}"]["auc"])))

    def x(auc: object) -> float:
        return left + (float(str(auc)) - low) / (high - low) * (right - left)

    bottom = 30 + step * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 {bottom + 50}" '
        'font-family="sans-serif" font-size="13" role="img" aria-label="AUC of each family alone">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<line x1="{x(found["all"]["auc"])}" x2="{x(found["all"]["auc"])}" y1="20" y2="{bottom}" '
        'stroke="#b03060" stroke-dasharray="4 3"/>',
    ]
    for k, name in enumerate(names):
        alone, without = found[f"only {name}"]["auc"], found[f"without {name}"]["auc"]
        y = 30 + step * k
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{name}</text>',
            f'<rect x="{left}" y="{y}" width="{x(alone) - left}" height="16" fill="#7b6fb0"/>',
            f'<line x1="{x(without)}" x2="{x(without)}" y1="{y - 2}" y2="{y + 18}" stroke="#333" '
            'stroke-width="2"/>',
            f'<text x="{left + 6}" y="{y + 13}" fill="white">{alone:.3f}</text>',
        ]
    for auc in np.arange(low, high + 0.001, 0.02):
        parts.append(f'<text x="{x(auc)}" y="{bottom + 16}" text-anchor="middle">{auc:.2f}</text>')
    legend = "AUC on valid: bar, the family alone; tick, all without it; dashed, all"
    parts.append(f'<text x="{left}" y="{bottom + 38}">{legend}</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--draw", type=Path, help="JSON printed by the first command")
    options = parser.parse_args()
    if options.draw is None:
        print(json.dumps(run(open_store(options.store), options.threads), indent=1))
        return
    found = {row["what"]: row for row in json.loads(options.draw.read_text())}
    FIGURE.write_text(figure(found))
    print(table(found))


if __name__ == "__main__":
    main()
