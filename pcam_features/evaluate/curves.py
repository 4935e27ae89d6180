"""Curves to look at: ROC, precision and recall, reliability; with bands from draws of slides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .intervals import LEVEL
from .metrics import BINS, calibration_bins, counts
from .paired import Entry
from .resampling import Groups, resampled

GRID = np.linspace(0, 1, 101)
BAND_DRAWS = 200


def roc_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of GRID; between points in a line."""
    return np.asarray(np.interp(GRID, np.r_[0, false / false[-1]], np.r_[0, true / true[-1]]))


def precision_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """The precision with which each recall of GRID is reached."""
    reached = np.minimum(np.searchsorted(true, GRID * true[-1] * (1 - 1e-12)), len(true) - 1)
    called = true[reached] + false[reached]
    out: np.ndarray = np.ones(len(GRID))
    np.divide(true[reached], called, out=out, where=called > 0)
    return out


def both(labels: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over seeds (seeds, n) of both curves, under weights (n,): (2, GRID)."""
    each = [counts(labels, row, weights)[1:] for row in rows]
    return np.asarray(np.mean([[roc_on_grid(*one), precision_on_grid(*one)] for one in each], axis=0))


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, float]]:
    """Of each bin that holds patches: their number, mean probability, and share of positives."""
    bins = calibration_bins(probabilities)
    size = np.bincount(bins, minlength=BINS)
    mean = np.bincount(bins, probabilities, minlength=BINS)
    positive = np.bincount(bins, labels, minlength=BINS)
    return [
        {
            "patches": int(size[k]),
            "probability": float(mean[k] / size[k]),
            "positive": float(positive[k] / size[k]),
        }
        for k in np.flatnonzero(size)
    ]


def curves(
    labels: np.ndarray, entries: Sequence[Entry], groups: Groups, *, seed: int, threads: int
) -> dict[str, dict[str, Any]]:
    """Of each model: `roc` and `precision`, each (GRID,) with `low` and `high` at LEVEL, point by
    point, over BAND_DRAWS draws of groups; and `reliability` of the mean over seeds."""

    def on(weights: np.ndarray) -> np.ndarray:
        each = [[both(labels, entry.rows, one) for one in weights] for entry in entries]
        return np.moveaxis(np.array(each), 1, -1)

    value = on(np.ones((1, len(labels))))[..., 0]
    drawn = resampled(on, labels, groups, resamples=BAND_DRAWS, seed=seed, threads=threads)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
    return {
        entry.name: {
            name: {"value": value[k, c], "low": low[k, c], "high": high[k, c]}
            for c, name in enumerate(("roc", "precision"))
        }
        | {"reliability": reliability(labels, entry.mean)}
        for k, entry in enumerate(entries)
    }
