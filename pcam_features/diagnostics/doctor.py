"""Whether pcam works here: each family's numbers on this device, held to a second source.

On CUDA every column must equal the CPU's; on the CPU, the library route of `reference`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np

from ..constants import Device
from ..engine import cpu
from ..engine.devices import Target, choose
from ..errors import InputError
from ..families import planes
from ..families.registry import CNN, FAMILIES, measurer
from ..sources.synthetic import open_source

VERSIONS = ("numpy", "numba", "xgboost")
PATCHES, TIMED_PATCHES, REPEATS = 8, 512, 3
# A card fuses multiply and add, and its library functions differ in the last bits of a double.
PARITY: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}
BETWEEN_RUNTIMES: dict[str, float] = {"rtol": 1e-4, "atol": 1e-4}  # they add up in another order


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it went, and what was seen or is to be done."""

    name: str
    verdict: Verdict
    detail: str


def worst(found: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> float:
    """The largest difference as a multiple of what is allowed; infinite where it is not a number."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    return float((np.abs(found - expected) / (atol + rtol * np.abs(expected))).max())


def judge(
    name: str,
    columns: Sequence[str],
    found: np.ndarray,
    expected: np.ndarray,
    tolerance: dict[str, float],
    beside: str,
) -> Check:
    """PASS if no column of what was found (rows, columns) differs by more than it may."""
    pairs = zip(found.T, expected.T, strict=True)
    by_column = np.array([worst(one, other, **tolerance) for one, other in pairs])
    k = int(by_column.argmax())
    if by_column[k] <= 1:
        return Check(name, Verdict.PASS, f"{len(columns):,} columns equal {beside}")
    off = f"{int((by_column > 1).sum()):,} of {len(columns):,} columns differ from {beside}"
    return Check(name, Verdict.FAIL, f"{off}, most of all {columns[k]}; please report this")


def check_card(name: str, target: Target, batch: np.ndarray) -> Check:
    """One family on CUDA beside the CPU, with the time of each."""
    family = FAMILIES[name]
    on_card, on_cpu = measurer([family], target), measurer([family], cpu)
    found, expected = on_card(batch, [name])[name], on_cpu(batch, [name])[name]
    many = np.concatenate([batch] * (TIMED_PATCHES // len(batch)))
    card_ms, cpu_ms = (milliseconds(measure, many, name) for measure in (on_card, on_cpu))
    check = judge(name, family.columns, found, expected, PARITY, "the CPU's")
    timing = f"{card_ms:.3f} ms a patch, one CPU core {cpu_ms:.3f} ms"
    return Check(name, check.verdict, f"{check.detail}; {timing}")


def milliseconds(measure: Callable[..., Any], batch: np.ndarray, name: str) -> float:
    """A patch's time, median of some runs after a first."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        measure(batch, [name])
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:]) / len(batch) * 1000


def check_cpu(name: str, batch: np.ndarray) -> Check:
    """One family on the CPU beside the libraries people use."""
    try:
        reference = importlib.import_module(f".reference.{name}", __package__)
    except ModuleNotFoundError as error:
        fix = f"not checked: {error.name} is missing (the extra dev brings it)"
        return Check(name, Verdict.WARN, fix)
    family = FAMILIES[name]
    found = measurer([family], cpu)(batch, [name])[name]
    expected = []
    for patch in cpu.prepare(planes.KERNEL)(batch):
        named = {plane: patch[planes.PLANES.index(plane)] for plane in reference.PLANES}
        expected.append(reference.features(named))
    columns = list(expected[0])
    at = [family.columns.index(column) for column in columns]
    wanted = np.array([[one[column] for column in columns] for one in expected])
    return judge(name, columns, found[:, at], wanted, reference.TOLERANCE, reference.LIBRARY)


def check_embeddings(batch: np.ndarray) -> Check:
    """The default encoder in the default runtime beside the other runtime."""
    from ..encoders.registry import open_encoder

    first, other = open_encoder(), "onnxruntime"
    if importlib.util.find_spec(other) is None:
        return Check(
            CNN, Verdict.WARN, f"not checked: {other} is missing (the extra {other} brings it)"
        )
    found, expected = (
        encoder.measurer(batch.shape[1:3], 1)(batch) for encoder in (first, open_encoder(runtime=other))
    )
    return judge(CNN, first.columns, found, expected, BETWEEN_RUNTIMES, f"those of {other}")


def check_cache() -> Check:
    """Whether compiled kernels can be kept."""
    folder = cpu.cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "set PCAM_CACHE_DIR to a folder that can be written"
        return Check("kernel cache", Verdict.FAIL, f"{folder}: {error.strerror}; {remedy}")
    if not os.access(folder, os.W_OK):
        return Check("kernel cache", Verdict.FAIL, f"{folder} cannot be written; set PCAM_CACHE_DIR")
    return Check("kernel cache", Verdict.PASS, str(folder))


def checks(device: Device) -> Iterator[Check]:
    """Look at everything, one after the other."""
    from .. import __version__

    versions = [f"{name} {importlib.import_module(name).__version__}" for name in VERSIONS]
    python = f"Python {platform.python_version()}"
    yield Check(f"pcam {__version__}", Verdict.PASS, ", ".join([python, *versions]))
    cache = check_cache()
    yield cache
    try:
        target, why = choose(device)
    except InputError as error:
        yield Check("device", Verdict.FAIL, str(error))
        return
    yield Check("device", Verdict.PASS, why)
    if cache.verdict == Verdict.FAIL:
        return
    batch = open_source(f"synthetic:{PATCHES}:{PATCHES}").splits["train"].read(0, PATCHES)
    for name in FAMILIES:
        yield check_cpu(name, batch) if target is cpu else check_card(name, target, batch)
    try:
        yield check_embeddings(batch)
    except InputError as error:  # weights that are damaged, a runtime that is missing
        yield Check(CNN, Verdict.FAIL, str(error))
