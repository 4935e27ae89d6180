"""The base models: boosted trees and a kernel model, each on the families of a group and on all.

Groups are what a pathologist would tell apart: color, texture, nuclei; and each embedding is one.
"""

from __future__ import annotations

import numpy as np
import xgboost

from ..families.registry import FAMILIES
from ..store.values import Values
from . import boosting, kernel_ridge

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
Model = xgboost.Booster | kernel_ridge.Rbf


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


def logit(model: Model, values: np.ndarray, threads: int) -> np.ndarray:
    """Log-odds of label 1 for each row, float64."""
    if isinstance(model, kernel_ridge.Rbf):
        return kernel_ridge.logit(model, values)
    return boosting.logit(model, values, threads=threads)


def logits(models: dict[str, Model], values: Values, threads: int) -> np.ndarray:
    """Log-odds (rows, models) that the base models give to patches."""
    known = base_models(values.families)
    found = np.empty((values.rows, len(known)))
    columns = [values.columns(parts) for _, _, parts in known.values()]
    for rows, block in values.blocks(values.families):
        for k, name in enumerate(known):
            own = block if len(columns[k]) == block.shape[1] else block[:, columns[k]]
            found[rows, k] = logit(models[name], own, threads)
    return found


def parameters(model: Model) -> int:
    """How many numbers a model has learned: its trees' nodes, or its landmarks and their weights."""
    if isinstance(model, kernel_ridge.Rbf):
        return sum(array.size for array in model.as_arrays().values())
    return len(model.trees_to_dataframe())


def width(model: Model) -> int:
    """How many columns a model takes."""
    return len(model.mean) if isinstance(model, kernel_ridge.Rbf) else int(model.num_features())
