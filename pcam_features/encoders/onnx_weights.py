"""Weights of an ONNX network that lie in files beside it, as `torch.onnx.export` writes them."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto, helper

from ..storage.files import sha256

LARGEST = (1 << 31) - 1  # bytes: the limit of an ONNX file, which weights become part of


def load_beside(model: onnx.ModelProto, path: Path) -> bytes:
    """Load the weights that lie in plain files beside a network into it.

    Parameters
    ----------
    model
        The network; its tensors are changed.
    path
        Its file.

    Returns
    -------
    bytes
        The sums of these files, in the order of their names; empty if there are none.

    Raises
    ------
    ValueError
        If a file is missing, is a link or lies elsewhere, or a tensor is not inside it.
    """
    files: dict[str, bytes] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        told = {entry.key: entry.value for entry in tensor.external_data}
        name = told.get("location", "")
        if name not in files:
            files[name] = read_plain(path.parent, name)
        tensor.raw_data = part_of(files[name], tensor, told)
        tensor.data_location = TensorProto.DEFAULT
        tensor.ClearField("external_data")
        if model.ByteSize() > LARGEST:
            raise ValueError("its weights are larger than an ONNX file can be")
    return "".join(sha256(files[name]) for name in sorted(files)).encode()


def read_plain(folder: Path, name: str) -> bytes:
    """The content of a plain file in a folder. Raises ValueError for anything else."""
    if PurePosixPath(name).name != name or name in ("", ".", "..") or "\\" in name:
        raise ValueError(
            f"its weights are in {name[:100]!r}, which is not a file beside it; save them inside the "
            "model, with onnx.save(onnx.load(file), file)"
        )
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | NONBLOCK)
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
                raise ValueError(f"its weights {name} are no plain file of at most 2 GiB")
            return file.read()
    except OSError as error:
        raise ValueError(
            f"its weights {name} cannot be read: {error.strerror}; put that file beside it"
        ) from None


NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # so that a pipe in place of a file does not wait


def part_of(content: bytes, tensor: TensorProto, told: dict[str, str]) -> bytes:
    """The bytes of a tensor. Raises ValueError if its place or length cannot be."""
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    size = math.prod(tensor.dims) * kind.itemsize
    offset = int(told.get("offset", "0"))
    length = int(told.get("length", str(size)))
    if min(tensor.dims, default=0) < 0 or length != size or not 0 <= offset <= len(content) - length:
        raise ValueError(f"the weights {tensor.name[:100]} are not in their file; export it again")
    return content[offset : offset + length]
