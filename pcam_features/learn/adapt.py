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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..constants import Adapt
from ..store.values import Values
from ..words import counted

LEAST_PATCHES = 200  # of a group: with fewer, their moments say little
LEAST_SHARE = 0.5  # of each class's share among training patches, as predicted without adaptation
LEAST_SPREAD = 0.1  # of a column's deviation in training: below it, the column is only centered
MOST_NARROW = 0.5  # share of such columns above which a group is blank or nearly so
UNKNOWN, FEW = -1, -2  # codes of patches that have no group to adapt to


@dataclass(frozen=True)
class Moments:
    """What scored patches are brought to.

    Parameters
    ----------
    mean, scale
        The mean and the deviation of each column that the model was trained on, (columns,) each.
    positive
        The share of training patches with label 1.
    """

    mean: np.ndarray
    scale: np.ndarray
    positive: float


@dataclass(frozen=True)
class Adaptation:
    """What was adapted, and what was left as it is.

    Parameters
    ----------
    how
        What shares its moments: the whole split, or each slide.
    groups, patches
        How many groups (1 for a split) and patches were adapted.
    unknown, few, one_class, blank
        How many patches were left as they are, because their slide is unknown, or because their group
        has fewer than LEAST_PATCHES, is predicted to be mostly of one class, or hardly varies.
    """

    how: Adapt
    groups: int = 0
    patches: int = 0
    unknown: int = 0
    few: int = 0
    one_class: int = 0
    blank: int = 0

    @property
    def left(self) -> int:
        """How many patches were left as they are."""
        return self.unknown + self.few + self.one_class + self.blank

    def sentence(self) -> str:
        """For the user, and for the file beside predictions."""
        reasons = {
            "of unknown slide": self.unknown,
            f"in groups of fewer than {LEAST_PATCHES}": self.few,
            "in groups predicted to be mostly of one class": self.one_class,
            "in groups that hardly vary": self.blank,
        }
        left = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
        by = (
            "to the split" if self.how == Adapt.whole else f"to each of {counted(self.groups, 'slide')}"
        )
        done = f"{counted(self.patches, 'patch')} adapted {by}" if self.patches else "no patch adapted"
        return done + (f"; left as they are: {', '.join(left)}" if left else "")


def codes_of(names: Sequence[Any]) -> np.ndarray:
    """The group of each patch from the name of its slide or split, int (rows,).

    Groups are numbered from 0. Patches without a name are UNKNOWN, and those of a group with fewer than
    LEAST_PATCHES patches are FEW.
    """
    codes, _ = pd.factorize(np.array([name_of(name) for name in names], dtype=object))
    size = np.bincount(codes[codes >= 0], minlength=1)
    large = np.flatnonzero(size >= LEAST_PATCHES)
    number = np.full(len(size), FEW)
    number[large] = np.arange(len(large))
    return np.where(codes < 0, UNKNOWN, number[codes])


def name_of(name: object) -> str | None:
    """A name as text; None if it is missing."""
    missing = name is None or name is pd.NA or (isinstance(name, float) and np.isnan(name))
    return None if missing or name == "" else str(name)


# Of some patches of each group, by its code: the sum and the sum of squares of each column, (columns,).
GroupSums = dict[int, tuple[np.ndarray, np.ndarray]]


def sums_of_groups(block: np.ndarray, group: np.ndarray, training: Moments) -> GroupSums:
    """Sums over the patches of each group, in units of the training deviations.

    Parameters
    ----------
    block
        Features, float32 (rows, columns).
    group
        The group of each row as `codes_of` gives it, int (rows,).
    training
        The moments of the training patches.
    """
    units = (block.astype(np.float64) - training.mean) / training.scale
    sums = {}
    for code in np.unique(group[group >= 0]).tolist():
        own = units[group == code]
        sums[code] = own.sum(axis=0), np.einsum("ij,ij->j", own, own)
    return sums


