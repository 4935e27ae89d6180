"""The CPU target: kernels compiled by Numba, cached on disk, running without Python's global lock."""

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

from ..errors import InputError
from ..storage.disks import telling_full
from ..storage.files import cache_root, read_json, write_json
from ..storage.folders import clear_folder
from ..storage.sums import FileSum
from .kernel import WORDS, Kernel, bind

NAME = "cpu"
PACKAGE = Path(__file__).parent.parent
SUMS = "sums.json"  # in a kernel's folder: the sums of its files
BATCH_ROWS = 128  # patches that one thread reads and processes at a time: a few MB
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# The inner functions of a kernel are never called from Python or C. Without these entry points they
# compile faster.
INNER = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_compiling = threading.Lock()


def measure(patch: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    """A placeholder that `_compiled` replaces by the kernel's own `measure`."""


def each_patch(patches: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    """Run the kernel on each patch of a batch."""
    for n in range(patches.shape[0]):
        measure(patches[n], table, ints, floats, work, out[n])


def cache_folder() -> Path:
    """The folder of the compiled kernels.

    Its name is a digest of the kernels' source and of the path of the package, because Numba does not
    find code that it compiled for a file with another path.
    """
    digest = hashlib.sha256(f"numba {numba.__version__} {PACKAGE}".encode())
    for path in sorted([*PACKAGE.glob("engine/*.py"), *PACKAGE.glob("families/*.py")]):
        digest.update(path.read_bytes())
    return cache_root() / "kernels" / digest.hexdigest()[:16]


def compiled_before(kernels: Sequence[Kernel]) -> bool:
    """Whether these kernels are in the cache. If not, their first use takes about a minute."""
    return all(map(_is_sound, kernels))


def compile_ahead(kernels: Sequence[Kernel]) -> None:
    """Compile the kernels that are not in the cache yet, in one process per core.

    A process that fails is ignored: `prepare` compiles missing kernels, and raises their errors.
    """
    modules = [k.measure.__module__ for k in kernels if not compiled_before([k])]
    modules.sort(key=lambda name: Path(sys.modules[name].__file__ or "").stat().st_size, reverse=True)
    count = min(joblib.cpu_count(), len(modules))
    if count < 2:
        return
    # -P: do not import modules from the current folder
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


def _sums(kernel: Kernel) -> dict[str, str]:
    """The sum of each file that Numba cached for a kernel, of its content and of the kernel's name."""
    folder = _folder(kernel)
    files = [file for file in sorted(folder.rglob("*.nb[ci]")) if file.is_file()]
    return {
        file.relative_to(folder).as_posix(): str(FileSum.of(kernel.name.encode() + file.read_bytes()))
        for file in files
    }


def _is_sound(kernel: Kernel) -> bool:
    """Whether a kernel is in the cache, and every file as it was written.

    Numba would take a damaged file, or one of another kernel, and fail or end the process.
    """
    try:
        known = read_json(_folder(kernel) / SUMS, "checksums of a kernel")
    except InputError:
        return False
    return bool(known) and known == _sums(kernel)


def _scratch(kernel: Kernel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ints, floats = np.empty(kernel.ints, np.int32), np.empty(kernel.floats, np.float64)
    return ints, floats, np.empty(kernel.work, kernel.work_dtype)


@cache
def _compiled(kernel: Kernel, axes: int) -> Any:
    """The kernel's loop over a batch, loaded from the cache or compiled and cached.

    Numba's cache is not safe when several processes write it, so one process compiles while others
    wait. The cache distinguishes functions only by name and line, so each kernel has its own folder. A
    folder with a damaged file is emptied.
    """
    folder = _folder(kernel)
    folder.mkdir(parents=True, exist_ok=True)
    inner = numba.njit(**INNER)
    compiled = bind(kernel.measure, {word: inner(word) for word in WORDS}, inner)
    loop = bind(each_patch, {measure: compiled}, lambda function: function)
    batch = np.empty((0,) * axes, np.uint8)
    out = np.empty((0, *kernel.shape), kernel.dtype)
    signature = tuple(numba.typeof(a) for a in (batch, kernel.table, *_scratch(kernel), out))
    with telling_full(folder), FileLock(folder / "lock"):
        if not _is_sound(kernel):
            clear_folder(folder, "lock")
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            ready = numba.njit(signature, cache=True, **OPTIONS)(loop)
        finally:
            numba.config.CACHE_DIR = before
        if not _is_sound(kernel):
            write_json(folder / SUMS, _sums(kernel), folder)
    return ready


def prepare(kernel: Kernel) -> Callable[[Any], Any]:
    """Load a kernel, or compile it if it is not cached.

    Parameters
    ----------
    kernel
        The kernel.

    Returns
    -------
    Callable
        A function that runs the kernel on a batch, uint8 (N, …), and returns an array of shape
        (N, *kernel.shape). It is thread-safe.
    """
    with _compiling:
        loop = _compiled(kernel, axes=4)

    def run(patches: np.ndarray) -> np.ndarray:
        out = np.empty((len(patches), *kernel.shape), kernel.dtype)
        loop(patches, kernel.table, *_scratch(kernel), out)
        return out

    return run


def batch_rows(bytes_per_patch: int, threads: int) -> int:
    """The number of patches that each thread should process at a time."""
    return BATCH_ROWS


def out_of_memory() -> tuple[type[BaseException], ...]:
    """The exceptions after which a smaller batch may help: none, because batches are small."""
    return ()


def release() -> None:
    """Do nothing: no memory is held between batches."""


def batch_stream() -> nullcontext[None]:
    """A context without effect: the CPU has no streams."""
    return nullcontext()


def to_device(batch: np.ndarray) -> np.ndarray:
    """The batch itself: the CPU reads it in place."""
    return batch


def to_host(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays themselves: they are in the host's memory already."""
    return arrays
