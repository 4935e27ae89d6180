"""Fitting: train base models out of fold across slides, combine them, and score the combination."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import xgboost
from scipy.special import expit
from threadpoolctl import threadpool_limits

from ..constants import Shares
from ..errors import InputError
from ..evaluate.intervals import auc_intervals
from ..evaluate.metrics import metrics
from ..extras import check_installed
from ..families.registry import ALL, CNN, FAMILIES, listed
from ..grouping.appearance import looks_in
from ..grouping.folds import TABLE as FOLD_TABLE
from ..grouping.folds import Folds, make_folds, torn_slides
from ..storage import costs
from ..storage.files import sha256
from ..storage.sums import FileSum
from ..store.names import check_original, copies_of
from ..store.store import Store
from ..store.trained_on import SeenPatches, check_unlearned
from ..store.values import Values, stored
from ..words import counted
from . import blend, bundle, known_answers, memory, nystroem, stack
from .attribution import importance
from .base_models import (
    KERNEL,
    ON_REQUEST,
    by_default,
    families_needed,
    shares_of,
    sharing,
    sharing_logits,
)
from .context import FitContext
from .copies import Copies, copies_in, expected_elsewhere, scores_elsewhere, with_copies
from .known_answers import KnownAnswers
from .leaky import leaky_columns
from .manifest import (
    CalibrationRecord,
    FitOutcome,
    FitPlan,
    FoldsRecord,
    Leakage,
    ModelManifest,
    ProbabilityScores,
    SearchRecord,
    TrainingData,
)
from .memory import FitSize, MemoryPlan
from .names import IMPORTANCE, KNOWN_ANSWERS, MOMENTS, OUT_OF_FOLD, SEARCH, THUMBNAILS
from .protocol import BaseModel
from .settings import Compute, Settings
from .steps import kept_steps, open_work
from .training import leakage_gap, train_models
from .training_patches import write_thumbnails

LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba")  # and XGBoost, also as xgboost-cpu


@dataclass(frozen=True)
class FitOptions:
    """How a model is fitted.

    Parameters
    ----------
    compute
        Where the fit is computed, and its seed.
    trials
        Trials of a search for better settings, for each kind of base model; 0 uses the defaults.
    memory
        What stays in memory; None decides it for half of the machine's.
    overwrite
        Whether a model that exists is replaced.
    copies
        Whether changed copies of the patches are learned from, if the store has them.
    outside
        Predictions of other models to combine with; None without any.
    """

    compute: Compute
    trials: int = 0
    memory: MemoryPlan | None = None
    overwrite: bool = False
    copies: bool = True
    outside: blend.Outside | None = None


@dataclass(frozen=True)
class Learned:
    """The result of `learn`.

    Parameters
    ----------
    models
        The base models by name.
    outcome
        The stack, the scores and the importance of families.
    predicted
        The out-of-fold probabilities of each base model and of all combined, float64 (rows,) each.
    importance
        The importance of each column.
    questions
        The rows of features whose answers the outcome keeps, float32 (rows, columns).
    """

    models: dict[str, BaseModel]
    outcome: FitOutcome
    predicted: dict[str, np.ndarray]
    importance: pd.DataFrame
    questions: np.ndarray


class Crew(Protocol):
    """Who makes steps of a fit beside this process."""

    def make_steps(self, context: FitContext) -> FitContext:
        """Make and keep steps; returns the context to go on with, which finds them kept."""
        ...


def families_to_use(store: Store, split: str, names: str | None) -> list[str]:
    """The families to learn from.

    Parameters
    ----------
    store, split
        The features.
    names
        Comma-separated names; `all` stands for the hand-crafted families and `cnn` for the embeddings
        that are complete. None stands for both. Families of `base_models.ON_REQUEST` have to be named,
        unless there are no others.

    Raises
    ------
    InputError
        If the store has no complete families, or not those asked for, or a network of one has learned
        the labels of the patches.
    """
    check_original(split)
    finished = store.families(split)
    groups = {
        ALL: by_default([name for name in finished if name in FAMILIES]),
        CNN: [name for name in finished if name not in FAMILIES],
    }
    asked = [] if names is None else listed(names)
    if names is not None and not asked:
        raise InputError("--families names none; name families, all or cnn, or leave it out.")
    wanted = [name for word in asked for name in groups.get(word) or [word]]
    for name in wanted:
        if name not in finished:
            raise InputError(
                f"feature store {store.path} has no finished {name} features in split {split!r} "
                f"(finished: {', '.join(finished) or 'none'}); run pcam extract first."
            )
    if not finished:
        raise InputError(
            f"feature store {store.path} has no finished features in split {split!r}; run pcam extract "
            "first."
        )
    used = [name for name in finished if name in wanted] if wanted else by_default(finished)
    record = store.split(split)
    for name, seen in networks_seen(store, split, used).items():
        check_unlearned(name, seen, split, record.rows)
    return used


def networks_seen(store: Store, split: str, families: Sequence[str]) -> dict[str, SeenPatches]:
    """What the networks of some families have seen of a split in their training, by family."""
    states = store.split(split).families
    known = {name: states[name].seen for name in families if name in states}
    return {name: seen for name, seen in known.items() if seen is not None}


def families_left_out(store: Store, split: str, names: str | None) -> list[str]:
    """The families of `base_models.ON_REQUEST` that the store has, but that `names` does not name.

    Parameters
    ----------
    store, split, names
        As for `families_to_use`.
    """
    if names is not None and ALL not in listed(names):
        return []
    used = families_to_use(store, split, names)
    return [name for name in store.families(split) if name in ON_REQUEST and name not in used]


def sentence_on_left_out(store: Store, split: str, names: str | None, left_out: Sequence[str]) -> str:
    """What to do to learn also from families that are left out; arguments as for `families_to_use`."""
    embedded = any(name not in FAMILIES for name in store.families(split))
    asked = names or (f"{ALL},{CNN}" if embedded else ALL)
    listing = ", ".join(left_out)
    return f"{listing} is not used; add --families {','.join([asked, *left_out])} to learn from it too"


def deal(
    store: Store, split: str, count: int, seed: int, groups: tuple[str, dict[str, str]] | None = None
) -> Folds:
    """Deal the patches of a split into folds.

    Parameters
    ----------
    store, split
        The patches.
    count
        The number of folds.
    seed
        Seed of the dealing.
    groups
        What groups are called, and the group of each id, to use instead of slides.

    Raises
    ------
    InputError
        If the groups do not name all patches, or cannot be dealt into so many folds.
    """
    patches = store.patches(split)
    given, unit = patches, "slide"
    if groups is not None:
        unit, known = groups
        missing = sum(i not in known for i in patches["id"])
        if missing:
            raise InputError(
                f"the table of --groups lacks {missing:,} of {counted(len(patches), 'patch')}; it "
                "has to name "
                "a group for each."
            )
        patches = patches.assign(slide=pd.Series([known[i] for i in patches["id"]], dtype=object))
    folds = make_folds(patches, count, seed, looks_in(store, split), unit)
    return replace(folds, protocol=folds.protocol + torn_slides(given, folds.fold))


def versions(*others: str) -> dict[str, str]:
    """The versions of Python and of the libraries that decide a fit, and of others."""
    known = {name: version(name) for name in (*LIBRARIES, *others)}
    return {"python": platform.python_version(), "xgboost": xgboost.__version__} | known


def plan_of(
    store: Store, split: str, families: Sequence[str], folds: Folds, options: FitOptions
) -> FitPlan:
    """What decides a fit."""
    record, compute = store.split(split), options.compute
    labels = store.patches(split)["label"].to_numpy()
    return FitPlan(
        source=TrainingData(
            store.manifest.source, split, record.rows, record.fingerprint, int((labels == 1).sum())
        ),
        families={name: store.manifest.families[name] for name in families},
        folds=FoldsRecord.of(folds),
        features=features_digest(
            store, split, families, with_copies=learns_from_copies(store, split, options)
        ),
        seed=compute.seed,
        trials=options.trials,
        device=compute.device,
        threads=compute.threads,
        versions=versions(*(["optuna"] if options.trials else [])),
        outside=None if options.outside is None else options.outside.record(),
    )


def learns_from_copies(store: Store, split: str, options: FitOptions) -> bool:
    """Whether the store has changed copies of the split's patches, and they are to be learned from."""
    return options.copies and copies_of(split) in store.manifest.splits


