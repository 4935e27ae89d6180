"""Kernel ridge regression with a Gaussian kernel: a smooth model whose errors differ from trees'.

Columns are standardized. See `nystroem` for how the weights are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from .context import FitContext
from .nystroem import (
    CLIP,
    Landmarks,
    Prepared,
    Sums,
    across,
    add_up,
    draw,
    landmark_count,
    likeness,
    log_odds,
    prepare,
    solve,
    standardize,
)
from .safe_files import parse_array, read_content, write_array
from .settings import PENALTY

KIND = "kernel"
BLOCK = 4096  # rows at a time
NODES = 16  # Gauss-Legendre nodes on the path from the mean patch to a patch
ARRAYS = {"landmarks": "<f4", "weights": "<f8"}


@dataclass
class KernelSums:
    """What a kernel model of a fit is solved from, with the sums of each fold as a step of the fit.

    Parameters
    ----------
    context, group, families
        See `protocol.BaseModel.fit`.
    """

    context: FitContext
    group: str
    families: Sequence[str]

    @cached_property
    def landmarks(self) -> Landmarks:
        """The landmarks of all patches."""
        context = self.context
        drawn, _ = draw(
            context.values,
            self.families,
            context.fold,
            seed=context.compute.seed,
            width=context.settings.width,
        )
        return drawn

    def of_fold(self, k: int) -> Sums:
        """The sums of the patches of fold k: a step of the fit."""
        context, count = self.context, landmark_count(self.context.values.rows)
        labels = context.labels[context.fold == k]

        def make() -> np.ndarray:
            (added,) = add_up(
                context.values,
                self.families,
                context.labels,
                context.fold,
                self.landmarks,
                wanted=[k],
                xp=context.compute.xp,
            )
            return added.terms

        name = f"{self.group}_{KIND}-sums-{k}"
        terms = context.work.array(name, make, (count + 2, count), "<f8")
        return Sums(terms, len(labels), int(labels.sum()))

    def among(self) -> np.ndarray:
        """The likeness of landmarks to each other: a step of the fit."""
        count = landmark_count(self.context.values.rows)
        name = f"{self.group}_{KIND}-among"
        return self.context.work.array(name, self.landmarks.among, (count, count), "<f8")

    def prepared(self) -> Prepared:
        """What to solve from, read from the disk whenever it is needed if the fit is on disk."""
        context = self.context
        if context.compute.on_disk:
            folds = int(context.fold.max()) + 1
            return Prepared(self.landmarks, folds, self.among, self.of_fold)
        return prepare(
            context.values,
            self.families,
            context.labels,
            context.fold,
            seed=context.compute.seed,
            width=context.settings.width,
            xp=context.compute.xp,
        )


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
        ready = cache(KernelSums(context, group, families).prepared)

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
        context.progress(len(families) * context.folds.count)
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
    at = ready.landmarks
    return NystroemRidge(at.mean, at.scale, at.rows, weights, intercept, at.width)


def array_path(folder: Path, group: str, name: str) -> Path:
    """The file of one array of a group."""
    return folder / group / f"{name}.npy"
