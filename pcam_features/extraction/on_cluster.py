"""Extraction on the workers of a cluster. A unit of work is a part of a store.

A worker opens the source itself, measures the part with the code that threads use, and writes it to the
store, which is on a disk that all see. The client records the sums that come back.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from .. import __version__
from ..constants import Device
from ..encoders.options import EncoderOptions
from ..engine.devices import Target, choose
from ..engine.kernel import Kernel
from ..errors import InputError, PcamError
from ..execution.cluster import LONGEST, Dask
from ..families.family import FeatureFamily
from ..families.registry import FAMILIES
from ..sources.detect import reopen
from ..sources.opening import Opening
from ..sources.source import Source, Split, digest
from ..storage.files import TEMPORARY, cache_root, temporary_of
from ..storage.sums import FileSum
from ..store.names import COPIES
from ..store.parts import Ledger
from ..words import message_of
from .extract import StorePart, measure_parts
from .measuring import OpenFamilies, kernels_in, open_families
from .shifts import copies
from .thumbnails import Thumbnails

PACKAGES = ("pcam_features", "numpy", "numba")
SAME = "the source at the same path"  # what all workers need beside the same pcam
COMPILING = "compiling.lock"  # in a machine's cache folder: one process compiles, others wait

AJob = TypeVar("AJob")
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class SplitToSee:
    """A split that every worker has to see as the client does.

    Parameters
    ----------
    name, rows
        Its name and number of patches.
    seen
        A digest of its ids, labels, slides and file sizes, and of how patches are resized.
    """

    name: str
    rows: int
    seen: str

    @classmethod
    def of(cls, source: Source, split: Split) -> SplitToSee:
        fit = "" if source.fit is None else json.dumps(source.fit.to_dict(), sort_keys=True)
        known = [*split.fingerprint().values(), split.content(0, len(split)), fit]
        return cls(split.name, len(split), digest(known))


@dataclass(frozen=True)
class FamilyToOpen:
    """A family that every worker has to open as the client did.

    Parameters
    ----------
    name
        Its name.
    options
        For an encoder, its options; None for a handcrafted family.
    described
        A digest of its description in a store's manifest.
    """

    name: str
    options: EncoderOptions | None
    described: str

    @classmethod
    def of(cls, family: FeatureFamily) -> FamilyToOpen:
        """Raises InputError for a family that is not known by a name or by options."""
        options: EncoderOptions | None = getattr(family, "given", None)
        if FAMILIES.get(family.name) is not family and options is None:
            raise InputError(
                f"{family.name} is a table of embeddings or an object of this program, which workers "
                "of a cluster cannot open by name; leave out --cluster, or add it in a run without."
            )
        return cls(family.name, options and options.absolute(), described(family))

    def open(self) -> FeatureFamily:
        """Open the family. Raises InputError if it is another here."""
        from ..encoders.registry import open_with

        family = FAMILIES[self.name] if self.options is None else open_with(self.options)
        if (family.name, described(family)) != (self.name, self.described):
            raise InputError(f"family {self.name} has another version or other weights here")
        return family


def described(family: FeatureFamily) -> str:
    """A digest of a family's description."""
    return digest([json.dumps(family.describe(), sort_keys=True)])


@dataclass(frozen=True)
class Job:
    """What the units of one extraction have in common.

    Parameters
    ----------
    run
        Tells runs apart, so that a worker opens the source anew for each.
    version
        The version of pcam.
    opening, splits
        How the source is opened, and what is then seen.
    families
        The families to open.
    device
        Where kernels run; `auto` is each worker's own choice.
    threads
        Number of threads of a unit.
    """

    run: str
    version: str
    opening: Opening
    splits: tuple[SplitToSee, ...]
    families: tuple[FamilyToOpen, ...]
    device: Device
    threads: int


@dataclass(frozen=True)
class PartToMeasure:
    """A unit of work: the part to measure, and the store's folder to write it to."""

    job: Job
    store: str
    part: StorePart


@dataclass(frozen=True)
class PartMeasured:
    """What a unit returns: the sum of each family's file, and the device that computed it."""

    part: StorePart
    sums: tuple[tuple[str, FileSum], ...]
    devices: tuple[tuple[str, str], ...]


def job_of(
    source: Source,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    device: Device,
    threads: int,
) -> Job:
    """The job of an extraction. Raises InputError if another process cannot open what it needs."""
    return Job(
        secrets.token_hex(8),
        __version__,
        opening_of(source).absolute(),
        tuple(SplitToSee.of(source, split) for split in splits),
        tuple(FamilyToOpen.of(family) for family in families),
        device,
        threads,
    )


