"""AUC of embeddings on unseen slides for several depths, sizes, views and pools, with two classifiers.

    python benchmarks/embeddings.py SOURCE KEPT > embeddings.json
    python benchmarks/embeddings.py SOURCE KEPT --draw embeddings.json

SOURCE has splits train and valid without common slides. The folder KEPT receives the embeddings of
every depth, so that a second run only fits. A feature store given as --store adds the handcrafted
families. The second command writes docs/embeddings.svg and prints the table of docs/embeddings.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from thorough import train

from pcam_features.encoders.embedding import views
from pcam_features.encoders.pooling import POOLS
from pcam_features.encoders.registry import open_encoder
from pcam_features.evaluate.intervals import auc
from pcam_features.families.registry import FAMILIES
from pcam_features.learn.boosting import BoostedTrees
from pcam_features.networks import lite_weights
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Split
from pcam_features.store.store import open_store

NETWORK = "efficientnet_lite0"
FIGURE = Path(__file__).parents[1] / "docs" / "embeddings.svg"
SPLITS = ("train", "valid")
MIDDLE = tuple(f"block{k:02d}" for k in range(2, 11))
# The settings compared: depths, pools, views, size. The first is the default.
GRID: dict[str, list[tuple[tuple[str, ...], tuple[str, ...], int, int]]] = {
    "views": [(MIDDLE, ("mean", "deviation"), n, 96) for n in (4, 1, 8)],
    "size": [(MIDDLE, ("mean", "deviation"), n, s) for s, n in ((192, 1), (192, 4), (224, 1))],
    "depth": [
        (depths, ("mean", "deviation"), 4, 96)
        for depths in (
            *(("block04",), ("block10",), ("block14",), ("head",)),
            MIDDLE[1:7],
            (*MIDDLE, "block11", "block12"),
        )
    ],
    "pools": [
        (MIDDLE, pools, 4, 96)
        for pools in (("mean",), ("mean", "center"), ("mean", "center", "deviation"), tuple(POOLS))
    ],
}


def kept_depths(size: int) -> list[str]:
    """The depths kept at a size: all at the smallest size, only the middle ones at larger sizes."""
    return list(lite_weights.depths(NETWORK)) if size == 96 else list(MIDDLE)


def keep(split: Split, folder: Path, size: int, count: int, threads: int) -> Path:
    """Save embeddings with every pool, averaged over 1, 4 or 8 views, in half precision."""
    path = folder / f"{NETWORK}_{size}_{count}_{split.name}.npy"
    if path.exists():
        return path
    opened = open_encoder(NETWORK, size=size, depths=kept_depths(size), pools=list(POOLS), views=1)
    run, chunk = opened.load((96, 96), threads), opened.chunk
    shape = (len(split), len(opened.features))
    unfinished = path.with_suffix(".unfinished")
    out = np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)

    def work(start: int) -> None:
        rows = split.read(start, min(start + chunk, len(split)))
        pixels = np.zeros((chunk, 96, 96, 3), np.uint8)
        pixels[: len(rows)] = rows
        seen = [run(np.ascontiguousarray(view)) for view in views(pixels, count)]
        out[start : start + chunk] = np.mean(seen, axis=0)[: len(rows)]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(split), chunk)))
    out.flush()
    return unfinished.rename(path)


def columns(depths: tuple[str, ...], pools: tuple[str, ...], size: int) -> np.ndarray:
    """The positions of these depths and pools among the columns that `keep` saved."""
    every = open_encoder(NETWORK, depths=kept_depths(size), pools=list(POOLS)).features
    wanted = {f"{POOLS[pool]}_{depth}" for depth in depths for pool in pools}
    return np.array([k for k, name in enumerate(every) if name.rpartition("_")[0] in wanted])


def milliseconds(choices: list[tuple[tuple[str, ...], tuple[str, ...], int, int]]) -> list[float]:
    """Processor time per patch for each setting: the least of interleaved runs in one thread."""
    batch = np.random.default_rng(0).integers(0, 256, (16, 96, 96, 3), np.uint8)
    measures = [
        open_encoder(NETWORK, depths=d, pools=p, views=n, size=s).measurer((96, 96), 1)
        for d, p, n, s in choices
    ]
    least = [float("inf")] * len(choices)
    for _ in range(12):
        for k, measure in enumerate(measures):
            start = time.process_time()
            measure(batch)
            least[k] = min(least[k], time.process_time() - start)
    return [1000 * seconds / len(batch) for seconds in least]


def heads(
    values: list[np.ndarray], labels: list[np.ndarray], threads: int, boosted: bool = True
) -> dict[str, float]:
    """AUC on valid of a linear classifier, of XGBoost, and of the sum of their log-odds."""
    mean, spread = values[0].mean(axis=0), values[0].std(axis=0) + 1e-6
    scaled = [(one - mean) / spread for one in values]
    linear = LogisticRegression(C=1e-2, max_iter=300).fit(scaled[0], labels[0])
    scores = {"linear": linear.decision_function(scaled[1])}
    if boosted:
        booster = train(values[0], labels[0], threads=threads, seed=0)
        scores["xgboost"] = BoostedTrees(booster).margin(values[1], threads)
        scores["sum"] = scores["linear"] + scores["xgboost"]
    return {name: auc(labels[1], score) for name, score in scores.items()}


def run(source: str, kept: Path, store: Path | None, threads: int) -> list[dict[str, Any]]:
    opened, _ = open_source(source)
    splits = [opened.splits[name] for name in SPLITS]
    labels = [np.asarray(split.labels) for split in splits]
    flat = [(group, *choice) for group, choices in GRID.items() for choice in choices]
    times = milliseconds([choice for _, *choice in flat])  # type: ignore[misc]
    found: list[dict[str, Any]] = []

    def add(row: dict[str, Any], values: list[np.ndarray], boosted: bool = True) -> None:
        found.append(row | {"columns": values[0].shape[1]} | heads(values, labels, threads, boosted))
        print(found[-1], file=sys.stderr, flush=True)

    default: list[np.ndarray] = []
    for (group, depths, pools, count, size), ms in zip(flat, times, strict=True):
        at = columns(depths, pools, size)
        kept_files = [keep(split, kept, size, count, threads) for split in splits]
        values = [np.load(f, mmap_mode="r")[:, at].astype(np.float32) for f in kept_files]
        default = default or values
        row = {"group": group, "depths": depths, "pools": pools, "views": count, "size": size, "ms": ms}
        add(row, values, boosted=group in ("views", "size"))
    if store is not None:
        hand = open_store(store)
        made = [np.concatenate([hand.features(s, name) for name in FAMILIES], axis=1) for s in SPLITS]
        add({"group": "together", "what": "handcrafted"}, made)
        both = [np.concatenate(pair, axis=1) for pair in zip(made, default, strict=True)]
        add({"group": "together", "what": "handcrafted and embedding"}, both)
    return found


def name_of(depths: list[str]) -> str:
    """The name of a range of depths."""
    return depths[0] if len(depths) == 1 else f"{depths[0]} … {depths[-1]}"


def table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| depths | pools | pixels | views | columns | ms per patch | linear | XGBoost | both |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        scores = [f"{row[key]:.4f}" if key in row else "" for key in ("linear", "xgboost", "sum")]
        what = (
            [row["what"], "", "", ""]
            if "what" in row
            else [name_of(row["depths"]), ", ".join(row["pools"]), str(row["size"]), str(row["views"])]
        )
        ms = f"{row['ms']:.1f}" if "ms" in row else ""
        lines.append(f"| {' | '.join([*what, str(row['columns']), ms, *scores])} |")
    return "\n".join(lines)


def figure(found: list[dict[str, Any]]) -> str:
    """A chart: AUC of the linear classifier over the time per patch, on a logarithmic scale."""
    rows = [row for row in found if "ms" in row]
    left, right, top, bottom, low, high = 60, 620, 20, 300, 0.90, 0.945
    first, last = (np.log(limit) for limit in (1.0, 40.0))

    def x(ms: float) -> float:
        return float(left + (np.log(ms) - first) / (last - first) * (right - left))

    def y(score: float) -> float:
        return bottom - (score - low) / (high - low) * (bottom - top)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 350" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="AUC over the time per patch">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    parts += [
        f'<line x1="{left}" x2="{right}" y1="{y(score):.1f}" y2="{y(score):.1f}" stroke="#ddd"/>'
        f'<text x="{left - 8}" y="{y(score) + 4:.1f}" text-anchor="end">{score:.2f}</text>'
        for score in np.arange(low, high, 0.01)
    ]
    parts += [
        f'<text x="{x(ms):.1f}" y="{bottom + 18}" text-anchor="middle">{ms}</text>'
        for ms in (1, 2, 5, 10, 20, 40)
    ]
    colors = {"views": "#b03060", "size": "#2f6f4f", "depth": "#7b6fb0", "pools": "#b58900"}
    for row in rows:
        place = f'cx="{x(row["ms"]):.1f}" cy="{y(row["linear"]):.1f}"'
        parts.append(f'<circle {place} r="5" fill="{colors[row["group"]]}"/>')
        if row["group"] in ("views", "size"):
            label = f"{row['size']} px, {row['views']} view{'s' * (row['views'] > 1)}"
            at = f'x="{x(row["ms"]) + 8:.1f}" y="{y(row["linear"]) + 4:.1f}"'
            parts.append(f"<text {at}>{label}</text>")
    legend = (
        "milliseconds per patch, one core; AUC on valid, linear classifier. "
        "Red: blocks 2 to 10 at 96 px; "
    )
    parts.append(f'<text x="{left}" y="{bottom + 36}">{legend}green: larger;</text>')
    parts.append(f'<text x="{left}" y="{bottom + 50}">violet: other depths; yellow: other pools</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("kept", type=Path)
    parser.add_argument("--store", type=Path, help="handcrafted features of the same patches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--draw", type=Path, help="JSON printed by the first command")
    options = parser.parse_args()
    if options.draw is None:
        found = run(options.source, options.kept, options.store, options.threads)
        print(json.dumps(found, indent=1))
        return
    found = json.loads(options.draw.read_text())
    FIGURE.write_text(figure(found))
    print(table(found))


if __name__ == "__main__":
    main()
