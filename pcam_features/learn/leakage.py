"""The leakage gap: the AUC that folds dealt at random would show, beside that of folds across slides.

Patches of one slide are alike in stain, scanner and tissue. A model scored on slides that it has seen
is scored on what it remembers as well (see R. Roberts et al., "Cross-validation strategies for data
with temporal, spatial, hierarchical, or phylogenetic structure", Ecography 2017).
"""

from __future__ import annotations

import numpy as np

from ..evaluate.intervals import auc
from . import kernel_ridge
from .context import FitContext


def random_split_auc(context: FitContext) -> float:
    """The kernel model's out-of-fold AUC with folds dealt at random, stratified by label.

    Parameters
    ----------
    context
        The data; of its folds only their number is used.
    """
    from sklearn.model_selection import StratifiedKFold

    values, labels, compute = context.values, context.labels, context.compute
    fold = np.empty(len(labels), np.int16)
    splitter = StratifiedKFold(context.folds.count, shuffle=True, random_state=compute.seed)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = k
    ready = kernel_ridge.prepare(
        values,
        values.families,
        labels,
        fold,
        seed=compute.seed,
        width=context.settings.width,
        xp=compute.xp,
    )
    scores = kernel_ridge.across(
        ready, values, values.families, fold, penalty=context.settings.penalty, xp=compute.xp
    )
    return auc(labels, scores)
