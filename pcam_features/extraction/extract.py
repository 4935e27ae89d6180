"""Extracts features from a source into a store, in parts that an interrupted run keeps."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..engine.devices import Target
from ..errors import InputError
from ..execution.executor import Threads
from ..families.family import FeatureFamily
from ..sources.source import Source, Split
from ..storage import costs
from ..storage.files import LOCK, sha256
from ..storage.folders import clear_folder, is_marked, one_process, recover, sweep
from ..storage.links import check_written
from ..storage.resumable import PLAN, PLAN_KEY, in_the_making, settle
from ..storage.urls import check_local
from ..store.extending import check_ours, extended, new_manifest, plan
from ..store.layout import MANIFEST, PATCHES, part_count, part_span
from ..store.manifest import KEY, StoreManifest, marked_complete, read_manifest
from ..store.names import THUMBNAIL
from ..store.parts import (
    Ledger,
    Record,
    Verifier,
    check_claims,
    is_there,
    write_features,
    write_patches,
)
from .embedding_tables import tables_among
from .measuring import OpenFamilies, open_families, spans
from .thumbnails import Thumbnails
from .unchanged import check_pixels

VERIFY_ROWS = 128  # patches that a thread reads at a time to verify their checksums
VERIFIERS = 4  # threads that read files of a store to find damaged ones
WHAT, PLAN_VERSION = "feature store", 1  # of a store that will replace another
WRITERS = 2  # threads that write families of finished parts while the next ones are measured


def left_to_cpu(families: Sequence[FeatureFamily], device: str) -> list[str]:
    """The families that the CPU computes although kernels run on another device, by name."""
    return [family.name for family in families if device != family.computed_on(device) == "cpu"]


@dataclass(frozen=True)
class Unit:
    """A unit of work: rows `start` to `stop` of a split, and the families to compute of them."""

    split: str
    start: int
    stop: int
    families: tuple[str, ...]


@dataclass(frozen=True)
class StorePart:
    """A part of a split, with the families that it lacks."""

    number: int
    whole: Unit

    @classmethod
    def of(cls, split: Split, number: int, families: tuple[str, ...] = ()) -> StorePart:
        start, stop = part_span(number, len(split))
        return cls(number, Unit(split.name, start, stop, families))

    @property
    def rows(self) -> int:
        return self.whole.stop - self.whole.start

    def units(self, rows: int) -> list[Unit]:
        """The part in batches of `rows` patches."""
        batches = spans(self.whole.start, self.whole.stop, rows)
        return [replace(self.whole, start=start, stop=stop) for start, stop in batches]


def all_parts(splits: Sequence[Split], families: Sequence[FeatureFamily]) -> list[StorePart]:
    """Every part of some splits, with all families."""
    names = tuple(family.name for family in families)
    return [StorePart.of(split, k, names) for split in splits for k in range(part_count(len(split)))]


def missing(
    path: Path,
    manifest: StoreManifest,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    verifier: Verifier,
) -> list[StorePart]:
    """The parts that are not in the store at `path`, or are damaged, with the families they lack."""
    by_name = {split.name: split for split in splits}

    def lacking(whole: StorePart) -> StorePart:
        split, k = by_name[whole.whole.split], whole.number
        record = manifest.splits[split.name]
        names = tuple(
            family.name
            for family in families
            if not is_there(path, record.sum_of(family.name, k), split, family, k, verifier)
        )
        return replace(whole, whole=replace(whole.whole, families=names))

    checked = Threads(VERIFIERS).map(lacking, all_parts(splits, families))
    return [part for part in checked if part.whole.families]


def damaged_parts(manifest: StoreManifest, parts: Sequence[StorePart]) -> int:
    """How many files of these parts a store lists, although they are missing or damaged."""
    return sum(
        manifest.splits[part.whole.split].sum_of(name, part.number) is not None
        for part in parts
        for name in part.whole.families
    )


def without(
    manifest: StoreManifest,
    parts: Sequence[StorePart],
    families: Sequence[FeatureFamily],
    device: str | None,
) -> StoreManifest:
    """The manifest of a store before `parts` are measured on `device`: their sums are unknown."""
    by_name = {family.name: family for family in families}
    for part in parts:
        record = manifest.splits[part.whole.split]
        for name in part.whole.families:
            record = record.with_sum(name, part.number, None)
            record = record.computed_on(name, device and by_name[name].computed_on(device))
        manifest = manifest.with_split(part.whole.split, record)
    return manifest


@dataclass(frozen=True)
class ExtractionPlan:
    """What an extraction would do.

    Parameters
    ----------
    source, kind
        Where the patches are, and in which layout.
    patches
        Number of patches of each split.
    columns
        Number of columns of each family.
    patches_to_measure
        Number of patches that lack a family in the store.
    bytes_to_write
        Size of what is missing, before compression.
    device
        Where kernels run.
    damaged
        Number of files in the store that are damaged or missing, and whose patches are measured again.
    """

    source: str
    kind: str
    patches: dict[str, int]
    columns: dict[str, int]
    patches_to_measure: int
    bytes_to_write: int
    device: str
    damaged: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The plan as `pcam extract --json` prints it."""
        return asdict(self)


