"""The area under the ROC curve, confidence intervals, and p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t

from ..constants import RESAMPLES
from ..errors import InputError
from . import metrics
from .resampling import resampled, stratify

LEVEL = 0.95
ROUNDING = 1e-9  # rounding error of means over seeds


@dataclass(frozen=True)
class Estimate:
    """A value with an interval of nominal coverage `LEVEL`."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve: the probability that a positive scores above a negative."""
    return float(aucs(labels, scores[None])[0])


def aucs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The AUC of each row of `scores` (k, n), (k,)."""
    return metrics.ranked(metrics.rank(labels, scores), np.ones((1, len(labels))))[:, 0, 0]


def delong(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The AUC of each row of `scores` (k, n), and their covariance (k, k) for independent patches.

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
    """The interval of a normally distributed estimate, clipped to `bounds`."""
    reach = norm.ppf((1 + LEVEL) / 2) * np.sqrt(max(variance, 0.0))
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]))


def share_interval(value: float, drawn: np.ndarray, freedom: int) -> Estimate:
    """The interval of a proportion, from its values on resamples.

    It is Student's t with the spread of the resamples, on the log-odds scale, where proportions are
    closer to normal. With few slides its coverage is closer to nominal than that of percentiles: see
    benchmarks/interval_coverage.py. A proportion of 0 or 1 has no log-odds; its interval is the
    percentiles of the resamples.

    Parameters
    ----------
    value
        The proportion, 0 to 1.
    drawn
        The proportion on each resample, (resamples,).
    freedom
        Degrees of freedom of the spread between groups.
    """
    deviation = float(np.std(drawn, ddof=1))
    if not 0 < value < 1:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(value, float(low), float(high))
    reach = quantile(freedom) * deviation / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def plain_interval(
    value: float, drawn: np.ndarray, freedom: int, bounds: tuple[float, float]
) -> Estimate:
    """As `share_interval`, for values that are not proportions; clipped to `bounds`."""
    reach = quantile(freedom) * float(np.std(drawn, ddof=1))
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]))


def quantile(freedom: int) -> float:
    """The quantile of Student's t for a two-sided interval at LEVEL."""
    return float(t.ppf((1 + LEVEL) / 2, freedom))


def two_sided(value: float, deviation: float, freedom: int) -> float | None:
    """The two-sided p-value of a difference from zero, by Student's t.

    Without spread there is nothing to hold a difference against. If it is zero, the models rank alike,
    and p is 1. Otherwise it cannot be tested, however large it is, and there is no p-value.

    Parameters
    ----------
    value
        The difference.
    deviation
        Its standard deviation.
    freedom
        Degrees of freedom of the deviation.

    Returns
    -------
    float or None
        The p-value; None if the difference cannot be tested.

    Examples
    --------
    >>> two_sided(0.0, 0.0, 10), two_sided(0.2, 0.0, 10)
    (1.0, None)
    """
    if deviation <= ROUNDING:
        return 1.0 if abs(value) <= ROUNDING else None
    return float(2 * t.sf(abs(value) / deviation, freedom))


def resampled_intervals(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """The AUC of each row of scores, with bootstrap intervals.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    scores
        Rows of scores, (k, n).
    groups
        Any label of the group of each patch, (n,). Whole groups are resampled.
    resamples
        Number of resamples.
    seed
        Seed of the resampling.

    Raises
    ------
    InputError
        If the groups cannot be resampled.
    """
    stratified = stratify(labels, groups)
    ranking = metrics.rank(labels, scores)

    def on(weights: np.ndarray) -> np.ndarray:
        return metrics.ranked(ranking, weights)[:, 0]

    drawn = resampled(on, labels, stratified, resamples=resamples, seed=seed)
    values = aucs(labels, scores).tolist()
    return [
        share_interval(value, on_draws, stratified.freedom)
        for value, on_draws in zip(values, drawn, strict=True)
    ]
