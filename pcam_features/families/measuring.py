"""Measuring several families on one batch, whose patches' planes they share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import PcamError
from . import planes

# Measures a batch, uint8 (N, 96, 96, 3): float32 (N, columns) for each family named.
# Several threads may call it at once.
Measure = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]


class Opened(Protocol):
    """Families of one group, ready to measure batches on a device."""

    @property
    def rows(self) -> int:
        """How many patches a thread should measure at a time."""
        ...

    def prepare(self) -> None:
        """Compile what is not compiled yet. Otherwise the first batch does it."""
        ...

    def __call__(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Measure a batch; see `Measure`."""
        ...


class Kernels:
    """Kernels, by their families' names, on one target.

    Parameters
    ----------
    kernels
        The families' kernels.
    target
        Where they run.
    threads
        Number of threads that measure at once.
    """

    def __init__(self, kernels: Sequence[Kernel], target: Target, threads: int) -> None:
        self.kernels = [planes.KERNEL, *kernels]
        self.target = target
        self.rows = target.batch_rows(sum(kernel.bytes_per_patch for kernel in self.kernels), threads)
        self._measure: Measure | None = None
        self._preparing = threading.Lock()

    def prepare(self) -> None:
        """Compile the kernels: a minute for the first time on a machine."""
        with self._preparing:
            if self._measure is None:
                self._measure = compiled(self.kernels, self.target)

    def __call__(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        self.prepare()
        assert self._measure is not None
        return self._measure(batch, names)


def compiled(kernels: Sequence[Kernel], target: Target) -> Measure:
    """Compile the planes' kernel and families' kernels for `target`.

    A batch that does not fit in the GPU's memory is measured in halves. What is returned raises
    PcamError if a single patch does not fit.
    """
    target.compile_ahead(kernels)
    make_planes = target.prepare(kernels[0])
    prepared = {kernel.name: target.prepare(kernel) for kernel in kernels[1:]}

    def at_once(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        with target.batch_stream():
            shared = make_planes(target.to_device(batch))
            return target.to_host({name: prepared[name](shared) for name in names})

    def measure(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        try:
            return at_once(batch, names)
        except target.out_of_memory():
            if len(batch) == 1:
                raise PcamError("the GPU has no memory left for one patch; use --device cpu.") from None
        target.release()
        half = len(batch) // 2
        first, second = measure(batch[:half], names), measure(batch[half:], names)
        return {name: np.concatenate([first[name], second[name]]) for name in names}

    return measure
