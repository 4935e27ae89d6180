"""The base models: boosted trees on each family and on all, and a kernel model on all."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import xgboost

from . import boosting, rbf

ALL = "all"  # the booster on every family's columns side by side
RBF = "rbf"  # the kernel model on the same
Model = xgboost.Booster | rbf.Rbf
Values = dict[str, np.ndarray]  # of each family, float32 (rows, columns)


class How(TypedDict):
    device: str
    threads: int
    seed: int


def base_models(families: list[str]) -> dict[str, list[str]]:
    """The base models for some families: a booster on each alone, one on all together where there
    are several, and the kernel model on all."""
    models = {name: [name] for name in families}
    return models | ({ALL: families} if len(families) > 1 else {}) | {RBF: families}


def join(values: Values, parts: list[str]) -> np.ndarray:
    """The columns of some families side by side, float32 (rows, columns)."""
    return values[parts[0]] if len(parts) == 1 else np.concatenate([values[p] for p in parts], 1)


def train(
    name: str, values: np.ndarray, labels: np.ndarray, *, device: str, threads: int, seed: int
) -> Model:
    """The base model called `name`, for float32 values (rows, columns) and labels of 0 and 1."""
    if name == RBF:
        return rbf.train(values, labels, seed)
    return boosting.train(values, labels, device=device, threads=threads, seed=seed)


def logit(model: Model, values: np.ndarray, threads: int) -> np.ndarray:
    """Log-odds of label 1 for each row, float64."""
    if isinstance(model, rbf.Rbf):
        return rbf.logit(model, values)
    return boosting.logit(model, values, threads=threads)


def width(model: Model) -> int:
    """How many columns a model takes."""
    return len(model.mean) if isinstance(model, rbf.Rbf) else int(model.num_features())
