"""Nyström's approximation of kernel ridge regression: landmarks, sums over patches, and weights.

A patch is described by its likeness, the value of a Gaussian kernel, to each of the landmarks: training
patches drawn at random. Least squares then needs only sums over patches, which are added block by block
for each fold. It is exact if every training patch is a landmark.

Sources: C. Saunders, A. Gammerman and V. Vovk, "Ridge regression learning algorithm in dual
variables", ICML 1998; C. K. I. Williams and M. Seeger, "Using the Nyström method to speed up kernel
machines", NIPS 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from ..store.values import Values
from .settings import PENALTY, WIDTH

LANDMARKS = 6000  # of so many patches; of fewer, each patch is one
CLIP = 4.0  # standard deviations: one extreme column must not make a patch unlike all others
ADDED = 256  # rows of products that are added at a time
JITTER = 1e-12  # share of the trace added to the diagonal, because landmarks may be copies or collinear


def moments(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of each column, float32 (columns,); constant columns get 1.

    Blocks of rows are merged as in T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and
    a pairwise algorithm for computing sample variances", 1979.
    """
    rows, mean, squares = 0, np.zeros(1), np.zeros(1)
    for block in blocks:
        exact = block.astype(np.float64)
        own = exact.mean(axis=0)
        exact -= own
        apart = own - mean
        total = rows + len(block)
        squares = squares + np.einsum("ij,ij->j", exact, exact) + apart**2 * rows * len(block) / total
        mean = mean + apart * len(block) / total
        rows = total
    scale = np.sqrt(squares / rows)
    scale[scale <= 1e-6 * np.abs(mean)] = 1  # constant except for rounding errors
    scale = scale.astype(np.float32)
    return mean.astype(np.float32), np.where(scale > 0, scale, np.float32(1))


def standardize(values: Any, mean: Any, scale: Any) -> Any:
    """Values less the mean, in standard deviations, clipped to ±CLIP; float32, as `values` are."""
    found = (values - mean) / scale
    np.clip(found, -CLIP, CLIP, out=found)
    return found


def likeness(rows: Any, landmarks: Any, width: float) -> Any:
    """The Gaussian kernel exp(-width d²) of rows and landmarks; d² is their mean squared difference.

    It equals `sklearn.metrics.pairwise.rbf_kernel` with gamma = width / columns.

    Parameters
    ----------
    rows, landmarks
        Standardized columns, (rows, columns) and (landmarks, columns), both of NumPy or both of CuPy.
    width
        The width of the kernel.

    Returns
    -------
    array
        (rows, landmarks), in the precision of the arguments.

    Examples
    --------
    >>> likeness(np.zeros((1, 2)), np.array([[0.0, 0.0], [1.0, 1.0]]), 1.0).round(3)
    array([[1.   , 0.368]])
    """
    found = rows @ landmarks.T
    found *= -2
    found += np.einsum("ij,ij->i", rows, rows)[:, None]
    found += np.einsum("ij,ij->i", landmarks, landmarks)
    np.maximum(found, 0, out=found)
    found *= -width / rows.shape[1]
    return np.exp(found, out=found)


def landmark_count(rows: int) -> int:
    """The number of landmarks for some training patches.

    Examples
    --------
    >>> [landmark_count(rows) for rows in (2_000, 20_000, 220_025)]
    [2000, 6000, 6000]
    """
    return min(rows, LANDMARKS)


@dataclass(frozen=True)
class Landmarks:
    """The patches that others are compared with.

    Parameters
    ----------
    mean, scale
        Mean and standard deviation of the columns, float32 (columns,).
    rows
        The landmarks, standardized, float32 (landmarks, columns).
    fold
        Their folds, (landmarks,).
    usual
        The mean likeness of each landmark to all landmarks, float32 (landmarks,).
    width
        The width of the kernel.
    """

    mean: np.ndarray
    scale: np.ndarray
    rows: np.ndarray
    fold: np.ndarray
    usual: np.ndarray
    width: float

    def among(self) -> np.ndarray:
        """The likeness of landmarks to each other, float64 (landmarks, landmarks)."""
        exact = self.rows.astype(np.float64)
        return np.asarray(likeness(exact, exact, self.width))

    def to(self, xp: Any) -> Landmarks:
        """The same in the memory of NumPy or CuPy."""
        mean, scale, rows, usual = map(xp.asarray, (self.mean, self.scale, self.rows, self.usual))
        return replace(self, mean=mean, scale=scale, rows=rows, usual=usual)

    def likeness(self, rows: Any) -> Any:
        """The likeness of rows of features to landmarks, float32 (rows, landmarks)."""
        return likeness(standardize(rows, self.mean, self.scale), self.rows, self.width)


