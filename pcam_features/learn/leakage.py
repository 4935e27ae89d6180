"""The leakage gap: the AUC that folds dealt at random would show, beside that of folds across slides.

Patches of one slide are alike in stain, scanner and tissue. A model scored on slides that it has seen
is scored on what it remembers as well (see R. Roberts et al., "Cross-validation strategies for data
with temporal, spatial, hierarchical, or phylogenetic structure", Ecography 2017).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..evaluate.intervals import auc
from . import kernel_ridge
from .context import FitContext
from .copies import Copies, with_copies


def random_split_auc(context: FitContext, copies: Copies | None = None) -> float:
    """The kernel model's out-of-fold AUC with folds dealt at random, stratified by label.

    Parameters
    ----------
    context
        The data; of its folds only their number is used.
    copies
        Changed copies to learn from; each is in the fold of its patch, and has no part in the AUC.
    """
    from sklearn.model_selection import StratifiedKFold

    labels, compute, settings = context.labels, context.compute, context.settings
    fold = np.empty(len(labels), np.int16)
    splitter = StratifiedKFold(context.folds.count, shuffle=True, random_state=compute.seed)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = k
    dealt = replace(context, folds=replace(context.folds, fold=fold))
    both = with_copies(dealt, copies)
    values, families = both.values, both.values.families
    ready = kernel_ridge.prepare(
        values,
        families,
        both.labels,
        both.fold,
        seed=compute.seed,
        width=settings.width,
        xp=compute.xp,
    )
    scores = kernel_ridge.across(
        ready, values, families, both.fold, penalty=settings.penalty, xp=compute.xp
    )
    return auc(labels, scores[: len(labels)])
