"""The spread of AUCs between groups of patches, also where few groups have positive patches.

An AUC is a mean over positive patches, and a mean over negative ones, of their placements: the share of
patches of the other class that a patch is ranked correctly against. Groups (slides) are independent and
patches within them are not, so the spread comes from what each group contributes to both means.

Sources: N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997,
for the contributions; R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear
regression with multi-stage samples", Survey Methodology 28, 2002, for a spread that is unbiased under a
working model, and for judging it by the distribution that it has under that model. That distribution is
drawn instead of approximated by Student's t, because groups of unequal size make its tails lighter; see
DECISIONS.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import rankdata, t

LEVEL = 0.95
LEAST_GROUPS = 4  # of each class; with fewer, a difference is not tested
LEAST_PATCHES = 6  # of each class; with fewer, the test would find too few differences
LEAST_EFFECTIVE = 2.0  # as `Design.effective`; with fewer, neither
SHARED = 4.0  # degrees of freedom of both classes together that each class's variance is drawn towards
DRAWS = 4000  # of the distribution of an AUC over its spread
INDIVIDUAL = 200  # groups of each class, the largest, that are drawn one by one
TAIL = (1 + LEVEL) / 2


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a value between groups, and how many of it an interval spans.

    Parameters
    ----------
    deviation
        The standard deviation.
    quantile
        What the error of the value, divided by the deviation, stays below with probability LEVEL.
    freedom
        Degrees of freedom of the deviation.
    """

    deviation: float
    quantile: float
    freedom: float

    @property
    def reach(self) -> float:
        """Half the width of the interval at LEVEL."""
        return self.quantile * self.deviation

    def p_value(self, value: float) -> float:
        """The two-sided p-value of a value that is 0 without an effect.

        It is 1 − LEVEL for a value of `reach`. Tails are those of Student's t, scaled to agree there.
        """
        scaled = abs(value) / self.reach * t.ppf(TAIL, self.freedom)
        return float(2 * t.sf(scaled, self.freedom))


