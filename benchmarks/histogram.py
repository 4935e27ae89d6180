"""AUC on unseen slides without the family `histogram` and with it, side by side.

    python benchmarks/histogram.py STORE [--patches 6000] > histogram.json

For each selection of families, one booster and one kernel model with the settings of `fit` learn
from the first patches of split `train` of a feature store, and score `valid`, whose slides must be
different.
`both` is the AUC of the sum of their standardized scores.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pcam_features.evaluate.intervals import auc
from pcam_features.families.registry import FAMILIES
from pcam_features.learn import boosting, kernel_ridge, nystroem
from pcam_features.learn.settings import Compute
from pcam_features.store.store import Store, open_store
from pcam_features.store.values import of_arrays

ADDED = "histogram"
SELECTIONS = {
    "color": ["color"],
    "color and strata": ["color", "strata"],
    "color, stain and strata": ["color", "stain", "strata"],
    "all others": [name for name in FAMILIES if name != ADDED],
}


def margins(
    values: np.ndarray, labels: np.ndarray, other: np.ndarray, threads: int
) -> dict[str, np.ndarray]:
    """Scores of the patches `other` by each kind of model, fitted on `values`, and their sum."""
    whole, every = of_arrays({"all": values}), np.ones(len(labels), bool)
    compute = Compute("cpu", threads, seed=0)
    blocks = boosting.binned(whole, ["all"], labels, compute)
    trees = boosting.BoostedTrees(boosting.grow(blocks, every, compute).booster)
    one_fold = np.zeros(len(labels), np.int16)
    kernel = kernel_ridge.train(nystroem.prepare(whole, ["all"], labels, one_fold, seed=0))
    scores = {"trees": trees.margin(other, threads), "kernel": kernel.margin(other, threads)}
    return scores | {"both": np.sum([own / own.std() for own in scores.values()], axis=0)}


def run(store: Store, patches: int, threads: int) -> list[dict[str, object]]:
    labels, truth = (
        store.patches(split)["label"].to_numpy().astype(np.int8) for split in ("train", "valid")
    )
    selections = {f"{ADDED} alone": [ADDED]}
    for name, families in SELECTIONS.items():
        selections |= {name: families, f"{name}, with {ADDED}": [*families, ADDED]}
    rows: list[dict[str, object]] = []
    for name, families in selections.items():
        values, other = (
            np.concatenate([store.features(split, family) for family in families], axis=1)
            for split in ("train", "valid")
        )
        scores = margins(values[:patches].copy(), labels[:patches], other, threads)
        row = {"families": name, "columns": values.shape[1], "patches": len(labels[:patches])}
        rows.append(row | {kind: auc(truth, own) for kind, own in scores.items()})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--patches", type=int, help="patches of train to learn from; default: all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    store = open_store(options.store)
    patches = options.patches or store.split("train").rows
    print(json.dumps(run(store, patches, options.threads), indent=1))


if __name__ == "__main__":
    main()
