"""Chooses the device that kernels run on: `cpu`, `cuda`, or `auto`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ..constants import Device
from ..errors import InputError
from ..words import message_of
from .kernel import Kernel


class Target(Protocol):
    """The interface of a device; `engine.cpu` and `engine.cuda` implement it."""

    NAME: str

    def compiled_before(self, kernels: Sequence[Kernel]) -> bool: ...
    def compile_ahead(self, kernels: Sequence[Kernel]) -> None: ...
    def prepare(self, kernel: Kernel) -> Callable[[Any], Any]: ...
    def batch_stream(self) -> AbstractContextManager[None]: ...
    def to_device(self, batch: np.ndarray) -> Any: ...
    def to_host(self, arrays: dict[str, Any]) -> dict[str, np.ndarray]: ...
    def batch_rows(self, bytes_per_patch: int, threads: int) -> int: ...
    def out_of_memory(self) -> tuple[type[BaseException], ...]: ...
    def release(self) -> None: ...


def cuda_problem() -> str | None:
    """The reason why CUDA cannot be used on this machine, as part of a sentence, or None if it can."""
    for module, name in (("cupy", "CuPy"), ("numba_cuda", "numba-cuda")):
        if importlib.util.find_spec(module) is None:
            return f"{name} is not installed (install the extra cuda12 or cuda13)"
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be loaded ({message_of(error, 200)})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA reports: {error}"
    return numba_problem() if count else "no CUDA device was found"


def numba_problem() -> str | None:
    """The reason why numba-cuda cannot compile for a card, as part of a sentence, or None if it can.

    numba-cuda 0.30 names a function that NumPy 2.5 no longer has, in a module that the first
    compilation loads.
    """
    try:
        importlib.import_module("numba.cuda.np.arrayobj")
    except ModuleNotFoundError:  # another numba-cuda may keep this elsewhere
        return None
    except AttributeError as error:
        return (
            f"numba-cuda does not work with NumPy {np.__version__} ({message_of(error, 200)}; "
            'numba-cuda 0.30 needs "numpy<2.5")'
        )
    return None


def choose(device: Device) -> tuple[Target, str]:
    """Choose the target for a device.

    Parameters
    ----------
    device
        `cpu`, `cuda`, or `auto`: CUDA if it can be used, or else the CPU.

    Returns
    -------
    target : Target
        The target.
    message : str
        The choice and its reason, for the user.

    Raises
    ------
    InputError
        If the device is `cuda` and CUDA cannot be used.
    """
    problem = cuda_problem() if device != Device.cpu else None
    if device == Device.cuda and problem:
        raise InputError(f"--device cuda cannot be used: {problem}. Use --device cpu or auto.")
    if device == Device.cpu or problem:
        from . import cpu

        return cpu, "device: cpu" + (f" (auto: {problem})" if problem else "")
    from . import cuda

    return cuda, "device: cuda"
