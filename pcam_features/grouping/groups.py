"""The group of each patch: its slide or, where slides are unknown, a pseudo-slide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from ..words import counted
from .appearance import Looks, near_duplicates


def group_codes(ids: list[str], slides: list[Any]) -> tuple[np.ndarray, int]:
    """The group of each patch: its slide or, if that is unknown, the patch itself.

    Parameters
    ----------
    ids, slides
        The id and the slide of each patch. A slide that is empty or not a string is unknown.

    Returns
    -------
    tuple
        The number of each patch's group, (patches,), and how many patches have a known slide.

    Examples
    --------
    >>> groups, known = group_codes(["a", "b", "c"], ["s1", None, "s1"])
    >>> groups.tolist(), known
    ([1, 0, 1], 2)
    """
    known = [isinstance(slide, str) and slide != "" for slide in slides]
    names = [
        f"slide:{slide}" if is_known else f"patch:{i}"
        for i, slide, is_known in zip(ids, slides, known, strict=True)
    ]
    return np.unique(np.array(names), return_inverse=True)[1], sum(known)


SMALL = 4  # patches per slide; with fewer on average, the groups are probably not slides
PSEUDO_SLIDES = 15  # with this number, the AUC is closest to the AUC on new slides; see DECISIONS.md
LEAST = 20  # minimum average number of patches, or clusters of near-duplicates, per pseudo-slide
COMPONENTS = 8  # principal components that pseudo-slides are computed from
CLIP = 4.0  # standard deviations; larger deviations from the mean are clipped


def join(group: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Merge groups that share a cluster, and return the number of each patch's group, (patches,).

    Examples
    --------
    >>> join(np.array([0, 1, 2]), np.array([0, 1, 1])).tolist()
    [0, 1, 1]
    """
    groups, clusters = int(group.max()) + 1, int(cluster.max()) + 1
    links = coo_array((np.ones(len(group)), (group, groups + cluster)), shape=(groups + clusters,) * 2)
    return np.unique(connected_components(links, directed=False)[1][group], return_inverse=True)[1]


def pseudo_slides(look: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Divide rows of `Looks.slide`, (rows, columns), into `count` pseudo-slides with k-means.

    Returns the number of each row's pseudo-slide, (rows,).
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    clipped = np.clip(look, -CLIP, CLIP)
    with threadpool_limits(1):  # with several threads, rounding would vary from run to run
        components = PCA(min(COMPONENTS, *look.shape), random_state=seed).fit_transform(clipped)
        found: np.ndarray = KMeans(count, n_init=1, random_state=seed).fit_predict(components)
    return found


def group_unknown(
    group: np.ndarray, unknown: np.ndarray, looks: Looks, folds: int, seed: int
) -> tuple[np.ndarray, int]:
    """Merge near-duplicates, and assign groups of unknown slide to pseudo-slides.

    Parameters
    ----------
    group
        The number of each patch's group, (patches,).
    unknown
        Whether the slide of each patch is unknown, bool (patches,).
    looks
        The appearance of the patches.
    folds
        The minimum number of pseudo-slides.
    seed
        Random seed.

    Returns
    -------
    tuple
        The number of each patch's new group, (patches,), and the number of pseudo-slides. With too few
        patches for `folds` pseudo-slides, there are none, and only near-duplicates are merged.
    """
    group = join(group, near_duplicates(looks.copies))
    slideless = np.bincount(group, ~unknown) == 0  # groups in which no patch has a known slide
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
    """Group patches by slide. Patches of unknown slide are grouped into pseudo-slides.

    A near-duplicate of a patch of known slide joins that slide.

    Parameters
    ----------
    patches
        The columns `id` and `slide`.
    looks
        The appearance of the patches. If None, each patch of unknown slide is its own group.
    folds
        Number of folds to be made from the groups.
    seed
        Random seed.
    unit
        What the column `slide` contains, for the description: `slide`, or for example `patient`.

    Returns
    -------
    tuple
        The number of each patch's group, (patches,), and a description of the grouping and of what it
        means for scores.

    Examples
    --------
    >>> patches = pd.DataFrame({"id": list("abcdefgh"), "slide": ["s1", "s2"] * 4})
    >>> group, description = make_groups(patches, None, folds=2, seed=0, unit="slide")
    >>> group.tolist()
    [0, 1, 0, 1, 0, 1, 0, 1]
    >>> description
    'grouped by slide: 2 slides, none in two folds'
    """
    group, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    groups = int(group.max()) + 1
    unknown = len(patches) - known
    if not unknown:
        small = groups > len(patches) / SMALL
        hardly = (
            "; there are few patches per group, so scores on new slides will be lower" if small else ""
        )
        return group, f"grouped by {unit}: {counted(groups, unit)}, none in two folds{hardly}"
    some = f"{counted(known, 'patch')} grouped by {unit}, " if known else ""
    how = "not grouped (near-duplicates cannot be found without color features)"
    if looks is not None:
        missing = patches["slide"].fillna("").to_numpy() == ""
        group, count = group_unknown(group, missing, looks, folds, seed)
        how = (
            f"grouped into {counted(count, 'pseudo-slide')} by stain and brightness"
            if count
            else "grouped by near-duplicates"
        )
    return group, (
        f"{some}{counted(unknown, 'patch')} of unknown {unit} {how}; patches of one {unit} may be "
        "in two "
        f"folds, so scores on new {unit}s may be lower, and the true intervals wider"
    )
