"""The CPU target: kernels compiled by Numba, kept on disk, free of the interpreter's lock."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numba
import numpy as np
from filelock import FileLock

from ..storage.files import cache_root
from .kernel import WORDS, Kernel, bind

NAME = "cpu"
PACKAGE = Path(__file__).parent.parent
BATCH_ROWS = 128  # patches a thread reads and measures at a time: a few MB
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Nobody calls a kernel's functions from Python or C: the ways in take a third of the time to compile.
INNER = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_compiling = threading.Lock()


def measure(patch: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    """Stands for a kernel's own `measure`, which `_compiled` puts in its place."""


def each_patch(patches: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    for n in range(patches.shape[0]):
        measure(patches[n], table, ints, floats, work, out[n])


def cache_folder() -> Path:
    """Where compiled kernels are kept: one folder for each state of the kernels' source, in each
    place, since Numba does not find what it compiled for a file of another path."""
    digest = hashlib.sha256(f"numba {numba.__version__} {PACKAGE}".encode())
    for path in sorted([*PACKAGE.glob("engine/*.py"), *PACKAGE.glob("families/*.py")]):
        digest.update(path.read_bytes())
    return cache_root() / "kernels" / digest.hexdigest()[:16]


def compiled_before(kernels: Sequence[Kernel]) -> bool:
    """Whether these kernels are on disk; if not, the first use takes a minute."""
    return all(any(_folder(kernel).rglob("*.nbc")) for kernel in kernels)


def compile_ahead(kernels: Sequence[Kernel]) -> None:
    """Compile those of `kernels` that are not on disk yet, in a process for each core.

    A process that fails is no matter: `prepare` compiles what is missing, and says what is wrong.
    """
    modules = [k.measure.__module__ for k in kernels if not compiled_before([k])]
    modules.sort(key=lambda name: Path(sys.modules[name].__file__ or "").stat().st_size, reverse=True)
    count = min(joblib.cpu_count(), len(modules))
    if count < 2:
        return
    # -P: modules are not looked for where the user happens to be
    command = [sys.executable, "-P", "-m", f"{__package__}.compile"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    workers = [
        subprocess.Popen(  # noqa: S603
            [*command, *modules[k::count]], env=environment, stderr=subprocess.DEVNULL
        )
        for k in range(count)
    ]
    for worker in workers:
        worker.wait()


def _folder(kernel: Kernel) -> Path:
    return cache_folder() / kernel.name


def _scratch(kernel: Kernel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ints, floats = np.empty(kernel.ints, np.int32), np.empty(kernel.floats, np.float64)
    return ints, floats, np.empty(kernel.work, kernel.work_dtype)


@cache
def _compiled(kernel: Kernel, axes: int) -> Any:
    """The kernel's loop over a batch: loaded from disk, or compiled and kept there.

    Numba's cache breaks when several processes write it, so one compiles while others wait. It
    tells functions apart by name and source line alone, so each kernel has a folder of its own.
    """
    folder = _folder(kernel)
    folder.mkdir(parents=True, exist_ok=True)
    inner = numba.njit(**INNER)
    compiled = bind(kernel.measure, {word: inner(word) for word in WORDS}, inner)
    loop = bind(each_patch, {measure: compiled}, lambda function: function)
    batch = np.empty((0,) * axes, np.uint8)
    out = np.empty((0, *kernel.shape), kernel.dtype)
    signature = tuple(numba.typeof(a) for a in (batch, kernel.table, *_scratch(kernel), out))
    with FileLock(folder / "lock"):
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, cache=True, **OPTIONS)(loop)
        finally:
            numba.config.CACHE_DIR = before


def prepare(kernel: Kernel) -> Callable[[Any], Any]:
    """Compile `kernel` if need be; the function returned runs it on a batch, uint8 (N, …), and
    returns (N, *kernel.shape). It may be called from several threads at once."""
    with _compiling:
        loop = _compiled(kernel, axes=4)

    def run(patches: np.ndarray) -> np.ndarray:
        out = np.empty((len(patches), *kernel.shape), kernel.dtype)
        loop(patches, kernel.table, *_scratch(kernel), out)
        return out

    return run


def batch_rows(bytes_per_patch: int, threads: int) -> int:
    return BATCH_ROWS


def out_of_memory() -> tuple[type[BaseException], ...]:
    """Nothing: batches are small already."""
    return ()


def release() -> None:
    """Nothing is held between batches."""


def batch_stream() -> nullcontext[None]:
    return nullcontext()


def to_device(batch: np.ndarray) -> np.ndarray:
    return batch


def to_host(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return arrays