def opening_of(source: Source) -> Opening:
    """How a source was opened. Raises InputError if another process cannot open it."""
    if source.opening is None:
        raise InputError(
            "this source was made by this program, so workers of a cluster cannot open it; give a "
            "path, or leave out --cluster."
        )
    return source.opening


@dataclass(frozen=True)
class OpenJob:
    """A job on a worker, with its source and families open."""

    splits: dict[str, Split]
    families: OpenFamilies
    target: Target


@dataclass
class Written:
    """The sums of the files of one part; see `store.parts.Record`."""

    path: Path
    sums: dict[str, FileSum] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, split: str, table: str, part: int, known: FileSum) -> None:
        with self._lock:
            self.sums[table] = known


_opened: dict[Job, OpenJob] = {}  # of this worker process: the latest job
_opening = threading.Lock()


def open_job(job: Job, worker: Any) -> OpenJob:
    """Open a job on a worker, if it is not open. Raises InputError if it sees another source there."""
    with _opening:
        if job not in _opened:
            _opened.clear()
            _opened[job] = _open(job, worker.state.nthreads)
        return _opened[job]


def _open(job: Job, units: int) -> OpenJob:
    check_same_pcam(job.version)
    source = reopen(job.opening)
    splits = {known.name: split_to_see(source, known) for known in job.splits}
    families = [*(family.open() for family in job.families), Thumbnails()]
    target, _ = choose(job.device)
    opened = open_families(families, target, units * job.threads)
    compile_in_turn(target, kernels_in(families))
    opened.prepare()
    return OpenJob(splits, opened, target)


def kept(count: int) -> Callable[[Callable[[AJob], Opened]], Callable[[AJob], Opened]]:
    """Have a worker process open each job once, one at a time, and keep the latest `count` open."""

    def decorated(open_it: Callable[[AJob], Opened]) -> Callable[[AJob], Opened]:
        opening, once = threading.Lock(), lru_cache(count)(open_it)

        @wraps(open_it)
        def opened(job: AJob) -> Opened:
            with opening:
                return once(job)

        return opened

    return decorated


def compile_in_turn(target: Target, kernels: Sequence[Kernel]) -> None:
    """Compile what is missing, in one process of a machine at a time."""
    folder = cache_root()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / COMPILING):
        target.compile_ahead(kernels)


def split_to_see(source: Source, known: SplitToSee) -> Split:
    """The split, or the copies of one, that the client sees. Raises InputError if it is another."""
    if known.name.endswith(COPIES):
        split = copies(source.split(known.name.removesuffix(COPIES)), known.rows)
    else:
        split = source.split(known.name)
    if SplitToSee.of(source, split) != known:
        raise InputError(f"it sees other patches in split {known.name!r} of {source.path}")
    return split


async def get_ready(job: Job, dask_worker: Any) -> None:
    """Open a job on a worker, beside its event loop; Dask passes the worker."""
    await asyncio.to_thread(open_job, job, dask_worker)


async def reach_folder(folder: str, token: str, content: str) -> None:
    """Read the client's file `token` in the folder to fill, and write a file there.

    Raises InputError, with the reason, if that is not possible.
    """

    def reach() -> None:
        try:
            same = Path(folder, token).read_text() == content
            own = temporary_of(Path(folder, content))
            own.write_text(content)
            own.unlink()
        except OSError as error:
            raise InputError(error.strerror or str(error)) from None
        if not same:
            raise InputError("another folder has this name there")

    await asyncio.to_thread(reach)


def measure_part(unit: PartToMeasure) -> PartMeasured:
    """Measure a part on a worker, and write it.

    Raises
    ------
    InputError
        If a patch cannot be read, or the worker cannot take part.
    """
    from distributed import get_worker

    worker = get_worker()
    try:
        opened = open_job(unit.job, worker)
    except PcamError as error:  # of a worker that came when the others were ready
        raise cannot_take_part(worker.address, error, SAME) from None
    written = Written(Path(unit.store))
    measure_parts(
        written, opened.splits, [unit.part], opened.families, unit.job.threads, lambda rows: None
    )
    by_name = {family.name: family for family in opened.families.families}
    names = unit.part.whole.families
    return PartMeasured(
        unit.part,
        tuple((name, written.sums[name]) for name in names),
        tuple((name, by_name[name].computed_on(opened.target.NAME)) for name in names),
    )


