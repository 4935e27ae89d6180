"""A search for better settings: Optuna's tree-structured Parzen estimator on the folds of a fit.

Trees and the kernel model are searched separately, on the columns of all families. The first trial is
the default settings. The best trial is used only if the search helps on folds it was not chosen on: for
each fold, take the best trial of the other folds; the mean AUC of these must beat that of the default.

Source: T. Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", KDD 2019.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError, PcamError
from ..evaluate.intervals import auc
from ..storage.fields import Fields
from ..storage.files import read_json
from ..storage.resumable import STEPS
from ..storage.sums import check_seal, sum_of, write_sealed
from . import boosting, nystroem
from .base_models import KERNEL, MODEL_CLASSES, TREES
from .context import FitContext
from .manifest import SearchRecord
from .names import SEARCH
from .settings import Settings
from .steps import Work

STARTED = 10  # random trials before the sampler learns from them; none of these is pruned
OF_FOLDS = "auc_of_folds"  # an attribute of each trial
DISTRIBUTIONS: dict[str, dict[str, optuna.distributions.BaseDistribution]] = {
    TREES: {
        "max_depth": optuna.distributions.IntDistribution(3, 8),
        "eta": optuna.distributions.FloatDistribution(0.03, 0.3, log=True),
        "rounds": optuna.distributions.IntDistribution(120, 1200, log=True),
        "subsample": optuna.distributions.FloatDistribution(0.3, 1.0),
        "colsample_bynode": optuna.distributions.FloatDistribution(0.1, 1.0, log=True),
        "min_child_weight": optuna.distributions.FloatDistribution(1, 50, log=True),
        "lambda": optuna.distributions.FloatDistribution(0.1, 100, log=True),
    },
    KERNEL: {
        "width": optuna.distributions.FloatDistribution(0.03, 3.0, log=True),
        "penalty": optuna.distributions.FloatDistribution(0.003, 3.0, log=True),
    },
}
Score = Callable[[Settings, int], float]  # the AUC of a fold


def with_parameters(settings: Settings, kind: str, given: dict[str, Any]) -> Settings:
    """The settings with the parameters of a trial of a kind of base model."""
    if kind == KERNEL:
        return replace(settings, **given)
    trees = settings.trees | {name: value for name, value in given.items() if name != "rounds"}
    return replace(settings, trees=trees, rounds=given["rounds"])


def parameters(settings: Settings, kind: str) -> dict[str, Any]:
    """The parameters of a kind of base model, as a trial has them."""
    known = settings.trees | {"rounds": settings.rounds}
    known |= {"width": settings.width, "penalty": settings.penalty}
    return {name: known[name] for name in DISTRIBUTIONS[kind]}


def tree_score(context: FitContext) -> Score:
    """Returns a function that gives the AUC of boosted trees of all families on a fold."""
    fold = context.fold
    blocks = cache(partial(boosting.bin_all, context, context.values.families, "search"))

    def score(settings: Settings, k: int) -> float:
        tried, own = replace(context, settings=settings), fold == k
        grown = boosting.grow_as_set(tried, blocks(), ~own, settings.rounds)
        return auc(context.labels[own], grown.margins[own, -1])

    return score


def kernel_score(context: FitContext) -> Score:
    """Returns a function that gives the AUC of a kernel model of all families on a fold."""
    values, fold, xp = context.values, context.fold, context.compute.xp

    @lru_cache(1)
    def logits(width: float, penalty: float) -> np.ndarray:
        seed = context.compute.seed
        ready = nystroem.prepare(
            values, values.families, context.labels, fold, seed=seed, width=width, xp=xp
        )
        return nystroem.across(ready, values, values.families, fold, penalty=penalty, xp=xp)

    def score(settings: Settings, k: int) -> float:
        own = fold == k
        return auc(context.labels[own], logits(settings.width, settings.penalty)[own])

    return score


SCORES: dict[str, Callable[[FitContext], Score]] = {TREES: tree_score, KERNEL: kernel_score}


def finish_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The finished trials; a trial that was interrupted is marked as failed."""
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(states=ended)


def run(
    study: optuna.Study, kind: str, score: Score, folds: list[int], trials: int, seed: int
) -> optuna.trial.FrozenTrial | None:
    """Run one more trial; returns None if there have been enough.

    Each trial has a sampler with a seed of its own, so that an interrupted search goes on as if it had
    not been interrupted.
    """
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


def verdict(study: optuna.Study, kind: str) -> tuple[Settings, SearchRecord]:
    """The settings to use after a search, and what a manifest says of it."""
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    scores = np.array([trial.user_attrs[OF_FOLDS] for trial in trials])
    others = (scores.sum(axis=1, keepdims=True) - scores) / (scores.shape[1] - 1)
    nested = float(np.mean(scores[others.argmax(axis=0), np.arange(scores.shape[1])]))
    default, best = float(scores[0].mean()), int(scores.mean(axis=1).argmax())
    taken = nested > default
    settings = with_parameters(Settings(), kind, trials[best].params if taken else trials[0].params)
    return settings, SearchRecord(
        trials=len(finish_trials(study)),
        complete=len(trials),
        default=default,
        best=float(scores[best].mean()),
        nested=nested,
        taken=taken,
        parameters=trials[best].params,
    )


