"""Checks an installation: compares families, embeddings and models with an independent reference.

On CUDA the reference is the CPU. On the CPU it is the library route in `reference`, another runtime
for embeddings, and see `models`.
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
from ..extras import EXTRAS, how_to_install
from ..families import planes
from ..families.registry import CNN, FAMILIES, measurer
from ..learn.settings import Compute
from ..sources.synthetic import open_source
from ..words import counted, one_line
from . import models

VERSIONS = ("numpy", "numba", "xgboost")
PATCHES, TIMED_PATCHES, REPEATS = 8, 512, 3


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference of two values: `atol + rtol * |expected|`."""

    rtol: float
    atol: float


# A GPU fuses multiply and add, and its math functions differ in the last bits of a double.
PARITY = Tolerance(rtol=1e-5, atol=1e-6)
BETWEEN_RUNTIMES = Tolerance(rtol=1e-4, atol=1e-4)  # runtimes add in different orders


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """The result of one check: its name, its verdict, and details or what to do next."""

    name: str
    verdict: Verdict
    detail: str


def worst(actual: np.ndarray, expected: np.ndarray, tolerance: Tolerance) -> float:
    """The largest difference as a multiple of the tolerance; infinity for non-finite values."""
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return float("inf")
    allowed = tolerance.atol + tolerance.rtol * np.abs(expected)
    apart = np.abs(actual - expected)
    # Where nothing is allowed, as for an exact count of 0, values are equal or infinitely far apart.
    exact = np.where(apart > 0, np.inf, 0.0)
    return float(np.divide(apart, allowed, out=exact, where=allowed > 0).max())


def judge(
    name: str,
    columns: Sequence[str],
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: Tolerance,
    reference: str,
) -> Check:
    """Compare features (rows, columns) with a reference: PASS if every column is within tolerance."""
    pairs = zip(actual.T, expected.T, strict=True)
    by_column = np.array([worst(ours, theirs, tolerance) for ours, theirs in pairs])
    k = int(by_column.argmax())
    if by_column[k] <= 1:
        return Check(name, Verdict.PASS, f"{counted(len(columns), 'column')} equal {reference}")
    off = f"{int((by_column > 1).sum()):,} of {counted(len(columns), 'column')} differ from {reference}"
    return Check(name, Verdict.FAIL, f"{off}; the largest difference is in {columns[k]}; report it")