def features_digest(store: Store, split: str, families: Sequence[str], *, with_copies: bool) -> str:
    """SHA-256 of the files of the features, and of those of changed copies if they are learned from."""
    own, copies = store.digest(split, families), copies_of(split)
    if not with_copies:
        return own
    return sha256((own + store.digest(copies, families)).encode())


def plan_memory(
    store: Store,
    split: str,
    families: Sequence[str],
    folds: int,
    options: FitOptions,
    limit: int | None = None,
) -> MemoryPlan:
    """Decide what stays in memory during a fit.

    Parameters
    ----------
    store, split, families
        The features.
    folds
        Number of folds.
    options
        How the model is fitted.
    limit
        Bytes of memory for the whole process. None: half of the machine's, or what the fit takes at
        least if that is more.

    Raises
    ------
    InputError
        If the fit takes more than `limit` in any case.
    """
    return memory.plan(fit_size(store, split, families, folds, options), limit)


def fit_size(
    store: Store, split: str, families: Sequence[str], folds: int, options: FitOptions
) -> FitSize:
    """What decides how much memory a fit takes; see `plan_memory`."""
    changed = copies_of(split) if learns_from_copies(store, split, options) else None
    rows = store.split(split).rows + (store.split(changed).rows if changed else 0)
    columns = sum(len(store.manifest.families[name].columns) for name in families)
    return FitSize(rows, columns, folds, options.compute.threads)


