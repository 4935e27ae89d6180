"""Kernel ridge regression with a Gaussian kernel: a smooth model whose errors differ from trees'.

Columns are standardized. A patch is described by its likeness, the value of the kernel, to each of
the landmarks: training patches drawn at random. This is Nyström's approximation of kernel ridge
regression. It is exact if every training patch is a landmark.

Sources: C. Saunders, A. Gammerman and V. Vovk, "Ridge regression learning algorithm in dual
variables", ICML 1998; C. K. I. Williams and M. Seeger, "Using the Nyström method to speed up kernel
machines", NIPS 2000.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..store.values import Values
from .context import FitContext
from .safe_files import parse_array, read_content, write_array
from .settings import PENALTY, WIDTH

KIND = "kernel"
LANDMARKS = 6000  # of so many patches; of fewer, each patch is one
CLIP = 4.0  # standard deviations: one extreme column must not make a patch unlike all others
BLOCK = 4096  # rows at a time
JITTER = 1e-12  # share of the trace added to the diagonal, because landmarks may be copies or collinear
NODES = 16  # Gauss-Legendre nodes on the path from the mean patch to a patch
ARRAYS = {"landmarks": "<f4", "weights": "<f8"}


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
class Sums:
    """The terms of some patches in the normal equations, from their likenesses less `usual`."""

    squares: np.ndarray  # float64 (landmarks, landmarks)
    sums: np.ndarray  # (landmarks,)
    with_labels: np.ndarray  # (landmarks,)
    rows: int
    positive: int


@dataclass(frozen=True)
class Prepared:
    """Landmarks and the sums of each fold, from which the weights are solved."""

    mean: np.ndarray
    scale: np.ndarray
    landmarks: np.ndarray
    landmark_fold: np.ndarray
    usual: np.ndarray  # float32 (landmarks,): the mean likeness of each landmark to all landmarks
    among: np.ndarray  # float64 (landmarks, landmarks): the likeness of landmarks to each other
    folds: list[Sums]
    width: float


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
    count = min(landmark_count(values.rows) if landmarks is None else landmarks, values.rows)
    drawn = np.sort(np.random.default_rng(seed).choice(values.rows, count, replace=False))
    mean, scale = moments(block for _, block in values.blocks(families))
    chosen = standardize(values.take(families, drawn), mean, scale)
    exact = chosen.astype(np.float64)
    among = likeness(exact, exact, width)
    usual = among.mean(axis=0).astype(np.float32)
    there = tuple(xp.asarray(one) for one in (mean, scale, chosen, usual))
    folds = int(fold.max()) + 1
    squares = [xp.zeros((count, count)) for _ in range(folds)]
    sums, with_labels = np.zeros((folds, count)), np.zeros((folds, count))
    for rows, block in values.blocks(families):
        rows_like = likeness(standardize(xp.asarray(block), *there[:2]), there[2], width)
        for k in np.unique(fold[rows]):
            own = np.flatnonzero(fold[rows] == k)
            # Eigenvalues span ten orders of magnitude, so float32 is too imprecise for these products.
            like = (rows_like[xp.asarray(own)] - there[3]).astype(np.float64)
            squares[k] += like.T @ like
            sums[k] += to_host(like.sum(axis=0))
            with_labels[k] += to_host(like.T @ xp.asarray(labels[rows][own], np.float64))
    added = [
        Sums(to_host(squares[k]), sums[k], with_labels[k], len(of), int(of.sum()))
        for k, of in ((k, labels[fold == k]) for k in range(folds))
    ]
    return Prepared(mean, scale, chosen, fold[drawn], usual, among, added, width)


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
    kept = np.flatnonzero(ready.landmark_fold != (-1 if without is None else without))
    used = [one for k, one in enumerate(ready.folds) if k != without]
    rows = sum(one.rows for one in used)
    share = sum(one.positive for one in used) / rows
    square = np.ix_(kept, kept)
    squares: np.ndarray = sum((one.squares[square] for one in used), np.zeros((len(kept),) * 2))
    sums = np.sum([one.sums[kept] for one in used], axis=0)
    squares -= np.outer(sums, sums) / rows
    squares += penalty * ready.among[square]
    squares[np.diag_indices(len(kept))] += JITTER * np.trace(squares)
    towards = np.sum([one.with_labels[kept] for one in used], axis=0) - share * sums
    weights = np.zeros(len(ready.landmarks))
    weights[kept] = cho_solve(cho_factor(squares, overwrite_a=True), towards)
    return weights, float(share - (sums / rows + ready.usual[kept]) @ weights[kept])


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
    solved = [solve(ready, penalty, k) for k in range(len(ready.folds))]
    weights = xp.asarray(np.stack([weights for weights, _ in solved], axis=1))
    intercepts = np.array([intercept for _, intercept in solved])
    there = tuple(xp.asarray(one) for one in (ready.mean, ready.scale, ready.landmarks))
    found = np.empty(values.rows)
    for rows, block in values.blocks(families):
        like = likeness(standardize(xp.asarray(block), *there[:2]), there[2], ready.width)
        by_each = to_host(like @ weights) + intercepts
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


@dataclass(frozen=True)
class NystroemRidge:
    """Kernel ridge regression on landmarks as a base model.

    Parameters
    ----------
    mean, scale
        Mean and standard deviation of the training columns, float32 (columns,).
    landmarks
        Standardized patches, float32 (landmarks, columns).
    weights
        The weight of the likeness to each landmark, float64 (landmarks,).
    intercept
        The constant added to the weighted likenesses.
    kernel_width
        The width of the kernel; see WIDTH.
    """

    mean: np.ndarray
    scale: np.ndarray
    landmarks: np.ndarray
    weights: np.ndarray
    intercept: float
    kernel_width: float

    @property
    def width(self) -> int:
        """The number of columns that the model takes."""
        return len(self.mean)

    @property
    def parameters(self) -> int:
        """The number of learned values: means, scales, landmarks, weights, intercept and width."""
        return sum(array.size for array in self.as_arrays().values())

    def as_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are stored.

        The rows of `landmarks` are the mean, the scale and the landmarks. `weights` has the intercept,
        the width of the kernel and the weights.
        """
        return {
            "landmarks": np.vstack([self.mean, self.scale, self.landmarks]),
            "weights": np.append([self.intercept, self.kernel_width], self.weights),
        }

    @classmethod
    def from_arrays(cls, landmarks: np.ndarray, weights: np.ndarray) -> NystroemRidge:
        """Restore a model from its arrays. Raises ValueError if they are invalid."""
        if landmarks.ndim != 2 or weights.shape != (len(landmarks),) or len(weights) < 3:
            raise ValueError("landmarks and weights of the kernel model do not match")
        if not (np.isfinite(landmarks).all() and np.isfinite(weights).all()):
            raise ValueError("the kernel model has a non-finite number")
        if (landmarks[1] <= 0).any() or (np.abs(landmarks[2:]) > CLIP).any() or weights[1] <= 0:
            raise ValueError("the kernel model has a scale, landmark or width out of range")
        intercept, width = map(float, weights[:2])
        return cls(landmarks[0], landmarks[1], landmarks[2:], weights[2:], intercept, width)

    def margin(self, values: np.ndarray, threads: int = 1) -> np.ndarray:
        """Log-odds of label 1, float64 (rows,), from float32 (rows, width)."""
        scores = np.empty(len(values))
        for start in range(0, len(values), BLOCK):
            rows = standardize(values[start : start + BLOCK], self.mean, self.scale)
            like = likeness(rows, self.landmarks, self.kernel_width)
            scores[start : start + BLOCK] = like @ self.weights
        return log_odds(scores + self.intercept)

    def contributions(self, values: np.ndarray) -> tuple[np.ndarray, float]:
        """Integrated gradients of the log-odds, float64 (rows, width), and the mean patch's log-odds.

        M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep networks", ICML 2017. The
        integral needs only the likenesses at points on the path from the mean patch, which follow from
        one product of patches and landmarks.
        """
        rows = standardize(values, self.mean, self.scale).astype(np.float64)
        landmarks = self.landmarks.astype(np.float64)
        slope = self.kernel_width / rows.shape[1]
        products = rows @ landmarks.T
        squares = np.einsum("ij,ij->i", rows, rows)[:, None]
        lengths = np.einsum("ij,ij->i", landmarks, landmarks)
        pulls, spread = np.zeros_like(products), np.zeros(len(rows))
        for at, share in zip(*_nodes(), strict=True):
            like = np.exp(-slope * (at**2 * squares - 2 * at * products + lengths)) * self.weights
            pulls += share * like
            spread += share * at * like.sum(axis=1)
        gradients = -2 * slope * (rows * spread[:, None] - pulls @ landmarks)
        mean_patch = np.exp(-slope * lengths) @ self.weights + self.intercept
        return 4 * rows * gradients, float(log_odds(mean_patch))

    def gains(self) -> None:
        """None: a kernel model has no splits."""

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training columns, float32 (width,) each."""
        return self.mean, self.scale

    @staticmethod
    def files(folder: Path, group: str) -> list[Path]:
        """The files of the landmarks and weights of a group."""
        return [array_path(folder, group, name) for name in ARRAYS]

    def save(self, folder: Path, group: str) -> None:
        """Write the arrays; each file appears only when it is complete."""
        for name, array in self.as_arrays().items():
            write_array(folder, array_path(folder, group, name), array)

    @classmethod
    def load(cls, folder: Path, group: str) -> NystroemRidge:
        """Read the arrays of a group. Raises InputError or ValueError if a file is invalid."""
        landmarks, weights = (
            parse_array(read_content(folder, array_path(folder, group, name)), dtype)
            for name, dtype in ARRAYS.items()
        )
        return cls.from_arrays(landmarks, weights)

    @classmethod
    def fit(
        cls, context: FitContext, group: str, families: Sequence[str]
    ) -> tuple[NystroemRidge, np.ndarray]:
        """Fit to all rows; returns the model and its out-of-fold log-odds, (rows,)."""
        settings, compute = context.settings, context.compute

        @cache
        def ready() -> Prepared:
            return prepare(
                context.values,
                families,
                context.labels,
                context.fold,
                seed=compute.seed,
                width=settings.width,
                xp=compute.xp,
            )

        def out_of_fold() -> np.ndarray:
            return across(
                ready(),
                context.values,
                families,
                context.fold,
                penalty=settings.penalty,
                xp=compute.xp,
            )

        model = context.work.model(cls, group, lambda: train(ready(), settings.penalty))
        scores = context.work.array(f"{group}_{KIND}", out_of_fold, context.fold.shape, "<f8")
        context.progress(len(families))
        return model, scores


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on the interval from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    return (points + 1) / 2, weights / 2


def train(ready: Prepared, penalty: float = PENALTY) -> NystroemRidge:
    """Fit the model to all patches."""
    weights, intercept = solve(ready, penalty)
    return NystroemRidge(ready.mean, ready.scale, ready.landmarks, weights, intercept, ready.width)


def array_path(folder: Path, group: str, name: str) -> Path:
    """The file of one array of a group."""
    return folder / group / f"{name}.npy"
