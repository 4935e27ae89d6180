"""Folds across slides: patches of one slide are never on both sides of a fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import InputError
from ..evaluate.intervals import group_codes


@dataclass(frozen=True)
class Folds:
    """For each patch its group and its fold (0 … n-1), and in words what a group is."""

    group: np.ndarray
    fold: np.ndarray
    count: int
    protocol: str


def make_folds(patches: pd.DataFrame, count: int, seed: int) -> Folds:
    """Folds grouped by slide and stratified by label; a patch of unknown slide is its own group.

    Raises InputError for one class only, fewer groups than folds, or a class that too few groups
    hold for each fold to be trained without its own.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = patches["label"].to_numpy()
    if np.isnan(labels).any():
        raise InputError("these patches have no labels to learn from; fit on a labeled split.")
    if np.unique(labels).size < 2:
        raise InputError(f"all labels are {labels[0]:.0f}; a model needs patches of both classes.")
    group, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    groups = int(group.max()) + 1
    if groups < count:
        raise InputError(
            f"there are {groups} slides for {count} folds; give more slides, or --folds {groups}."
        )
    for label in (0, 1):
        holding = np.unique(group[labels == label]).size
        if holding < 2:
            raise InputError(
                f"all patches of label {label} are of one slide: no fold can be held out across "
                "slides; give more slides."
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), np.int8)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
        fold[held_out] = k
    for k in range(count):
        if np.unique(labels[fold != k]).size < 2 or not (fold == k).any():
            raise InputError(
                f"{groups} slides cannot be dealt into {count} folds with both classes left to "
                "train on; use fewer --folds."
            )
    return Folds(group, fold, count, describe(len(labels), known, groups))


def describe(patches: int, known: int, groups: int) -> str:
    """What stands between training and scored patches, and what that means for the estimate."""
    if known == patches:
        return f"grouped by slide: {groups:,} slides, none in two folds"
    unknown = patches - known
    some = f"{known:,} patches grouped by slide, " if known else ""
    return (
        f"{some}{unknown:,} patches of unknown slide taken as a slide each: patches of one slide "
        "may be in two folds, so expect less on new slides"
    )