def group_moments(
    parts: Iterable[GroupSums], group: np.ndarray, training: Moments
) -> tuple[np.ndarray, np.ndarray]:
    """Each group's mean and deviation, (groups, columns), in units of the training deviations.

    `parts` are the sums of all parts of the patches, in their order, because rounding depends on it.
    """
    groups, columns = int(group.max()) + 1, len(training.mean)
    total, squares = np.zeros((groups, columns)), np.zeros((groups, columns))
    for sums in parts:
        for code, (own, own_squares) in sums.items():
            total[code] += own
            squares[code] += own_squares
    size = np.bincount(group[group >= 0], minlength=groups)[:, None]
    mean = total / size
    return mean, np.sqrt(np.maximum(squares / size - mean**2, 0))


@dataclass(frozen=True)
class Moves:
    """How the columns of groups are brought to the training moments.

    Parameters
    ----------
    group
        The group of each row as `codes_of` gives it, int (rows,).
    center, factor
        For each group that is moved: what is subtracted from its columns, and by what the difference is
        multiplied, float32 (columns,) each.
    usual
        What is then added, float32 (columns,).
    """

    group: np.ndarray
    center: dict[int, np.ndarray]
    factor: dict[int, np.ndarray]
    usual: np.ndarray

    def of_rows(self, rows: slice) -> Moves:
        """The moves of some rows alone."""
        own = self.group[rows]
        codes = [code for code in np.unique(own).tolist() if code in self.center]
        center, factor = ({code: by[code] for code in codes} for by in (self.center, self.factor))
        return Moves(own, center, factor, self.usual)

    def applied(self, values: Values) -> Values:
        """The adapted features of these rows."""
        places = values.places()

        def part(family: str, k: int) -> np.ndarray:
            block, columns = values.part(family, k), places[family]
            own = self.group[values.spans[k]]
            moved = block.copy()
            for code, center in self.center.items():
                rows = own == code
                apart = block[rows] - center[columns]
                moved[rows] = apart * self.factor[code][columns] + self.usual[columns]
            return moved

        return replace(values, part=part)


def adapt(
    parts: Iterable[GroupSums],
    group: np.ndarray,
    training: Moments,
    unadapted: np.ndarray,
    how: Adapt,
) -> tuple[Moves | None, Adaptation]:
    """Decide which groups' columns are brought to the training moments, where that is sound.

    Parameters
    ----------
    parts
        Of `sums_of_groups`, for all parts of the scored patches in their order.
    group
        The group of each patch as `codes_of` gives it, int (rows,).
    training
        The moments to bring columns to.
    unadapted
        The probabilities of tumor without adaptation, (rows,).
    how
        What a group is.

    Returns
    -------
    moves
        How features are adapted; None if no patch is.
    adaptation
        What is adapted.
    """
    unknown, few = int((group == UNKNOWN).sum()), int((group == FEW).sum())
    if group.max(initial=FEW) < 0:
        return None, Adaptation(how, unknown=unknown, few=few)
    grouped = group >= 0
    size = np.bincount(group[grouped])
    share = np.bincount(group[grouped], unadapted[grouped] >= 0.5) / size
    mean, spread = group_moments(parts, group, training)
    narrow = spread < LEAST_SPREAD
    least, most = LEAST_SHARE * training.positive, 1 - LEAST_SHARE * (1 - training.positive)
    one_class = (share < least) | (share > most)
    blank = ~one_class & (narrow.mean(axis=1) > MOST_NARROW)
    sound = ~(one_class | blank)
    factor = (1 / np.where(narrow, 1, spread)).astype(np.float32)
    center = (training.mean + training.scale * mean).astype(np.float32)
    moved = np.flatnonzero(sound).tolist()
    moves = Moves(
        group,
        {code: center[code] for code in moved},
        {code: factor[code] for code in moved},
        training.mean.astype(np.float32),
    )
    done = Adaptation(
        how,
        groups=int(sound.sum()),
        patches=int(size[sound].sum()),
        unknown=unknown,
        few=few,
        one_class=int(size[one_class].sum()),
        blank=int(size[blank].sum()),
    )
    return moves if moved else None, done
