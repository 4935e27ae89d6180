"""Kernel ridge regression with a Gaussian kernel: a smooth model that errs where trees do not.

Columns are standardized, and a patch is described by its likeness to some of the training patches,
the landmarks (Nyström's approximation; exact while every training patch is one).

Sources: C. Saunders, A. Gammerman and V. Vovk, "Ridge regression learning algorithm in dual
variables", ICML 1998; C. K. I. Williams and M. Seeger, "Using the Nyström method to speed up kernel
machines", NIPS 2000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

LANDMARKS = 3000
WIDTH = 1 / 3  # exp(-WIDTH d²), d² being the mean over columns of squared differences
PENALTY = 0.05
CLIP = 4.0  # deviations: one wild column shall not make a patch unlike all others
BLOCK = 4096  # rows at a time
JITTER = 1e-12  # of all squares, added to each: landmarks may be copies, or lie on a line


@dataclass(frozen=True)
class Rbf:
    """`mean`, `scale`: float32 (columns,); `landmarks`: float32 (n, columns), standardized;
    `weights`: float64 (n,) of the likeness to each; `intercept`."""

    mean: np.ndarray
    scale: np.ndarray
    landmarks: np.ndarray
    weights: np.ndarray
    intercept: float

    def as_arrays(self) -> dict[str, np.ndarray]:
        """What is kept of it: mean, scale and landmarks as rows; intercept and weights."""
        return {
            "landmarks": np.vstack([self.mean, self.scale, self.landmarks]),
            "weights": np.append(self.intercept, self.weights),
        }

    @classmethod
    def from_arrays(cls, landmarks: np.ndarray, weights: np.ndarray) -> Rbf:
        """Raises ValueError if the arrays are no such model's."""
        if landmarks.ndim != 2 or weights.shape != (len(landmarks) - 1,) or len(weights) < 2:
            raise ValueError("landmarks and weights do not go together")
        if not (np.isfinite(landmarks).all() and np.isfinite(weights).all()):
            raise ValueError("a number of the kernel model is not finite")
        if (landmarks[1] <= 0).any() or (np.abs(landmarks[2:]) > CLIP).any():
            raise ValueError("a scale or a landmark of the kernel model is out of range")
        return cls(landmarks[0], landmarks[1], landmarks[2:], weights[1:], float(weights[0]))


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each column's mean and standard deviation, float32 (columns,), and 1 for a constant's.

    In blocks of rows, as NumPy would make a float64 copy of all of them.
    """
    blocks = range(0, len(values), BLOCK)
    mean = sum(values[k : k + BLOCK].sum(axis=0, dtype=np.float64) for k in blocks) / len(values)
    squares = sum(((values[k : k + BLOCK] - mean) ** 2).sum(axis=0) for k in blocks)
    scale = np.sqrt(squares / len(values))
    scale[scale <= 1e-6 * np.abs(mean)] = 1  # constant, but for rounding
    return np.asarray(mean, np.float32), np.asarray(scale, np.float32)


def standardize(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Columns in deviations from their mean, within CLIP; float32, as `values` are."""
    found: np.ndarray = (values - mean) / scale
    np.clip(found, -CLIP, CLIP, out=found)
    return found


def likeness(rows: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """exp(-WIDTH d²) of each row to each landmark (rows, landmarks), in the precision of both.

    Matches `sklearn.metrics.pairwise.rbf_kernel` with gamma = WIDTH / columns.
    """
    found = rows @ landmarks.T
    found *= -2
    found += np.einsum("ij,ij->i", rows, rows)[:, None]
    found += np.einsum("ij,ij->i", landmarks, landmarks)
    np.maximum(found, 0, out=found)
    found *= -WIDTH / rows.shape[1]
    return np.asarray(np.exp(found, out=found))


def train(values: np.ndarray, labels: np.ndarray, seed: int) -> Rbf:
    """Fit to float32 values (rows, columns) and labels of 0 and 1; the label's mean is not penalized.

    Minimizes sum (label - intercept - K w)² + PENALTY wᵀ L w, K being likenesses to landmarks and
    L those among landmarks. Matches `sklearn.kernel_approximation.Nystroem` before `Ridge`.
    """
    mean, scale = mean_and_scale(values)
    count = min(LANDMARKS, len(values))
    chosen = np.sort(np.random.default_rng(seed).choice(len(values), count, replace=False))
    landmarks = standardize(values[chosen], mean, scale)
    among = likeness(landmarks.astype(np.float64), landmarks.astype(np.float64))
    usual = among.mean(axis=0).astype(np.float32)
    squares, sums, with_labels = np.zeros((count, count)), np.zeros(count), np.zeros(count)
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        # Their eigenvalues span ten powers of ten: in float32 the products of likenesses are useless.
        like = (likeness(standardize(values[block], mean, scale), landmarks) - usual).astype(np.float64)
        squares += like.T @ like
        sums += like.sum(axis=0)
        with_labels += like.T @ labels[block]
    share = float(labels.mean())
    squares -= np.outer(sums, sums) / len(values)
    squares += PENALTY * among
    squares[np.diag_indices(count)] += JITTER * np.trace(squares)
    weights = cho_solve(cho_factor(squares, overwrite_a=True), with_labels - share * sums)
    intercept = share - (sums / len(values) + usual) @ weights
    return Rbf(mean, scale, landmarks, weights, float(intercept))


def logit(model: Rbf, values: np.ndarray) -> np.ndarray:
    """Log-odds of label 1 for each row of float32 values, float64.

    What is fitted to labels of 0 and 1 is a probability p; near a half its log-odds are 4 p - 2.
    """
    scores = np.empty(len(values))
    for start in range(0, len(values), BLOCK):
        rows = standardize(values[start : start + BLOCK], model.mean, model.scale)
        scores[start : start + BLOCK] = likeness(rows, model.landmarks) @ model.weights
    return 4 * (scores + model.intercept) - 2
