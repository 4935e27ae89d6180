"""What more patches bring: a model of 2,500 to 20,000 training patches, scored on other slides.

    python benchmarks/learning_curve.py STORE VIEWS --families all > hand_made.json
    python benchmarks/learning_curve.py STORE VIEWS > with_embeddings.json
    python benchmarks/learning_curve.py --draw hand_made.json with_embeddings.json

The first two commands train the models of `pcam fit` on samples of split `train` of a feature store,
each sample within the next, with the changed copies of their patches. They score each on the views of
`shift.py measure`. The last one fits 1 - AUC = a n^-b to each, by least squares of the logarithms,
writes docs/learning-curve.svg and prints a table. What it says of more patches than were measured is an
extrapolation: it takes new patches to be of as many slides as the old ones were.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from pcam_features.evaluate.intervals import auc
from pcam_features.extraction.shifts import usual_count
from pcam_features.grouping.appearance import Looks, looks_in
from pcam_features.grouping.folds import make_folds
from pcam_features.learn.base_models import logits
from pcam_features.learn.context import FitContext
from pcam_features.learn.copies import Copies, copies_in
from pcam_features.learn.fit import Learned, families_to_use, learn
from pcam_features.learn.settings import Compute
from pcam_features.learn.steps import Work
from pcam_features.store.store import Store, open_store
from pcam_features.store.values import Values, of_arrays, stored

SIZES = (2_500, 5_000, 10_000, 20_000)
AHEAD = (220_025, 262_144)  # the training patches of Kaggle's and of PCam's set
FOLDS, SEED = 5, 0
FIGURE = Path(__file__).parents[1] / "docs" / "learning-curve.svg"
COLORS = ("#7b6fb0", "#b03060")


def rows_of(values: Values, rows: np.ndarray) -> Values:
    """Some rows of features, in memory."""
    return of_arrays({name: values.take([name], rows) for name in values.families})


def sample(values: Values, copies: Copies | None, rows: np.ndarray) -> tuple[Values, Copies | None]:
    """Some rows, and the usual number of their changed copies."""
    if copies is None:
        return rows_of(values, rows), None
    own = np.flatnonzero(np.isin(copies.rows, rows))[: usual_count(len(rows))]
    changed = Copies(
        rows_of(copies.values, own), np.searchsorted(rows, copies.rows[own]), copies.shifts[own]
    )
    return rows_of(values, rows), changed


def learned_from(store: Store, families: list[str], rows: np.ndarray) -> Learned:
    """The models of `pcam fit` on some rows of split `train`."""
    patches, looks = store.patches("train").iloc[rows], looks_in(store, "train")
    own = None if looks is None else Looks(looks.copies[rows], looks.slide[rows])
    folds = make_folds(patches.reset_index(drop=True), FOLDS, SEED, own)
    values = stored(store, "train", families, keep=False)
    values, copies = sample(values, copies_in(store, "train", families, keep=False), rows)
    columns = {name: store.manifest.families[name].columns for name in families}
    labels = patches["label"].to_numpy(np.int8)
    compute = Compute("cpu", joblib.cpu_count(), SEED)
    with tempfile.TemporaryDirectory() as folder:
        context = FitContext(Work(Path(folder)), values, labels, folds, compute)
        return learn(context, columns, copies)


def scores(learned: Learned, views: Store, families: list[str]) -> dict[str, float]:
    """The AUC on the split as it is, and the mean and lowest over its moderate views."""
    by_view = {}
    for split in views.splits:
        margins = logits(learned.models, stored(views, split, families, keep=False), joblib.cpu_count())
        labels = views.patches(split)["label"].to_numpy(np.int8)
        by_view[split] = auc(labels, learned.outcome.stack.together(margins))
    plain, *_ = by_view
    moderate = [score for split, score in by_view.items() if split.endswith("moderate")]
    return {
        "as it is": by_view[plain],
        "mean moderate": float(np.mean(moderate)),
        "worst moderate": min(moderate),
    }


def measure(store: Store, views: Store, names: str | None) -> list[dict[str, Any]]:
    families = families_to_use(store, "train", names)
    order = np.random.default_rng(SEED).permutation(store.split("train").rows)
    found: list[dict[str, Any]] = []
    for size in SIZES:
        began = time.process_time()
        learned = learned_from(store, families, np.sort(order[:size]))
        seconds = time.process_time() - began
        expected = learned.outcome.elsewhere_auc
        row: dict[str, Any] = {
            "patches": size,
            "copies": learned.outcome.copies,
            "out of fold": learned.outcome.out_of_fold_auc["combined"].value,
            "expected elsewhere": None if expected is None else expected.value,
            "processor seconds": seconds,
        }
        found.append(row | scores(learned, views, families))
        print(found[-1], file=sys.stderr, flush=True)
    return found


def power_law(sizes: np.ndarray, aucs: np.ndarray) -> tuple[float, float]:
    """`a` and `b` of 1 - AUC = a n^-b."""
    slope, intercept = np.polyfit(np.log(sizes), np.log(1 - aucs), 1)
    return float(np.exp(intercept)), float(-slope)


def lines(found: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray, float, float]:
    sizes = np.array([row["patches"] for row in found], float)
    aucs = np.array([row[key] for row in found])
    return sizes, aucs, *power_law(sizes, aucs)


def table(found: list[dict[str, Any]]) -> str:
    head = "| patches and copies | `valid` | moderate views | lowest | out of fold | elsewhere | s |"
    rows = [head, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in found:
        expected = row["expected elsewhere"]
        elsewhere = "" if expected is None else format(expected, ".3f")
        rows.append(
            f"| {row['patches']:,} and {row['copies']:,} | {row['as it is']:.4f} | "
            f"{row['mean moderate']:.4f} | {row['worst moderate']:.4f} | {row['out of fold']:.4f} | "
            f"{elsewhere} | {row['processor seconds']:.0f} |"
        )
    for key in ("as it is", "mean moderate"):
        *_, a, b = lines(found, key)
        ahead = ", ".join(f"{1 - a * n**-b:.3f} at {n:,}" for n in AHEAD)
        rows.append(f"\n1 - AUC ({key}) = {a:.3g} n^-{b:.3f}; extrapolated: {ahead}")
    return "\n".join(rows)


def figure(of: dict[str, list[dict[str, Any]]]) -> str:
    """AUC by number of patches, on a logarithmic axis; dashed where extrapolated."""
    left, right, top, bottom, low, high = 60, 560, 20, 300, 0.86, 0.98
    first, last = np.log(2_000), np.log(300_000)

    def x(n: float) -> float:
        return left + float((np.log(n) - first) / (last - first)) * (right - left)

    def y(score: float) -> float:
        return bottom - (score - low) / (high - low) * (bottom - top)

    def path(a: float, b: float, begin: float, end: float) -> str:
        at = np.geomspace(begin, end, 40)
        return " ".join(f"{x(n):.1f},{y(1 - a * n**-b):.1f}" for n in at)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 350" font-family="sans-serif" '
        'font-size="13" role="img" aria-label="AUC by number of training patches">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    parts += [
        f'<line x1="{left}" x2="{right}" y1="{y(score):.1f}" y2="{y(score):.1f}" stroke="#ddd"/>'
        f'<text x="{left - 8}" y="{y(score) + 4:.1f}" text-anchor="end">{score:.2f}</text>'
        for score in np.arange(low, high + 0.001, 0.02)
    ]
    parts += [
        f'<text x="{x(n):.1f}" y="{bottom + 18}" text-anchor="middle">{n:,}</text>'
        for n in (*SIZES, *AHEAD[:1])
    ]
    parts.append(f'<text x="{left}" y="{bottom + 38}">training patches; dashed: extrapolated</text>')
    for (name, found), color in zip(of.items(), COLORS, strict=False):
        for key, opacity in (("as it is", 1.0), ("mean moderate", 0.5)):
            sizes, aucs, a, b = lines(found, key)
            style = f'fill="none" stroke="{color}" stroke-opacity="{opacity}" stroke-width="2"'
            dashed = f'{style} stroke-dasharray="5 4"'
            parts += [
                f'<polyline points="{path(a, b, sizes[0], sizes[-1])}" {style}/>',
                f'<polyline points="{path(a, b, sizes[-1], AHEAD[-1])}" {dashed}/>',
                *(
                    f'<circle cx="{x(n):.1f}" cy="{y(s):.1f}" r="4" fill="{color}" '
                    f'fill-opacity="{opacity}"/>'
                    for n, s in zip(sizes, aucs, strict=True)
                ),
                f'<text x="{right + 6}" y="{y(1 - a * AHEAD[-1] ** -b) + 4:.1f}" fill="{color}" '
                f'fill-opacity="{max(opacity, 0.7)}">{name}, '
                f"{'valid' if opacity == 1 else 'views'}</text>",
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("views", type=Path, nargs="?")
    parser.add_argument("--families", help="default: all in the store")
    parser.add_argument("--draw", type=Path, nargs=2, metavar="JSON", help="printed by the others")
    options = parser.parse_args()
    if options.draw is None:
        if options.views is None:
            parser.error("give STORE and VIEWS, or --draw")
        store, views = open_store(options.store), open_store(options.views)
        print(json.dumps(measure(store, views, options.families), indent=1))
        return
    of = {
        name: json.loads(path.read_text())
        for name, path in zip(("handcrafted", "with embeddings"), options.draw, strict=True)
    }
    FIGURE.write_text(figure(of))
    for name, found in of.items():
        print(f"{name}\n\n{table(found)}\n")


if __name__ == "__main__":
    main()