@dataclass(frozen=True)
class Design:
    """How the patches of both classes are distributed over groups.

    The working model of a spread: each group has one placement for its positive patches and one for its
    negative ones, both random. What it contributes to an AUC is those placements, less their averages,
    times its shares of patches.

    Parameters
    ----------
    counts
        The number of positive and of negative patches of each group, (2, groups).

    Examples
    --------
    >>> design = Design(np.array([[2, 1, 1, 0], [0, 1, 1, 2]]))
    >>> design.holding, round(design.effective, 2), design.enough
    ((3, 3), 2.67, False)
    """

    counts: np.ndarray

    @cached_property
    def shares(self) -> np.ndarray:
        """The group's share of all positive and of all negative patches, (2, groups)."""
        return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @property
    def patches(self) -> tuple[int, int]:
        """How many patches are positive, and how many negative."""
        positive, negative = self.counts.sum(axis=1).tolist()
        return positive, negative

    @property
    def holding(self) -> tuple[int, int]:
        """How many groups have positive patches, and how many have negative ones."""
        positive, negative = (self.counts > 0).sum(axis=1).tolist()
        return positive, negative

    @property
    def effective(self) -> float:
        """The number of groups of the rarer kind, were all of one size, that would vary as much."""
        return float(1 / squares(self.shares)[:2].max())

    @property
    def enough(self) -> bool:
        """Whether there are enough groups and patches of both classes to test a difference."""
        return (
            min(self.holding) >= LEAST_GROUPS
            and min(self.patches) >= LEAST_PATCHES
            and self.effective >= LEAST_EFFECTIVE
        )

    @property
    def least_freedom(self) -> int:
        """Degrees of freedom of the rarer kind of group alone."""
        return max(min(*self.holding, round(self.effective)) - 1, 1)

    def components(self, sums: np.ndarray) -> np.ndarray:
        """The variances of positive and negative placements and their covariance, (3, …).

        `sums` are sums over groups of squared positive contributions, squared negative ones, and their
        products, (3, …). The components are unbiased under the working model.
        """
        (positive, negative), (here, there, both) = self.shares, squares(self.shares)
        expected = np.array(
            [
                (positive**2 * (1 - 2 * positive + here)).sum(),
                (negative**2 * (1 - 2 * negative + there)).sum(),
                (positive * negative * (1 - positive - negative + both)).sum(),
            ]
        ).reshape(3, *[1] * (sums.ndim - 1))
        known = expected > 1e-9 * expected.max()  # without groups of both classes, no covariance
        found = np.where(known, sums / np.where(known, expected, 1), 0)
        limit = np.sqrt(found[0] * found[1])
        return np.stack([found[0], found[1], np.clip(found[2], -limit, limit)])

    def variance(self, components: np.ndarray) -> np.ndarray:
        """The variance of an AUC, from its components (3, …)."""
        return np.asarray(np.tensordot(squares(self.shares) * (1, 1, 2), components, 1))

    def moderated(self, components: np.ndarray) -> np.ndarray:
        """Components (3,) whose variances are drawn towards the mean of both classes.

        A variance from few groups is small by chance now and then. The distribution would then be taken
        to depend on the many groups of the other class. SHARED degrees of freedom prevent that.
        """
        freedom = np.array(self.holding) - 1
        mean = components[:2] @ freedom / freedom.sum()
        variances = (components[:2] * freedom + mean * SHARED) / (freedom + SHARED)
        limit = np.sqrt(components[0] * components[1])
        correlation = components[2] / limit if limit > 0 else 0.0
        return np.append(variances, correlation * np.sqrt(variances.prod()))

    @cached_property
    def drawn(self) -> Drawn:
        """Draws of the groups' placements, the same for all models and on every run."""
        return Drawn.of(self.shares)

    def reference(self, components: np.ndarray) -> tuple[float, float]:
        """The distribution of an AUC's error over its spread, with the components (3,) of the latter.

        Returns its quantile, and the degrees of freedom of the spread.
        """
        error, sums = self.drawn.contributed(components, squares(self.shares))
        variance = np.maximum(self.variance(self.components(sums)), np.finfo(float).tiny)
        quantile = float(np.quantile(np.abs(error) / np.sqrt(variance), LEVEL))
        return quantile, float(max(2 * variance.mean() ** 2 / variance.var(), 1.0))

    def spread(self, positive: np.ndarray, negative: np.ndarray) -> Spread:
        """The spread of an AUC, or of a difference of AUCs.

        With too few groups for a test, the quantile is that of Student's t with `least_freedom`, which
        is on the wide side.

        Parameters
        ----------
        positive, negative
            What the positive and the negative patches of groups contribute, (groups,).
        """
        sums = np.array([positive @ positive, negative @ negative, positive @ negative])
        found = self.components(sums)
        deviation = float(np.sqrt(max(float(self.variance(found)), 0.0)))
        if not self.enough or deviation == 0:
            return Spread(deviation, float(t.ppf(TAIL, self.least_freedom)), self.least_freedom)
        return Spread(deviation, *self.reference(self.moderated(found)))


def squares(shares: np.ndarray) -> np.ndarray:
    """Sums over groups (3,) of squared shares of positives, of negatives, and of their products."""
    positive, negative = shares
    return np.array([positive @ positive, negative @ negative, positive @ negative])


