"""Reads untrusted weight files in PyTorch's older format (before zip) without PyTorch.

Such a file holds five pickles (magic number, version, system information, dictionary of tensors, keys
of their storages), followed by the bytes of each storage. A pickle can call any function that it names.
This reader therefore accepts only three names, all of them harmless, and refuses every other.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..storage.files import sha256
from ..words import message_of

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LARGEST = 1 << 30  # bytes
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Rebuild:
    """Stands for `torch._utils._rebuild_tensor_v2`; without attributes that a pickle could set."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_grad_and_hooks: Any
    ) -> Tensor:
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or any(type(n) is not int or n < 0 for n in numbers):
            raise pickle.UnpicklingError("a tensor is malformed")
        return Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which tensors do not need")

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _place, count, view = pid
        if kind != "storage" or dtype not in DTYPES.values() or view is not None:
            raise pickle.UnpicklingError("a storage has an unknown type")
        return Storage(str(key), str(dtype), int(count))


def _parse(content: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(content)
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise ValueError("it is not in PyTorch's older format")
    _Unpickler(file).load()  # system information: sizes of types, which are fixed here
    tensors = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    at, starts = file.tell(), {}
    dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
    for key in keys:
        (count,) = struct.unpack_from("<q", content, at)
        starts[key] = (at + 8, count)
        at += 8 + count * np.dtype(dtypes[key]).itemsize
        if count < 0 or at > len(content):
            raise ValueError("it is truncated")
    found = {}
    for name, tensor in tensors.items():
        start, count = starts[tensor.storage.key]
        stored = np.frombuffer(content, tensor.storage.dtype, count, start)
        found[str(name)] = _array(stored, tensor)
    return found


def _array(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * step for length, step in steps)
    if not 0 < math.prod(tensor.shape) <= len(stored) or last >= len(stored):
        raise ValueError("a tensor is larger than its storage")
    strides = [step * stored.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.shape, strides)
    return np.ascontiguousarray(view)


def read(path: Path, checksum: str | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of a weight file without running code from it.

    Parameters
    ----------
    path
        The file.
    checksum
        The expected SHA-256 sum in hexadecimal digits; None accepts any.

    Returns
    -------
    dict of str to numpy.ndarray
        The arrays by name, float32 or int64.

    Raises
    ------
    InputError
        If the file cannot be read, has another checksum, or holds anything but tensors.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"weight file {path} cannot be read: {error.strerror}.") from None
    if len(content) > LARGEST:
        raise InputError(f"weight file {path} is larger than {LARGEST >> 20} MiB; check the file.")
    if checksum is not None and sha256(content) != checksum:
        raise InputError(f"weight file {path} is damaged (its SHA-256 sum differs); reinstall it.")
    try:
        return _parse(content)
    except Exception as error:  # a pickle can be wrong in too many ways to list
        reason = message_of(error)
        raise InputError(f"weight file {path} cannot be used: {reason}.") from None
