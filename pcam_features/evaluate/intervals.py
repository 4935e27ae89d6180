"""The area under the ROC curve, confidence intervals, and p-values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from ..errors import InputError
from . import metrics
from .resampling import stratify
from .spread import LEVEL, Spread, contributions

CHANCE = 0.5  # the AUC of a model that ranks at random
ROUNDING = 1e-9  # rounding error of means over seeds
NORMAL = 10**9  # degrees of freedom with which Student's t is the normal distribution


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
    return around(value, normal_spread(variance).reach, bounds)


def normal_spread(variance: float) -> Spread:
    """The spread of a normally distributed estimate of known variance."""
    deviation = float(np.sqrt(max(variance, 0.0)))
    return Spread(deviation, float(norm.ppf((1 + LEVEL) / 2)), NORMAL)


def auc_interval(value: float, spread: Spread, effective: float) -> Estimate:
    """The interval of an AUC between groups, on the log-odds scale, where AUCs are closer to normal.

    An AUC of 0 or 1 has no spread. Its interval is then the binomial one of as many right (or wrong)
    answers in a row as there are groups of the rarer kind.

    Parameters
    ----------
    value
        The AUC.
    spread
        Its spread between groups.
    effective
        The number of groups of the rarer kind, as `Design.effective`.

    Examples
    --------
    >>> auc_interval(1.0, Spread(0.0, 2.0, 9), 10.0).low.__round__(3)
    0.692
    """
    if not 0 < value < 1:
        open_end = ((1 - LEVEL) / 2) ** (1 / effective)
        return Estimate(value, open_end if value == 1 else 0.0, 1.0 if value == 1 else 1 - open_end)
    reach = spread.reach / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def share_interval(value: float, drawn: np.ndarray, quantile: float) -> Estimate:
    """The interval of a proportion, from its values on resamples.

    It spans `quantile` times the standard deviation of the resamples, on the log-odds scale. A
    proportion of 0 or 1 has no log-odds; its interval is the percentiles of the resamples.

    Parameters
    ----------
    value
        The proportion, 0 to 1.
    drawn
        The proportion on each resample, (resamples,).
    quantile
        How many standard deviations of the resamples the interval reaches to either side.
    """
    deviation = float(np.std(drawn, ddof=1))
    if not 0 < value < 1:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(value, float(low), float(high))
    reach = quantile * deviation / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach)))


def plain_interval(
    value: float, drawn: np.ndarray, quantile: float, bounds: tuple[float, float]
) -> Estimate:
    """As `share_interval`, for values that are not proportions; clipped to `bounds`."""
    return around(value, quantile * float(np.std(drawn, ddof=1)), bounds)


def around(value: float, reach: float, bounds: tuple[float, float]) -> Estimate:
    """A value with an interval of `reach` to either side, clipped to `bounds`."""
    return Estimate(value, max(value - reach, bounds[0]), min(value + reach, bounds[1]))


def resampling_quantile(spread: Spread, aucs: np.ndarray) -> float:
    """How many standard deviations of resamples the interval of a metric reaches to either side.

    Resamples of few groups vary too little. The AUC's spread is known without them, so other metrics
    of the model are given the quantile with which the AUC on resamples, (resamples,), has its
    own interval.
    """
    deviation = float(np.std(aucs, ddof=1))
    return spread.reach / deviation if min(deviation, spread.deviation) > ROUNDING else spread.quantile


def two_sided(value: float, spread: Spread) -> float | None:
    """The two-sided p-value of a difference from zero.

    Without spread there is nothing to hold a difference against. If it is zero, the models rank alike,
    and p is 1. Otherwise it cannot be tested, however large it is, and there is no p-value.

    Examples
    --------
    >>> two_sided(0.0, Spread(0.0, 2.0, 10)), two_sided(0.2, Spread(0.0, 2.0, 10))
    (1.0, None)
    """
    if spread.deviation <= ROUNDING:
        return 1.0 if abs(value) <= ROUNDING else None
    return spread.p_value(value)


def for_threshold(p_value: float | None) -> float:
    """A p-value as JSON has it: 1, which no threshold takes as evidence, if there is none.

    So a program that compares it with 0.05 need not know of differences that cannot be tested.

    Examples
    --------
    >>> for_threshold(0.03), for_threshold(None)
    (0.03, 1.0)
    """
    return 1.0 if p_value is None else p_value


def auc_intervals(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, out_of_fold: bool = False
) -> list[Estimate]:
    """The AUC of each row of scores, with intervals across groups.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    scores
        Rows of scores, (k, n).
    groups
        Any label of the group of each patch, (n,).
    out_of_fold
        Whether each patch was scored by a model that was trained on the others. See `near_chance`.

    Raises
    ------
    InputError
        If all patches of a class are in one group.
    """
    known = contributions(labels, scores, stratify(labels, groups).codes)
    intervals = []
    for value, weights in zip(aucs(labels, scores).tolist(), np.eye(len(scores)), strict=True):
        spread, effective = known.spread(weights), known.design.effective
        interval = auc_interval(value, spread, effective)
        intervals.append(near_chance(interval, spread, effective) if out_of_fold else interval)
    return intervals


def near_chance(interval: Estimate, spread: Spread, effective: float) -> Estimate:
    """The interval of an out-of-fold AUC, wider if chance (0.5) cannot be excluded.

    Without a signal, two patches of different folds agree by chance twice: each in the score of the
    other. An out-of-fold AUC then has twice the variance that its patches show, so an interval that
    holds 0.5 once it is widened by √2 is given as wide as that.
    """
    doubled = replace(spread, deviation=spread.deviation * 2**0.5)
    wider = auc_interval(interval.value, doubled, effective)
    return wider if wider.low <= CHANCE <= wider.high else interval
