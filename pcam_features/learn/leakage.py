"""The leakage gap: the AUC that folds dealt at random would show, beside that of folds across slides.

Patches of one slide are alike in stain, scanner and tissue. A model scored on slides that it has seen
is scored on what it remembers as well (see R. Roberts et al., "Cross-validation strategies for data
with temporal, spatial, hierarchical, or phylogenetic structure", Ecography 2017).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..evaluate.intervals import auc
from . import nystroem
from .context import FitContext
from .copies import Copies, with_copies

LANDMARKS = 2000  # fewer than a base model has: the gap compares two scores of one kind of model


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

    labels = context.labels
    fold = np.empty(len(labels), np.int16)
    splitter = StratifiedKFold(context.folds.count, shuffle=True, random_state=context.compute.seed)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = k
    return kernel_auc(replace(context, folds=replace(context.folds, fold=fold)), copies)


def kernel_auc(context: FitContext, copies: Copies | None = None) -> float:
    """The out-of-fold AUC of a kernel model of at most LANDMARKS landmarks on all families.

    Parameters
    ----------
    context
        The data and folds.
    copies
        Changed copies to learn from; each is in the fold of its patch, and has no part in the AUC.
    """
    compute, settings = context.compute, context.settings
    both = with_copies(context, copies)
    values, families = both.values, both.values.families
    ready = nystroem.prepare(
        values,
        families,
        both.labels,
        both.fold,
        seed=compute.seed,
        width=settings.width,
        landmarks=LANDMARKS,
        xp=compute.xp,
    )
    scores = nystroem.across(
        ready, values, families, both.fold, penalty=settings.penalty, xp=compute.xp
    )
    return auc(context.labels, scores[: len(context.labels)])
