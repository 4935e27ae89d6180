"""From a source of patches to a feature store, with every core busy and nothing lost on the way."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import InputError
from ..families.family import Family
from ..families.registry import CNN, Measure, batch_rows, chosen, kernels_of, listed, measurer
from ..geometry import PATCH_SIZE
from ..sources.source import Source, Split
from ..storage import costs
from ..storage.files import one_process, sweep
from ..store.layout import part_count, part_span
from ..store.manifest import check_ours, clear, mark_complete, plan, write_manifest
from ..store.parts import is_there, write_features, write_patches
from .tiles import measure_tiles

if TYPE_CHECKING:
    from ..encoders.embedding import Embedding

EMBEDDED_ROWS = 32  # patches that a thread embeds at a time, where no kernel measures them
VERIFY_ROWS = 128  # patches that a thread reads at a time to look at their sums


def families_named(names: str | None, encoder: dict[str, Any]) -> list[Family | Embedding]:
    """The families in a comma-separated list, all for None; `cnn` is an encoder with the settings
    in `encoder`, of which None is its default.

    Raises InputError for a name or a setting that is not known, and for settings without `cnn`.
    """
    words = [] if names is None else listed(names)
    by_hand = [word for word in words if word != CNN]
    settings = {key: value for key, value in encoder.items() if value is not None}
    if settings and CNN not in words:
        raise InputError(f"--{next(iter(settings))} is for embeddings; add --families {CNN}.")
    found: list[Family | Embedding] = []
    if by_hand or not words:
        found += chosen(None if names is None else ",".join(by_hand))
    if CNN in words:
        from ..encoders.registry import open_encoder

        lists: dict[str, Any] = {
            key: listed(settings[key]) for key in ("depths", "pools") if key in settings
        }
        found.append(open_encoder(**settings | lists))
    return found


def kernels_in(families: Sequence[Family | Embedding]) -> list[Kernel]:
    """The kernels that measure the hand-made ones of these, in the order they run."""
    by_hand = [family for family in families if isinstance(family, Family)]
    return kernels_of(by_hand) if by_hand else []


def left_to_cpu(families: Sequence[Family | Embedding], device: str) -> list[str]:
    """The families that the CPU computes although kernels run on another device, by name."""
    return [family.name for family in families if device != family.computed_on(device) == "cpu"]


@dataclass(frozen=True)
class Shard:
    """A part of a split, and the families it still lacks."""

    split: Split
    part: int
    families: tuple[str, ...]

    @property
    def span(self) -> tuple[int, int]:
        return part_span(self.part, len(self.split))

    def batches(self, rows: int) -> list[tuple[int, int]]:
        start, stop = self.span
        return [(k, min(k + rows, stop)) for k in range(start, stop, rows)]


def missing(
    path: Path | None, splits: list[Split], families: Sequence[Family | Embedding]
) -> list[Shard]:
    """The parts that are not there yet: all of them if there is no store to look at."""
    shards = []
    for split in splits:
        for part in range(part_count(len(split))):
            lacking = tuple(
                family.name
                for family in families
                if path is None or not is_there(path, split, family, part)
            )
            if lacking:
                shards.append(Shard(split, part, lacking))
    return shards


def forecast(
    path: Path,
    source: Source,
    splits: list[Split],
    families: Sequence[Family | Embedding],
    device: str,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """What extraction would do: patches, columns, bytes (before compression) and device.

    Nothing is written. Raises InputError if the store at `path` does not fit.
    """
    if overwrite and path.exists():
        check_ours(path)
        shards = missing(None, splits, families)
    else:
        plan(path, source, splits, families, device)
        shards = missing(path, splits, families)
    columns = {family.name: len(family.columns) for family in families}
    todo = [(s.span[1] - s.span[0], sum(columns[name] for name in s.families)) for s in shards]
    return {
        "source": source.path,
        "kind": source.kind,
        "patches": {split.name: len(split) for split in splits},
        "columns": columns,
        "patches_to_measure": sum(rows for rows, _ in todo),
        "bytes_to_write": sum(4 * rows * width for rows, width in todo),
        "device": device,
    }


def extract(
    path: Path,
    source: Source,
    splits: list[Split],
    families: Sequence[Family | Embedding],
    target: Target,
    threads: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Bring the store at `path` to hold `families` of `splits`, computing only what is missing.

    `progress` is told of rows as they are done, and of 0 when measuring begins. Raises InputError
    for patches that cannot be read and for a store that does not fit; finished parts stay.
    """
    check_ours(path)
    networks = networks_of(families, threads)  # before there is a folder: theirs may not load
    path.mkdir(parents=True, exist_ok=True)
    with one_process(path, f"extracting to {path}"):
        if overwrite:
            clear(path)
        manifest = plan(path, source, splits, families, target.NAME)
        sweep(path)
        write_manifest(path, manifest)
        shards = missing(path, splits, families)
        if shards:
            measure, rows = measurer_of(families, networks, target, threads)
            progress(0)  # compiled: from here on, time tells how long the rest will take
            began = time.monotonic()
            _measure_all(path, shards, families, measure, rows, threads, progress)
            names = [f.name for f in families if any(f.name in shard.families for shard in shards)]
            patches = sum(shard.span[1] - shard.span[0] for shard in shards)
            costs.record_measuring(path, names, patches, time.monotonic() - began)
        for split in splits:
            for part in range(part_count(len(split))):
                write_patches(path, split, part)
            names = [family.name for family in families]
            manifest = mark_complete(path, manifest, split.name, names)


