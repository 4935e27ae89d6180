"""Training the base models: each on all patches, and out of fold, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base_models import MODEL_CLASSES, base_models
from .context import FitContext
from .copies import Copies
from .leakage import kernel_auc, random_split_auc
from .protocol import BaseModel


def train_models(context: FitContext) -> tuple[dict[str, BaseModel], np.ndarray]:
    """Train every base model on all patches and out of fold.

    Parameters
    ----------
    context
        The data, folds and settings.

    Returns
    -------
    models
        The base models by name.
    log_odds
        Their out-of-fold log-odds, float64 (rows, models).
    """
    models: dict[str, BaseModel] = {}
    scores: list[np.ndarray] = []
    for name, place in base_models(context.values.families).items():
        models[name], own = MODEL_CLASSES[place.kind].fit(context, place.group, place.families)
        scores.append(own)
    return models, np.stack(scores, axis=1)


def steps(families: Sequence[str], folds: int, trials: int) -> int:
    """The number of steps that a fit reports.

    A base model counts as many steps as it has families for each fold and for all patches, and a trial
    of a search, which trains a model of all families, as many as that.
    """
    trained = sum(len(place.families) * (folds + 1) for place in base_models(families).values())
    return trained + len(families) * (1 + len(MODEL_CLASSES) * trials)  # one for the leakage gap


def leakage_gap(context: FitContext, copies: Copies | None) -> tuple[float, float]:
    """The AUC of a kernel model in the folds of a fit, and in folds dealt at random."""

    def make() -> np.ndarray:
        return np.array([kernel_auc(context, copies), random_split_auc(context, copies)])

    across_slides, dealt = context.work.array("leakage", make, (2,), "<f8")
    return float(across_slides), float(dealt)