@dataclass(frozen=True)
class Drawn:
    """Two standard normal placements for each group on each draw, summed with the weights that the
    errors of AUCs and their spreads need, so that any variances can be given to them afterwards.

    Groups that are not among the INDIVIDUAL largest of a class are many and small. Their sums are drawn
    at once, and their sums of squares are taken as expected.

    Parameters
    ----------
    linear
        Sums of both placements, (2, DRAWS, 5), weighted with the shares of positives and of negatives,
        with their squares, and with their products.
    quadratic
        Sums of the first placement squared, the second squared, and their products, (3, DRAWS, 3),
        weighted with the squares and products of shares.
    rest, of_rest
        Draws for the groups that are not drawn singly, (2, DRAWS), and their `squares`.
    """

    linear: np.ndarray
    quadratic: np.ndarray
    rest: np.ndarray
    of_rest: np.ndarray

    @classmethod
    def of(cls, shares: np.ndarray) -> Drawn:
        """The draws for groups with these shares, (2, groups)."""
        largest = np.argsort(-shares, axis=1, kind="stable")[:, :INDIVIDUAL]
        single = np.unique(largest)
        positive, negative = shares[:, single]
        weights = np.stack([positive, negative, positive**2, negative**2, positive * negative], axis=1)
        draws = np.random.default_rng(0).normal(size=(2, DRAWS, len(single) + 1))
        first, second = draws[:, :, 1:]
        products = (first**2, second**2, first * second)
        return cls(
            linear=np.stack([first @ weights, second @ weights]),
            quadratic=np.stack([product @ weights[:, 2:] for product in products]),
            rest=draws[:, :, 0],
            of_rest=squares(np.delete(shares, single, axis=1)),
        )

    def contributed(self, components: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The error of an AUC on each draw, (DRAWS,), and the sums (3, DRAWS) of contributions.

        `components` are the variances and covariance of placements, `square` the `squares` of all
        groups.
        """
        turn = turned(components)
        linear = np.tensordot(turn, self.linear, 1)
        rest = turned(components * self.of_rest) @ self.rest
        errors = np.stack([linear[0, :, 0] + rest[0], linear[1, :, 1] + rest[1]])
        pairs = ((0, 0), (1, 1), (0, 1))
        sums = []
        for k, (i, j) in enumerate(pairs):
            mixed = (turn[i, 0] * turn[j, 0], turn[i, 1] * turn[j, 1])
            crossed = turn[i, 0] * turn[j, 1] + turn[i, 1] * turn[j, 0]
            quadratic = np.tensordot((*mixed, crossed), self.quadratic[:, :, k], 1)
            shifted = errors[j] * linear[i, :, 2 + k] + errors[i] * linear[j, :, 2 + k]
            sums.append(
                quadratic
                + components[k] * self.of_rest[k]
                - shifted
                + errors[i] * errors[j] * square[k]
            )
        return errors.sum(axis=0), np.stack(sums)


def turned(components: np.ndarray) -> np.ndarray:
    """The matrix (2, 2) that gives two standard normal values a covariance, of components (3,)."""
    first, second, covariance = components
    slope = covariance / np.sqrt(first) if first > 0 else 0.0
    return np.array([[np.sqrt(first), 0.0], [slope, np.sqrt(max(second - slope**2, 0.0))]])


@dataclass(frozen=True)
class Contributions:
    """What groups contribute to AUCs, less what they would contribute with the average placement.

    `positive` and `negative` are what their positive and their negative patches contribute, (k,
    groups).
    """

    positive: np.ndarray
    negative: np.ndarray
    design: Design

    def spread(self, weights: np.ndarray) -> Spread:
        """The spread of a linear combination, with weights (k,), of the AUCs."""
        return self.design.spread(weights @ self.positive, weights @ self.negative)


def contributions(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray) -> Contributions:
    """The contributions of groups to the AUC of each row of scores.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    scores
        Rows of scores, (k, n).
    codes
        The number of each patch's group, 0 … groups − 1, (n,).

    Examples
    --------
    >>> labels, codes = np.array([1, 1, 0, 0]), np.array([0, 1, 2, 3])
    >>> contributions(labels, np.array([[0.9, 0.3, 0.1, 0.5]]), codes).positive.tolist()
    [[0.125, -0.125, 0.0, 0.0]]
    """
    groups = int(codes.max()) + 1
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    together = rankdata(scores, axis=1)
    added, counts = [], []
    for own, other, sign in ((positive, negative, 1), (negative, positive, -1)):
        below = (together[:, own] - rankdata(scores[:, own], axis=1)) / len(other)
        placements = sign * (below - below.mean(axis=1, keepdims=True)) / len(own)
        added.append(np.array([np.bincount(codes[own], row, groups) for row in placements]))
        counts.append(np.bincount(codes[own], minlength=groups))
    return Contributions(added[0], added[1], Design(np.array(counts)))
