"""How fast each family is, beside the same features computed with the libraries people use.

Per image and in one thread (then all families in a thread for each core), interleaved run by run so
that a noisy machine is noisy for both; medians. The library routes stand in `reference`, where the
tests find them too.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import joblib
import numpy as np

from ..engine import cpu
from ..errors import InputError
from ..families.family import Family
from ..families.registry import FAMILIES, measurer
from ..sources.detect import open_source


def _reference(family: Family) -> Any:
    try:
        return importlib.import_module(f".reference.{family.name}", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"bench measures {family.name} beside {error.name}, which is not installed; "
            "pip install 'pcam-features[dev]' brings it."
        ) from None


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _interleaved(
    family: Family, reference: Any, batch: np.ndarray, repeats: int
) -> tuple[float, float]:
    """Seconds a patch of ours and of the library's, medians of runs taken in turn."""
    from .reference.planes import planes_of

    measure = measurer([family], cpu)
    sample = batch[: max(8, len(batch) // 4)]

    def each(patches: np.ndarray) -> None:
        for patch in patches:
            reference.features(planes_of(patch, reference.PLANES))

    runs = [
        (_seconds(measure, batch, [family.name]) / len(batch), _seconds(each, sample) / len(sample))
        for _ in range(repeats + 1)
    ][1:]  # the first warms up
    return median(run[0] for run in runs), median(run[1] for run in runs)


def run(
    source: str, patches: int, repeats: int, say: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """Time every family and its library route on the first patches of a source.

    Our time for a family includes making the planes, as the library's includes its conversion;
    in the total we make them once. Raises InputError if the source cannot be read.
    """
    opened, _ = open_source(source)
    split = next(iter(opened.splits.values()))
    batch = split.read(0, min(patches, len(split)))
    references = {name: _reference(family) for name, family in FAMILIES.items()}
    say(f"bench: {len(batch)} patches of {source}, one thread, median of {repeats}")
    rows = []
    for family in FAMILIES.values():
        reference = references[family.name]
        ours, theirs = _interleaved(family, reference, batch, repeats)
        rows.append(_row(family.name, len(family.columns), ours, theirs, reference.LIBRARY))
        say(f"bench: {family.name} done")
    one, every = _one_and_all_cores(batch, repeats)
    theirs_total = sum(row["library_ms_per_patch"] for row in rows) / 1000
    columns = sum(row["columns"] for row in rows)
    return {
        "source": source,
        "patches": len(batch),
        "repeats": repeats,
        "total": _row("total", columns, one, theirs_total, "sum of the above"),
        "all_cores": {
            "cores": joblib.cpu_count(),
            "ms_per_patch": every * 1000,
            "speedup": one / every,
        },
        "families": rows,
    }


def _one_and_all_cores(batch: np.ndarray, repeats: int) -> tuple[float, float]:
    """Seconds a patch for all families, in one thread and in one for each core, in turn."""
    measure, names = measurer(list(FAMILIES.values()), cpu), list(FAMILIES)
    parallel = joblib.Parallel(n_jobs=joblib.cpu_count(), backend="threading", batch_size=1)
    parts = np.array_split(batch, 4 * joblib.cpu_count())

    def all_cores() -> None:
        parallel(joblib.delayed(measure)(part, names) for part in parts)

    runs = [(_seconds(measure, batch, names), _seconds(all_cores)) for _ in range(repeats + 1)][1:]
    one, every = (median(run[k] for run in runs) / len(batch) for k in (0, 1))
    return one, every


def _row(name: str, columns: int, ours: float, theirs: float, library: str) -> dict[str, Any]:
    return {
        "family": name,
        "columns": columns,
        "ratio": theirs / ours,
        "ms_per_patch": ours * 1000,
        "library_ms_per_patch": theirs * 1000,
        "library": library,
    }
