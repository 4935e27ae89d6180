"""Predictions by the workers of a cluster. A unit of work is a part of a split.

A worker opens the model and the patches itself, evaluates the base models with the code of one machine,
and sends their log-odds back. The command combines them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from .. import __version__
from ..constants import Adapt, Device
from ..encoders.options import EncoderOptions
from ..engine.devices import choose
from ..errors import InputError
from ..execution.cluster import Dask, blas_threads, joined
from ..extraction.measuring import kernels_in
from ..extraction.on_cluster import (
    PACKAGES,
    SplitToSee,
    check_same_pcam,
    compile_in_turn,
    kept,
    opening_of,
    ready_workers,
    split_to_see,
)
from ..extraction.streaming import streamed
from ..extraction.thumbnails import Thumbnails
from ..extraction.transformer import device_of
from ..learn import bundle as bundles
from ..learn.adapt import Moves
from ..learn.bundle import Bundle, model_sum
from ..learn.fit import features_digest
from ..learn.predict import PartScores, families_read, scores_of
from ..sources.detect import reopen
from ..sources.opening import Opening
from ..sources.source import Source, Split
from ..store.store import Store, open_store
from ..store.values import Values, spans_of, stored
from .data import Log
from .predicting import Computing, families_of
from .progress import shown

KEPT = 4  # jobs that a worker process keeps open, for commands that run at the same time


class PatchesToOpen(Protocol):
    """A split that every worker can open."""

    def open(self, bundle: Bundle, threads: int) -> Callable[[], Values]:
        """A function that gives the features of the split, for one thread at a time.

        Raises InputError if this worker sees other patches.
        """
        ...


@dataclass(frozen=True)
class StoredSplit:
    """A split of a feature store: its path, the families to read, and the digest of their files."""

    store: str
    split: str
    families: tuple[str, ...]
    features: str

    def open(self, bundle: Bundle, threads: int) -> Callable[[], Values]:
        """See `PatchesToOpen`."""
        store = open_store(Path(self.store))
        if features_digest(store, self.split, self.families, with_copies=False) != self.features:
            raise InputError(f"it sees other features in {self.store}")
        return lambda: stored(store, self.split, self.families, keep=False)


@dataclass(frozen=True)
class SourceSplit:
    """A split of a source, and how its features are computed.

    Parameters
    ----------
    opening, split
        How the source is opened, and what is then seen.
    families, encoder
        The families to compute, and the encoder that the model takes.
    device
        Where kernels run; `auto` is each worker's own choice.
    """

    opening: Opening
    split: SplitToSee
    families: tuple[str, ...]
    encoder: str | None
    device: Device

    def open(self, bundle: Bundle, threads: int) -> Callable[[], Values]:
        """See `PatchesToOpen`. Thumbnails are measured, too."""
        split = split_to_see(reopen(self.opening), self.split)
        families = [*families_of(bundle, self.families, self.encoder), Thumbnails()]
        target, _ = choose(self.device)
        compile_in_turn(target, kernels_in(families))
        return lambda: streamed(split, families, threads=threads, device=Device(target.NAME))


@dataclass(frozen=True)
class PredictJob:
    """What the units of a prediction have in common.

    Parameters
    ----------
    run
        Tells runs apart, so that a worker opens the patches anew for each.
    version
        The version of pcam.
    model, model_sum
        The model's path and sum.
    patches
        The patches.
    threads
        Number of threads of a unit.
    blas
        Number of threads of products of matrices, as in the client: rounding depends on it, and Dask
        starts workers with one.
    """

    run: str
    version: str
    model: str
    model_sum: str
    patches: PatchesToOpen
    threads: int
    blas: int


@dataclass(frozen=True)
class PartToScore:
    """A unit of work: a part of the split, and the groups and moves of its patches."""

    job: PredictJob
    part: int
    group: np.ndarray | None
    moves: Moves | None


@dataclass(frozen=True)
class OpenPrediction:
    """A job on a worker, with its model open; `values` gives the features for one thread."""

    bundle: Bundle
    values: Callable[[], Values]


def open_job(job: PredictJob) -> OpenPrediction:
    """Open a job on a worker. Raises InputError if this worker sees another model or other patches."""
    threadpool_limits(job.blas, user_api="blas")  # stays, because units of this job may overlap
    return _open(job)


@kept(KEPT)
def _open(job: PredictJob) -> OpenPrediction:
    check_same_pcam(job.version)
    bundle = bundles.read(Path(job.model))
    if model_sum(Path(job.model)) != job.model_sum:
        raise InputError(f"it sees another model {job.model}")
    return OpenPrediction(bundle, job.patches.open(bundle, job.threads))


async def get_ready(job: PredictJob) -> None:
    """Open a job on a worker, beside its event loop."""
    await asyncio.to_thread(open_job, job)


def score_part(unit: PartToScore) -> PartScores:
    """Evaluate the model on a part on a worker."""
    opened = open_job(unit.job)
    values = opened.values().only(unit.part)
    return scores_of(opened.bundle, values, unit.job.threads, unit.group, unit.moves)


@dataclass(frozen=True)
class ClusterCrew:
    """The workers of a cluster; see `learn.predict.Crew`.

    Parameters
    ----------
    executor, job
        The cluster, and what its workers have opened.
    rows
        Number of patches.
    progress
        Called with the number of patches done.
    """

    executor: Dask
    job: PredictJob
    rows: int
    progress: Callable[[int], None]

    def scores(
        self, group: np.ndarray | None = None, moves: Moves | None = None
    ) -> Generator[PartScores]:
        """See `learn.predict.Crew`."""
        if moves is None:  # otherwise, it is the second pass
            self.progress(0)
        units = (
            PartToScore(
                self.job,
                k,
                None if group is None else group[rows],
                None if moves is None else moves.of_rows(rows),
            )
            for k, rows in enumerate(spans_of(self.rows))
        )
        with closing(self.executor.map(score_part, units)) as results:
            for part in results:
                self.progress(len(part.logits))
                yield part


def stored_split(bundle: Bundle, store: Store, split: str, how: Computing) -> StoredSplit:
    """A split of a feature store, for workers to open."""
    families = families_read(bundle, how.adapt)
    digest = features_digest(store, split, families, with_copies=False)
    return StoredSplit(str(store.path.absolute()), split, tuple(families), digest)


def source_split(bundle: Bundle, source: Source, split: Split, how: Computing) -> SourceSplit:
    """A split of a source, for workers to open.

    Raises InputError if they cannot, or if the model takes features that cannot be computed here.
    """
    names = families_read(bundle, how.adapt)
    families_of(bundle, names, how.encoder)
    return SourceSplit(
        opening_of(source).absolute(),
        SplitToSee.of(source, split),
        tuple(names),
        EncoderOptions(how.encoder).absolute().encoder,
        device_of(how.device),
    )


@contextmanager
def crew_for(
    model: Path, patches: StoredSplit | SourceSplit, rows: int, how: Computing, log: Log
) -> Iterator[ClusterCrew]:
    """The workers of a cluster, ready to predict patches with a model.

    Raises InputError if a worker has another version, or sees another model or other patches; and
    PcamError if the scheduler or the workers are gone.
    """
    threads = how.threads or 1
    job = PredictJob(
        run=secrets.token_hex(8),
        version=__version__,
        model=str(model.absolute()),
        model_sum=model_sum(model),
        patches=patches,
        threads=threads,
        blas=blas_threads(),
    )
    passes = 1 if how.adapt == Adapt.none else 2
    with (
        joined(how.cluster, threads, log) as executor,
        shown(how.progress, "predict", passes * rows, "patches") as advance,
    ):
        same = "the model and the patches at the same paths"
        ready_workers(executor, (*PACKAGES, "xgboost"), get_ready, job, same)
        yield ClusterCrew(executor, job, rows, advance)
