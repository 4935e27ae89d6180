"""Training the base models: each on all patches, and out of fold, step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .base_models import MODEL_CLASSES, groups_of, model_name
from .context import FitContext
from .copies import Copies
from .leakage import random_split_auc
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
    for group, families in groups_of(context.values.families).items():
        for kind, model_class in MODEL_CLASSES.items():
            models[model_name(group, kind)], own = model_class.fit(context, group, families)
            scores.append(own)
    return models, np.stack(scores, axis=1)


def steps(families: Sequence[str], folds: int, trials: int) -> int:
    """The number of steps that a fit reports.

    A model counts as many steps as it has families, and so does a trial of a search, which trains a
    model of all families.
    """
    trained = sum(len(parts) for parts in groups_of(families).values()) * (folds + 2)
    return trained + len(families) * (1 + len(MODEL_CLASSES) * trials)  # one for the leakage gap


def at_random(context: FitContext, copies: Copies | None) -> float:
    """The kernel model's AUC with folds dealt at random; copies stay with their patches."""

    def make() -> np.ndarray:
        return np.array([random_split_auc(context, copies)])

    return float(context.work.array("at_random", make, (1,), "<f8")[0])