def with_thumbnails(families: Sequence[FeatureFamily]) -> list[FeatureFamily]:
    """The families, and the thumbnails that a store keeps beside them."""
    return [*families, Thumbnails()]


def forecast(
    path: Path,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    device: str,
    *,
    overwrite: bool = False,
    verifier: Verifier | None = None,
) -> ExtractionPlan:
    """Plan an extraction without writing. Raises InputError if the store does not match the source."""
    damaged, stored = 0, with_thumbnails(families)
    check_ours(path)
    if overwrite and path.exists():
        parts = all_parts(splits, stored)
    else:
        manifest = plan(path, source, list(splits), stored, device)
        parts = missing(path, manifest, splits, stored, verifier or Verifier())
        damaged = damaged_parts(manifest, parts)
    columns = {family.name: len(family.columns) for family in stored}
    rows = [part.rows for part in parts]
    widths = [sum(columns[name] for name in part.whole.families) for part in parts]
    return ExtractionPlan(
        source=source.path,
        kind=source.kind,
        patches={split.name: len(split) for split in splits},
        columns={family.name: columns[family.name] for family in families},
        patches_to_measure=sum(rows),
        bytes_to_write=4 * sum(n * width for n, width in zip(rows, widths, strict=True)),
        device=device,
        damaged=damaged,
    )


def extract(
    path: Path,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    target: Target,
    threads: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
    verifier: Verifier | None = None,
) -> None:
    """Compute the features that the store at `path` lacks, or whose files are damaged.

    Parameters
    ----------
    path
        The store's folder; it is created if necessary.
    source, splits
        The patches.
    families
        The families to compute.
    target
        Where kernels run.
    threads
        Number of threads that read and measure.
    overwrite
        Whether to replace the store. It stays as it is until the new one is complete.
    progress
        Called with the number of patches done, and with 0 when measuring begins.
    verifier
        Knows which files were verified while the extraction was planned; None verifies all.

    Raises
    ------
    InputError
        If a patch cannot be read, or the store does not match the source. Finished parts stay.
    PcamError
        If another process extracts to the store, or removes files from it.
    """
    check_ours(path)
    # Families are opened before the folder is created, because it may fail.
    crew = ThreadCrew(open_families(with_thumbnails(families), target, threads), target.NAME, threads)
    fill_store(
        path,
        source,
        splits,
        families,
        crew,
        overwrite=overwrite,
        progress=progress,
        verifier=verifier,
    )


class Crew(Protocol):
    """Those who measure the parts of a store: threads of this process, or workers of a cluster."""

    @property
    def device(self) -> str | None:
        """The device that kernels run on; None if it is recorded with each part."""
        ...

    @property
    def timed(self) -> bool:
        """Whether the time that it takes says how fast this machine is."""
        ...

    def check_folder(self, folder: Path) -> None:
        """Raises InputError if some of the crew cannot write to the folder to fill."""
        ...

    def prepare(self) -> None:
        """Compile kernels that are not compiled yet."""
        ...

    def measure(
        self,
        ledger: Ledger,
        splits: dict[str, Split],
        parts: Sequence[StorePart],
        progress: Callable[[int], None],
    ) -> None:
        """Measure and write parts. When one fails, the parts before it are still written."""
        ...


