"""The CUDA target: one thread block a patch; CuPy owns device memory, pinned staging and streams.

Importing this needs numba-cuda, which the extras `cuda12` and `cuda13` bring. With the
environment variable NUMBA_ENABLE_CUDASIM=1 set beforehand, `launch` runs in Numba's simulator,
on NumPy arrays and without CuPy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba
import numpy as np
from numba import cuda  # a module-level name: the simulator swaps it here

from . import kernel as words
from .kernel import LANES, Kernel, bind

NAME = "cuda"
SHARE_OF_MEMORY = 0.6  # of what is free, for batches: the rest is for staging and for others
MOST_ROWS = 2048  # a part of the store: its results then come back at once
_compiling = threading.Lock()


def _device(function: Callable[..., Any]) -> Any:
    # The simulator runs device functions as they are; its wrapper around each call takes a lock,
    # which makes thirty-two threads a thousand times slower.
    return function if numba.config.ENABLE_CUDASIM else cuda.jit(device=True)(function)


def lane() -> Any:
    return cuda.threadIdx.x


def lanes() -> Any:
    return cuda.blockDim.x


def barrier() -> None:
    cuda.syncthreads()


def add(array: Any, index: Any, value: Any) -> None:
    cuda.atomic.add(array, index, value)


@cache
def _words() -> dict[Callable[..., Any], Any]:
    return {getattr(words, word.__name__): _device(word) for word in (lane, lanes, barrier, add)}


def block_of(kernel: Kernel) -> Callable[..., None]:
    """The code of one block: its patch, scratch in shared memory, and the kernel's arithmetic."""
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
    """Start `kernel` on a batch: a block for each patch, with its own part of `work`."""
    with _compiling:
        compiled = _compiled(kernel)
    compiled[len(patches), LANES, stream](patches, table, work, out)


def compiled_before(kernels: Sequence[Kernel]) -> bool:
    """Never: kernels for the card are compiled anew in every process."""
    return False


def compile_ahead(kernels: Sequence[Kernel]) -> None:
    """Nothing: `launch` compiles for the card that it finds."""


@cache
def _table_on_device(kernel: Kernel) -> Any:
    import cupy

    table = cupy.asarray(kernel.table)
    cupy.cuda.get_current_stream().synchronize()  # batches on streams of their own will read it
    return table


def prepare(kernel: Kernel) -> Callable[[Any], Any]:
    """The function that runs `kernel` on a CuPy batch, on the current CuPy stream."""
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
    """Patches to measure at a time, so that every thread's batch finds room on the card."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    fitting = int(free * SHARE_OF_MEMORY / threads / bytes_per_patch)
    return max(1, min(fitting, MOST_ROWS))


def out_of_memory() -> tuple[type[BaseException], ...]:
    """What is raised where smaller batches may help."""
    import cupy

    return (cupy.cuda.memory.OutOfMemoryError,)


def release() -> None:
    """Give back what CuPy keeps for later."""
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()


@contextmanager
def batch_stream() -> Iterator[None]:
    """A stream of this batch's own: one thread's copies overlap another's kernels."""
    import cupy

    with cupy.cuda.Stream(non_blocking=True):
        yield


def to_device(batch: np.ndarray) -> Any:
    """Copy a batch to the device through pinned memory, which the copy no longer needs after."""
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
    """The one place where results leave the device: all of a batch's, and one wait for them."""
    import cupy
    import cupyx

    stream = cupy.cuda.get_current_stream()
    found = {name: cupyx.empty_like_pinned(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        array.get(stream, out=found[name], blocking=False)
    stream.synchronize()
    return {name: np.array(pinned) for name, pinned in found.items()}
