"""Training the base models: each on all patches, and out of fold, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import xgboost

from ..store.values import Values
from . import boosting, kernel_ridge
from .base_models import KERNEL, KINDS, TREES, Model, groups_of, model_name
from .leakage import random_split_auc
from .steps import Work


@dataclass(frozen=True)
class Settings:
    """What a search may change."""

    trees: dict[str, Any] = field(default_factory=lambda: dict(boosting.PARAMETERS))
    rounds: int = boosting.ROUNDS  # at most: folds choose how many
    width: float = kernel_ridge.WIDTH
    penalty: float = kernel_ridge.PENALTY


@dataclass(frozen=True)
class How:
    """Where and how a fit computes; nothing of it but `seed` should change the result."""

    device: str
    threads: int
    seed: int
    on_disk: bool = False  # bins

    @property
    def xp(self) -> Any:
        """Whose arrays to compute on: NumPy's or CuPy's."""
        if self.device != "cuda":
            return np
        import cupy

        return cupy


def binned(
    work: Work,
    values: Values,
    parts: Sequence[str],
    labels: np.ndarray,
    within: np.ndarray,
    how: How,
    name: str,
) -> xgboost.DMatrix:
    """The rows `within` of the families `parts`; where bins lie on disk, in files of this name."""
    pages = work.pages(name) if how.on_disk else None
    return boosting.binned(values, parts, labels, within, threads=how.threads, xp=how.xp, pages=pages)


def boost(matrix: xgboost.DMatrix, how: How, settings: Settings, rounds: int) -> xgboost.Booster:
    return boosting.train(
        matrix,
        device=how.device,
        threads=how.threads,
        seed=how.seed,
        rounds=rounds,
        parameters=settings.trees,
    )


def train_trees(
    work: Work,
    values: Values,
    group: str,
    parts: Sequence[str],
    labels: np.ndarray,
    fold: np.ndarray,
    how: How,
    settings: Settings,
    progress: Callable[[], None],
) -> tuple[xgboost.Booster, np.ndarray]:
    """A booster on the families `parts`, and its log-odds out of fold."""

    def train(within: np.ndarray, name: str, rounds: int) -> xgboost.Booster:
        matrix = binned(work, values, parts, labels, within, how, f"{group}-{name}")
        return boost(matrix, how, settings, rounds)

    def out_of_fold(k: int) -> np.ndarray:
        booster = train(fold != k, f"fold-{k}", settings.rounds)
        return boosting.margins(booster, values, parts, fold == k, threads=how.threads)

    found = np.empty((values.rows, len(boosting.counts(settings.rounds))), np.float32)
    for k in range(int(fold.max()) + 1):
        found[fold == k] = work.array(f"{group}_{TREES}-fold-{k}", partial(out_of_fold, k))
        progress()
    logits, count = boosting.across_counts(labels, fold, found, settings.rounds)
    everything = np.ones(values.rows, bool)
    booster = work.model(group, TREES, lambda: train(everything, "all", count))
    assert isinstance(booster, xgboost.Booster)
    progress()
    return booster, logits


def train_kernel(
    work: Work,
    values: Values,
    group: str,
    parts: Sequence[str],
    labels: np.ndarray,
    fold: np.ndarray,
    how: How,
    settings: Settings,
) -> tuple[kernel_ridge.Rbf, np.ndarray]:
    """A kernel model on the families `parts`, and its log-odds out of fold."""

    @cache
    def ready() -> kernel_ridge.Prepared:
        return kernel_ridge.prepare(
            values, parts, labels, fold, seed=how.seed, width=settings.width, xp=how.xp
        )

    model = work.model(group, KERNEL, lambda: kernel_ridge.train(ready(), settings.penalty))
    logits = work.array(
        f"{group}_{KERNEL}",
        lambda: kernel_ridge.across(ready(), values, parts, fold, penalty=settings.penalty, xp=how.xp),
    )
    assert isinstance(model, kernel_ridge.Rbf)
    return model, logits


def train_models(
    work: Work,
    values: Values,
    labels: np.ndarray,
    fold: np.ndarray,
    how: How,
    settings: Settings,
    progress: Callable[[int], None],
) -> tuple[dict[str, Model], np.ndarray]:
    """Each base model trained on everything, and the log-odds (rows, models) each gave out of fold."""
    logits: list[np.ndarray] = []
    trained: dict[str, Model] = {}
    for group, parts in groups_of(values.families).items():
        booster, of_trees = train_trees(
            *(work, values, group, parts, labels, fold, how, settings),
            partial(progress, len(parts)),
        )
        model, of_kernel = train_kernel(work, values, group, parts, labels, fold, how, settings)
        progress(len(parts))
        trained |= {model_name(group, TREES): booster, model_name(group, KERNEL): model}
        logits += [of_trees, of_kernel]
    return trained, np.stack(logits, axis=1)


def steps(families: Sequence[str], folds: int, trials: int) -> int:
    """What `progress` counts: the models that a fit trains, each as much as it has families, and the
    trials of a search, each as a model of all families."""
    trained = sum(len(parts) for parts in groups_of(list(families)).values()) * (folds + 2)
    return trained + len(families) * (1 + len(KINDS) * trials)  # one for the leakage gap


def at_random(
    work: Work, values: Values, labels: np.ndarray, folds: int, how: How, settings: Settings
) -> float:
    """The AUC that a split at random would have promised."""

    def make() -> np.ndarray:
        found = random_split_auc(
            values,
            values.families,
            labels,
            folds=folds,
            seed=how.seed,
            width=settings.width,
            penalty=settings.penalty,
            xp=how.xp,
        )
        return np.array([found])

    return float(work.array("at_random", make)[0])
