"""The leakage gap: what a split at random would have promised beside what slides allow.

Patches of one slide are alike in stain, scanner and tissue, so a model scored on patches whose
slide it has seen is scored on what it remembers as well (see R. Roberts et al., "Cross-validation
strategies for data with temporal, spatial, hierarchical, or phylogenetic structure", Ecography 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluate.intervals import auc
from ..store.values import Values
from . import kernel_ridge


def random_split_auc(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    *,
    folds: int,
    seed: int,
    width: float = kernel_ridge.WIDTH,
    penalty: float = kernel_ridge.PENALTY,
    xp: Any = np,
) -> float:
    """The kernel model's out-of-fold AUC where folds are dealt at random, stratified by label, as if
    slides were not known."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(labels), np.int16)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = k
    ready = kernel_ridge.prepare(values, families, labels, fold, seed=seed, width=width, xp=xp)
    return auc(labels, kernel_ridge.across(ready, values, families, fold, penalty=penalty, xp=xp))


def gap(across: float, at_random: float, model: str) -> dict[str, Any]:
    """What a manifest says of it: both AUCs are of `model`, and differ in the folds alone."""
    return {"model": model, "auc": across, "auc_at_random": at_random, "gap": at_random - across}
