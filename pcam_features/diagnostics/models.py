"""Checks the base models of `pcam fit` on a device: the same as elsewhere, and how fast.

On CUDA the reference is the CPU. Kernel models must have its log-odds. Boosted trees need not be the
same trees, because a GPU adds gradients in another order; they must rank new patches as well. On the
CPU kernel models are compared with scikit-learn, and trees with the sum of their SHAP values.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluate.intervals import auc
from ..learn import boosting, kernel_ridge, nystroem
from ..learn.boosting import BoostedTrees
from ..learn.kernel_ridge import NystroemRidge
from ..learn.settings import PENALTY, WIDTH, Compute
from ..store.values import Values, of_arrays

ROWS, NEW, COLUMNS, LANDMARKS, ROUNDS = 2000, 2000, 200, 500, 60
FAMILY = "made"
SAME = 1e-3  # log-odds of kernel models, whose float32 products round in another order
RANKS = 0.01  # AUC of trees, whose splits may differ where gains are nearly equal


@dataclass(frozen=True)
class Made:
    """Made-up features with a weak signal, to learn from and to predict."""

    values: Values
    labels: np.ndarray
    new: np.ndarray
    new_labels: np.ndarray


@dataclass(frozen=True)
class Trial:
    """How far a model is from its reference, and the seconds of training.

    `apart` is the largest difference of log-odds, or the difference of AUC of new patches.
    """

    apart: float
    seconds: float
    reference_seconds: float | None = None


def made(seed: int = 0) -> Made:
    """Made-up features: a tenth of the columns are shifted by the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, ROWS + NEW)
    features = rng.normal(size=(ROWS + NEW, COLUMNS)).astype(np.float32)
    features[:, ::10] += np.float32(0.3) * labels[:, None].astype(np.float32)
    return Made(of_arrays({FAMILY: features[:ROWS]}), labels[:ROWS], features[ROWS:], labels[ROWS:])


def kernel_model(data: Made, xp: Any) -> tuple[NystroemRidge, float]:
    """A kernel model whose products are computed by `xp`, and the seconds it took."""
    start = time.perf_counter()
    fold = np.arange(ROWS) % 2
    ready = nystroem.prepare(
        data.values, [FAMILY], data.labels, fold, seed=0, landmarks=LANDMARKS, xp=xp
    )
    return kernel_ridge.train(ready), time.perf_counter() - start


def trees(data: Made, compute: Compute) -> tuple[BoostedTrees, float]:
    """Boosted trees grown on a device, and the seconds it took."""
    start = time.perf_counter()
    blocks = boosting.binned(data.values, [FAMILY], data.labels, compute)
    grown = boosting.grow(blocks, np.ones(ROWS, bool), compute, rounds=ROUNDS)
    return BoostedTrees(grown.booster), time.perf_counter() - start


def kernel_on(compute: Compute) -> Trial:
    """The kernel model of a device beside that of the CPU."""
    data = made()
    model, seconds = kernel_model(data, compute.xp)
    other, other_seconds = kernel_model(data, np)
    apart = float(np.abs(model.margin(data.new) - other.margin(data.new)).max())
    return Trial(apart, seconds, other_seconds)


def trees_on(compute: Compute) -> Trial:
    """The trees of a device beside those of the CPU."""
    data = made()
    model, seconds = trees(data, compute)
    other, other_seconds = trees(data, Compute("cpu", compute.threads, compute.seed))
    scores = [auc(data.new_labels, one.margin(data.new)) for one in (model, other)]
    return Trial(abs(scores[0] - scores[1]), seconds, other_seconds)


def kernel_against_library() -> Trial:
    """The kernel model beside scikit-learn's Nystroem features and ridge regression."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics.pairwise import rbf_kernel

    data = made()
    model, seconds = kernel_model(data, np)
    gamma = WIDTH / COLUMNS
    rows = nystroem.standardize(data.values.block([FAMILY], 0), model.mean, model.scale)
    landmarks = model.landmarks.astype(np.float64)
    # Penalizing wᵀ L w is ridge regression on features K L^(-1/2).
    root = np.linalg.cholesky(rbf_kernel(landmarks, gamma=gamma) + 1e-9 * np.eye(LANDMARKS))
    ridge = Ridge(alpha=PENALTY).fit(
        np.linalg.solve(root, rbf_kernel(rows, landmarks, gamma=gamma).T).T, data.labels
    )
    new = nystroem.standardize(data.new, model.mean, model.scale)
    expected = ridge.predict(np.linalg.solve(root, rbf_kernel(new, landmarks, gamma=gamma).T).T)
    apart = np.abs(model.margin(data.new) - nystroem.log_odds(expected))
    return Trial(float(apart.max()), seconds)


def trees_against_shap(threads: int) -> Trial:
    """The log-odds of trees beside the sum of their SHAP values."""
    data = made()
    model, seconds = trees(data, Compute("cpu", threads, 0))
    shares, expected = model.contributions(data.new)
    apart = np.abs(model.margin(data.new, threads) - shares.sum(axis=1) - expected)
    return Trial(float(apart.max()), seconds)
