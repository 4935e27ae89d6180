"""What threads need where memory is limited (`ulimit -v`), so that running out of it ends in an error.

Without it, glibc ends the process, or Python waits for ever for a thread that ended before it began.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import re
import sys
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20
LEAST_ROOM = 256 * MIB  # of addresses beside those of threads, for libraries and buffers
ROOM_OF_THREAD = 80 * MIB  # 8 MiB for its stack, and 64 MiB that glibc reserves for what it allocates

# How the system, NumPy, XGBoost, OpenCV, Numba, OpenVINO and the loader of libraries say that memory,
# or room for a thread, could not be had. None is a MemoryError.
NO_MEMORY = re.compile(
    r"bad_alloc|cannot allocate memory|out of memory|insufficient memory|unable to allocate|"
    r"can't start new thread|failed to launch worker thread|failed to map segment|"
    r"resource temporarily unavailable|cannot apply additional memory protection",
    re.IGNORECASE,
)


def let_cpp_throw() -> None:
    """Give the calling thread the memory that its first exception in C++ needs.

    The runtime of C++ keeps a few bytes for each thread in which exceptions are thrown, and takes them
    when the first is. If that one says that memory has run out, they cannot be had either, and glibc
    ends the process ("cannot allocate memory for thread-local data") before PyArrow or OpenCV can turn
    the exception into a MemoryError. Where the runtime is another one, nothing happens.

    Source: Itanium C++ ABI, "Exception Handling", 2.2.2 (`__cxa_get_globals`).
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libstdc++.so.6").__cxa_get_globals()


def check_room(threads: int = 0) -> None:
    """Check that some threads can start, and libraries work, where memory is limited.

    Raises
    ------
    MemoryError
        If memory is limited and too little of it is left.
    """
    needed = LEAST_ROOM + threads * ROOM_OF_THREAD
    left = room()
    if left is not None and left < needed:
        raise MemoryError(
            f"{needed // MIB} MiB of memory are needed, and ulimit -v leaves {left // MIB} MiB"
        )


def room() -> int | None:
    """The bytes of addresses that this process may still take; None if that is not limited or known."""
    most, taken = limit(), Path("/proc/self/statm")
    if most is None or not taken.exists():
        return None
    return max(most - int(taken.read_text().split()[0]) * mmap.PAGESIZE, 0)


def limit() -> int | None:
    """The bytes of addresses that this process may take; None if they are not limited."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if most == resource.RLIM_INFINITY else most


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is too little memory."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, Exception) and NO_MEMORY.search(str(error)):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