def draw(
    values: Values,
    families: Sequence[str],
    fold: np.ndarray,
    *,
    seed: int,
    width: float = WIDTH,
    landmarks: int | None = None,
) -> tuple[Landmarks, np.ndarray]:
    """Draw landmarks from all patches; see `prepare`. Returns them and `Landmarks.among`."""
    count = min(landmark_count(values.rows) if landmarks is None else landmarks, values.rows)
    drawn = np.sort(np.random.default_rng(seed).choice(values.rows, count, replace=False))
    mean, scale = moments(block for _, block in values.blocks(families))
    chosen = standardize(values.take(families, drawn), mean, scale)
    found = Landmarks(mean, scale, chosen, fold[drawn], np.zeros(count, np.float32), width)
    among = found.among()
    return replace(found, usual=among.mean(axis=0).astype(np.float32)), among


@dataclass(frozen=True)
class Sums:
    """The terms of some patches in the normal equations, from their likenesses less `usual`.

    Parameters
    ----------
    terms
        float64 (landmarks + 2, landmarks): the products of likenesses, of which only the upper
        triangle counts, and the sums of likenesses, of all patches and of those with label 1.
    rows, positive
        The number of patches, and of those with label 1.
    """

    terms: np.ndarray
    rows: int
    positive: int

    @property
    def squares(self) -> np.ndarray:
        return self.terms[:-2]

    @property
    def sums(self) -> np.ndarray:
        return np.asarray(self.terms[-2])

    @property
    def with_labels(self) -> np.ndarray:
        return np.asarray(self.terms[-1])


def add_up(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    fold: np.ndarray,
    landmarks: Landmarks,
    *,
    wanted: Sequence[int],
    xp: Any = np,
) -> list[Sums]:
    """Sum over the patches of each of the folds `wanted`, block by block, in one pass.

    The sums of a fold have the same bits whichever other folds are wanted.
    """
    count, there = len(landmarks.rows), landmarks.to(xp)
    terms = {k: xp.zeros((count + 2, count)) for k in wanted}
    for rows, block in values.blocks(families):
        for k in wanted:
            own = np.flatnonzero(fold[rows] == k)
            if not len(own):
                continue
            # Eigenvalues span ten orders of magnitude, so float32 is too imprecise for these products.
            like = (there.likeness(xp.asarray(block[own])) - there.usual).astype(np.float64)
            add_squares(terms[k][:-2], like, xp)
            terms[k][-2] += like.sum(axis=0)
            terms[k][-1] += like.T @ xp.asarray(labels[rows][own], np.float64)
    known = {k: labels[fold == k] for k in wanted}
    return [Sums(to_host(terms[k]), len(known[k]), int(known[k].sum())) for k in wanted]


def add_squares(squares: Any, like: Any, xp: Any) -> None:
    """Add the products likeᵀ like to the upper triangle of `squares`, both float64.

    BLAS adds in place and computes one triangle, in a third less time than `squares += like.T @ like`.
    """
    if xp is not np:
        squares += like.T @ like
    else:
        added = dsyrk(1.0, like.T, 1.0, squares.T, lower=1, overwrite_c=1)
        assert np.may_share_memory(added, squares)  # BLAS works in place in this memory order alone


@dataclass(frozen=True)
class Prepared:
    """What the weights are solved from.

    Parameters
    ----------
    landmarks
        The landmarks.
    folds
        The number of folds.
    among
        Gives `Landmarks.among`.
    sums_of
        Gives the sums of a fold.
    """

    landmarks: Landmarks
    folds: int
    among: Callable[[], np.ndarray]
    sums_of: Callable[[int], Sums]