def features_to_fit(
    store: Store, split: str, families: Sequence[str], options: FitOptions, *, keep: bool
) -> tuple[Values, Copies | None]:
    """The features of patches and of their changed copies.

    With `keep`, they stay in memory once they are read."""
    copies = None
    if learns_from_copies(store, split, options):
        copies = copies_in(store, split, list(families), keep=keep)
    return stored(store, split, families, keep=keep), copies


def fit(
    store: Store,
    path: Path,
    *,
    split: str,
    families: Sequence[str],
    folds: Folds,
    options: FitOptions,
    progress: Callable[[int], None] = lambda done: None,
    crew: Crew | None = None,
) -> bundle.Bundle:
    """Fit a model on the features of a split.

    A fit that was stopped goes on with the steps it has kept, if it is run again with the same
    arguments.

    Parameters
    ----------
    store, split, families
        The features.
    path
        The model's folder, which is written whole or not at all.
    folds
        The folds of the split's patches.
    options
        How the model is fitted.
    progress
        Told how many of `training.steps` have been done since the last call.
    crew
        Who makes the steps beside this process; None for nobody.

    Returns
    -------
    bundle.Bundle
        The fitted model.

    Raises
    ------
    InputError
        If `path` cannot be written, or an unfinished fit there has another plan.
    PcamError
        If another process fits this model.
    """
    planned = options.memory or plan_memory(store, split, families, folds.count, options)
    values, copies = features_to_fit(store, split, families, options, keep=planned.keep)
    compute = replace(options.compute, on_disk=not planned.bins)
    store.check_finished(split, families)
    plan = plan_of(store, split, families, folds, options)
    patches = store.patches(split)
    labels = patches["label"].to_numpy(np.int8)
    began = time.monotonic()
    with open_work(path, plan.to_dict(), overwrite=options.overwrite) as work:
        kept = kept_steps(path)
        context = FitContext(work, values, labels, folds, compute, progress=progress)
        settings, searched = searched_settings(context, options.trials)
        columns = {name: record.columns for name, record in plan.families.items()}
        context = replace(context, settings=settings)
        if crew is not None:
            context = crew.make_steps(context)
        learned = learn(context, columns, copies, options.outside)
        outcome = replace(learned.outcome, search=searched)
        tables = {
            FOLD_TABLE: patches.assign(label=labels, group=folds.group, fold=folds.fold),
            OUT_OF_FOLD: pd.DataFrame({"id": patches["id"]} | learned.predicted),
            IMPORTANCE: learned.importance,
        }
        sums = {
            file.relative_to(work.folder).as_posix(): work.sum_of(file)
            for file in bundle.model_files(work.folder, plan.families)
        }
        for name, table in tables.items():
            sums[name] = bundle.write_table(work.folder, name, table)
        questions = work.folder / KNOWN_ANSWERS
        sums[KNOWN_ANSWERS] = known_answers.write_questions(work.folder, questions, learned.questions)
        if searched:
            sums[SEARCH] = FileSum.of_file(work.folder / SEARCH)
        small = store.thumbnails(split)
        if small is not None:
            sums[THUMBNAILS] = write_thumbnails(work.folder, small)
        moments = None
        if copies is not None:
            moments = nystroem.moments(block for _, block in values.blocks(families))
            sums[MOMENTS] = bundle.write_moments(work.folder, *moments)
        check_store(store, split, families, with_copies=copies is not None)
        manifest = bundle.write_manifest(work.folder, ModelManifest.of(plan, outcome), sums)
        alone = not kept and crew is None  # the time of many machines says nothing about one
        seconds = time.monotonic() - began if alone else None
        rows = values.rows + outcome.copies
        measuring = costs.measuring_seconds(store.path, families)
        spent = cost(learned.models, rows, seconds, compute, measuring)
        if crew is not None:  # the memory of this process is not that of the training
            spent = replace(spent, train_memory_mib=None)
        costs.write_sum(work.folder, spent)
    return bundle.Bundle(manifest, learned.models, moments)


