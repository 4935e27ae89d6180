"""The CUDA target: one thread block per patch. CuPy manages device memory, pinned memory and streams.

Importing this module needs numba-cuda, which is part of the extras `cuda12` and `cuda13`. If the
environment variable NUMBA_ENABLE_CUDASIM=1 is set before, `launch` runs in Numba's simulator, on NumPy
arrays and without CuPy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import cuda  # a module-level name, which the simulator replaces

from . import kernel as words
from .kernel import LANES, Kernel, bind

NAME = "cuda"
SHARE_OF_MEMORY = 0.6  # share of the free memory for batches; the rest is for transfers and others
MOST_ROWS = 2048  # one part of the store, whose results are then copied back together
_compiling = threading.Lock()


def _device(function: Callable[..., Any]) -> Any:
    # In the simulator, device functions stay plain functions: its wrapper takes a lock at each call,
    # which makes thirty-two threads a thousand times slower.
    return function if numba.config.ENABLE_CUDASIM else cuda.jit(device=True)(function)


def lane() -> Any:
    """The thread's index in its block."""
    return cuda.threadIdx.x


def lanes() -> Any:
    """The number of threads in a block."""
    return cuda.blockDim.x


def barrier() -> None:
    """Wait for all threads of the block."""
    cuda.syncthreads()


def add(array: Any, index: Any, value: Any) -> None:
    """Add to a cell atomically."""
    cuda.atomic.add(array, index, value)


@cache
def _words() -> dict[Callable[..., Any], Any]:
    return {getattr(words, word.__name__): _device(word) for word in (lane, lanes, barrier, add)}


def block_of(kernel: Kernel) -> Callable[..., None]:
    """The code of one block: it allocates scratch in shared memory and runs the kernel on its patch."""
    measure = bind(kernel.measure, _words(), _device)
    int_shape, float_shape = kernel.ints, kernel.floats

    def block(patches: Any, table: Any, work: Any, out: Any) -> None:
        ints = cuda.shared.array(int_shape, numba.int32)
        floats = cuda.shared.array(float_shape, numba.float64)
        n = cuda.blockIdx.x
        measure(patches[n], table, ints, floats, work[n], out[n])

    return block


@cache
def _compiled(kernel: Kernel) -> Any:
    return cuda.jit(block_of(kernel))


def launch(kernel: Kernel, patches: Any, table: Any, work: Any, out: Any, stream: Any = 0) -> None:
    """Start a kernel on a batch, with one block per patch, each with its own part of `work`."""
    with _compiling:
        compiled = _compiled(kernel)
    compiled[len(patches), LANES, stream](patches, table, work, out)


def compiled_before(kernels: Sequence[Kernel]) -> bool:
    """False: kernels for the GPU are compiled in every process."""
    return False


def compile_ahead(kernels: Sequence[Kernel]) -> None:
    """Do nothing: `launch` compiles for the GPU that it runs on."""


@cache
def _table_on_device(kernel: Kernel) -> Any:
    import cupy

    table = cupy.asarray(kernel.table)
    cupy.cuda.get_current_stream().synchronize()  # batches on other streams will read it
    return table


def prepare(kernel: Kernel) -> Callable[[Any], Any]:
    """Copy a kernel's table to the GPU.

    Parameters
    ----------
    kernel
        The kernel.

    Returns
    -------
    Callable
        A function that runs the kernel on a CuPy array, uint8 (N, …), on the current CuPy stream, and
        returns a CuPy array of shape (N, *kernel.shape).
    """
    import cupy

    table = _table_on_device(kernel)

    def run(patches: Any) -> Any:
        out = cupy.empty((len(patches), *kernel.shape), kernel.dtype)
        work = cupy.empty((len(patches), *kernel.work), kernel.work_dtype)
        stream = cuda.external_stream(cupy.cuda.get_current_stream().ptr)
        launch(kernel, patches, table, work, out, stream)
        return out

    return run


def batch_rows(bytes_per_patch: int, threads: int) -> int:
    """The number of patches per batch such that the batches of all threads fit in GPU memory."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    fitting = int(free * SHARE_OF_MEMORY / threads / bytes_per_patch)
    return max(1, min(fitting, MOST_ROWS))


def out_of_memory() -> tuple[type[BaseException], ...]:
    """The exceptions after which a smaller batch may help."""
    import cupy

    return (cupy.cuda.memory.OutOfMemoryError,)


def release() -> None:
    """Return the memory that CuPy keeps for reuse to the GPU."""
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()


@contextmanager
def batch_stream() -> Iterator[None]:
    """A separate stream for one batch, so that copies of one thread overlap with kernels of another."""
    import cupy

    with cupy.cuda.Stream(non_blocking=True):
        yield


def to_device(batch: np.ndarray) -> Any:
    """Copy a batch to the GPU through pinned memory, and wait until the copy is complete."""
    import cupy
    import cupyx

    pinned = cupyx.empty_like_pinned(batch)
    pinned[...] = batch
    array = cupy.empty(batch.shape, batch.dtype)
    stream = cupy.cuda.get_current_stream()
    array.set(pinned, stream)
    stream.synchronize()
    return array


def to_host(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copy all results of a batch to the host, and wait once until all copies are complete."""
    import cupy
    import cupyx

    stream = cupy.cuda.get_current_stream()
    pinned = {name: cupyx.empty_like_pinned(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        array.get(stream, out=pinned[name], blocking=False)
    stream.synchronize()
    return {name: np.array(copy) for name, copy in pinned.items()}