def search(context: FitContext, trials: int) -> tuple[Settings, dict[str, SearchRecord]]:
    """Search for better settings, trials of each kind of base model.

    Parameters
    ----------
    context
        The data and folds. `progress` is told of each trial as the steps of one model of all families.
    trials
        Number of trials for each kind.

    Returns
    -------
    settings
        The settings to fit with.
    records
        What a manifest says of the search, for each kind.

    Raises
    ------
    InputError
        If fewer than two folds hold both classes: a fold of one class has no AUC.
    PcamError
        If the file of trials cannot be used.
    """
    fold, labels = context.fold, context.labels
    scored = [k for k in range(context.folds.count) if np.unique(labels[fold == k]).size == 2]
    if len(scored) < 2:
        raise InputError("a search needs two folds with both classes; leave out --trials.")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = context.work.folder / SEARCH
    url = URL.create("sqlite", database=str(file))
    settings, records = Settings(), {}
    try:
        with opened_storage(url.render_as_string()) as storage:
            for kind in MODEL_CLASSES:
                study = verified_study(storage, kind, context.work)
                run_trials(study, kind, context, scored, trials)
                best, records[kind] = verdict(study, kind)
                settings = with_parameters(settings, kind, parameters(best, kind))
    except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
        reason = str(error).split("\n")[0]
        raise PcamError(
            f"the search cannot use {file}: {reason}; remove this file to start the search again."
        ) from None
    return settings, records


@contextmanager
def opened_storage(url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Open a file of trials, and close its connections, which Optuna leaves open."""
    storage = optuna.storages.RDBStorage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def run_trials(
    study: optuna.Study, kind: str, context: FitContext, folds: list[int], trials: int
) -> None:
    """Run the trials that a study still lacks."""
    score, steps = SCORES[kind](context), len(context.values.families)
    for _ in range(len(finish_trials(study))):
        context.progress(steps)
    while run(study, kind, score, folds, trials, context.compute.seed) is not None:
        note_trials(context.work, kind, study)
        context.progress(steps)


def sum_of_trial(trial: optuna.trial.FrozenTrial) -> str:
    """The sum of all of a trial that later trials and the verdict depend on."""
    distributions = trial.distributions.items()
    return sum_of(
        {
            "state": trial.state.name,
            "parameters": trial.params,
            "distributions": {
                name: optuna.distributions.distribution_to_json(one) for name, one in distributions
            },
            "values": trial.values,
            "of_folds": trial.user_attrs.get(OF_FOLDS),
            "reported": {str(k): value for k, value in trial.intermediate_values.items()},
        }
    )


def sums_file(work: Work, kind: str) -> Path:
    """Where the sums of the trials of a kind of base model are kept until the fit ends."""
    return work.folder / STEPS / f"search-{kind}.json"


def note_trials(work: Work, kind: str, study: optuna.Study) -> None:
    """Write the sums of the finished trials."""
    sums = [sum_of_trial(trial) for trial in finish_trials(study)]
    write_sealed(sums_file(work, kind), {"trials": sums}, work.folder)


def noted_trials(work: Work, kind: str) -> tuple[str, ...]:
    """The sums that `note_trials` wrote; none if they are missing or damaged."""
    try:
        content = read_json(sums_file(work, kind), "sums of trials")
        check_seal(content)
        return Fields(content).texts("trials")
    except (InputError, ValueError):
        return ()


def verified_study(storage: optuna.storages.RDBStorage, kind: str, work: Work) -> optuna.Study:
    """Open the study of a kind of base model with those trials that are as they were when they ended.

    SQLite does not notice a changed number. From the first trial on that does not have its sum, trials
    are made again: later ones were chosen by its result.
    """
    study = open_study(storage, kind)
    trials, known = finish_trials(study), noted_trials(work, kind)
    sound = 0
    for trial, noted in zip(trials, known, strict=False):
        if sum_of_trial(trial) != noted:
            break
        sound += 1
    upward = study.direction == optuna.study.StudyDirection.MAXIMIZE
    if sound == len(trials) and upward:
        return study
    optuna.delete_study(study_name=kind, storage=storage)
    study = open_study(storage, kind)
    study.add_trials(trials[:sound])
    note_trials(work, kind, study)
    return study


def open_study(storage: optuna.storages.RDBStorage, kind: str) -> optuna.Study:
    """Open or create the study of a kind of base model."""
    return optuna.create_study(
        storage=storage,
        study_name=kind,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTED),
        load_if_exists=True,
    )
