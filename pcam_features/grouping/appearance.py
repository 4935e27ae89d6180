"""The appearance of patches, from which near-duplicates and pseudo-slides are derived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..store.store import Store
from ..store.values import stored

FAMILY = "color"
APPEARANCE = (
    "color__mean__patch_",
    "color__deviation__patch_",
    "color__p05__patch_",
    "color__p95__patch_",
)
NEAR = 0.02  # in standard deviations of a column; finds all duplicates in PCam's training set


def looked_at(columns: Sequence[str]) -> list[int]:
    """The positions of the columns that describe appearance."""
    return [k for k, name in enumerate(columns) if name.startswith(APPEARANCE)]


@dataclass(frozen=True)
class Looks:
    """The appearance of patches. Columns are standardized to mean 0 and standard deviation 1.

    Rotating or flipping a patch changes no value.

    Parameters
    ----------
    copies
        The mean and standard deviation of each color plane, float64 (patches, columns). They hardly
        differ between near-duplicates.
    slide
        The 5th and 95th percentiles of each color plane, float64 (patches, columns). They depend more
        on the slide (its stain and the brightness of the lamp) than on the tissue.
    """

    copies: np.ndarray
    slide: np.ndarray


def looks_of(color: np.ndarray, columns: Sequence[str]) -> Looks:
    """The appearance of patches from their color features.

    Parameters
    ----------
    color
        Values of family `color`, (patches, columns).
    columns
        The names of these columns.

    Returns
    -------
    Looks
        The appearance of each patch.
    """

    def scaled(*starts: str) -> np.ndarray:
        values = color[:, [k for k, name in enumerate(columns) if name.startswith(starts)]]
        values = values.astype(np.float64)
        spread = values.std(axis=0)
        return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))

    return Looks(
        copies=scaled(*APPEARANCE[:2]),
        slide=scaled(*APPEARANCE[2:]),
    )


def near_duplicates(fingerprints: np.ndarray) -> np.ndarray:
    """Cluster near-duplicates.

    Two patches are near-duplicates if their root mean square difference per column is at most NEAR.
    Clusters are transitive: if A and B are near-duplicates, and B and C, all three are in one cluster.

    Parameters
    ----------
    fingerprints
        `Looks.copies`, (patches, columns).

    Returns
    -------
    numpy.ndarray
        The number of each patch's cluster, (patches,).

    Examples
    --------
    >>> near_duplicates(np.array([[0.0, 0.0], [5.0, 5.0], [0.0, 0.01]])).tolist()
    [0, 1, 0]
    """
    different, codes = np.unique(fingerprints, axis=0, return_inverse=True)
    codes = codes.reshape(-1)  # NumPy 2.0.0 returns a column
    reach = NEAR * np.sqrt(fingerprints.shape[1])
    pairs = cKDTree(different).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(different),) * 2)
    clusters: np.ndarray = connected_components(links, directed=False)[1]
    return clusters[codes]


def looks_in(store: Store, split: str) -> Looks | None:
    """The appearance of a split's patches, or None if their color features are not complete."""
    if FAMILY not in store.families(split):
        return None
    columns = store.manifest.families[FAMILY].columns
    wanted = looked_at(columns)
    blocks = stored(store, split, [FAMILY], keep=False).blocks([FAMILY])
    return looks_of(np.concatenate([b[:, wanted] for _, b in blocks]), [columns[k] for k in wanted])
