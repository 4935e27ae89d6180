"""Memory of networks: how much was used, and freed tensors kept for the next step, with glibc.

glibc returns each large block to the system as soon as it is freed, and the next step has to have its
pages made again: on the CPU, half of the time of a step and more (DECISIONS.md has figures).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..storage import costs

# Options of glibc's malloc.h, and what it comes to by itself once large blocks were freed.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
LARGEST = 2**31 - 1  # bytes; the options are C integers
USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}


@contextmanager
def memory_kept() -> Iterator[None]:
    """In the block, freed memory stays with the process; it is returned at the end.

    Examples
    --------
    >>> with memory_kept():
    ...     len(bytearray(1 << 26))
    67108864
    """
    library = glibc()
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        for option, value in USUAL.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def glibc() -> Any:
    """The C library if it is glibc; None otherwise."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if all(hasattr(library, name) for name in ("mallopt", "malloc_trim")) else None


def peak_mib(device: str) -> float | None:
    """The most memory used so far in MiB: of the GPU, or of this process; None if it is not known."""
    if device != "cuda":
        return costs.peak_memory_mib()
    import torch

    return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)
