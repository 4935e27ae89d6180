"""A search for better settings: Optuna's tree-structured Parzen estimator on the folds of a fit.

Trees and the kernel model are searched apart, on the columns of all families. The first trial is the
settings that need no search. What a search found is taken only if it helps where it was not chosen:
for each fold, the best trial of the other folds must on the whole beat the default there.

Source: T. Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import optuna
import xgboost
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError, PcamError
from ..evaluate.intervals import auc
from ..grouping.folds import Folds
from ..store.values import Values
from . import boosting, kernel_ridge
from .base_models import KERNEL, KINDS, TREES
from .steps import Work
from .training import How, Settings, binned, boost

FILE = "search.sqlite"
STARTED = 10  # trials at random, before what they tell is used; none of them is pruned
OF_FOLDS = "auc_of_folds"  # what a trial has beside its value
DISTRIBUTIONS: dict[str, dict[str, optuna.distributions.BaseDistribution]] = {
    TREES: {
        "max_depth": optuna.distributions.IntDistribution(3, 8),
        "eta": optuna.distributions.FloatDistribution(0.03, 0.3, log=True),
        "rounds": optuna.distributions.IntDistribution(60, 600, log=True),
        "subsample": optuna.distributions.FloatDistribution(0.3, 1.0),
        "colsample_bynode": optuna.distributions.FloatDistribution(0.03, 0.5, log=True),
        "min_child_weight": optuna.distributions.FloatDistribution(1, 50, log=True),
        "lambda": optuna.distributions.FloatDistribution(0.1, 100, log=True),
    },
    KERNEL: {
        "width": optuna.distributions.FloatDistribution(0.03, 3.0, log=True),
        "penalty": optuna.distributions.FloatDistribution(0.003, 3.0, log=True),
    },
}
Score = Callable[[Settings, int], float]  # the AUC of a fold


def with_parameters(settings: Settings, kind: str, found: dict[str, Any]) -> Settings:
    if kind == KERNEL:
        return replace(settings, **found)
    trees = settings.trees | {name: value for name, value in found.items() if name != "rounds"}
    return replace(settings, trees=trees, rounds=found["rounds"])


def parameters(settings: Settings, kind: str) -> dict[str, Any]:
    known = settings.trees | {"rounds": settings.rounds}
    known |= {"width": settings.width, "penalty": settings.penalty}
    return {name: known[name] for name in DISTRIBUTIONS[kind]}


def tree_score(values: Values, labels: np.ndarray, folds: Folds, how: How, work: Work) -> Score:
    """The AUC that a booster of all families has on a fold."""

    def matrix(k: int) -> xgboost.DMatrix:
        return binned(work, values, values.families, labels, folds.fold != k, how, f"search-{k}")

    matrices = matrix if how.on_disk else cache(matrix)

    def score(settings: Settings, k: int) -> float:
        booster = boost(matrices(k), how, settings, settings.rounds)
        own = folds.fold == k
        after = boosting.margins(booster, values, values.families, own, threads=how.threads)
        return auc(labels[own], after[:, -1])

    return score


def kernel_score(values: Values, labels: np.ndarray, folds: Folds, how: How) -> Score:
    """The AUC that a kernel model of all families has on a fold."""

    @lru_cache(1)
    def logits(width: float, penalty: float) -> np.ndarray:
        ready = kernel_ridge.prepare(
            values, values.families, labels, folds.fold, seed=how.seed, width=width, xp=how.xp
        )
        return kernel_ridge.across(
            ready, values, values.families, folds.fold, penalty=penalty, xp=how.xp
        )

    def score(settings: Settings, k: int) -> float:
        own = folds.fold == k
        return auc(labels[own], logits(settings.width, settings.penalty)[own])

    return score


def finish_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that came to an end; one that was stopped halfway is given up."""
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(states=ended)


def run(
    study: optuna.Study, kind: str, score: Score, folds: list[int], trials: int, seed: int
) -> optuna.trial.FrozenTrial | None:
    """One more trial; None if there have been enough.

    The sampler is made anew with a seed of its own for each, so that a search that was stopped goes on
    as if it had not been."""
    ended = len(finish_trials(study))
    if ended >= trials:
        return None
    with warnings.catch_warnings():  # that `multivariate` may change one day
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed + ended) % 2**32, n_startup_trials=STARTED, multivariate=True
        )
    if not ended and not study.get_trials(states=[optuna.trial.TrialState.WAITING]):
        study.enqueue_trial(parameters(Settings(), kind))
    trial = study.ask(DISTRIBUTIONS[kind])
    settings = with_parameters(Settings(), kind, trial.params)
    scores: list[float] = []
    for k in folds:
        scores.append(score(settings, k))
        trial.report(float(np.mean(scores)), k)
        if k != folds[-1] and trial.should_prune():
            return study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    trial.set_user_attr(OF_FOLDS, scores)
    return study.tell(trial, float(np.mean(scores)))


def verdict(study: optuna.Study, kind: str) -> tuple[Settings, dict[str, Any]]:
    """What the search has found, and whether it is taken.

    `nested` is the mean over folds of the AUC there of the trial that is best on the other folds.
    """
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    scores = np.array([trial.user_attrs[OF_FOLDS] for trial in trials])
    others = (scores.sum(axis=1, keepdims=True) - scores) / (scores.shape[1] - 1)
    nested = float(np.mean(scores[others.argmax(axis=0), np.arange(scores.shape[1])]))
    default, best = float(scores[0].mean()), int(scores.mean(axis=1).argmax())
    taken = nested > default
    settings = with_parameters(Settings(), kind, trials[best].params if taken else trials[0].params)
    return settings, {
        "trials": len(finish_trials(study)),
        "complete": len(trials),
        "default": default,
        "best": float(scores[best].mean()),
        "nested": nested,
        "taken": taken,
        "parameters": trials[best].params,
    }


def search(
    work: Work,
    values: Values,
    labels: np.ndarray,
    folds: Folds,
    how: How,
    trials: int,
    progress: Callable[[], None],
) -> tuple[Settings, dict[str, Any]]:
    """The settings to fit with, and what a manifest says of the search; `progress` hears of trials.

    Raises InputError if fewer than two folds hold both classes, as no other has an AUC.
    """
    scored = [k for k in range(folds.count) if np.unique(labels[folds.fold == k]).size == 2]
    if len(scored) < 2:
        raise InputError("a search needs two folds with both classes; leave out --trials.")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = URL.create("sqlite", database=str(work.folder / FILE))
    try:
        storage = optuna.storages.RDBStorage(url.render_as_string())
        settings, found = Settings(), {}
        for kind in KINDS:
            score = (
                tree_score(values, labels, folds, how, work)
                if kind == TREES
                else kernel_score(values, labels, folds, how)
            )
            study = open_study(storage, kind)
            for _ in range(len(finish_trials(study))):
                progress()
            while run(study, kind, score, scored, trials, how.seed) is not None:
                progress()
            best, found[kind] = verdict(study, kind)
            settings = with_parameters(settings, kind, parameters(best, kind))
        storage.remove_session()
        storage.engine.dispose()
    except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
        reason = str(error).split("\n")[0]
        raise PcamError(f"the search cannot use {work.folder / FILE}: {reason}") from None
    return settings, found


def open_study(storage: optuna.storages.RDBStorage, kind: str) -> optuna.Study:
    return optuna.create_study(
        storage=storage,
        study_name=kind,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTED),
        load_if_exists=True,
    )