def check_store(store: Store, split: str, families: Sequence[str], *, with_copies: bool) -> None:
    """Raise PcamError if the store was changed since it was opened: a model is of one store."""
    store.check_unchanged(split, families)
    if with_copies:
        store.check_unchanged(copies_of(split), families)


def searched_settings(context: FitContext, trials: int) -> tuple[Settings, dict[str, SearchRecord]]:
    """The settings to fit with, after a search of `trials` of each kind if there are any."""
    if not trials:
        return context.settings, {}
    check_installed("optuna", "--trials")
    from .search import search

    return search(context, trials)


def cost(
    models: Mapping[str, BaseModel],
    rows: int,
    seconds: float | None,
    compute: Compute,
    measuring: float | None,
) -> costs.Cost:
    """What a fit to some rows has cost; its speed is unknown if it went on with kept steps.

    `measuring` is the time in seconds that the features of a patch took, if it is known.
    """
    on_card = compute.device == "cuda"
    return costs.Cost(
        parameters=sum(model.parameters for model in models.values()),
        train_seconds=(
            None if seconds is None or measuring is None else round(seconds + rows * measuring, 1)
        ),
        train_patches_per_second=None if seconds is None else round(rows / seconds, 2),
        train_memory_mib=costs.peak_memory_mib(),
        train_device="cuda" if on_card else costs.cpu_name(compute.threads),
    )


