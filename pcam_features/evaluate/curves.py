"""ROC, precision-recall and reliability curves, with bands from resampled slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import BINS, calibration_bins, counts
from .paired import Entry
from .resampling import Groups, resampled
from .spread import LEVEL

GRID = np.linspace(0, 1, 101)
BAND_DRAWS = 200


@dataclass(frozen=True)
class CurveBand:
    """A curve on GRID with its pointwise interval, each (GRID,)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class ReliabilityBin:
    """The patches in one bin of probability: their number, mean probability and share of positives."""

    patches: int
    probability: float
    positive: float


@dataclass(frozen=True)
class ModelCurves:
    """The curves of one model."""

    name: str
    roc: CurveBand
    precision: CurveBand
    reliability: tuple[ReliabilityBin, ...]


def roc_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Sensitivity at each false positive rate of GRID, interpolated linearly."""
    return np.asarray(np.interp(GRID, np.r_[0, false / false[-1]], np.r_[0, true / true[-1]]))


def precision_on_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Precision at the first threshold that reaches each recall of GRID."""
    reached = np.minimum(np.searchsorted(true, GRID * true[-1] * (1 - 1e-12)), len(true) - 1)
    called = true[reached] + false[reached]
    out: np.ndarray = np.ones(len(GRID))
    np.divide(true[reached], called, out=out, where=called > 0)
    return out


def both(labels: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC and precision-recall curve, (2, GRID), averaged over seeds (seeds, n), under weights (n,)."""
    curves_of_seeds = []
    for row in rows:
        _, true, false = counts(labels, row, weights)
        curves_of_seeds.append([roc_on_grid(true, false), precision_on_grid(true, false)])
    return np.asarray(np.mean(curves_of_seeds, axis=0))


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """The bins of probability that hold patches."""
    bins = calibration_bins(probabilities)
    size = np.bincount(bins, minlength=BINS)
    total = np.bincount(bins, probabilities, minlength=BINS)
    positive = np.bincount(bins, labels, minlength=BINS)
    return tuple(
        ReliabilityBin(int(size[k]), float(total[k] / size[k]), float(positive[k] / size[k]))
        for k in np.flatnonzero(size)
    )


def curves(
    labels: np.ndarray, entries: Sequence[Entry], groups: Groups, *, seed: int, threads: int
) -> tuple[ModelCurves, ...]:
    """The curves of each model.

    ROC and precision-recall curves have pointwise intervals at LEVEL from BAND_DRAWS resamples of
    groups. Reliability is of the mean over seeds.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    entries
        The models' predictions.
    groups
        The groups of patches that are resampled.
    seed
        Seed of the resampling.
    threads
        Number of threads.
    """

    def on(weights: np.ndarray) -> np.ndarray:
        drawn = [[both(labels, entry.rows, weight) for weight in weights] for entry in entries]
        return np.moveaxis(np.array(drawn), 1, -1)

    value = on(np.ones((1, len(labels))))[..., 0]
    drawn = resampled(on, labels, groups, resamples=BAND_DRAWS, seed=seed, threads=threads)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
    return tuple(
        ModelCurves(
            name=entry.name,
            roc=CurveBand(value[k, 0], low[k, 0], high[k, 0]),
            precision=CurveBand(value[k, 1], low[k, 1], high[k, 1]),
            reliability=reliability(labels, entry.mean),
        )
        for k, entry in enumerate(entries)
    )
