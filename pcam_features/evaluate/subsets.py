"""The AUC of models on subgroups of patches, and the agreement of models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from .intervals import auc
from .paired import Entry
from .result import (
    Agreement,
    GroupResult,
    LeftOut,
    PartResult,
    Subset,
    TrainingCopies,
    WithoutCopies,
)

LEAST = 5  # the minimum number of patches of each class for the AUC of a subgroup


def auc_of(entry: Entry, labels: np.ndarray, rows: np.ndarray) -> float:
    """The AUC of a model on some rows, averaged over its seeds."""
    return float(np.mean([auc(labels[rows], row[rows]) for row in entry.rows]))


def by_group(
    name: str, labels: np.ndarray, entries: Sequence[Entry], groups: Sequence[str | None]
) -> PartResult:
    """The AUC of each model in each group that has LEAST patches of both classes.

    Parameters
    ----------
    name
        The name of the grouping.
    labels
        0 or 1 for each patch, (n,).
    entries
        The models' predictions.
    groups
        The group of each patch; None: in no group.
    """
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            rows_of.setdefault(group, []).append(row)
    results: list[GroupResult] = []
    left_out = one_class = patches = 0
    for group, own in sorted(rows_of.items()):
        rows = np.array(own)
        positive = int(labels[rows].sum())
        if min(positive, len(rows) - positive) < LEAST:
            left_out, patches = left_out + 1, patches + len(rows)
            one_class += positive in (0, len(rows))
            continue
        aucs = {entry.name: auc_of(entry, labels, rows) for entry in entries}
        results.append(GroupResult(group, len(rows), positive, aucs))
    without = sum(group is None for group in groups)
    return PartResult(name, tuple(results), LeftOut(left_out, one_class, patches, without))


def without_copies(labels: np.ndarray, entries: Sequence[Entry], clusters: np.ndarray) -> WithoutCopies:
    """The AUC of each model on the first patch of each cluster of near-duplicates.

    `clusters` has the cluster of each patch, (n,). There are no AUCs if fewer than LEAST patches of a
    class remain.
    """
    rows = np.sort(np.unique(clusters, return_index=True)[1])
    positive = int(labels[rows].sum())
    enough = min(positive, len(rows) - positive) >= LEAST
    aucs = {entry.name: auc_of(entry, labels, rows) for entry in entries} if enough else {}
    return WithoutCopies(len(rows), positive, len(labels) - len(rows), aucs)


def training_copies(
    name: str, labels: np.ndarray, entries: Sequence[Entry], is_copy: np.ndarray
) -> TrainingCopies:
    """The AUC of each model on copies of the training patches `name`, and on the other patches.

    `is_copy` is bool (n,).
    """
    return TrainingCopies(
        name,
        copies=subset(labels, entries, is_copy),
        others=subset(labels, entries, ~is_copy),
    )


def subset(labels: np.ndarray, entries: Sequence[Entry], chosen: np.ndarray) -> Subset:
    """The AUC of each model on chosen patches, bool (n,); none with fewer than LEAST of a class."""
    rows = np.flatnonzero(chosen)
    positive = int(labels[rows].sum())
    enough = min(positive, len(rows) - positive) >= LEAST
    aucs = {entry.name: auc_of(entry, labels, rows) for entry in entries} if enough else {}
    return Subset(len(rows), positive, aucs)


def ranks_of(mean: np.ndarray) -> np.ndarray:
    """The ranks of mean probabilities, float64 (n,); all zero for means that differ only by rounding.

    Examples
    --------
    >>> ranks_of(np.array([0.5, 0.25])).tolist()
    [2.0, 1.0]
    >>> ranks_of(np.array([0.3, 0.1 + 0.2])).tolist()
    [0.0, 0.0]
    """
    constant = np.allclose(mean, mean[0], rtol=1e-12, atol=0)
    return np.zeros(len(mean)) if constant else rankdata(mean)


def agreement(labels: np.ndarray, entries: Sequence[Entry]) -> Agreement:
    """The agreement of models in their probabilities and their classifications."""
    from sklearn.metrics import cohen_kappa_score

    ranks = np.stack([ranks_of(entry.mean) for entry in entries])
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = np.atleast_2d(np.corrcoef(ranks))
    calls = [entry.mean >= np.mean(entry.thresholds) for entry in entries]

    def kappa(a: np.ndarray, b: np.ndarray) -> float | None:
        if np.unique(np.concatenate([a, b])).size < 2:
            return None
        return float(cohen_kappa_score(a, b))

    return Agreement(
        models=tuple(entry.name for entry in entries),
        spearman=tuple(
            tuple(None if np.isnan(value) else value for value in row) for row in spearman.tolist()
        ),
        kappa=tuple(tuple(kappa(a, b) for b in calls) for a in calls),
        all_wrong=int(np.all([call != labels for call in calls], axis=0).sum()),
        all_right=int(np.all([call == labels for call in calls], axis=0).sum()),
    )


def disagreement(entries: Sequence[Entry]) -> np.ndarray:
    """How far models disagree on each patch, (n,): the largest difference between its ranks, 0 to 1.

    Each model ranks all patches, so that the scale of its probabilities does not matter.
    """
    n = len(entries[0].mean)
    places = np.stack([rankdata(entry.mean) / n for entry in entries])
    return np.asarray(places.max(axis=0) - places.min(axis=0))
