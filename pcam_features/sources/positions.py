"""Reading bytes at a position of a file, from several threads at once."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

import numpy as np

from ..errors import InputError


class Positions:
    """A file that is opened once. Raises InputError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; check the file.") from None
        self.size = os.fstat(self._descriptor).st_size
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, self._descriptor)

    def fill(self, buffer: np.ndarray, start: int) -> bool:
        """Fill an array of bytes (n,) from position `start`; False if the file ends before."""
        if hasattr(os, "preadv"):
            try:
                return os.preadv(self._descriptor, [buffer.data], start) == len(buffer)
            except OSError as error:
                raise InputError(f"{self.path} cannot be read: {error}; check the file.") from None
        data = self.read(start, len(buffer))
        buffer[: len(data)] = np.frombuffer(data, np.uint8)
        return len(data) == len(buffer)

    def read(self, start: int, count: int) -> bytes:
        """Read `count` bytes from position `start`; fewer if the file ends before."""
        try:
            if hasattr(os, "pread"):
                return os.pread(self._descriptor, count, start)
            with self._lock:  # Windows has one file position for all threads
                os.lseek(self._descriptor, start, os.SEEK_SET)
                return os.read(self._descriptor, count)
        except (OSError, OverflowError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read: {error}; check the file.") from None
