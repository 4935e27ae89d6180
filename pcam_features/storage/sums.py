"""Sums of files and of manifests: what was written is verified when it is read.

A manifest lists the sum and the size of each file beside it, and ends in a sum of its own. Sums tell
damage and mixed-up files, not forgery: whoever makes a folder can make its sums, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from . import urls
from .fields import Fields
from .files import read_json, whole_file, write_json

# Of the sums that Python has built in, BLAKE2b costs the least: see DECISIONS.md. `b2sum -l 256 FILE`
# prints the same digits.
blake2b = partial(hashlib.blake2b, digest_size=32)
MANIFEST = "manifest.json"  # of a model or a network
SUM = "sum"  # the last entry of a sealed JSON object
TEXT = re.compile(r"([0-9a-f]{64}) (\d{1,15})")
LARGEST_OBJECT = 1 << 28  # bytes of an object at a URL that is read to form its sum


@dataclass(frozen=True)
class FileSum:
    """The BLAKE2b sum of a file's content, 64 hexadecimal digits, and its size in bytes.

    Examples
    --------
    >>> FileSum.of(b"patch").size
    5
    >>> FileSum.parse(str(FileSum.of(b"patch"))) == FileSum.of(b"patch")
    True
    """

    digest: str
    size: int

    @classmethod
    def of(cls, content: bytes | memoryview) -> FileSum:
        """The sum of some bytes."""
        return cls(blake2b(content).hexdigest(), len(content))

    @classmethod
    def of_file(cls, file: Path) -> FileSum:
        """The sum of a file, which is read in small pieces, or of an object at a URL."""
        if urls.is_url(file):
            return cls.of(urls.read(file, LARGEST_OBJECT))
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, blake2b).hexdigest()
            return cls(digest, stream.tell())

    @classmethod
    def parse(cls, text: str) -> FileSum:
        """Read what `str` gave. Raises ValueError for anything else."""
        match = TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a sum and a size")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.digest} {self.size}"


def check_size(file: Path, known: FileSum) -> None:
    """Raise ValueError, with the reason, unless a regular file of the listed size is there."""
    if urls.is_url(file):
        size = urls.size_of(file)
        if size is None:
            raise ValueError("it is missing")
    else:
        try:
            state = file.stat()
        except FileNotFoundError:
            raise ValueError("it is missing") from None
        except OSError as error:  # a link to itself
            raise ValueError(f"it cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is not a regular file")
        size = state.st_size
    if size != known.size:
        raise ValueError(f"it has {size:,} bytes instead of {known.size:,}")


def check_sum(file: Path, known: FileSum) -> None:
    """Raise ValueError, with the reason, unless a file has its sum; little of it is in memory."""
    check_size(file, known)
    if FileSum.of_file(file) != known:
        raise ValueError("it does not have its sum")


def read_verified(file: Path, known: FileSum) -> bytes:
    """Read a file whose sum is known.

    Parameters
    ----------
    file
        The file.
    known
        Its sum and size.

    Returns
    -------
    bytes
        The content, which has this sum.

    Raises
    ------
    ValueError
        With the reason, if the file is missing, is not a regular file, or has another content.
    """
    if urls.is_url(file):
        try:
            content = urls.read(file, known.size)
        except FileNotFoundError:
            raise ValueError("it is missing") from None
    else:
        check_size(file, known)
        with file.open("rb") as stream:
            content = stream.read(known.size + 1)  # not more, should it grow
    if FileSum.of(content) != known:
        raise ValueError("it does not have its sum")
    return content


def files_from(known: Fields) -> dict[str, FileSum]:
    """The files that a manifest lists under `files`, by their names in its folder.

    Raises ValueError if a name leads out of the folder, or a sum is none."""
    files = known.child("files")
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"files.{name[:80]!r} is not in the folder")
    return {name: FileSum.parse(files.text(name)) for name in files}


def read_listed(folder: Path, name: str) -> bytes:
    """Read a file that the sealed manifest of a folder lists under `files`.

    Raises InputError if the manifest cannot be read, and ValueError, with the reason, if it or the
    file is damaged."""
    content = read_json(folder / MANIFEST, "manifest")
    check_seal(content)
    listed = files_from(Fields(content))
    if name not in listed:
        raise ValueError("the manifest does not list it")
    return read_verified(folder / name, listed[name])


def write_bytes(file: Path, content: bytes | memoryview, root: Path | None = None) -> FileSum:
    """Write a file, which is complete or absent, and return the sum of what it should hold.

    See `whole_file` for `root`.
    """
    with whole_file(file, root) as temporary:
        temporary.write_bytes(content)
    return FileSum.of(content)


def sum_of(content: Mapping[str, Any]) -> str:
    """The sum of a JSON object without its entry SUM; the order of its entries counts.

    Raises ValueError for numbers that are not finite.
    """
    rest = {name: value for name, value in content.items() if name != SUM}
    text = json.dumps(rest, separators=(",", ":"), allow_nan=False)
    return blake2b(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its sum as the last entry."""
    rest = {name: value for name, value in content.items() if name != SUM}
    return rest | {SUM: sum_of(rest)}


def check_seal(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless a JSON object has the sum that `sealed` gave it."""
    try:
        fits = content.get(SUM) == sum_of(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not fits:
        raise ValueError("its content does not have its sum")


def write_sealed(path: Path, content: Mapping[str, Any], root: Path | None = None) -> None:
    """Write a JSON object with its sum, complete or absent. See `whole_file` for `root`."""
    write_json(path, sealed(content), root)


def signature(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced: its number, size and time; None without it."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
