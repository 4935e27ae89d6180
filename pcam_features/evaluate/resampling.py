"""Bootstrap resampling of whole slides.

Slides, not patches, are independent. They are drawn with replacement within two strata, slides with
positive patches and slides without, as studies collect them. A patch whose slide is unknown is a
group of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..execution.executor import Threads

DRAWS_AT_ONCE = 16  # resamples that a thread holds in memory, each with a weight per patch


@dataclass(frozen=True)
class Groups:
    """The group of each patch, 0 … count − 1, (n,), and the groups of each stratum."""

    codes: np.ndarray
    strata: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        """The number of groups."""
        return sum(map(len, self.strata))


def stratify(labels: np.ndarray, groups: np.ndarray) -> Groups:
    """Groups of patches in strata, ready to be drawn.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    groups
        The group of each patch, any values, (n,).

    Raises
    ------
    InputError
        If all patches of a class are in one group: a single group shows no spread between groups.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    positive = np.bincount(codes, labels) > 0
    negative = np.bincount(codes, 1 - labels) > 0
    for holding, what, patches in (
        (positive, "positive", int(labels.sum())),
        (negative, "negative", int((1 - labels).sum())),
    ):
        if holding.sum() < 2:
            found = f"all {what} patches are from one slide"
            if patches < 2:
                found = f"only {patches} patch is {what}" if patches else f"no patch is {what}"
            raise InputError(f"{found}; intervals need {what} patches from at least two slides.")
    strata: tuple[np.ndarray, ...] = (np.flatnonzero(positive), np.flatnonzero(~positive))
    if min(map(len, strata)) < 2:  # a stratum of one group would not vary
        strata = (np.arange(len(positive)),)
    return Groups(codes, strata)


def draws(labels: np.ndarray, groups: Groups, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each group is in each resample, (b, groups), up to DRAWS_AT_ONCE at a time.

    A resample that lacks a class is drawn again. Raises InputError if that happens to more than half of
    the resamples, because the interval would then describe other data.
    """
    rng = np.random.default_rng(seed)
    held = np.stack([np.bincount(groups.codes, labels), np.bincount(groups.codes, 1 - labels)])
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
                "slides cannot be resampled: most resamples lack a class; give more slides."
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
    """Compute a statistic on resamples of groups.

    Parameters
    ----------
    statistic
        Takes weights, uint16 (b, n): how often each patch is in each of b resamples. Returns (…, b).
        Several threads may call it.
    labels
        0 or 1 for each patch, (n,).
    groups
        The groups of patches that are drawn.
    resamples
        Number of resamples.
    seed
        The same seed gives the same resamples, whatever the number of threads.
    threads
        Number of threads.
    progress
        Called with the number of resamples done.

    Returns
    -------
    numpy.ndarray
        The statistic, with the resamples along the last axis.
    """
    batches = draws(labels, groups, resamples, seed)
    results = []
    for result in Threads(threads).map(lambda times: statistic(times[:, groups.codes]), batches):
        results.append(result)
        progress(result.shape[-1])
    return np.concatenate(results, axis=-1)
