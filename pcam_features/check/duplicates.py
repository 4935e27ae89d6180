"""Duplicate patches: with the same or nearly the same pixels, also if flipped or rotated.

The search for near-duplicates uses quantities of a gray thumbnail that flips and rotations do not
change: the mean and standard deviation over cells that exchange places. Candidates are then compared
cell by cell. JPEG compression hardly changes these quantities, although it changes colors.
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

REACH = 1.5  # gray levels: largest root mean square difference of candidates
ALIKE, ALIKE_SHARE = 2.0, 0.1  # mean difference of copies: gray levels, and of the deviation
MOST_PAIRS = 20_000_000  # candidates; only sets of very similar patches have more
AT_ONCE = 1 << 18  # pairs
QUERIES = 4096  # patches that are looked up at a time
LEAST_DEVIATION = 2.0  # gray levels; thumbnails below it are glass, or nothing


@dataclass(frozen=True)
class Copies:
    """The group of duplicates of each patch, (rows,), -1 for none; the looks follow one another.

    `exact` joins patches with the same pixels; `near` joins these and near-duplicates, except blank and
    black patches. `too_many`: near-duplicates were not searched for, because too many pairs look alike.
    """

    exact: np.ndarray
    near: np.ndarray
    too_many: bool


def grouped(codes: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Codes of groups as 0 …, and -1 for patches that are alone or unreadable."""
    sizes = np.bincount(codes[there], minlength=int(codes.max(initial=0)) + 1)
    kept = there & (sizes[codes] > 1)
    groups = np.full(len(codes), -1, np.int64)
    groups[kept] = np.unique(codes[kept], return_inverse=True)[1]
    return groups


def symmetries(small: np.ndarray) -> np.ndarray:
    """Thumbnails (rows, side, side) in all flips and rotations, (8, rows, side, side)."""
    both = (small, small[:, :, ::-1])
    return np.stack([np.rot90(side, k, axes=(1, 2)) for side in both for k in range(4)])


def orbits() -> np.ndarray:
    """The set of cells, 0 … 9, that each cell of a thumbnail changes places with, (side * side,)."""
    near_edge = np.minimum(np.arange(SMALL), np.arange(SMALL)[::-1])
    y, x = np.meshgrid(near_edge, near_edge, indexing="ij")
    codes = np.minimum(y, x) * SMALL + np.maximum(y, x)
    return np.unique(codes.ravel(), return_inverse=True)[1]


def fingerprints(small: np.ndarray) -> np.ndarray:
    """Quantities of thumbnails (rows, side, side) that flips and rotations keep, float32 (rows, 20)."""
    cells, orbit = small.reshape(len(small), -1).astype(np.float32), orbits()
    own = [cells[:, orbit == k] for k in range(orbit.max() + 1)]
    means, deviations = [cell.mean(axis=1) for cell in own], [cell.std(axis=1) for cell in own]
    return np.stack(means + deviations, axis=1)


def alike(small: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs (n, 2), a row of `small` and one of `others`, have the same thumbnail up to a flip or
    rotation, bool (n,)."""
    kept = [np.zeros(0, bool)]
    for start in range(0, len(pairs), AT_ONCE):
        part = pairs[start : start + AT_ONCE]
        first = small[part[:, 0]].astype(np.int16)
        other = symmetries(others[part[:, 1]]).astype(np.int16)
        apart = np.min([np.abs(first - turned).mean(axis=(1, 2)) for turned in other], axis=0)
        deviation = first.std(axis=(1, 2))
        kept.append((apart <= ALIKE) & (apart <= ALIKE_SHARE * deviation))
    return np.concatenate(kept)


def find(looks: Sequence[Look]) -> Copies:
    """The duplicates among all patches of some looks."""
    there = np.concatenate([look.there for look in looks])
    sha1 = np.concatenate([look.sha1 for look in looks])
    codes = np.unique(sha1.view([("", np.void, sha1.shape[1])]).ravel(), return_inverse=True)[1]
    exact = grouped(codes, there)
    shows = there & ~np.concatenate([blank(look) | black(look) for look in looks])
    first = np.unique(codes[shows], return_index=True)[1]  # one row of each set with the same pixels
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
    pairs = pairs[alike(small, small, pairs)]
    same = codes[pairs]
    links = coo_array((np.ones(len(same)), same.T), shape=(int(codes.max()) + 1,) * 2)
    joined = connected_components(links, directed=False)[1][codes]
    return Copies(exact, grouped(joined, there), too_many=False)


def copies_among(small: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """Which patches are near-duplicates of known ones, also if turned, flipped or compressed anew.

    Parameters
    ----------
    small, known
        Thumbnails of the patches in question and of the known ones, uint8 (rows, 8, 8).

    Returns
    -------
    numpy.ndarray or None
        bool (rows,). Patches that show hardly anything are no near-duplicates. None if too many pairs
        look alike to compare them all.
    """
    found = np.zeros(len(small), bool)
    here, there = np.flatnonzero(shows_something(small)), np.flatnonzero(shows_something(known))
    if not len(here) or not len(there):
        return found
    prints, tree = fingerprints(small[here]), cKDTree(fingerprints(known[there]))
    reach = REACH * prints.shape[1] ** 0.5
    counts = tree.query_ball_point(prints, reach, return_length=True)
    if counts.sum() > MOST_PAIRS:
        return None
    asked = np.flatnonzero(counts)  # few: most patches are like no other
    for start in range(0, len(asked), QUERIES):
        some = asked[start : start + QUERIES]
        near = np.concatenate(tree.query_ball_point(prints[some], reach))
        pairs = np.stack([np.repeat(here[some], counts[some]), there[near.astype(int)]], axis=1)
        found[pairs[alike(small, known, pairs), 0]] = True
    return found


def shows_something(small: np.ndarray) -> np.ndarray:
    """Which thumbnails (rows, 8, 8) are not all of one level, bool (rows,)."""
    return np.asarray(small.std(axis=(1, 2)) >= LEAST_DEVIATION)
