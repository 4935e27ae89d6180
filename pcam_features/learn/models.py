"""The base models: boosted trees and a kernel model, each on the families of a group and on all.

Groups are what a pathologist would tell apart: color, texture, nuclei; and each embedding is one.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import xgboost

from ..families.catalog import FAMILIES
from . import boosting, rbf

GROUPS = {  # of the hand-made families; those named nowhere are texture
    "color": ("color", "stain", "strata"),
    "texture": tuple(n for n in FAMILIES if n not in ("color", "stain", "strata", "nuclei")),
    "nuclei": ("nuclei",),
}
ALL = "all"  # the group of every family
TREES, KERNEL = "trees", "kernel"
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
        for kind in (TREES, KERNEL)
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
    found, joined, matrix = [], [""], np.empty((0, 0), np.float32)
    for name, (_, _, parts) in base_models(list(values)).items():
        if parts != joined:
            joined, matrix = parts, join(values, parts)
        found.append(logit(models[name], matrix, threads))
    return np.stack(found, axis=1)


def width(model: Model) -> int:
    """How many columns a model takes."""
    return len(model.mean) if isinstance(model, rbf.Rbf) else int(model.num_features())