@dataclass(frozen=True)
class ThreadCrew:
    """Threads of this process, with the families that they measure."""

    opened: OpenFamilies
    device: str
    threads: int
    timed: bool = True

    def check_folder(self, folder: Path) -> None:
        """Do nothing: this process has created the folder."""

    def prepare(self) -> None:
        self.opened.prepare()

    def measure(
        self,
        ledger: Ledger,
        splits: dict[str, Split],
        parts: Sequence[StorePart],
        progress: Callable[[int], None],
    ) -> None:
        measure_parts(ledger, splits, parts, self.opened, self.threads, progress)


def fill_store(
    path: Path,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[FeatureFamily],
    crew: Crew,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
    verifier: Verifier | None = None,
) -> None:
    """Have a crew compute what the store at `path` lacks; see `extract`."""
    stored = with_thumbnails(families)
    names = [family.name for family in stored]
    wanted = extended(path, new_manifest(source), source, splits, stored, crew.device)
    with store_to_fill(path, wanted, splits, overwrite=overwrite) as (folder, check_lock):
        manifest = plan(folder, source, splits, stored, crew.device)
        crew.check_folder(folder)
        sweep(folder)
        parts = missing(folder, manifest, splits, stored, verifier or Verifier())
        check_unchanged(path, folder, splits, parts)
        ledger = Ledger(folder, without(manifest, parts, stored, crew.device))
        ledger.save()
        if overwrite:
            progress(sum(map(len, splits)) - sum(part.rows for part in parts))
        with said_if_removed(ledger, check_lock):
            _fill(ledger, splits, parts, crew, families, progress)
        sweep(folder)  # of workers of a cluster that were killed, while others did their work
        ledger.save()  # whatever is there is a store, which the same command can go on with
        check_lock()
        check_claims(folder, ledger.manifest, [split.name for split in splits], names)
        for split in splits:
            ledger.manifest = marked_complete(ledger.manifest, split.name, names)
        ledger.save()


def check_unchanged(
    path: Path, folder: Path, splits: Sequence[Split], parts: Sequence[StorePart]
) -> None:
    """Raise InputError if patches of parts that are there changed since; `parts` will be measured."""
    lacking = {(p.whole.split, p.number) for p in parts if THUMBNAIL in p.whole.families}
    touched = {part.whole.split for part in parts}
    for split in splits:
        there = [k for k in range(part_count(len(split))) if (split.name, k) not in lacking]
        if there and split.name in touched:
            check_pixels(path, folder, split, there)


def _fill(
    ledger: Ledger,
    splits: Sequence[Split],
    parts: Sequence[StorePart],
    crew: Crew,
    asked: Sequence[FeatureFamily],
    progress: Callable[[int], None],
) -> None:
    """Measure and write the parts that a store lacks, and the tables of its patches.

    The time is recorded for the families that were asked for.
    """
    if parts:
        crew.prepare()
        progress(0)  # kernels are compiled, so the remaining time can be estimated from here
        began, by_name = time.monotonic(), {split.name: split for split in splits}
        try:
            crew.measure(ledger, by_name, parts, progress)
        finally:
            ledger.save()
        in_parts = {name for part in parts for name in part.whole.families}
        looked_up = {table.name for table in tables_among(asked)}  # which says nothing of measuring
        in_parts -= looked_up
        measured = [family.name for family in asked if family.name in in_parts]
        patches = sum(part.rows for part in parts)
        if measured and crew.timed:
            costs.record_measuring(ledger.path, measured, patches, time.monotonic() - began)
    for split in splits:
        for k in range(part_count(len(split))):
            known = ledger.manifest.splits[split.name].sum_of(PATCHES, k)
            ledger.record(split.name, PATCHES, k, write_patches(ledger.path, known, split, k))


@contextmanager
def said_if_removed(ledger: Ledger, check_lock: Callable[[], None]) -> Iterator[None]:
    """Say that a store was removed, where that is why a file could not be written."""
    try:
        yield
    except FileNotFoundError:
        ledger.save()  # so that the same command can go on
        check_lock()
        raise


