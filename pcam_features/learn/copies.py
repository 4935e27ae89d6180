"""Changed copies of training patches: a model learns from them, and is scored on them out of fold.

A copy is a patch as another laboratory would have made it (`pcam extract --copies`). Each copy has a
laboratory of its own, and it is in the fold and in the group of its patch. So no model has seen the
patch or the laboratory of a copy that it is scored on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..constants import RESAMPLES
from ..errors import InputError
from ..evaluate import metrics
from ..evaluate.intervals import Estimate, auc, resampling_quantile, share_interval
from ..evaluate.resampling import resampled, stratify
from ..evaluate.spread import contributions
from ..grouping.folds import Folds
from ..storage.fields import Fields
from ..store.names import SEPARATOR, copies_of
from ..store.store import Store
from ..store.values import Values, joined, stored
from .context import FitContext


@dataclass(frozen=True)
class Copies:
    """Changed copies of training patches.

    Parameters
    ----------
    values
        Their features.
    rows
        The row of each one's patch, int (copies,).
    shifts
        How each was changed, text (copies,).
    """

    values: Values
    rows: np.ndarray
    shifts: np.ndarray


LEAST_COPIES = 50  # of a shift: with fewer, their AUC says little


@dataclass(frozen=True)
class ShiftScore:
    """The out-of-fold AUC of copies changed in one way, and that of their patches as they are."""

    patches: int
    auc: float
    as_they_are: float

    @property
    def loss(self) -> float:
        """How much AUC the change costs."""
        return self.as_they_are - self.auc

    @classmethod
    def from_fields(cls, known: Fields) -> ShiftScore:
        """Raises ValueError if a field is missing or wrong."""
        score = cls(known.whole("patches", least=1), known.number("auc"), known.number("as_they_are"))
        if not (0 <= score.auc <= 1 and 0 <= score.as_they_are <= 1):
            raise ValueError("the AUC of changed copies is not between 0 and 1")
        return score


def copies_in(store: Store, split: str, families: list[str], *, keep: bool) -> Copies | None:
    """The copies that a store has of a split, or None.

    Parameters
    ----------
    store, split, families
        What is fitted on.
    keep
        Whether features stay in memory once they are read.

    Raises
    ------
    InputError
        If the store has copies without some of these families, or of other patches.
    """
    name = copies_of(split)
    if name not in store.manifest.splits:
        return None
    lacking = [family for family in families if family not in store.families(name)]
    if tables := [family for family in lacking if store.manifest.families[family].table]:
        raise InputError(
            f"the changed copies in {store.path} have no {tables[0]} features, because these come from "
            "a table; add --no-copies, so that they are not learned from."
        )
    if lacking:
        raise InputError(
            f"the changed copies in {store.path} have no finished {lacking[0]} features; run pcam "
            f"extract with these families and --copies {store.split(name).rows} to finish them."
        )
    ids = store.patches(name)["id"].tolist()
    place = {patch: row for row, patch in enumerate(store.patches(split)["id"])}
    of_copies = [patch.rpartition(SEPARATOR) for patch in ids]
    if any(patch not in place for patch, _, _ in of_copies):
        raise InputError(
            f"the changed copies in {store.path} are of other patches than split {split!r}; extract "
            "with --overwrite."
        )
    rows = np.array([place[patch] for patch, _, _ in of_copies])
    shifts = np.array([shift for _, _, shift in of_copies])
    return Copies(stored(store, name, families, keep=keep), rows, shifts)


def with_copies(context: FitContext, copies: Copies | None) -> FitContext:
    """The context of a fit that learns from copies as well: their rows follow those of the patches."""
    if copies is None:
        return context
    folds = context.folds
    return replace(
        context,
        values=joined(context.values, copies.values),
        labels=np.append(context.labels, context.labels[copies.rows]),
        folds=Folds(
            np.append(folds.group, folds.group[copies.rows]),
            np.append(folds.fold, folds.fold[copies.rows]),
            folds.count,
            folds.protocol,
        ),
    )


def scores_elsewhere(
    labels: np.ndarray, as_they_are: np.ndarray, changed: np.ndarray, copies: Copies
) -> dict[str, ShiftScore]:
    """The AUC of copies, by how they were changed, beside that of their patches.

    Parameters
    ----------
    labels, as_they_are
        The labels and the out-of-fold log-odds of the patches, (rows,).
    changed
        The out-of-fold log-odds of the copies, (copies,).
    copies
        The copies. A shift with fewer than LEAST_COPIES, or of one class, is left out.
    """
    scores = {}
    for shift in dict.fromkeys(copies.shifts.tolist()):
        own = copies.shifts == shift
        rows = copies.rows[own]
        if own.sum() >= LEAST_COPIES and np.unique(labels[rows]).size == 2:
            scores[shift] = ShiftScore(
                int(own.sum()),
                auc(labels[rows], changed[own]),
                auc(labels[rows], as_they_are[rows]),
            )
    return scores


def expected_elsewhere(
    labels: np.ndarray,
    as_they_are: np.ndarray,
    changed: np.ndarray,
    copies: Copies,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """The AUC to expect after a change of laboratory, with an interval.

    It is the out-of-fold AUC of all patches less what the shifts of the copies cost on average. The
    interval comes from resampling groups of patches with their copies. Since each copy has a laboratory
    of its own, it covers the choice of slides and of laboratories, as far as laboratories differ in
    what these shifts change.

    Parameters
    ----------
    labels, as_they_are, changed, copies
        As in `scores_elsewhere`, which also says which shifts count.
    groups
        The group of each patch, (rows,).
    resamples, seed
        The number of resamples of groups, and their seed.

    Returns
    -------
    Estimate
        None if no shift has enough copies.

    Raises
    ------
    InputError
        If the groups cannot be resampled.
    """
    parts = [
        np.flatnonzero(copies.shifts == shift)
        for shift in scores_elsewhere(labels, as_they_are, changed, copies)
    ]
    if not parts:
        return None
    rows = [copies.rows[part] for part in parts]
    whole = metrics.rank(labels, as_they_are[None])
    pairs = [
        metrics.rank(labels[of], np.stack([as_they_are[of], changed[part]]))
        for of, part in zip(rows, parts, strict=True)
    ]

    def on(weights: np.ndarray) -> np.ndarray:
        """The expected AUC and that of patches as they are for each of some weights, (2, b)."""
        here = metrics.ranked(whole, weights)[0, 0]
        each = [
            metrics.ranked(pair, weights[:, of])[:, 0] for pair, of in zip(pairs, rows, strict=True)
        ]
        losses = np.stack([two[0] - two[1] for two in each])
        # A resample may lack a class among the copies of one shift, which is then left out of its mean.
        known = np.isfinite(losses)
        count = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
        return np.stack([here - np.where(known, losses, 0).sum(axis=0) / count, here])

    value = float(np.clip(on(np.ones((1, len(labels)), np.uint16))[0, 0], 0, 1))
    stratified = stratify(labels, groups)
    drawn = resampled(on, labels, stratified, resamples=resamples, seed=seed)
    spread = contributions(labels, as_they_are[None], stratified.codes).spread(np.ones(1))
    expected, here = drawn
    quantile = resampling_quantile(spread, here)
    return share_interval(value, expected[np.isfinite(expected)], quantile)
