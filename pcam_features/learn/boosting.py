"""Gradient-boosted trees: XGBoost, with settings that need no search.

Features are binned straight from the blocks they come in, for each fold by its training patches alone
(DECISIONS.md says what else was tried).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from ..evaluate.intervals import auc
from ..store.values import Values

ROUNDS = 180
CHECKED = 20  # rounds between two tree counts that the folds choose from
PARAMETERS: dict[str, Any] = {
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


class _Blocks(xgboost.DataIter):
    """Blocks for XGBoost, which asks for them several times; `pages` begins the names of its files."""

    def __init__(self, blocks: Callable[[], Iterator[tuple[Any, np.ndarray]]], pages: Path | None):
        self._open = blocks
        self._left = blocks()
        super().__init__(cache_prefix=None if pages is None else str(pages))

    def next(self, input_data: Callable[..., Any]) -> bool:
        for block, labels in self._left:
            input_data(data=block, label=labels)
            return True
        return False

    def reset(self) -> None:
        self._left = self._open()


def binned(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    within: np.ndarray,
    *,
    threads: int,
    xp: Any = np,
    pages: Path | None = None,
) -> xgboost.DMatrix:
    """The families' columns, for the rows `within` (a mask), binned: one byte a value, in
    memory, or on disk in files whose names begin with `pages`. CuPy's arrays (`xp`) stay on the
    card."""

    def blocks() -> Iterator[tuple[Any, np.ndarray]]:
        for rows, block in values.blocks(families):
            own = within[rows]
            if own.any():
                yield xp.asarray(block if own.all() else block[own]), labels[rows][own]

    found, bins = _Blocks(blocks, pages), PARAMETERS["max_bin"]
    if pages is None:
        return xgboost.QuantileDMatrix(found, max_bin=bins, nthread=threads)
    return xgboost.ExtMemQuantileDMatrix(found, max_bin=bins, nthread=threads)


def train(
    matrix: xgboost.DMatrix,
    *,
    device: str,
    threads: int,
    seed: int,
    rounds: int = ROUNDS,
    parameters: Mapping[str, Any] = PARAMETERS,
) -> xgboost.Booster:
    """A booster that learns from a binned matrix."""
    given = dict(parameters) | {"device": device, "nthread": threads, "seed": seed}
    return xgboost.train(given, matrix, num_boost_round=rounds)


def counts(rounds: int) -> np.ndarray:
    """The tree counts that folds choose from: every CHECKED-th, and all."""
    return np.append(np.arange(CHECKED, rounds, CHECKED), rounds)


def margins(
    booster: xgboost.Booster,
    values: Values,
    families: Sequence[str],
    within: np.ndarray,
    *,
    threads: int,
) -> np.ndarray:
    """Log-odds of the rows `within` (a mask) after each of `counts`, float32 (rows, counts)."""
    booster.set_param({"nthread": threads, "device": "cpu"})
    after = counts(booster.num_boosted_rounds())
    found = np.empty((int(within.sum()), len(after)), np.float32)
    done = 0
    for rows, block in values.blocks(families):
        own = block[within[rows]]
        for k, count in enumerate(after if len(own) else ()):
            found[done : done + len(own), k] = booster.inplace_predict(
                own, predict_type="margin", iteration_range=(0, int(count))
            )
        done += len(own)
    return found


def tree_count(labels: np.ndarray, margins: np.ndarray, rounds: int) -> int:
    """The tree count at which margins (rows, counts) rank best."""
    return int(counts(rounds)[np.argmax([auc(labels, column) for column in margins.T])])


def across_counts(
    labels: np.ndarray, fold: np.ndarray, margins: np.ndarray, rounds: int
) -> tuple[np.ndarray, int]:
    """Out-of-fold log-odds (rows,), each fold's after as many trees as are best for the other folds,
    so that none is chosen by its own score; and the count that is best for all. (The boosters of other
    folds have learned from this one, as everywhere where models are stacked across folds.)"""
    found = np.empty(len(labels))
    for k in np.unique(fold):
        own = fold == k
        best = tree_count(labels[~own], margins[~own], rounds)
        found[own] = margins[own, np.searchsorted(counts(rounds), best)]
    return found, tree_count(labels, margins, rounds)


def logit(booster: xgboost.Booster, values: np.ndarray, *, threads: int) -> np.ndarray:
    """Log-odds of label 1 for each row, float64."""
    booster.set_param({"nthread": threads, "device": "cpu"})
    return np.asarray(booster.inplace_predict(values, predict_type="margin"), np.float64)
