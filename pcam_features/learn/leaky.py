"""Columns that tell the label alone: nearly always a leak, such as a column made from the label.

The AUC of each column is taken on a sample first, and on all patches only of those that come near the
limit, so that few parts of the features are read. A column is judged out of sample: by its order, which
is not fitted, and by the share of positive patches in bins of its values, which is that of the other
folds. The latter finds columns whose middle values mean something else than both of their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from ..evaluate.intervals import aucs
from ..store.values import Values

LEAKY = 0.99  # AUC of one column; no feature of tissue is known to come near
NEAR = 0.95  # AUC on the sample from which on a column is looked at on all patches
SAMPLE, OF_A_PART = 500, 64  # patches of each class: in all, and of one of many parts
BINS = 16
MOST = 100  # columns that are looked at on all patches
AT_ONCE = 8  # columns


def leaky_columns(
    values: Values, labels: np.ndarray, fold: np.ndarray, columns: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The columns that tell the label alone, with their out-of-sample AUC, the highest first.

    Parameters
    ----------
    values
        The features.
    labels, fold
        The label, 0 or 1, and the fold of each row, (rows,).
    columns
        The names of each family's columns.

    Returns
    -------
    dict
        At most MOST columns whose AUC is above LEAKY, or below 1 - LEAKY, which tells as much.
    """
    families, rows = values.families, sample(values.spans, labels)
    near = alone(values.take(families, rows), labels[rows], fold[rows])
    chosen = np.argsort(-near, kind="stable")[:MOST]
    chosen = np.sort(chosen[near[chosen] > NEAR])
    if not len(chosen):
        return {}
    needed = [name for name, own in values.places().items() if np.isin(own, chosen).any()]
    own = np.flatnonzero(np.isin(values.columns(needed), chosen))
    whole = np.empty((values.rows, len(own)), np.float32)
    for part, block in values.blocks(needed):
        whole[part] = block[:, own]
    found = alone(whole, labels, fold)
    names = [column for family in families for column in columns[family]]
    best = np.argsort(-found, kind="stable")
    return {names[chosen[k]]: float(found[k]) for k in best.tolist() if found[k] > LEAKY}


def sample(spans: Sequence[slice], labels: np.ndarray) -> np.ndarray:
    """Rows of both classes from as few parts of the features as will do, ascending."""
    chosen: list[np.ndarray] = []
    of_a_part = max(OF_A_PART, -(-SAMPLE // len(spans)))
    lacking = {0: SAMPLE, 1: SAMPLE}
    for k in np.random.default_rng(0).permutation(len(spans)).tolist():
        for label, count in lacking.items():
            own = np.flatnonzero(labels[spans[k]] == label)[: min(count, of_a_part)]
            chosen.append(own + spans[k].start)
            lacking[label] = count - len(own)
        if not any(lacking.values()):
            break
    return np.sort(np.concatenate(chosen))


def alone(block: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The out-of-sample AUC of each column of a block (rows, columns), 0.5 to 1, (columns,)."""
    if np.unique(labels).size < 2:
        return np.full(block.shape[1], 0.5)
    found = np.empty(block.shape[1])
    for start in range(0, block.shape[1], AT_ONCE):
        part = slice(start, start + AT_ONCE)
        ranks = rankdata(block[:, part], axis=0)
        ordered = aucs(labels, ranks.T)
        binned = aucs(labels, np.stack(list(by_bins(ranks, labels, fold))))
        found[part] = np.maximum(np.maximum(ordered, 1 - ordered), binned)
    return found


def by_bins(ranks: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> Iterator[np.ndarray]:
    """For each column of ranks, the share of positive rows of other folds in the same bin, (rows,)."""
    folds = int(fold.max()) + 1
    for column in ranks.T:
        place = fold * BINS + (column * BINS / (len(column) + 1)).astype(int)
        every = np.bincount(place, minlength=folds * BINS).reshape(folds, BINS)
        positive = np.bincount(place, labels, folds * BINS).reshape(folds, BINS)
        others, of_them = every.sum(axis=0) - every, positive.sum(axis=0) - positive
        shares = (of_them + labels.mean()) / (others + 1)  # an empty bin says nothing
        yield shares.ravel()[place]
