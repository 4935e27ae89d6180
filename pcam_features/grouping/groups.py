"""The group of each patch: its slide or, where slides are unknown, a pseudo-slide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from .appearance import Looks, near_duplicates


def group_codes(ids: list[str], slides: list[Any]) -> tuple[np.ndarray, int]:
    """The group of each patch, its slide or else itself, and the number of patches of known slide."""
    known = [isinstance(slide, str) and slide != "" for slide in slides]
    names = [
        f"slide:{slide}" if is_known else f"patch:{i}"
        for i, slide, is_known in zip(ids, slides, known, strict=True)
    ]
    return np.unique(np.array(names), return_inverse=True)[1], sum(known)


SMALL = 4  # patches per slide: with fewer on average, the column is hardly that of slides
PSEUDO_SLIDES = 15  # the number that predicts the AUC on new slides best; see DECISIONS.md
LEAST = 20  # minimum average number of patches, or clusters of near-duplicates, per pseudo-slide
COMPONENTS = 8
CLIP = 4.0  # standard deviations


def join(group: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The finest groups (rows,) that split neither a group nor a cluster."""
    groups, clusters = int(group.max()) + 1, int(cluster.max()) + 1
    links = coo_array((np.ones(len(group)), (group, groups + cluster)), shape=(groups + clusters,) * 2)
    return np.unique(connected_components(links, directed=False)[1][group], return_inverse=True)[1]


def pseudo_slides(look: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The pseudo-slide (rows,) of each row of appearance (rows, columns): a k-means cluster."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    clipped = np.clip(look, -CLIP, CLIP)
    with threadpool_limits(1):  # several threads would add in varying order
        components = PCA(min(COMPONENTS, *look.shape), random_state=seed).fit_transform(clipped)
        found: np.ndarray = KMeans(count, n_init=1, random_state=seed).fit_predict(components)
    return found


def group_unknown(
    group: np.ndarray, unknown: np.ndarray, looks: Looks, folds: int, seed: int
) -> tuple[np.ndarray, int]:
    """Join near-duplicates, and assign groups without a slide to pseudo-slides.

    Returns the groups (rows,) and the number of pseudo-slides, which is 0 if there are too few patches
    for `folds` of them.
    """
    group = join(group, near_duplicates(looks.copies))
    slideless = np.bincount(group, ~unknown) == 0  # groups without a patch of known slide
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
    """The group of each patch, and a description of the grouping and its consequences.

    The group is the slide, or another `unit` that the column has, or else a pseudo-slide. A
    near-duplicate of a patch of known slide joins that slide. Without `looks`, a patch of unknown slide
    is its own group.
    """
    group, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    groups = int(group.max()) + 1
    unknown = len(patches) - known
    if not unknown:
        small = groups > len(patches) / SMALL
        hardly = (
            "; there are few patches per group, so scores on new slides will be lower" if small else ""
        )
        return group, f"grouped by {unit}: {groups:,} {unit}s, none in two folds{hardly}"
    some = f"{known:,} patches grouped by {unit}, " if known else ""
    how = "not grouped (no color features to detect near-duplicates with)"
    if looks is not None:
        missing = patches["slide"].fillna("").to_numpy() == ""
        group, count = group_unknown(group, missing, looks, folds, seed)
        how = (
            f"grouped into {count} pseudo-slides by stain and brightness"
            if count
            else "grouped by near-duplicates"
        )
    return group, (
        f"{some}{unknown:,} patches of unknown {unit} {how}; patches of one {unit} may be in two "
        f"folds, so scores on new {unit}s may be lower, and the true intervals wider"
    )