@contextmanager
def store_to_fill(
    path: Path, wanted: StoreManifest, splits: Sequence[Split], *, overwrite: bool
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Yield the folder to fill: the store at `path`, or a new one that replaces it once it is filled.

    The second value is a function that raises PcamError if the store at `path` was removed or replaced
    meanwhile.

    Parameters
    ----------
    path
        The store.
    wanted, splits
        What a new store will contain. An unfinished store of the same content is filled further.
    overwrite
        Whether a store at `path` is replaced.
    """
    check_local(path, "a feature store to write")
    recover(path, MANIFEST, KEY)
    settle(path, MANIFEST, KEY)
    check_ours(path)
    path.mkdir(parents=True, exist_ok=True)
    with one_process(path, f"extracting to {path}") as check_lock:
        if not overwrite or not is_marked(path, MANIFEST, KEY):
            check_written(path)
            yield path, check_lock
            return
        content = {split.name: sha256(split.content(0, len(split)).encode()) for split in splits}
        planned = {PLAN_KEY: PLAN_VERSION, "content": content} | wanted.to_dict()
        plain = json.loads(json.dumps(planned))  # as it will be read again, without tuples
        with in_the_making(path, plain, overwrite=True, what=WHAT, mark=MANIFEST, key=KEY) as folder:
            if (folder / MANIFEST).exists() and not is_sound(folder):
                clear_folder(folder, PLAN, LOCK)
            yield folder, check_lock


def is_sound(store: Path) -> bool:
    """Whether the manifest of a store can be read."""
    try:
        read_manifest(store)
    except InputError:
        return False
    return True


Measured = tuple[StorePart, str, np.ndarray]  # a part, a family, and its values


def measure_parts(
    record: Record,
    splits: dict[str, Split],
    parts: Sequence[StorePart],
    opened: OpenFamilies,
    threads: int,
    progress: Callable[[int], None],
) -> None:
    """Measure and write parts. When a patch cannot be read, the parts before it are still written."""
    by_name = {family.name: family for family in opened.families}
    failures: list[Exception] = []

    def work(unit: Unit) -> dict[str, np.ndarray]:
        return opened.measure(splits[unit.split], unit.start, unit.stop, unit.families)

    def measured() -> Iterator[Measured]:
        units = [unit for part in parts for unit in part.units(opened.rows)]
        results = Threads(threads).map(work, units)
        try:
            for part in parts:
                batches = []
                for unit in part.units(opened.rows):
                    batches.append(next(results))
                    progress(unit.stop - unit.start)
                for name in part.whole.families:
                    yield part, name, np.concatenate([batch.pop(name) for batch in batches])
        except Exception as error:  # raised below, after the parts before it are written
            failures.append(error)

    def write(item: Measured) -> None:
        part, name, values = item
        split = splits[part.whole.split]
        known = write_features(record.path, split, by_name[name], part.number, values)
        record.record(split.name, name, part.number, known)

    for _ in Threads(WRITERS).map(write, measured()):
        pass
    if failures:
        raise failures[0]


def verify(splits: Sequence[Split], threads: int, progress: Callable[[int], None]) -> None:
    """Raise InputError for the first patch whose id is not the SHA-1 sum of its pixels."""
    by_name = {split.name: split for split in splits}

    def check(unit: Unit) -> int:
        split = by_name[unit.split]
        ids = split.ids[unit.start : unit.stop]
        for patch_id, pixels in zip(ids, split.read(unit.start, unit.stop), strict=True):
            digest = hashlib.sha1(pixels.tobytes(), usedforsecurity=False).hexdigest()
            if not re.fullmatch("[0-9a-f]{40}", patch_id):
                raise InputError(
                    f"--verify needs ids that are SHA-1 sums, as Kaggle's are, and {patch_id} is not "
                    "one; leave out --verify."
                )
            if digest != patch_id:
                raise InputError(
                    f"patch {patch_id} of split {unit.split!r} is damaged: the SHA-1 of its pixels "
                    f"is {digest}; replace the file and run again."
                )
        return unit.stop - unit.start

    parts = [StorePart.of(split, k) for split in splits for k in range(part_count(len(split)))]
    units = [unit for part in parts for unit in part.units(VERIFY_ROWS)]
    for done in Threads(threads).map(check, units):
        progress(done)
