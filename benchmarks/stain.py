"""The effect of stain on features, and whether stain normalization of patches improves AUC.

    python benchmarks/stain.py move SOURCE [--split valid] > moved.json
    python benchmarks/stain.py normalize SOURCE FOLDER --by macenko
    python benchmarks/stain.py score STORE [STORE ...]

`move` makes the stain of patches darker by a fifth, and prints how much the columns of each family
change, in units of their standard deviation over patches. `normalize` writes a source whose patches all
have the same stain, for `pcam extract`. `score` trains on split `train` of each store and scores
`valid`; it also scores the sums of the first store's scores and those of each other store.

Sources: M. Macenko et al., "A method for normalizing histology slides for quantitative analysis",
ISBI 2009; E. Reinhard et al., "Color transfer between images", IEEE CG&A 21, 2001 (in CIELAB).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pcam_features.diagnostics.reference.stain import vectors_of
from pcam_features.engine import cpu
from pcam_features.extraction.shifts import amounts, colors_of, density_of
from pcam_features.families.registry import FAMILIES, measurer
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Split

DARKER = 1.2
SHIFTS = {"hematoxylin": (DARKER, 1, 1), "eosin": (1, DARKER, 1), "both": (DARKER, DARKER, DARKER)}
LEARNED_FROM = 512  # patches that define the target stain
Normalize = Callable[[np.ndarray], np.ndarray]


def restain(patches: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    """Multiply the amounts of hematoxylin, eosin and residual (Ruifrok's vectors) by factors."""
    return amounts(patches, {"log_factors": list(np.log(factors))}, None)


def some(split: Split, count: int) -> np.ndarray:
    """A sample of patches, evenly spaced in a split."""
    rows = np.linspace(0, len(split) - 1, count).astype(int)
    return np.concatenate([split.read(int(k), int(k) + 1) for k in rows])


def move(split: Split, patches: int) -> dict[str, Any]:
    """How much the columns of each family change for each shift of stain.

    The median change over patches, in standard deviations, summarized by its median and 90th percentile
    over columns.
    """
    batch = some(split, patches)
    measure = measurer(list(FAMILIES.values()), cpu)
    before = measure(batch, list(FAMILIES))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for shift, factors in SHIFTS.items():
        after = measure(restain(batch, factors), list(FAMILIES))
        found[shift] = {}
        for name, values in before.items():
            spread = values.std(axis=0)
            gone = np.median(np.abs(after[name] - values), axis=0)[spread > 0] / spread[spread > 0]
            found[shift][name] = {f"p{p}": float(np.percentile(gone, p)) for p in (50, 90)}
    return {"patches": patches, "darker": DARKER, "moved": found}


def macenko(sample: np.ndarray) -> Normalize:
    """Normalize patches to the sample's mean stain vectors and 99th percentiles of concentration."""

    def stains(patch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        density = density_of(patch.reshape(-1, 3))
        found = vectors_of(density[(density >= 0.15).all(axis=1)])
        if found is None:
            return None
        amounts = np.linalg.lstsq(found[0].T, density.T)[0]
        return found[0], amounts, np.maximum(np.percentile(amounts, 99, axis=1), 0.1)

    known = [each for each in map(stains, sample) if each is not None]
    vectors = np.mean([each[0] for each in known], axis=0)
    tops = np.mean([each[2] for each in known], axis=0)

    def normalize(patch: np.ndarray) -> np.ndarray:
        found = stains(patch)
        if found is None:  # too little stain: leave the patch unchanged
            return patch
        density = (found[1] * (tops / found[2])[:, None]).T @ vectors
        return np.asarray(colors_of(density).reshape(patch.shape))

    return normalize


def reinhard(sample: np.ndarray) -> Normalize:
    """Normalize patches to the sample's mean color and mean standard deviation of color."""

    def lab(patch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values = cv2.cvtColor(patch.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return values, values.mean(axis=(0, 1)), values.std(axis=(0, 1))

    means, spreads = (np.mean([lab(patch)[k] for patch in sample], axis=0) for k in (1, 2))

    def normalize(patch: np.ndarray) -> np.ndarray:
        values, mean, spread = lab(patch)
        scale = np.where(spread > 1, spreads / np.maximum(spread, 1), 1)
        changed = ((values - mean) * scale + means).astype(np.float32)
        colors = cv2.cvtColor(changed, cv2.COLOR_LAB2RGB)
        return np.asarray(np.rint(np.clip(colors, 0, 1) * 255), np.uint8)

    return normalize


def write(splits: dict[str, Split], folder: Path, normalize: Normalize) -> None:
    for split in splits.values():
        for name in ("normal", "tumor"):
            (folder / split.name / name).mkdir(parents=True)
        labels = np.asarray(split.labels)
        for k, (patch_id, label) in enumerate(zip(split.ids, labels, strict=True)):
            file = folder / split.name / ("tumor" if label else "normal") / f"{patch_id}.png"
            patch = normalize(split.read(k, k + 1)[0])
            Image.fromarray(patch).save(file, compress_level=1)


def score(stores: list[Path], threads: int) -> list[dict[str, Any]]:
    from thorough import train

    from pcam_features.evaluate.intervals import auc
    from pcam_features.learn import kernel_ridge, nystroem
    from pcam_features.learn.base_models import KERNEL, TREES
    from pcam_features.learn.boosting import BoostedTrees
    from pcam_features.store.store import open_store
    from pcam_features.store.values import of_arrays

    first: dict[str, np.ndarray] = {}
    found = []
    for path in stores:
        store = open_store(path)
        values = {
            split: np.concatenate([store.features(split, name) for name in FAMILIES], axis=1)
            for split in ("train", "valid")
        }
        labels, truth = (store.patches(split)["label"].to_numpy() for split in values)
        scores: dict[str, Any] = {}
        whole = of_arrays({"all": values["train"]})
        one_fold = np.zeros(len(labels), np.int16)
        kernel = kernel_ridge.train(nystroem.prepare(whole, ["all"], labels, one_fold, seed=0))
        trees = BoostedTrees(train(values["train"], labels, threads=threads))
        for name, model in ((TREES, trees), (KERNEL, kernel)):
            scores[name] = model.margin(values["valid"], threads)
        scores["both"] = sum(each / each.std() for each in scores.values())
        first = first or scores
        row = {name: auc(truth, each) for name, each in scores.items()}
        row["both and the first store's both"] = auc(truth, scores["both"] + first["both"])
        found.append({"store": str(path)} | row)
        print(found[-1], file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    moving = commands.add_parser("move")
    moving.add_argument("source")
    moving.add_argument("--split", default="valid")
    moving.add_argument("--patches", type=int, default=512)
    normalizing = commands.add_parser("normalize")
    normalizing.add_argument("source")
    normalizing.add_argument("folder", type=Path)
    normalizing.add_argument("--by", choices=("macenko", "reinhard"), required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("stores", type=Path, nargs="+")
    scoring.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.command == "score":
        print(json.dumps(score(options.stores, options.threads), indent=1))
        return
    splits = open_source(options.source)[0].splits
    if options.command == "move":
        print(json.dumps(move(splits[options.split], options.patches), indent=1))
        return
    sample = some(splits["train"], LEARNED_FROM)
    write(splits, options.folder, {"macenko": macenko, "reinhard": reinhard}[options.by](sample))


if __name__ == "__main__":
    main()