def prepare(
    values: Values,
    families: Sequence[str],
    labels: np.ndarray,
    fold: np.ndarray,
    *,
    seed: int,
    width: float = WIDTH,
    landmarks: int | None = None,
    xp: Any = np,
) -> Prepared:
    """Draw landmarks from all patches and sum over each fold, in three passes.

    Parameters
    ----------
    values, families
        The features, and the families whose columns are used.
    labels, fold
        The label, 0 or 1, and the fold, from 0, of each row, (rows,).
    seed
        Seed of the draw of landmarks.
    width
        The kernel's width.
    landmarks
        The number of landmarks; None uses `landmark_count`.
    xp
        The array module for likenesses: NumPy or CuPy.
    """
    drawn, among = draw(values, families, fold, seed=seed, width=width, landmarks=landmarks)
    folds = int(fold.max()) + 1
    added = add_up(values, families, labels, fold, drawn, wanted=range(folds), xp=xp)
    return Prepared(drawn, folds, lambda: among, added.__getitem__)


def to_host(array: Any) -> np.ndarray:
    """An array of NumPy or CuPy in the memory of the host."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def solve(ready: Prepared, penalty: float, without: int | None = None) -> tuple[np.ndarray, float]:
    """Solve for the weights, (landmarks,), and the intercept.

    They minimize sum (label - intercept - K w)² + penalty wᵀ L w. K has the likenesses of patches to
    landmarks, and L those among landmarks. This equals `sklearn.kernel_approximation.Nystroem` followed
    by `Ridge`.

    Parameters
    ----------
    ready
        Landmarks and the sums of folds.
    penalty
        The penalty of weights.
    without
        A fold to leave out; its landmarks get no weight. None uses all folds.
    """
    kept = np.flatnonzero(ready.landmarks.fold != (-1 if without is None else without))
    blocks = [(slice(k, k + ADDED), kept[k : k + ADDED]) for k in range(0, len(kept), ADDED)]
    squares = np.zeros((len(kept), len(kept)))
    sums, towards, rows, positive = np.zeros(len(kept)), np.zeros(len(kept)), 0, 0

    def add(terms: np.ndarray, share: float) -> None:
        """Add a share of some products in place: they may be the largest thing in memory."""
        for own, landmarks in blocks:
            squares[own] += share * terms[np.ix_(landmarks, kept)]

    add(ready.among(), penalty)
    for k in range(ready.folds):
        if k != without:
            one = ready.sums_of(k)
            add(one.squares, 1)
            sums, towards = sums + one.sums[kept], towards + one.with_labels[kept]
            rows, positive = rows + one.rows, positive + one.positive
    share = positive / rows
    for own, _ in blocks:
        squares[own] -= np.outer(sums[own], sums / rows)
    squares[np.diag_indices(len(kept))] += JITTER * np.trace(squares)
    weights = np.zeros(len(ready.landmarks.rows))
    factor = cho_factor(squares.T, lower=True, overwrite_a=True)  # in the memory order of LAPACK
    weights[kept] = cho_solve(factor, towards - share * sums)
    return weights, float(share - (sums / rows + ready.landmarks.usual[kept]) @ weights[kept])


def across(
    ready: Prepared,
    values: Values,
    families: Sequence[str],
    fold: np.ndarray,
    *,
    penalty: float = PENALTY,
    xp: Any = np,
) -> np.ndarray:
    """Out-of-fold log-odds, float64 (rows,): each fold is scored by the model of the other folds."""
    solved = [solve(ready, penalty, k) for k in range(ready.folds)]
    weights = xp.asarray(np.stack([weights for weights, _ in solved], axis=1))
    intercepts = np.array([intercept for _, intercept in solved])
    there = ready.landmarks.to(xp)
    found = np.empty(values.rows)
    for rows, block in values.blocks(families):
        by_each = to_host(there.likeness(xp.asarray(block)) @ weights) + intercepts
        found[rows] = log_odds(by_each[np.arange(len(by_each)), fold[rows]])
    return found


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Log-odds of a probability p fitted by least squares: 4 p - 2, the tangent at one half.

    Examples
    --------
    >>> log_odds(np.array([0.25, 0.5]))
    array([-1.,  0.])
    """
    return 4 * probability - 2
