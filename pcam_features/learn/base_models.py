"""The base models: a kernel model on every group of families and on all, and boosted trees on all.

Groups follow what a pathologist would tell apart: color, texture, nuclei. Each embedding is a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..families.registry import FAMILIES
from ..store.values import Values
from . import boosting, kernel_ridge
from .protocol import BaseModel

GROUPS = {  # of the hand-crafted families
    "color": ("color", "stain", "strata", "histogram"),
    "texture": (
        "glcm",
        "glrlm",
        "glszm",
        "lbp",
        "wavelet",
        "spectrum",
        "filters",
        "gradient",
        "granulometry",
    ),
    "nuclei": ("nuclei",),
}
# Families that `fit` takes only if they are named; DECISIONS.md has the figures. They belong to a group
# like all others. To learn from all families by default, empty this tuple.
ON_REQUEST = ("histogram",)
ALL = "all"  # the group of every family
TREES, KERNEL = boosting.KIND, kernel_ridge.KIND
MODEL_CLASSES: dict[str, type[BaseModel]] = {
    TREES: boosting.BoostedTrees,
    KERNEL: kernel_ridge.NystroemRidge,
}


SHARES = {TREES: 2.0, KERNEL: 1.0}  # of each model in the combination; DECISIONS.md has the figures


class Place(NamedTuple):
    """Which base model it is: its group, its kind, and the families it takes."""

    group: str
    kind: str
    families: list[str]


def by_default(families: Sequence[str]) -> list[str]:
    """Those of some families that a model learns from if none are named.

    Parameters
    ----------
    families
        Names of families.

    Returns
    -------
    list of str
        All but those of `ON_REQUEST`; all of them if there are no others.

    Examples
    --------
    >>> by_default(["color", "histogram", "lbp"])
    ['color', 'lbp']
    >>> by_default(["histogram"])
    ['histogram']
    """
    usual = [name for name in families if name not in ON_REQUEST]
    return usual or list(families)


def groups_of(families: Sequence[str]) -> dict[str, list[str]]:
    """The groups that base models are made for, with each group's families.

    Without embeddings, these are the groups of GROUPS; with embeddings, one for each of them. The group
    of all families is the last, if there are several. With embeddings, models of color, texture or
    nuclei alone would lower the AUC of all together, in other laboratories as well, so there are none.

    Parameters
    ----------
    families
        Names of families.
    """
    embeddings = [name for name in families if name not in FAMILIES]
    known = {name: [f for f in families if f in parts] for name, parts in GROUPS.items()}
    hand_made = {name: parts for name, parts in known.items() if parts}
    groups = {name: [name] for name in embeddings} or hand_made
    several = len(embeddings) + len(hand_made) > 1
    return groups | ({ALL: list(families)} if several else {})


def model_name(group: str, kind: str) -> str:
    """What a base model is called."""
    return f"{group}_{kind}"


def base_models(families: Sequence[str]) -> dict[str, Place]:
    """The base models for some families, by name.

    Trees are grown on all families only: they choose among columns themselves, and those of a group add
    less than they cost.
    """
    groups = groups_of(families)
    *_, widest = groups
    return {
        model_name(group, kind): Place(group, kind, parts)
        for group, parts in groups.items()
        for kind in MODEL_CLASSES
        if kind != TREES or group == widest
    }


def shares_of(families: Sequence[str]) -> list[float]:
    """The share of each base model for some families, in the order of `base_models`."""
    return [SHARES[place.kind] for place in base_models(families).values()]


def sharing(families: Sequence[str], weights: Mapping[str, float]) -> dict[str, Place]:
    """The base models that predictions depend on: those with a share; all if none has one.

    Parameters
    ----------
    families
        The families of all models.
    weights
        The weight of each model by name.
    """
    places = base_models(families)
    return {name: place for name, place in places.items() if weights[name] != 0} or places


def families_needed(families: Sequence[str], weights: Mapping[str, float]) -> list[str]:
    """The families that predictions depend on, in the order of `families`; see `sharing`."""
    needed = {name for place in sharing(families, weights).values() for name in place.families}
    return [name for name in families if name in needed]


def logits(models: Mapping[str, BaseModel], values: Values, threads: int) -> np.ndarray:
    """The log-odds of label 1 by each base model.

    Parameters
    ----------
    models
        Base models for the families of `values`, by name.
    values
        Features.
    threads
        Number of threads.

    Returns
    -------
    numpy.ndarray
        float64 (rows, models).
    """
    known = base_models(values.families)
    return logits_of(models, list(known), values.families, values, threads)


def logits_of(
    models: Mapping[str, BaseModel],
    names: Sequence[str],
    families: Sequence[str],
    values: Values,
    threads: int,
) -> np.ndarray:
    """The log-odds of label 1 by some base models, to the bit as among all of them; see `logits`.

    Parameters
    ----------
    models
        Base models for `families`, by name.
    names
        Those to evaluate, in the order of the columns of the result.
    families
        The families of all models.
    values
        Features: at least those that the models `names` take.
    threads
        Number of threads.
    """
    known = base_models(families)
    scores = np.empty((values.rows, len(names)))
    columns = [values.columns(known[name].families) for name in names]
    # Selected columns lie in memory in another order, and products round otherwise. So whether they are
    # selected must not depend on which other families were read.
    whole = [len(known[name].families) == len(families) for name in names]
    for rows, block in values.blocks(values.families):
        for k, name in enumerate(names):
            own = block if whole[k] else block[:, columns[k]]
            scores[rows, k] = models[name].margin(own, threads)
    return scores


def sharing_logits(
    models: Mapping[str, BaseModel],
    weights: Mapping[str, float],
    families: Sequence[str],
    values: Values,
    threads: int,
) -> np.ndarray:
    """The log-odds of label 1 by each base model, float64 (rows, models), in the order of `weights`.

    Models without a share are not evaluated; their column is 0. `values` needs `families_needed`.

    Parameters
    ----------
    models, weights
        Base models for `families` and their weights, by name.
    families
        The families of all models.
    values
        Features.
    threads
        Number of threads.
    """
    names, asked = list(weights), list(sharing(families, weights))
    scores = np.zeros((values.rows, len(names)))
    places = [names.index(name) for name in asked]
    scores[:, places] = logits_of(models, asked, families, values, threads)
    return scores
