"""Draws of whole slides: what an estimate might have been had other slides been looked at.

Slides, not patches, are independent. They are drawn with replacement within two strata, slides with
positive patches and slides without, as studies collect them; patches of unknown slide each stand alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from ..errors import InputError

DRAWS_AT_ONCE = 16  # whose weights, one a patch, are held in memory by a thread


@dataclass(frozen=True)
class Groups:
    """Which group, 0 … count-1, each patch is of, and the strata that groups are drawn within."""

    codes: np.ndarray
    strata: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.strata))

    @property
    def freedom(self) -> int:
        """Degrees of freedom that a spread between groups has."""
        return self.count - len(self.strata)


def stratify(labels: np.ndarray, groups: np.ndarray) -> Groups:
    """The groups of patches, any label a patch (n,), ready to be drawn.

    Raises InputError unless each class is in two groups or more: a spread between slides cannot be
    seen on one.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    positive = np.bincount(codes, labels) > 0
    negative = np.bincount(codes, 1 - labels) > 0
    for holding, what in ((positive, "positive"), (negative, "negative")):
        if holding.sum() < 2:
            raise InputError(
                f"slides cannot be resampled: all {what} patches are of one slide; give more slides, "
                "or compare without --slides."
            )
    strata = tuple(np.flatnonzero(one) for one in (positive, ~positive))
    if min(map(len, strata)) < 2:  # a stratum of one would never vary
        strata = (np.arange(len(positive)),)
    return Groups(codes, strata)


def draws(labels: np.ndarray, groups: Groups, count: int, seed: int) -> Iterator[np.ndarray]:
    """`count` draws, up to DRAWS_AT_ONCE at a time: how often each group is in each, (b, groups).

    A draw that lacks a class is drawn again. Raises InputError if that is one draw in two: the
    interval would then describe something else.
    """
    rng = np.random.default_rng(seed)
    held = np.stack([np.bincount(groups.codes, one) for one in (labels, 1 - labels)])
    kept = drawn = 0
    while kept < count:
        size = min(DRAWS_AT_ONCE, count - kept)
        times = np.zeros((size, groups.count), np.uint16)
        for stratum in groups.strata:
            share = np.full(len(stratum), 1 / len(stratum))
            times[:, stratum] = rng.multinomial(len(stratum), share, size)
        times = times[(times @ held.T > 0).all(axis=1)]
        kept, drawn = kept + len(times), drawn + size
        if drawn >= 100 and kept < drawn / 2:
            raise InputError(
                "slides cannot be resampled: too few hold both classes or each class; give more slides."
            )
        if len(times):
            yield times


def resampled(
    statistic: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    groups: Groups,
    *,
    resamples: int,
    seed: int,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """A statistic on `resamples` draws of groups, the draws along the last axis.

    `statistic` is given weights, uint16 (b, n), how often each patch is in each of b draws, and
    returns (…, b); several threads may call it. The same seed gives the same draws.
    """

    def on(times: np.ndarray) -> np.ndarray:
        found = statistic(times[:, groups.codes])
        progress(len(times))
        return found

    each = draws(labels, groups, resamples, seed)
    found = Parallel(n_jobs=threads, backend="threading")(delayed(on)(times) for times in each)
    return np.concatenate(found, axis=-1)
