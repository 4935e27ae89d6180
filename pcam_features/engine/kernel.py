"""The words kernels are written in: one Python function over one patch, on every target.

A kernel is a plain function marked `@device` that shares its work out with four words:

    for y in range(lane(), height, lanes()):       # rows are dealt out to lanes
        for x in range(width):
            add(counts, (levels[y, x], levels[y, x + 1]), 1)
    barrier()                                      # all lanes have counted

As written here the words mean "one lane, nobody to wait for", so a kernel also runs as ordinary
Python: slow, and easy to step through. `engine.cpu` compiles these very words; `engine.cuda`
puts threads of a block, `syncthreads` and atomics in their place. The fifth word of the design,
scratch memory, is declared in `Kernel` and handed to the kernel, because CUDA wants it declared
where the block starts.

Two rules keep every target's results equal: sums that lanes share are integers (their order
cannot matter), and a floating-point sum belongs to one lane from start to end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

LANES = 32  # CUDA threads that share one patch: a warp; sizes the scratch that lanes do not share


def lane() -> int:
    """Which lane this is, from 0."""
    return 0


def lanes() -> int:
    """How many lanes share the patch."""
    return 1


def barrier() -> None:
    """Wait until every lane has come here."""


def add(array: Any, index: Any, value: Any) -> None:
    """Add to a cell that other lanes may be adding to."""
    array[index] += value


WORDS = (lane, lanes, barrier, add)


@dataclass(frozen=True, eq=False)  # a kernel is itself: it hashes by identity
class Kernel:
    """A computation over one patch.

    `measure(patch, table, ints, floats, work, out)` reads `patch` (uint8, three axes), may look
    things up in `table`, and fills `out`, of shape `shape` and type `dtype`. Its scratch has the
    stated shapes, and undefined content at the start: `ints` (int32) and `floats` (float64) are
    small and near (shared memory on a card, 48 KB together), `work` (`work_dtype`) is for images,
    in the card's own memory; each patch has its own of all three.
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
        """What a patch takes of a card's own memory: results and image scratch."""
        out = prod(self.shape) * np.dtype(self.dtype).itemsize
        return out + prod(self.work) * np.dtype(self.work_dtype).itemsize


_marked: set[Any] = set()


def device(function: F) -> F:
    """Mark a function as kernel code, to be compiled for each target."""
    _marked.add(function)
    return function


def bind(
    function: Callable[..., Any],
    words: dict[Callable[..., Any], Any],
    build: Callable[[FunctionType], Any],
    done: dict[Callable[..., Any], Any] | None = None,
) -> Any:
    """Build `function`, and the kernel code it calls, with a target's `words` in place of ours.

    The words are exchanged by name in a copy of the function's globals, rather than captured in a
    closure: Numba can keep compiled code on disk for the former and not for the latter.
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
