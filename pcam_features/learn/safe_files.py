"""A model's files: read from anybody, with limited sizes and no header evaluated, and written whole."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..storage.files import whole_file
from ..storage.sums import FileSum

LARGEST_FILE = 1 << 28  # bytes; landmarks of 5,000 columns take a quarter
LARGEST_HEADER = 128  # bytes before the numbers of an array of one or two axes


def read_content(folder: Path, file: Path) -> bytes:
    """The content of a file of the model at `folder`. Raises InputError if it is too large or cannot
    be read."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"model {folder}: {file.name} is too large to be part of a model.")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"model {folder}: {file.name} cannot be read: {error.strerror}.") from None


def parse_array(content: bytes, dtype: str) -> np.ndarray:
    """The array that `numpy.save` wrote.

    `numpy.load` opens a zip or a pickle if the file says so, and evaluates the header. Here only a
    header exactly as ours is read. Raises ValueError for anything else.
    """
    header = re.match(
        rb"\x93NUMPY\x01\x00..\{'descr': '%s', 'fortran_order': False, "
        rb"'shape': \((\d{1,8}),(?: (\d{1,8}))?\), \} *\n" % re.escape(dtype.encode()),
        content,
        re.DOTALL,
    )
    if header is None:
        raise ValueError("a file of the kernel model is not an array")
    shape = [int(length) for length in header.groups() if length is not None]
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape)


def kept_array(file: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The array that `write_array` wrote, or None if the file holds anything else.

    The size of the file is checked before anything is read, so that no file can take the memory.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    try:
        if not file.is_file() or not size < file.stat().st_size <= size + LARGEST_HEADER:
            return None
        array = parse_array(file.read_bytes(), dtype)
    except (OSError, ValueError):
        return None
    return array if array.shape == shape and np.isfinite(array).all() else None


def write_array(folder: Path, file: Path, array: np.ndarray) -> FileSum:
    """Write an array as an .npy file of a model's folder, which appears only when it is complete.

    Returns its sum.
    """
    with whole_file(file, folder) as temporary:
        with temporary.open("wb") as stream:
            np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        return FileSum.of_file(temporary)
