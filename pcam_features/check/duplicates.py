"""Patches that are there more than once: the same pixels, or nearly so, flipped and turned ones too.

Near-duplicates are found by what stays the same when a patch in small is flipped or turned: the mean
and the deviation of its gray levels over the cells that change places. Candidates are then laid over
each other. JPEG leaves both nearly as they are, colors it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .look import SMALL, Look
from .quality import black, blank

REACH = 1.5  # gray levels that candidates differ by, root mean square of means and deviations
ALIKE, ALIKE_SHARE = 2.0, 0.1  # gray levels that copies differ by in the mean, and of the deviation
MOST_PAIRS = 20_000_000  # that are looked at: more look alike only where much is the same
AT_ONCE = 1 << 18  # pairs


@dataclass(frozen=True)
class Copies:
    """A group for each patch of all looks, one after the other (rows,): -1 where it is alone.

    `exact` joins the same pixels; `near` joins those and what looks alike, blank and black patches left
    out. `too_many` says that so many pairs look alike that near-duplicates were not looked for.
    """

    exact: np.ndarray
    near: np.ndarray
    too_many: bool


def grouped(codes: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Codes of groups as 0 …, and -1 for what is alone or not there."""
    sizes = np.bincount(codes[there], minlength=int(codes.max(initial=0)) + 1)
    kept = there & (sizes[codes] > 1)
    groups = np.full(len(codes), -1, np.int64)
    groups[kept] = np.unique(codes[kept], return_inverse=True)[1]
    return groups


def symmetries(small: np.ndarray) -> np.ndarray:
    """Small pictures (rows, side, side) flipped and turned (8, rows, side, side)."""
    both = (small, small[:, :, ::-1])
    return np.stack([np.rot90(one, k, axes=(1, 2)) for one in both for k in range(4)])


def orbits() -> np.ndarray:
    """For each cell of a small picture, which cells it changes places with: 0 … 9 (side * side,)."""
    near_edge = np.minimum(np.arange(SMALL), np.arange(SMALL)[::-1])
    y, x = np.meshgrid(near_edge, near_edge, indexing="ij")
    codes = np.minimum(y, x) * SMALL + np.maximum(y, x)
    return np.unique(codes.ravel(), return_inverse=True)[1]


def fingerprints(small: np.ndarray) -> np.ndarray:
    """Of small pictures (rows, side, side), the same if flipped or turned: float32 (rows, 20)."""
    cells, orbit = small.reshape(len(small), -1).astype(np.float32), orbits()
    own = [cells[:, orbit == k] for k in range(orbit.max() + 1)]
    return np.stack([one.mean(axis=1) for one in own] + [one.std(axis=1) for one in own], axis=1)


def alike(small: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs (n, 2) of rows show the same in small, if one is flipped or turned (n,)."""
    kept = [np.zeros(0, bool)]
    for start in range(0, len(pairs), AT_ONCE):
        part = pairs[start : start + AT_ONCE]
        first = small[part[:, 0]].astype(np.int16)
        other = symmetries(small[part[:, 1]]).astype(np.int16)
        apart = np.min([np.abs(first - turned).mean(axis=(1, 2)) for turned in other], axis=0)
        deviation = first.std(axis=(1, 2))
        kept.append((apart <= ALIKE) & (apart <= ALIKE_SHARE * deviation))
    return np.concatenate(kept)


def find(looks: Sequence[Look]) -> Copies:
    there = np.concatenate([look.there for look in looks])
    sha1 = np.concatenate([look.sha1 for look in looks])
    codes = np.unique(sha1.view([("", np.void, sha1.shape[1])]).ravel(), return_inverse=True)[1]
    exact = grouped(codes, there)
    shows = there & ~np.concatenate([blank(look) | black(look) for look in looks])
    first = np.unique(codes[shows], return_index=True)[1]  # one of each that are the same
    rows = np.flatnonzero(shows)[first]
    if len(rows) < 2:
        return Copies(exact, exact, too_many=False)
    small = np.concatenate([look.small for look in looks])
    prints = fingerprints(small[rows])
    tree, reach = cKDTree(prints), REACH * prints.shape[1] ** 0.5
    if tree.count_neighbors(tree, reach) > 2 * MOST_PAIRS:
        return Copies(exact, exact, too_many=True)
    pairs = tree.query_pairs(reach, output_type="ndarray")
    pairs = rows[pairs]
    pairs = pairs[alike(small, pairs)]
    same = codes[pairs]
    links = coo_array((np.ones(len(same)), same.T), shape=(int(codes.max()) + 1,) * 2)
    joined = connected_components(links, directed=False)[1][codes]
    return Copies(exact, grouped(joined, there), too_many=False)