def check_card(name: str, target: Target, batch: np.ndarray) -> Check:
    """Compare one family on CUDA with the CPU, and time both."""
    family = FAMILIES[name]
    on_card, on_cpu = measurer([family], target), measurer([family], cpu)
    actual, expected = on_card(batch, [name])[name], on_cpu(batch, [name])[name]
    many = np.concatenate([batch] * (TIMED_PATCHES // len(batch)))
    card_ms, cpu_ms = (milliseconds(measure, many, name) for measure in (on_card, on_cpu))
    check = judge(name, family.columns, actual, expected, PARITY, "those of the CPU")
    timing = f"{card_ms:.3f} ms per patch, one CPU core {cpu_ms:.3f} ms"
    return Check(name, check.verdict, f"{check.detail}; {timing}")


def milliseconds(measure: Callable[..., Any], batch: np.ndarray, name: str) -> float:
    """Milliseconds per patch: the median of several runs after a warm-up."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        measure(batch, [name])
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:]) / len(batch) * 1000


def check_cpu(name: str, batch: np.ndarray) -> Check:
    """Compare one family on the CPU with the same features from common libraries."""
    try:
        reference = importlib.import_module(f".reference.{name}", __package__)
    except ModuleNotFoundError as error:
        fix = f"not checked: {error.name} is not installed; run {how_to_install('dev')}"
        return Check(name, Verdict.WARN, fix)
    family = FAMILIES[name]
    actual = measurer([family], cpu)(batch, [name])[name]
    references = []
    for patch in cpu.prepare(planes.KERNEL)(batch):
        named = {plane: patch[planes.PLANES.index(plane)] for plane in reference.PLANES}
        references.append(reference.features(named))
    columns = list(references[0])
    shared = [family.columns.index(column) for column in columns]
    expected = np.array([[values[column] for column in columns] for values in references])
    tolerance = Tolerance(**reference.TOLERANCE)
    return judge(name, columns, actual[:, shared], expected, tolerance, f"those of {reference.LIBRARY}")


def check_embeddings(batch: np.ndarray, on_card: bool = False) -> Check:
    """Compare the default encoder in the default runtime with another: on the card, or ONNX Runtime."""
    from ..encoders.registry import open_encoder

    first, package, other = open_encoder(), "onnxruntime", "cuda" if on_card else "onnxruntime"
    if importlib.util.find_spec(package) is None:
        fix = f"not checked: {package} is not installed; run {how_to_install(EXTRAS[package])}"
        return Check(CNN, Verdict.WARN, fix)
    measures = [
        encoder.measurer(batch.shape[1:3], 1) for encoder in (first, open_encoder(runtime=other))
    ]
    actual, expected = (measure(batch) for measure in measures)
    check = judge(CNN, first.columns, actual, expected, BETWEEN_RUNTIMES, f"those of {other}")
    if not on_card:
        return check
    many = np.concatenate([batch] * (TIMED_PATCHES // len(batch)))
    cpu_ms, card_ms = (milliseconds(lambda rows, _, m=m: m(rows), many, CNN) for m in measures)
    timing = f"{card_ms:.3f} ms per patch, one CPU core {cpu_ms:.3f} ms"
    return Check(CNN, check.verdict, f"{check.detail}; {timing}")


def check_models(device: str) -> Iterator[Check]:
    """Train a kernel model and trees on made-up features, and compare them with a reference."""
    compute = Compute(device, 0, 0)
    trials: tuple[tuple[str, Callable[[], models.Trial], float, str], ...]
    if device == "cpu":
        trials = (
            ("kernel model", models.kernel_against_library, models.SAME, "log-odds of scikit-learn's"),
            ("trees", lambda: models.trees_against_shap(0), models.SAME, "the sum of SHAP values"),
        )
    else:
        trials = (
            ("kernel model", lambda: models.kernel_on(compute), models.SAME, "log-odds of the CPU's"),
            ("trees", lambda: models.trees_on(compute), models.RANKS, "the AUC of the CPU's"),
        )
    for name, run, allowed, reference in trials:
        try:
            trial = run()
        except Exception as error:
            # Whatever a driver or a library of the card raises is a finding, not the doctor's failure.
            yield Check(
                name, Verdict.FAIL, f"{type(error).__name__}: {one_line(str(error))}; report it"
            )
            continue
        passed = trial.apart <= allowed
        far = f"{trial.apart:.1g} from {reference}, {allowed:g} allowed"
        timing = f"{trial.seconds:.2f} s"
        if trial.reference_seconds is not None:
            timing += f", on the CPU {trial.reference_seconds:.2f} s"
        yield Check(name, Verdict.PASS if passed else Verdict.FAIL, f"{far}; trained in {timing}")


def as_markdown(seen: Sequence[Check]) -> str:
    """The checks as a table in Markdown, to paste into an issue."""
    machine = (
        f"{platform.platform()}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    )
    rows = [f"| {one.verdict} | {one.name} | {one.detail.replace('|', '/')} |" for one in seen]
    return "\n".join(
        [f"`pcam doctor` on {machine}", "", "| | check | detail |", "| --- | --- | --- |", *rows, ""]
    )


def check_cache() -> Check:
    """Check that the cache of compiled kernels is writable."""
    folder = cpu.cache_folder()
    remedy = "set the environment variable PCAM_CACHE_DIR to a writable folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Check("kernel cache", Verdict.FAIL, f"{folder}: {error.strerror}; {remedy}")
    if not os.access(folder, os.W_OK):
        return Check("kernel cache", Verdict.FAIL, f"{folder} is not writable; {remedy}")
    return Check("kernel cache", Verdict.PASS, str(folder))


def checks(device: Device) -> Iterator[Check]:
    """Run all checks, one after the other.

    Parameters
    ----------
    device
        The device to check.

    Yields
    ------
    Check
        The result of each check as soon as it is known. A failed check does not raise.
    """
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
        yield check_embeddings(batch, on_card=target is not cpu)
    except InputError as error:  # for example damaged weights or a missing runtime
        yield Check(CNN, Verdict.FAIL, str(error))
    yield from check_models("cpu" if target is cpu else "cuda")
