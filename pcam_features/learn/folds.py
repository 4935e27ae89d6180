"""Folds across slides: patches of one slide are never on both sides of a fold.

Where slides are unknown, near-duplicates are kept together, and patches that are stained and lit alike
make pseudo-slides: a fold's training patches then look less like its own, as a new slide's would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from ..errors import InputError
from ..evaluate.intervals import group_codes

SMALL = 4  # patches a slide: with fewer on average, what is called a slide is hardly one
PSEUDO_SLIDES = 15  # by what they foretell of new slides: see DECISIONS.md
LEAST = 20  # patches, or clusters of near-duplicates, that a pseudo-slide has on average
COMPONENTS = 8
CLIP = 4.0  # deviations
NEAR = 0.02  # a column's spread: all of the copies in PCam's training set, and next to no others


@dataclass(frozen=True)
class Folds:
    """For each patch its group and its fold (0 … n-1), and in words what a group is."""

    group: np.ndarray
    fold: np.ndarray
    count: int
    protocol: str


@dataclass(frozen=True)
class Looks:
    """What patches look like, in units of each column's spread, float64 (rows, columns).

    `copies` is what near-duplicates share: the mean and deviation of each plane over the patch.
    `slide` tells rather which slide a patch is from than what it shows: the 5th and 95th
    percentiles, which are the stain at its darkest and the light of the lamp.
    Turned and flipped copies look the same.
    """

    copies: np.ndarray
    slide: np.ndarray


def looks_of(color: np.ndarray, columns: Sequence[str]) -> Looks:
    """The looks of patches from their color features (rows, columns)."""

    def scaled(*starts: str) -> np.ndarray:
        values = color[:, [k for k, name in enumerate(columns) if name.startswith(starts)]]
        values = values.astype(np.float64)
        spread = values.std(axis=0)
        return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))

    return Looks(
        copies=scaled("color__mean__patch_", "color__deviation__patch_"),
        slide=scaled("color__p05__patch_", "color__p95__patch_"),
    )


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


def pseudo_slides(look: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A pseudo-slide (rows,) for each row of looks (rows, columns): a cluster of what looks alike."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    clipped = np.clip(look, -CLIP, CLIP)
    with threadpool_limits(1):  # several threads add up in any order
        components = PCA(min(COMPONENTS, *look.shape), random_state=seed).fit_transform(clipped)
        found: np.ndarray = KMeans(count, n_init=1, random_state=seed).fit_predict(components)
    return found


def group_unknown(
    group: np.ndarray, unknown: np.ndarray, looks: Looks, folds: int, seed: int
) -> tuple[np.ndarray, int]:
    """Groups (rows,) with near-duplicates joined and those without a slide in pseudo-slides, and how
    many pseudo-slides there are: none where there are too few patches for `folds` of them."""
    group = join(group, near_duplicates(looks.copies))
    slideless = np.bincount(group, ~unknown) == 0  # groups, each of near-duplicates alone
    count = min(max(PSEUDO_SLIDES, folds), int(slideless.sum()) // LEAST)
    if count < folds:
        return group, 0
    sizes = np.bincount(group)
    middle = np.stack([np.bincount(group, column) / sizes for column in looks.slide.T], axis=1)
    merged = np.arange(len(sizes))
    merged[slideless] = len(sizes) + pseudo_slides(middle[slideless], count, seed)
    return np.unique(merged[group], return_inverse=True)[1], count


def make_groups(
    patches: pd.DataFrame, looks: Looks | None, folds: int, seed: int
) -> tuple[np.ndarray, str]:
    """A group for each patch, its slide or else a pseudo-slide; and in words what stands between
    training and scored patches, and what that means for an estimate.

    A copy of a patch of known slide joins that slide. Without looks a patch of unknown slide is alone.
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
    if looks is not None:
        missing = patches["slide"].fillna("").to_numpy() == ""
        group, count = group_unknown(group, missing, looks, folds, seed)
        how = (
            f"grouped into {count} pseudo-slides by stain and light"
            if count
            else "grouped by near-duplicates"
        )
    return group, (
        f"{some}{unknown:,} patches of unknown slide {how}: patches of one slide may be in "
        "two folds, so expect less on new slides, and true intervals wider"
    )


def make_folds(patches: pd.DataFrame, count: int, seed: int, looks: Looks | None = None) -> Folds:
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
    group, protocol = make_groups(patches, looks, count, seed)
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
