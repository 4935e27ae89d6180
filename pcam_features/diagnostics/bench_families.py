"""Compares the speed of each feature family with that of the same features from common libraries.

Each family is timed per patch in one thread. All families together are also timed with one thread
per core. Runs of pcam and of the library are interleaved, so that other load on the machine affects
both equally, and the median is reported. The library routes are in `reference`; the tests use them too.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from types import ModuleType
from typing import Any

import joblib
import numpy as np

from ..engine import cpu
from ..errors import InputError
from ..execution.executor import Threads
from ..families.family import Family
from ..families.registry import FAMILIES, measurer
from ..sources.detect import open_source
from ..words import counted


@dataclass(frozen=True)
class FamilyTiming:
    """The speed of one family, in milliseconds per patch, and that of its library route.

    `ratio` is the library's time divided by ours.
    """

    family: str
    columns: int
    ratio: float
    ms_per_patch: float
    library_ms_per_patch: float
    library: str


@dataclass(frozen=True)
class CoresTiming:
    """The speed of all families with one thread per core; `speedup` is relative to one thread."""

    cores: int
    ms_per_patch: float
    speedup: float


@dataclass(frozen=True)
class FamilyBenchmark:
    """The timings of every family on one batch of patches."""

    source: str
    patches: int
    repeats: int
    total: FamilyTiming
    all_cores: CoresTiming
    families: tuple[FamilyTiming, ...]

    def to_dict(self) -> dict[str, Any]:
        """The benchmark as `pcam bench --json` prints it."""
        return asdict(self) | {"families": [asdict(timing) for timing in self.families]}


def _reference(family: Family) -> ModuleType:
    """The library route of a family. Raises InputError if a library is not installed."""
    try:
        return importlib.import_module(f".reference.{family.name}", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"bench compares {family.name} with {error.name}, which is not installed; "
            "run pip install 'pcam-features[dev]'."
        ) from None


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _interleaved(
    family: Family, reference: ModuleType, batch: np.ndarray, repeats: int
) -> tuple[float, float]:
    """Seconds per patch of pcam and of the library: medians of interleaved runs."""
    from .reference.planes import planes_of

    measure = measurer([family], cpu)
    sample = batch[: max(8, len(batch) // 4)]

    def library(patches: np.ndarray) -> None:
        for patch in patches:
            reference.features(planes_of(patch, reference.PLANES))

    runs = [
        (
            _seconds(measure, batch, [family.name]) / len(batch),
            _seconds(library, sample) / len(sample),
        )
        for _ in range(repeats + 1)
    ][1:]  # the first run is a warm-up
    return median(run[0] for run in runs), median(run[1] for run in runs)


def run(
    source: str, patches: int, repeats: int, say: Callable[[str], None] = lambda message: None
) -> FamilyBenchmark:
    """Time every family and its library route on the first patches of a source.

    The time of one family includes the color planes, as the library's time includes its color
    conversion. The total computes the planes only once.

    Parameters
    ----------
    source
        A source of patches, as on the command line.
    patches
        Number of patches to time on. Fewer are used if the source has fewer.
    repeats
        Number of interleaved runs after the warm-up.
    say
        Called with progress messages.

    Returns
    -------
    FamilyBenchmark
        Timings in milliseconds per patch.

    Raises
    ------
    InputError
        If the source cannot be read or a library is not installed.
    """
    opened, _ = open_source(source)
    split = next(iter(opened.splits.values()))
    batch = split.read(0, min(patches, len(split)))
    references = {name: _reference(family) for name, family in FAMILIES.items()}
    say(f"bench: {counted(len(batch), 'patch')} of {source}, one thread, median of {repeats} runs")
    timings = []
    for family in FAMILIES.values():
        reference = references[family.name]
        ours, theirs = _interleaved(family, reference, batch, repeats)
        timings.append(_timing(family.name, len(family.columns), ours, theirs, reference.LIBRARY))
        say(f"bench: {family.name} done")
    one_core, all_cores = _one_and_all_cores(batch, repeats)
    library_total = sum(timing.library_ms_per_patch for timing in timings) / 1000
    columns = sum(timing.columns for timing in timings)
    return FamilyBenchmark(
        source=source,
        patches=len(batch),
        repeats=repeats,
        total=_timing("total", columns, one_core, library_total, "sum of the above"),
        all_cores=CoresTiming(joblib.cpu_count(), all_cores * 1000, one_core / all_cores),
        families=tuple(timings),
    )


def _one_and_all_cores(batch: np.ndarray, repeats: int) -> tuple[float, float]:
    """Seconds per patch for all families, with one thread and with one per core, interleaved."""
    measure, names = measurer(list(FAMILIES.values()), cpu), list(FAMILIES)
    threads = Threads(joblib.cpu_count())
    parts = np.array_split(batch, 4 * threads.workers)

    def all_cores() -> None:
        for _ in threads.map(lambda part: measure(part, names), parts):
            pass

    runs = [(_seconds(measure, batch, names), _seconds(all_cores)) for _ in range(repeats + 1)][1:]
    return median(run[0] for run in runs) / len(batch), median(run[1] for run in runs) / len(batch)


def _timing(name: str, columns: int, ours: float, theirs: float, library: str) -> FamilyTiming:
    return FamilyTiming(
        family=name,
        columns=columns,
        ratio=theirs / ours,
        ms_per_patch=ours * 1000,
        library_ms_per_patch=theirs * 1000,
        library=library,
    )