def learn(
    context: FitContext,
    columns: Mapping[str, Sequence[str]],
    copies: Copies | None = None,
    outside: blend.Outside | None = None,
) -> Learned:
    """Train base models, combine them, and score the combination out of fold.

    Parameters
    ----------
    context
        The data, folds and settings.
    columns
        The names of each family's columns.
    copies
        Changed copies of the patches, to learn from and to score as well.
    outside
        Predictions of other models, to combine with those of the base models together.
    """
    labels, fold = context.labels, context.fold
    models, of_all = train_models(with_copies(context, copies))
    logits = of_all[: len(labels)]
    gap = leakage_gap(context, copies)
    context.progress(len(context.values.families))
    # Matrices of a few columns: BLAS's threads mostly wait for each other, longer the busier the cores.
    with threadpool_limits(1, user_api="blas"):
        shares = shares_of(context.values.families)
        combined = stack.fit_stack(tuple(models), logits, labels, fold, shares)
        before, after = stack.out_of_fold(logits, labels, fold, shares)
        together = stack.pooled(combined, logits, labels, fold, shares)
        candidates = stack.candidate_aucs(logits, labels, fold, shares)
    probabilities = np.column_stack([expit(logits), together])
    names = (*models, stack.COMBINED)
    scores = auc_intervals(labels, probabilities.T, context.folds.group, out_of_fold=True)
    table, families = importance(models, combined, context.values, columns)
    elsewhere, expected = {}, None
    if copies is not None:
        changed = combined.together(of_all[len(labels) :])
        compared = (labels, combined.together(logits), changed, copies)
        elsewhere = scores_elsewhere(*compared)
        expected = expected_elsewhere(*compared, context.folds.group, seed=context.compute.seed)
    asked, answers = questions_and_answers(models, combined, context.values)
    outcome = FitOutcome(
        settings=context.settings,
        stack=combined,
        candidates=candidates,
        out_of_fold_auc=dict(zip(names, scores, strict=True)),
        calibration=CalibrationRecord(
            probability_scores(labels, before), probability_scores(labels, after)
        ),
        leakage=Leakage.of(KERNEL, *gap),
        importance=families,
        known_answers=answers,
        copies=0 if copies is None else copies.values.rows,
        elsewhere=elsewhere,
        elsewhere_auc=expected,
        leaky_columns=leaky_columns(context.values, labels, fold, columns),
    )
    predicted = dict(zip(names, probabilities.T, strict=True))
    learned = Learned(models, outcome, predicted, table, asked)
    if outside is None:
        return learned
    classical = stack.across(stack.in_fixed_shares(shares), logits, labels, fold)
    return with_outside(learned, context, outside.parts(classical, fold), outside.shares)


def with_outside(learned: Learned, context: FitContext, parts: blend.Parts, shares: Shares) -> Learned:
    """What was learned, combined with outside predictions.

    `stack.COMBINED` is then the combination of all, and `blend.CLASSICAL` what it was before.
    """
    labels, fold = context.labels, context.fold
    with threadpool_limits(1, user_api="blas"):
        blended = blend.blend(parts, labels, fold, context.folds.group, shares, stack.COMBINED)
        before, after = blend.nested(parts, labels, fold, shares)
    models = {name: learned.outcome.out_of_fold_auc[name] for name in learned.models}
    probabilities = {name: learned.predicted[name] for name in learned.models}
    probabilities[blend.CLASSICAL] = learned.predicted[stack.COMBINED]
    for name, column in zip(parts.names[1:], parts.log_odds.T[1:], strict=True):
        probabilities[name] = expit(column)
    outcome = replace(
        learned.outcome,
        blend=blended.blend,
        out_of_fold_auc=models | blended.scores,
        calibration=CalibrationRecord(
            probability_scores(labels, before), probability_scores(labels, after)
        ),
    )
    predicted = probabilities | {stack.COMBINED: blended.probabilities}
    return replace(learned, outcome=outcome, predicted=predicted)


def questions_and_answers(
    models: Mapping[str, BaseModel], combined: stack.Stack, values: Values
) -> tuple[np.ndarray, KnownAnswers]:
    """Some rows of features that predictions depend on, and what the model says of them."""
    weights = combined.weight_of
    needed = families_needed(values.families, weights)
    rows = known_answers.questions(values, needed)
    alone = known_answers.as_values(rows, {name: values.widths[name] for name in needed})
    logits = sharing_logits(models, weights, values.families, alone, 1)
    return rows, KnownAnswers.of(logits, combined, sharing(values.families, weights))


def probability_scores(labels: np.ndarray, probabilities: np.ndarray) -> ProbabilityScores:
    """Scores of probabilities (rows,)."""
    known = metrics(labels, probabilities)
    return ProbabilityScores(known["brier"], known["log_loss"], known["ece"])
