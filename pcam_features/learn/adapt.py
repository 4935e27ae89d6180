"""Adaptation: the columns of the scored patches are brought to the training patches' moments.

Another laboratory's stain and scanner move many columns for all patches alike. Where many patches of
one laboratory are scored together, their own mean and deviation of each column can stand in for those
of the training patches: a value is read as "this far above what is usual here". A patch alone cannot be
adapted, and a slide that is all tumor must not be: its moments describe its class, not its laboratory.
Groups for which this is not sound are left as they are, and counted.

Source: moments of each domain are also matched in B. Sun, J. Feng and K. Saenko, "Return of
frustratingly easy domain adaptation", AAAI 2016 (which matches correlations as well).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..constants import Adapt
from ..store.values import Values

LEAST_PATCHES = 200  # of a group: with fewer, their moments say little
LEAST_SHARE = 0.05  # of either class, as predicted without adaptation
LEAST_SPREAD = 0.1  # of a column's deviation in training: below it, the column is only centered
MOST_NARROW = 0.5  # share of such columns above which a group is blank or nearly so


@dataclass(frozen=True)
class Moments:
    """The mean and the deviation of each column of the training patches, (columns,) each."""

    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Adaptation:
    """What was adapted, and what was left as it is.

    Parameters
    ----------
    how
        What shares its moments: the whole split, or each slide.
    groups, patches
        How many groups (1 for a split) and patches were adapted.
    few, one_class, blank
        How many patches were left as they are, because their group has fewer than LEAST_PATCHES, is
        predicted to be nearly all of one class, or hardly varies.
    """

    how: Adapt
    groups: int = 0
    patches: int = 0
    few: int = 0
    one_class: int = 0
    blank: int = 0

    def sentence(self) -> str:
        """For the user, and for the file beside predictions."""
        reasons = {
            f"in groups of fewer than {LEAST_PATCHES}": self.few,
            "in groups predicted to be of one class": self.one_class,
            "in groups that hardly vary": self.blank,
        }
        left = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
        by = "to the split" if self.how == Adapt.whole else f"to each of {self.groups:,} slides"
        done = f"{self.patches:,} patches adapted {by}" if self.patches else "no patch adapted"
        return done + (f"; left as they are: {', '.join(left)}" if left else "")


def codes_of(slides: Sequence[str | None]) -> np.ndarray:
    """The group of each patch, from 0; patches of unknown slide form one group."""
    named = np.array([slide or "" for slide in slides], dtype=object)
    codes: np.ndarray = np.unique(named.astype(str), return_inverse=True)[1]
    return codes


def group_moments(
    values: Values, group: np.ndarray, training: Moments
) -> tuple[np.ndarray, np.ndarray]:
    """Each group's mean and deviation, (groups, columns), in units of the training deviations."""
    groups, columns = int(group.max()) + 1, len(training.mean)
    sums, squares = np.zeros((groups, columns)), np.zeros((groups, columns))
    for rows, block in values.blocks(values.families):
        units = (block.astype(np.float64) - training.mean) / training.scale
        for code in np.unique(group[rows]):
            own = units[group[rows] == code]
            sums[code] += own.sum(axis=0)
            squares[code] += np.einsum("ij,ij->j", own, own)
    size = np.bincount(group, minlength=groups)[:, None]
    mean = sums / size
    return mean, np.sqrt(np.maximum(squares / size - mean**2, 0))


def adapt(
    values: Values, group: np.ndarray, training: Moments, unadapted: np.ndarray, how: Adapt
) -> tuple[Values, Adaptation]:
    """Bring the columns of each group to the training moments, where that is sound.

    Parameters
    ----------
    values
        The features of the scored patches.
    group
        The group of each patch, int (rows,).
    training
        The moments to bring columns to.
    unadapted
        The probabilities of tumor without adaptation, (rows,).
    how
        What a group is.

    Returns
    -------
    values
        The adapted features.
    adaptation
        What was adapted.
    """
    size = np.bincount(group)
    share = np.bincount(group, unadapted) / size
    mean, spread = group_moments(values, group, training)
    narrow = spread < LEAST_SPREAD
    few = size < LEAST_PATCHES
    one_class = ~few & ((share < LEAST_SHARE) | (share > 1 - LEAST_SHARE))
    blank = ~few & ~one_class & (narrow.mean(axis=1) > MOST_NARROW)
    left = few | one_class | blank
    mean[left], spread[left] = 0, 1
    factor = (1 / np.where(narrow & ~left[:, None], 1, spread)).astype(np.float32)
    center = (training.mean + training.scale * mean).astype(np.float32)
    usual = training.mean.astype(np.float32)
    places = values.places()

    def part(family: str, k: int) -> np.ndarray:
        block, columns = values.part(family, k), places[family]
        own = group[values.spans[k]]
        moved = (block - center[own][:, columns]) * factor[own][:, columns] + usual[columns]
        kept = left[own]
        moved[kept] = block[kept]
        return np.asarray(moved, np.float32)

    done = Adaptation(
        how,
        groups=int((~left).sum()),
        patches=int(size[~left].sum()),
        few=int(size[few].sum()),
        one_class=int(size[one_class].sum()),
        blank=int(size[blank].sum()),
    )
    return replace(values, part=part), done