@dataclass(frozen=True)
class ClusterCrew:
    """The workers of a cluster; see `extract.Crew`."""

    executor: Dask
    job: Job
    device: str | None = None  # each worker may have another
    timed: bool = False  # the time of many machines says nothing about one

    def get_ready(self) -> None:
        """Have every worker open the job. Raises InputError if one cannot take part."""
        ready_workers(self.executor, PACKAGES, get_ready, self.job, SAME)

    def check_folder(self, folder: Path) -> None:
        """Raises InputError if a worker cannot read or write where the client writes."""
        check_shared(self.executor, folder, "feature store")

    def prepare(self) -> None:
        """Do nothing: `get_ready` has compiled what was missing."""

    def measure(
        self,
        ledger: Ledger,
        splits: dict[str, Split],
        parts: Sequence[StorePart],
        progress: Callable[[int], None],
    ) -> None:
        store = str(ledger.path.absolute())
        units = (PartToMeasure(self.job, store, part) for part in parts)
        with closing(self.executor.map(measure_part, units)) as results:
            for done in results:
                split = done.part.whole.split
                for name, device in done.devices:
                    ledger.computed_on(split, name, device)
                for name, known in done.sums:
                    ledger.record(split, name, done.part.number, known)
                progress(done.part.rows)


def check_shared(executor: Dask, folder: Path, what: str) -> None:
    """Raise InputError if a worker cannot read or write in the folder of `what`."""
    content = secrets.token_hex(8)
    token = folder / f"cluster-{content}{TEMPORARY}"
    token.write_text(content)
    try:
        where = str(folder.absolute())
        reached = executor.on_each(reach_folder, where, token.name, content)
    finally:
        token.unlink(missing_ok=True)
    for worker, failed in reached.items():
        if isinstance(failed, InputError):
            raise InputError(
                f"worker {worker} cannot write to the {what} at {where} ({failed}); give a "
                "folder on a disk that all workers have under the same path."
            )
        raise_for(failed, f"worker {worker} cannot write to the {what} at {where}")


def ready_workers(
    executor: Dask,
    packages: Sequence[str],
    get_ready: Callable[..., Awaitable[None]],
    job: Any,
    same: str,
) -> None:
    """Have every worker open a job.

    Raises InputError if a worker has another version of a package, or if `get_ready` raises it there,
    with the reason; `same` says what all workers need beside the same pcam.
    """
    executor.check_versions(packages)
    for worker, failed in executor.on_each(get_ready, job).items():
        if isinstance(failed, PcamError):
            raise cannot_take_part(worker, failed, same)
        raise_for(failed, f"worker {worker} cannot take part")


def cannot_take_part(worker: str, failed: PcamError, same: str) -> InputError:
    """The error of a worker that cannot open a job; see `ready_workers`."""
    reason = str(failed).rstrip(".")
    return InputError(
        f"worker {worker} cannot take part: {reason}; every worker needs the same pcam, and {same}."
    )


def check_same_pcam(version: str) -> None:
    """Raise InputError, with the reason, if the client's pcam is another than this worker's."""
    if version != __version__:
        raise InputError(f"it has pcam {__version__}, and the client has {version}")


def raise_for(failed: Any, what: str) -> None:
    """Raise what a worker answered, if that is an exception. `what` begins the sentence."""
    if isinstance(failed, PcamError):
        raise failed
    if isinstance(failed, BaseException):
        raise InputError(
            f"{what} ({type(failed).__name__}: {message_of(failed, LONGEST)}); install the same pcam "
            "there, and see the worker's log."
        )


def ready_crew(
    executor: Dask,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    *,
    device: Device = Device.auto,
    threads: int = 1,
) -> ClusterCrew:
    """The workers of a cluster, ready to compute what a store lacks; see `extract.fill_store`.

    Parameters
    ----------
    executor
        The cluster.
    source, splits, families
        See `extract.extract`. The source is on a disk that all workers see.
    device
        Where kernels run; `auto` is each worker's own choice.
    threads
        Number of threads of a unit. A worker runs as many units at once as it has threads for Dask.

    Raises
    ------
    InputError
        If a worker has another version, or sees other patches.
    PcamError
        If the scheduler or the workers are gone.
    """
    crew = ClusterCrew(executor, job_of(source, splits, families, device, threads))
    crew.get_ready()
    return crew
