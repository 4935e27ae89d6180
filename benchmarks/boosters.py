"""The trees of `fit` beside other ways to grow trees, in one run: processor seconds and AUC.

    pip install lightgbm
    python benchmarks/boosters.py STORE [--rows 100000 --columns 1000] > boosters.json

Compared are the trees of `fit` (blocks of columns, `learn/boosting.py`), XGBoost on all columns at
once as `fit` used it before, LightGBM, and scikit-learn's histogram booster. All learn from split
`train` of a feature store and score `valid`, whose slides must be different. With `--rows`, patches are
drawn again and again, each mixed with another of its class, so that no two rows are the same; with
`--columns`, evenly spaced columns are taken. LightGBM is left out, and named on stderr, where it is not
installed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier

from pcam_features.evaluate.intervals import auc
from pcam_features.families.registry import FAMILIES
from pcam_features.learn import boosting
from pcam_features.learn.settings import Compute
from pcam_features.store.store import Store, open_store
from pcam_features.store.values import of_arrays

BEFORE = {  # XGBoost's parameters, on all columns at once, until 2026-11-28
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.5,
    "colsample_bynode": 0.1,
    "min_child_weight": 5,
    "lambda": 5,
    "max_bin": 32,
}
ROUNDS = 180  # of those that draw a tenth of the columns for each node
SHARE = 0.2  # of another patch in a row that is drawn again
Score = Callable[[np.ndarray], np.ndarray]


def blocks(values: np.ndarray, labels: np.ndarray, threads: int) -> Score:
    compute = Compute("cpu", threads, seed=0)
    made = boosting.binned(of_arrays({"all": values}), ["all"], labels, compute)
    grown = boosting.grow(made, np.ones(len(labels), bool), compute)
    return lambda other: boosting.BoostedTrees(grown.booster).margin(other, threads)


def all_columns(values: np.ndarray, labels: np.ndarray, threads: int) -> Score:
    how = {"max_bin": BEFORE["max_bin"], "nthread": threads}
    matrix = xgboost.QuantileDMatrix(values, labels, **how)
    booster = xgboost.train(BEFORE | {"nthread": threads}, matrix, ROUNDS)
    return lambda other: np.asarray(booster.inplace_predict(other, predict_type="margin"))


def lightgbm(values: np.ndarray, labels: np.ndarray, threads: int) -> Score:
    from lightgbm import Dataset, train

    parameters = {
        "objective": "binary",
        "num_leaves": 32,
        "learning_rate": 0.1,
        "bagging_fraction": 0.5,
        "bagging_freq": 1,
        "feature_fraction_bynode": 0.1,
        "lambda_l2": 5,
        "max_bin": 32,
        "num_threads": threads,
        "verbose": -1,
        "seed": 0,
    }
    booster = train(parameters, Dataset(values, labels), ROUNDS)
    return lambda other: np.asarray(booster.predict(other, raw_score=True))


def scikit_learn(values: np.ndarray, labels: np.ndarray, threads: int) -> Score:
    """It uses as many threads as OMP_NUM_THREADS says."""
    how = {"max_iter": ROUNDS, "max_leaf_nodes": 32, "l2_regularization": 5, "max_bins": 32}
    model = HistGradientBoostingClassifier(
        **how, max_features=0.1, early_stopping=False, random_state=0
    )
    model.fit(values, labels)
    return lambda other: np.asarray(model.decision_function(other))


WAYS = {
    "blocks of columns (fit)": blocks,
    "XGBoost, all columns": all_columns,
    "LightGBM": lightgbm,
    "scikit-learn": scikit_learn,
}


def data(store: Store, split: str, columns: int | None) -> tuple[np.ndarray, np.ndarray]:
    families = [name for name in store.families(split) if name in FAMILIES]
    whole = np.concatenate([store.features(split, family) for family in families], axis=1)
    chosen = np.linspace(0, whole.shape[1] - 1, columns or whole.shape[1]).astype(int)
    return np.ascontiguousarray(whole[:, chosen]), store.patches(split)["label"].to_numpy(np.int8)


def drawn(values: np.ndarray, labels: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(labels), rows)
    second = np.empty(rows, int)
    for label in (0, 1):
        own = labels[first] == label
        second[own] = rng.choice(np.flatnonzero(labels == label), own.sum())
    mixed = values[first] * np.float32(1 - SHARE) + values[second] * np.float32(SHARE)
    return mixed, labels[first]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--rows", type=int, help="rows to learn from; default: the patches of train")
    parser.add_argument("--columns", type=int, help="columns to use; default: all handcrafted ones")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    store = open_store(options.store)
    values, labels = data(store, "train", options.columns)
    other, truth = data(store, "valid", options.columns)
    if options.rows:
        values, labels = drawn(values, labels, options.rows)
    found = []
    for name, way in WAYS.items():
        began, used = time.monotonic(), time.process_time()
        try:
            score = way(values, labels, options.threads)
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        seconds = {"processor": time.process_time() - used, "wall": time.monotonic() - began}
        row = {"way": name, "rows": len(labels), "columns": values.shape[1], "seconds": seconds}
        found.append(row | {"auc": auc(truth, score(other)), "load": os.getloadavg()[0]})
        print(found[-1], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
