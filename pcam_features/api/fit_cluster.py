"""Fits on the workers of a cluster. A unit of work is a step of the fit.

A worker opens the store itself, makes the step with the code of one machine, and keeps it in the folder
of the unfinished model, which all see. The client goes on from the steps that are kept.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .. import __version__
from ..errors import InputError
from ..execution.cluster import Dask, blas_threads
from ..extraction.on_cluster import PACKAGES, check_same_pcam, check_shared, ready_workers
from ..grouping.folds import Folds
from ..learn.base_models import KERNEL, MODEL_CLASSES, TREES, base_models
from ..learn.boosting import Growth
from ..learn.context import FitContext
from ..learn.copies import Copies, with_copies
from ..learn.fit import FitOptions, features_digest, features_to_fit, fit_size, learns_from_copies
from ..learn.kernel_ridge import KernelSums
from ..learn.memory import MemoryPlan, plan_of_worker
from ..learn.settings import Settings
from ..learn.steps import Work
from ..learn.training import leakage_gap
from ..storage.urls import absolute
from ..store.store import Store, open_store

LEAKAGE = "leakage"  # the step that measures the leakage gap
ROOM = 0.9  # of the memory limit of a worker: Dask ends one that takes 0.95 of it


@dataclass(frozen=True)
class FitJob:
    """What the units of a fit have in common.

    Parameters
    ----------
    run
        Tells runs apart, so that a worker opens the store anew for each.
    version
        The version of pcam.
    store, split, families, features
        The store's path, what is learned from, and the digest of its files.
    folds
        The folds of the patches.
    options
        How the model is fitted.
    limit
        Bytes of memory for a worker's process; None for what Dask gives it.
    blas
        Number of threads of products of matrices, as in the client: rounding depends on it, and Dask
        starts workers with one.
    """

    run: str
    version: str
    store: str
    split: str
    families: tuple[str, ...]
    features: str
    folds: Folds
    options: FitOptions
    limit: int | None
    blas: int


@dataclass(frozen=True)
class StepToMake:
    """A unit of work: a base model, or its trees or sums of a fold, or the leakage gap."""

    job: FitJob
    settings: Settings
    folder: str
    name: str
    fold: int | None = None

    @property
    def weight(self) -> int:
        """How many of `training.steps` it counts as."""
        places = base_models(self.job.families)
        return len(self.job.families if self.name == LEAKAGE else places[self.name].families)


@dataclass
class OpenFit:
    """A fit on a worker, with its features open.

    `by_fold` is what the folds of the latest base model share, such as bins, by the model's name.
    """

    context: FitContext
    copies: Copies | None
    by_fold: dict[str, Growth | KernelSums]


_kept = threading.local()  # the latest fit of each thread, because XGBoost's matrices are not shared
_plans: dict[str, MemoryPlan] = {}  # what stays in memory, by the run


def open_features(job: FitJob) -> Store:
    """The store of a job. Raises InputError if this worker sees another."""
    check_same_pcam(job.version)
    store = open_store(Path(job.store))
    copies = learns_from_copies(store, job.split, job.options)
    seen = features_digest(store, job.split, job.families, with_copies=copies)
    if seen != job.features:
        raise InputError(f"it sees other features in {job.store}")
    return store


def memory_of(job: FitJob, store: Store, worker: Any) -> MemoryPlan:
    """What stays in the memory of this worker. Raises InputError if it has too little of it."""
    if job.run not in _plans:
        given = worker.memory_manager.memory_limit
        known = [int(ROOM * given)] if given else []
        limit = min([*known, *([] if job.limit is None else [job.limit])], default=None)
        size = fit_size(store, job.split, job.families, job.folds.count, job.options)
        plan = plan_of_worker(size, limit, worker.state.nthreads)
        _plans.clear()
        _plans[job.run] = plan
    return _plans[job.run]


async def get_ready(job: FitJob, dask_worker: Any) -> None:
    """Open the store of a job on a worker, beside its event loop; Dask passes the worker."""

    def open_here() -> None:
        memory_of(job, open_features(job), dask_worker)

    await asyncio.to_thread(open_here)


def opened(unit: StepToMake) -> OpenFit:
    """The fit of a unit, open in this thread of the worker."""
    from distributed import get_worker

    job = unit.job
    if getattr(_kept, "run", None) != job.run:
        store = open_features(job)
        memory = memory_of(job, store, get_worker())
        values, copies = features_to_fit(store, job.split, job.families, job.options, keep=memory.keep)
        labels = store.patches(job.split)["label"].to_numpy(np.int8)
        compute = replace(job.options.compute, on_disk=not memory.bins)
        work = Work(Path(unit.folder))
        context = FitContext(work, values, labels, job.folds, compute, unit.settings)
        _kept.run, _kept.fit = job.run, OpenFit(context, copies, {})
    fit: OpenFit = _kept.fit
    return fit


def make_step(unit: StepToMake) -> int:
    """Make a step on a worker and keep it; returns how many of `training.steps` it counts as."""
    threadpool_limits(unit.job.blas, user_api="blas")  # stays, because units of this job may overlap
    fit = opened(unit)
    if unit.name == LEAKAGE:
        leakage_gap(fit.context, fit.copies)
        return unit.weight
    place = base_models(unit.job.families)[unit.name]
    context = with_copies(fit.context, fit.copies)
    if place.kind == KERNEL:  # sums are steps, which any worker can go on from
        context = replace(context, compute=replace(context.compute, on_disk=True))
    if unit.fold is None:
        fit.by_fold.clear()
        MODEL_CLASSES[place.kind].fit(context, place.group, place.families)
        return unit.weight
    if unit.name not in fit.by_fold:
        fit.by_fold.clear()
        pages = f"{place.group}-{secrets.token_hex(4)}"  # of this thread alone
        fit.by_fold[unit.name] = (
            Growth(context, place.group, place.families, pages)
            if place.kind == TREES
            else KernelSums(context, place.group, place.families)
        )
    fit.by_fold[unit.name].of_fold(unit.fold)
    return unit.weight


@dataclass(frozen=True)
class ClusterCrew:
    """The workers of a cluster; see `learn.fit.Crew`."""

    executor: Dask
    job: FitJob

    def make_steps(self, context: FitContext) -> FitContext:
        """See `learn.fit.Crew`. The models of all patches follow their folds, which they need."""
        folder = context.work.folder
        check_shared(self.executor, folder, "model")
        leakage = StepToMake(self.job, context.settings, str(folder.absolute()), LEAKAGE)
        models = [replace(leakage, name=name) for name in base_models(self.job.families)]
        folds = [replace(unit, fold=k) for unit in models for k in range(self.job.folds.count)]
        for units in ([*folds, leakage], models):
            with closing(self.executor.map(make_step, units)) as results:
                for done in results:
                    context.progress(done)
        return replace(context, progress=lambda steps: None)


def ready_crew(
    executor: Dask,
    store: Store,
    split: str,
    families: Sequence[str],
    folds: Folds,
    options: FitOptions,
    limit: int | None,
) -> ClusterCrew:
    """The workers of a cluster, ready to make the steps of a fit.

    `limit` is the bytes of memory for a worker's process; None for what Dask gives it. Raises
    InputError if a worker has another version, sees another store, or has too little memory.
    """
    copies = learns_from_copies(store, split, options)
    job = FitJob(
        run=secrets.token_hex(8),
        version=__version__,
        store=absolute(store.path),
        split=split,
        families=tuple(families),
        features=features_digest(store, split, families, with_copies=copies),
        folds=folds,
        options=replace(options, outside=None, memory=None),
        limit=limit,
        blas=blas_threads(),
    )
    ready_workers(
        executor,
        (*PACKAGES, "xgboost", "scipy"),
        get_ready,
        job,
        "the store and the model at the same paths",
    )
    return ClusterCrew(executor, job)
