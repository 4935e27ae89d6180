"""The base models: boosted trees and a kernel model, each on the families of a group and on all.

Groups are what a pathologist would tell apart: color, texture, nuclei; and each embedding is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import xgboost

from ..families.catalog import FAMILIES
from . import boosting, rbf

GROUPS = {  # of the hand-made families
    "color": ("color", "stain", "strata"),
    "texture": (
        *("glcm", "glrlm", "glszm", "lbp", "wavelet", "spectrum"),
        *("filters", "gradient", "granulometry"),
    ),
    "nuclei": ("nuclei",),
}
ALL = "all"  # the group of every family
KINDS = TREES, KERNEL = "trees", "kernel"
Model = xgboost.Booster | rbf.Rbf
Values = dict[str, np.ndarray]  # of each family, float32 (rows, columns)


class How(TypedDict):
    device: str
    threads: int
    seed: int


def groups_of(families: list[str]) -> dict[str, list[str]]:
    """The groups that some families make, with each group's families; ALL where there are several."""
    found = {name: [f for f in families if f in known] for name, known in GROUPS.items()}
    found |= {name: [name] for name in families if name not in FAMILIES}
    found = {name: parts for name, parts in found.items() if parts}
    return found | ({ALL: families} if len(found) > 1 else {})


def model_name(group: str, kind: str) -> str:
    return f"{group}_{kind}"


def base_models(families: list[str]) -> dict[str, tuple[str, str, list[str]]]:
    """The base models for some families by name: each one's group, its kind, and its families."""
    return {
        model_name(group, kind): (group, kind, parts)
        for group, parts in groups_of(families).items()
        for kind in KINDS
    }


def join(values: Values, parts: list[str]) -> np.ndarray:
    """The columns of some families side by side, float32 (rows, columns)."""
    return values[parts[0]] if len(parts) == 1 else np.concatenate([values[p] for p in parts], 1)


def train(
    kind: str, values: np.ndarray, labels: np.ndarray, *, device: str, threads: int, seed: int
) -> Model:
    """A base model of a kind, for float32 values (rows, columns) and labels of 0 and 1."""
    if kind == KERNEL:
        return rbf.train(values, labels, seed)
    return boosting.train(values, labels, device=device, threads=threads, seed=seed)


def logit(model: Model, values: np.ndarray, threads: int) -> np.ndarray:
    """Log-odds of label 1 for each row, float64."""
    if isinstance(model, rbf.Rbf):
        return rbf.logit(model, values)
    return boosting.logit(model, values, threads=threads)


def logits(models: dict[str, Model], values: Values, threads: int) -> np.ndarray:
    """Log-odds (rows, models) that the base models give to rows of the families' values."""
    found = []
    for group, parts in groups_of(list(values)).items():
        matrix = join(values, parts)
        found += [logit(models[model_name(group, kind)], matrix, threads) for kind in KINDS]
    return np.stack(found, axis=1)


def fold_logits(
    kind: str,
    values: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    how: How,
    progress: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Log-odds (rows,) that a kind of model gives to each fold's rows when trained on the others."""
    found = np.empty(len(labels))
    for k in np.unique(fold):
        held_out = fold == k
        model = train(kind, values[~held_out], labels[~held_out], **how)
        found[held_out] = logit(model, values[held_out], how["threads"])
        progress()
    return found


def width(model: Model) -> int:
    """How many columns a model takes."""
    return len(model.mean) if isinstance(model, rbf.Rbf) else int(model.num_features())
