"""The area under the ROC curve, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

from ..choices import RESAMPLES
from ..errors import InputError

LEVEL = 0.95
CHUNK_CELLS = 1 << 23  # weights held at a time while resampling: 64 MB


@dataclass(frozen=True)
class Estimate:
    """A value with an interval of nominal coverage `LEVEL`."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of `weights` (B, n), as `sklearn.metrics.roc_auc_score` gives it for
    `sample_weight`: the share of pairs ranked rightly, ties counting half. NaN where a class has
    no weight. Labels are 0 and 1, (n,); scores are (n,); the result is (B,)."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ordered_weights = weights[:, order].astype(np.float64)
    positive = np.add.reduceat(ordered_weights * labels[order], starts, axis=1)
    every = np.add.reduceat(ordered_weights, starts, axis=1)
    negative = every - positive
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    result = np.full(len(weights), np.nan)
    np.divide((positive * below).sum(axis=1), pairs, out=result, where=pairs > 0)
    return result


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve: the chance that a positive scores above a negative."""
    return float(weighted_auc(labels, scores, np.ones((1, len(labels))))[0])


def delong(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each row of `scores` (k, n), and their covariance (k, k), patches independent.

    Sources: E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two
    or more correlated receiver operating characteristic curves", Biometrics 44, 1988; computed
    by midranks as in X. Sun and W. Xu, IEEE Signal Processing Letters 21, 2014.
    """
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    m, n = positive.shape[1], negative.shape[1]
    if min(m, n) < 2:
        raise InputError("DeLong's variance needs at least two patches of each class.")
    together = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    among_positive, among_negative = rankdata(positive, axis=1), rankdata(negative, axis=1)
    of_positive = (together[:, :m] - among_positive) / n
    of_negative = 1 - (together[:, m:] - among_negative) / m
    covariance = np.cov(of_positive) / m + np.cov(of_negative) / n
    return of_positive.mean(axis=1), np.atleast_2d(covariance)


def normal_interval(value: float, variance: float, bounds: tuple[float, float]) -> Estimate:
    """The interval of a normal estimate, kept within the bounds of what is estimated."""
    reach = norm.ppf((1 + LEVEL) / 2) * np.sqrt(max(variance, 0.0))
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]))


def resampled_aucs(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> np.ndarray:
    """AUC of each row of `scores` (k, n) on the same `resamples` draws of whole groups (k, B).

    Groups (slides) are drawn with replacement; `groups` is any label a patch, (n,). Draws that
    lack a class are drawn again. Raises InputError if one draw in two lacks a class: the interval
    would then describe something else.
    """
    names, codes = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // len(codes))
    kept: list[np.ndarray] = []
    drawn = count = 0
    while count < resamples:
        size = min(chunk, resamples - count)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size)
        weights = counts[:, codes]
        aucs = np.stack([weighted_auc(labels, row, weights) for row in scores])
        good = aucs[:, ~np.isnan(aucs).any(axis=0)]
        kept.append(good)
        count += good.shape[1]
        drawn += size
        if drawn >= 100 and count < drawn / 2:
            raise InputError(
                f"slides cannot be resampled: of {len(names)} slides too few hold both classes "
                "or each class; give more slides."
            )
    return np.concatenate(kept, axis=1)


def percentile_interval(value: float, resampled: np.ndarray) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def group_codes(ids: list[str], slides: list[Any]) -> tuple[np.ndarray, int]:
    """A group for each patch: its slide, or itself where that is unknown; and how many are known."""
    known = [isinstance(slide, str) and slide != "" for slide in slides]
    names = [
        f"slide:{slide}" if is_known else f"patch:{i}"
        for i, slide, is_known in zip(ids, slides, known, strict=True)
    ]
    return np.unique(np.array(names), return_inverse=True)[1], sum(known)
