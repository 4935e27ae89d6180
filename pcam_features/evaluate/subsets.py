"""The same models on parts of the patches, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from .intervals import auc
from .paired import Entry

LEAST = 5  # patches of each class, for an AUC of a part to mean something


def auc_of(entry: Entry, labels: np.ndarray, rows: np.ndarray) -> float:
    """The mean AUC of a model's seeds on some rows."""
    return float(np.mean([auc(labels[rows], row[rows]) for row in entry.rows]))


def by_group(
    labels: np.ndarray, entries: Sequence[Entry], groups: Sequence[str | None]
) -> dict[str, Any]:
    """AUC of each model in each group that has LEAST patches of both classes, and how many groups
    and patches are left out for having fewer; None is no group."""
    named: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        if name is not None:
            named.setdefault(name, []).append(row)
    table, left_out, one_class, patches = [], 0, 0, 0
    for name, own in sorted(named.items()):
        rows = np.array(own)
        positive = int(labels[rows].sum())
        if min(positive, len(rows) - positive) < LEAST:
            left_out, patches = left_out + 1, patches + len(rows)
            one_class += positive in (0, len(rows))
            continue
        table.append(
            {
                "group": name,
                "patches": len(rows),
                "positive": positive,
                "aucs": {entry.name: auc_of(entry, labels, rows) for entry in entries},
            }
        )
    return {
        "groups": table,
        "left_out": {"groups": left_out, "of_one_class": one_class, "patches": patches},
    }


def without_copies(
    labels: np.ndarray, entries: Sequence[Entry], clusters: np.ndarray
) -> dict[str, Any] | None:
    """AUC of each model on one patch of each cluster of near-duplicates, the first; None if there are
    too few of a class."""
    rows = np.sort(np.unique(clusters, return_index=True)[1])
    positive = int(labels[rows].sum())
    if min(positive, len(rows) - positive) < LEAST:
        return None
    return {
        "patches": len(rows),
        "positive": positive,
        "left_out": len(labels) - len(rows),
        "aucs": {entry.name: auc_of(entry, labels, rows) for entry in entries},
    }


def agreement(labels: np.ndarray, entries: Sequence[Entry]) -> dict[str, Any]:
    """Spearman's correlation of each two models' probabilities, None where one's mean over seeds is
    the same for all patches; and Cohen's kappa of their calls, each at its own threshold, None where
    both call all patches the same."""
    from sklearn.metrics import cohen_kappa_score

    ranks = np.stack([rankdata(entry.mean) for entry in entries])
    with np.errstate(invalid="ignore", divide="ignore"):
        spearman = np.atleast_2d(np.corrcoef(ranks))
    calls = [entry.mean >= np.mean(entry.thresholds) for entry in entries]
    kappa = [
        [None if len({*a.tolist(), *b.tolist()}) < 2 else float(cohen_kappa_score(a, b)) for b in calls]
        for a in calls
    ]
    return {
        "models": [entry.name for entry in entries],
        "spearman": [[None if np.isnan(one) else one for one in row] for row in spearman.tolist()],
        "kappa": kappa,
        "all_wrong": int(np.all([call != labels for call in calls], axis=0).sum()),
        "all_right": int(np.all([call == labels for call in calls], axis=0).sum()),
    }


def disagreement(entries: Sequence[Entry]) -> np.ndarray:
    """How far models are apart on each patch, (n,): the widest distance of its places, 0 to 1, when
    each model ranks all patches. Scales do not matter."""
    n = len(entries[0].mean)
    places = np.stack([rankdata(entry.mean) / n for entry in entries])
    return np.asarray(places.max(axis=0) - places.min(axis=0))
