"""The language of kernels: one Python function that processes one patch on every target.

A kernel is a plain function marked `@device`. It distributes its work over *lanes* with four
functions, the *words* of the language:

    for y in range(lane(), height, lanes()):       # each lane takes every lanes()-th row
        for x in range(width):
            add(counts, (levels[y, x], levels[y, x + 1]), 1)
    barrier()                                      # all lanes have finished counting

The definitions in this module are those of a single lane, so a kernel also runs as ordinary Python,
which is slow but easy to debug. `engine.cpu` compiles these definitions. `engine.cuda` replaces them by
threads of a block, `syncthreads` and atomics. Scratch memory is declared in `Kernel` and passed to the
kernel, because CUDA requires its declaration at the start of the block.

Two rules make the results of all targets equal. Sums that several lanes share are integers, so their
order does not matter. A floating-point sum belongs to one lane from start to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

LANES = 32  # CUDA threads per patch (one warp); also the number of private scratch areas


def lane() -> int:
    """The index of this lane, from 0."""
    return 0


def lanes() -> int:
    """The number of lanes that process the patch together."""
    return 1


def barrier() -> None:
    """Wait until every lane has reached this point."""


def add(array: Any, index: Any, value: Any) -> None:
    """Add to a cell to which other lanes may add at the same time."""
    array[index] += value


WORDS = (lane, lanes, barrier, add)


@dataclass(frozen=True, eq=False)  # hashed by identity
class Kernel:
    """A computation over one patch.

    Parameters
    ----------
    name
        Name of the kernel and of its family.
    measure
        The function `measure(patch, table, ints, floats, work, out)`. It reads `patch` (uint8, three
        axes) and `table`, and fills `out`. The content of its scratch arrays is undefined at the start.
        Each patch has its own scratch arrays.
    shape, dtype
        Shape and type of `out`.
    table
        Constants that the kernel looks up.
    ints, floats
        Shapes of the small scratch arrays, int32 and float64. On a GPU they are in shared memory, 48 KB
        together.
    work, work_dtype
        Shape and type of the large scratch array for images. On a GPU it is in global memory.
    """

    name: str
    measure: Callable[..., None]
    shape: tuple[int, ...]
    dtype: type[np.generic]
    table: np.ndarray
    ints: tuple[int, ...] = (1,)
    floats: tuple[int, ...] = (1,)
    work: tuple[int, ...] = (1,)
    work_dtype: type[np.generic] = np.int32

    @property
    def bytes_per_patch(self) -> int:
        """Global GPU memory that one patch needs for results and `work`, in bytes."""
        out = prod(self.shape) * np.dtype(self.dtype).itemsize
        return out + prod(self.work) * np.dtype(self.work_dtype).itemsize


_marked: set[Any] = set()


def device(function: F) -> F:
    """Mark a function as kernel code, which is compiled for each target."""
    _marked.add(function)
    return function


def bind(
    function: Callable[..., Any],
    words: dict[Callable[..., Any], Any],
    build: Callable[[FunctionType], Any],
    done: dict[Callable[..., Any], Any] | None = None,
) -> Any:
    """Build a kernel function, and the kernel functions it calls, for a target.

    The words are replaced by name in a copy of the function's globals instead of in a closure, because
    Numba's disk cache works for the former but not for the latter.

    Parameters
    ----------
    function
        The function to build.
    words
        The target's version of each word of this module.
    build
        Compiles one function whose globals are complete.
    done
        Functions built so far, so that each is built once.

    Returns
    -------
    Any
        The result of `build` for `function`.
    """
    assert isinstance(function, FunctionType)
    done = {} if done is None else done
    if function not in done:
        names = dict(function.__globals__)
        for name in function.__code__.co_names:
            value = names.get(name)
            if not isinstance(value, FunctionType):
                continue
            if value in words:
                names[name] = words[value]
            elif value in _marked:
                names[name] = bind(value, words, build, done)
        copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
        copy.__qualname__ = function.__qualname__
        copy.__module__ = function.__module__
        done[function] = build(copy)
    return done[function]
