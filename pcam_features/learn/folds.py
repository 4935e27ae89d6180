"""Folds across slides: patches of one slide are never on both sides of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..errors import InputError
from ..evaluate.intervals import group_codes

SMALL = 4  # patches a slide: with fewer on average, what is called a slide is hardly one
NEAR = 0.02  # a column's spread: all of the copies in PCam's training set, and next to no others


@dataclass(frozen=True)
class Folds:
    """For each patch its group and its fold (0 … n-1), and in words what a group is."""

    group: np.ndarray
    fold: np.ndarray
    count: int
    protocol: str


def fingerprint(color: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """What near-duplicates share, from color features (rows, columns): the mean and deviation of
    each plane over the patch, in units of their spread. Turned and flipped copies look the same."""
    kept = [
        k
        for k, name in enumerate(columns)
        if name.startswith(("color__mean__patch_", "color__deviation__patch_"))
    ]
    values = color[:, kept].astype(np.float64)
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))


def near_duplicates(fingerprints: np.ndarray) -> np.ndarray:
    """A cluster for each row (rows,): rows that differ by less than NEAR a column, and theirs."""
    different, codes = np.unique(fingerprints, axis=0, return_inverse=True)
    reach = NEAR * np.sqrt(fingerprints.shape[1])
    pairs = cKDTree(different).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(different),) * 2)
    clusters: np.ndarray = connected_components(links, directed=False)[1]
    return clusters[codes]


def join(group: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The finest groups (rows,) that split neither a group nor a cluster."""
    groups, clusters = int(group.max()) + 1, int(cluster.max()) + 1
    links = coo_array((np.ones(len(group)), (group, groups + cluster)), shape=(groups + clusters,) * 2)
    return np.unique(connected_components(links, directed=False)[1][group], return_inverse=True)[1]


def make_groups(patches: pd.DataFrame, fingerprints: np.ndarray | None) -> tuple[np.ndarray, str]:
    """A group for each patch, its slide or else its near-duplicates; and in words what stands
    between training and scored patches, and what that means for an estimate.

    A copy of a patch of known slide joins that slide. Without fingerprints a patch of unknown
    slide is alone.
    """
    group, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    groups = int(group.max()) + 1
    unknown = len(patches) - known
    if not unknown:
        small = groups > len(patches) / SMALL
        hardly = ": hardly more than a patch each, so expect less on new slides" if small else ""
        return group, f"grouped by slide: {groups:,} slides, none in two folds{hardly}"
    some = f"{known:,} patches grouped by slide, " if known else ""
    how = "each taken alone (no color features to find near-duplicates by)"
    if fingerprints is not None:
        group = join(group, near_duplicates(fingerprints))
        how = "grouped by near-duplicates"
    return group, (
        f"{some}{unknown:,} patches of unknown slide {how}: patches of one slide may be in "
        "two folds, so expect less on new slides, and true intervals wider"
    )


def make_folds(
    patches: pd.DataFrame, count: int, seed: int, fingerprints: np.ndarray | None = None
) -> Folds:
    """Folds by group (see `make_groups`), stratified by label.

    Raises InputError for one class only, fewer groups than folds, or a class that too few groups
    hold for each fold to be trained without its own.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = patches["label"].to_numpy()
    if np.isnan(labels).any():
        raise InputError("these patches have no labels to learn from; fit on a labeled split.")
    if np.unique(labels).size < 2:
        raise InputError(f"all labels are {labels[0]:.0f}; a model needs patches of both classes.")
    group, protocol = make_groups(patches, fingerprints)
    groups = int(group.max()) + 1
    if groups < count:
        raise InputError(
            f"there are {groups} slides for {count} folds; give more slides, or fewer --folds."
        )
    for label in (0, 1):
        holding = np.unique(group[labels == label]).size
        if holding < 2 or (labels == label).sum() < count:
            raise InputError(
                f"label {label} has {int((labels == label).sum())} patches of {holding} slide(s), too "
                f"few for {count} folds; give more patches and slides, or fewer --folds."
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), np.int16)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
        fold[held_out] = k
    for k in range(count):
        if np.unique(labels[fold != k]).size < 2 or not (fold == k).any():
            raise InputError(
                f"{groups} slides cannot be dealt into {count} folds with both classes left to "
                "train on; use fewer --folds."
            )
    return Folds(group, fold, count, protocol)