Networks = dict[str, Callable[[np.ndarray], np.ndarray]]


def networks_of(families: Sequence[Family | Embedding], threads: int) -> Networks:
    """What embeds a batch, for each embedding. Raises InputError for weights that cannot be used."""
    return {
        family.name: family.measurer((PATCH_SIZE, PATCH_SIZE), threads)
        for family in families
        if not isinstance(family, Family)
    }


def measurer_of(
    families: Sequence[Family | Embedding], networks: Networks, target: Target, threads: int
) -> tuple[Measure, int]:
    """What measures a batch, and how many patches it should be given at a time."""
    by_hand = [family for family in families if isinstance(family, Family)]
    kernels = measurer(by_hand, target) if by_hand else None

    def measure(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        found = {name: networks[name](batch) for name in names if name in networks}
        rest = [name for name in names if name not in networks]
        return found | (kernels(batch, rest) if kernels and rest else {})

    if by_hand:
        return measure, batch_rows(by_hand, target, threads)
    return measure, max([EMBEDDED_ROWS, *(f.chunk for f in families if not isinstance(f, Family))])


def _measure_all(
    path: Path,
    shards: list[Shard],
    families: Sequence[Family | Embedding],
    measure: Measure,
    rows: int,
    threads: int,
    progress: Callable[[int], None],
) -> None:
    def work(shard: Shard, start: int, stop: int) -> dict[str, np.ndarray]:
        if shard.split.tiles is not None:
            measured = measure_tiles(shard.split, (start, stop), measure, shard.families, rows)
        else:
            measured = measure(shard.split.read(start, stop), shard.families)
        progress(stop - start)
        return measured

    by_name = {family.name: family for family in families}
    at_once = max(1, threads // 4)  # parts: enough batches for every thread, and a bound on memory
    parallel = Parallel(n_jobs=threads, backend="threading")

    def write(group: list[Shard], results: Iterator[dict[str, np.ndarray]]) -> None:
        for shard in group:
            measured = [next(results) for _ in shard.batches(rows)]
            for name in shard.families:
                values = np.concatenate([batch[name] for batch in measured])
                write_features(path, shard.split, by_name[name], shard.part, values)

    with ThreadPoolExecutor(1) as writer:  # while the next parts are measured
        written: Future[None] | None = None
        for first in range(0, len(shards), at_once):
            group = shards[first : first + at_once]
            batches = [(shard, *span) for shard in group for span in shard.batches(rows)]
            results = parallel(delayed(work)(*batch) for batch in batches)
            if written:
                written.result()
            written = writer.submit(write, group, iter(results))
        if written:
            written.result()


def verify(splits: list[Split], threads: int, progress: Callable[[int], None]) -> None:
    """Raises InputError for the first patch whose id is not the SHA-1 of its pixels."""

    def check(split: Split, start: int, stop: int) -> None:
        for patch_id, pixels in zip(split.ids[start:stop], split.read(start, stop), strict=True):
            found = hashlib.sha1(pixels.tobytes(), usedforsecurity=False).hexdigest()
            if not re.fullmatch("[0-9a-f]{40}", patch_id):
                raise InputError(
                    f"--verify needs ids that are SHA-1 sums, as Kaggle's are; {patch_id} is none."
                )
            if found != patch_id:
                raise InputError(
                    f"patch {patch_id} of split {split.name!r} is damaged: the SHA-1 of its pixels "
                    f"is {found}; replace the file and run again."
                )
        progress(stop - start)

    whole = [Shard(s, part, ()) for s in splits for part in range(part_count(len(s)))]
    spans = [(shard.split, *span) for shard in whole for span in shard.batches(VERIFY_ROWS)]
    Parallel(n_jobs=threads, backend="threading")(delayed(check)(*span) for span in spans)
