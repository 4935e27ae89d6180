"""Limited memory ends in a MemoryError, not in the end of the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")

START = """
import resource
from pcam_features.execution.executor import Threads
from pcam_features.execution.memory import LEAST_ROOM, ROOM_OF_THREAD, check_room, room

def leave(more):
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, -1))

assert room() is None
check_room(1000)
"""


def ended(code: str) -> str:
    """The last line that a process prints which runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in (0, 1), done.stderr
    return (done.stdout + done.stderr).splitlines()[-1]


def test_mechanics_threads_start_where_there_is_room_for_them() -> None:
    code = "leave(LEAST_ROOM + 3 * ROOM_OF_THREAD)\nprint(list(Threads({}).map(abs, [-1, -2])))"
    assert ended(code.format(2)) == "[1, 2]"
    assert ended(code.format(4)).startswith("MemoryError: 576 MiB of memory are needed, and ulimit -v")


def test_regression_a_thread_without_memory_left_tells_of_it() -> None:
    """glibc ended the process when the first exception of C++ in a thread said that memory is short."""
    code = """
import ctypes
import pyarrow as pa

malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
name, field, number = b"x" * (64 << 20), pa.field, pa.int64()
leave(LEAST_ROOM + 4 * ROOM_OF_THREAD)

def fill(unit):
    for size in (1 << 20, 1 << 12, 1 << 8, 1 << 5, 1):
        while malloc(size):
            pass
    field(name, number)  # copies the name into a string of C++

list(Threads(2).map(fill, range(2)))
"""
    assert "Error" in ended(code)
