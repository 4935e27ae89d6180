"""A group for each patch: its slide or, where slides are unknown, a pseudo-slide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from .appearance import Looks, near_duplicates


def group_codes(ids: list[str], slides: list[Any]) -> tuple[np.ndarray, int]:
    """A group for each patch: its slide, or itself where that is unknown; and how many are known."""
    known = [isinstance(slide, str) and slide != "" for slide in slides]
    names = [
        f"slide:{slide}" if is_known else f"patch:{i}"
        for i, slide, is_known in zip(ids, slides, known, strict=True)
    ]
    return np.unique(np.array(names), return_inverse=True)[1], sum(known)


SMALL = 4  # patches a slide: with fewer on average, what is called a slide is hardly one
PSEUDO_SLIDES = 15  # by what they foretell of new slides: see DECISIONS.md
LEAST = 20  # patches, or clusters of near-duplicates, that a pseudo-slide has on average
COMPONENTS = 8
CLIP = 4.0  # deviations


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
    patches: pd.DataFrame, looks: Looks | None, folds: int, seed: int, unit: str
) -> tuple[np.ndarray, str]:
    """A group for each patch, its slide (or what else `unit` says that the column holds) or else a
    pseudo-slide; and in words what stands between training and scored patches, and what that means.

    A copy of a patch of known slide joins that slide. Without looks a patch of unknown slide is alone.
    """
    group, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    groups = int(group.max()) + 1
    unknown = len(patches) - known
    if not unknown:
        small = groups > len(patches) / SMALL
        hardly = ": hardly more than a patch each, so expect less on new slides" if small else ""
        return group, f"grouped by {unit}: {groups:,} {unit}s, none in two folds{hardly}"
    some = f"{known:,} patches grouped by {unit}, " if known else ""
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
        f"{some}{unknown:,} patches of unknown {unit} {how}: patches of one {unit} may be in "
        f"two folds, so expect less on new {unit}s, and true intervals wider"
    )
