"""Checking Kaggle's zip file by file before it is used."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..sources import kaggle
from ..sources.images import LARGEST_FILE
from ..words import counted, message_of

TRAIN, TEST = 220_025, 57_458  # patches
TABLES = (kaggle.LABELS, kaggle.SAMPLE)
MOST_BYTES = 16 << 30  # size of the zip, and of all its files together
MOST_PATCH, MOST_TABLE = LARGEST_FILE, kaggle.LARGEST_ZIPPED
MOST_DIRECTORY = 64 << 20  # size of the zip's directory, which is read into memory
CHUNK = 1 << 20
DAMAGES = (  # the exceptions that `zipfile` raises for damaged zips
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
    OSError,
)


class _Careful(io.BufferedReader):
    """A file that refuses to read more at once than the largest directory of a zip."""

    def read(self, size: int | None = -1, /) -> bytes:
        here = self.tell()
        left = self.seek(0, io.SEEK_END) - here
        self.seek(here)
        if min(left, left if size is None or size < 0 else size) > MOST_DIRECTORY:
            raise ValueError(f"its directory is larger than {MOST_DIRECTORY >> 20} MiB")
        return super().read(size)


def flaw_of(path: Path, progress: Callable[[int], None] = lambda count: None) -> str:
    """What is wrong with a zip, as text; empty if every file is there and has the right CRC-32.

    `progress` is called with the number of files read.
    """
    if path.stat().st_size > MOST_BYTES:
        return f"it is larger than {MOST_BYTES >> 30} GiB"
    try:
        with _Careful(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
            return _flaw_of_list(archive.infolist()) or _flaw_of_members(archive, progress)
    except DAMAGES as error:
        return f"it cannot be read as a zip ({message_of(error, 200)})"


def _flaw_of_list(members: list[zipfile.ZipInfo]) -> str:
    for member in members:
        if flaw := _flaw_of_entry(member):
            return f"its file {member.orig_filename[:200]} {flaw}"
    names = Counter(member.filename for member in members)
    if len(names) != len(members):
        return f"its file {names.most_common(1)[0][0][:200]} occurs more than once"
    if sum(member.file_size for member in members) > MOST_BYTES:
        return f"its files are larger than {MOST_BYTES >> 30} GiB in total"
    for name in TABLES:
        if name not in names:
            return f"it has no {name}"
    for folder, wanted in ((kaggle.TRAIN, TRAIN), (kaggle.TEST, TEST)):
        found = sum(re.fullmatch(rf"{folder}/[^/]+\.tif", name) is not None for name in names)
        if found != wanted:
            return f"it has {counted(found, 'patch')} in {folder} instead of {wanted:,}"
    return ""


def _flaw_of_entry(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    if (
        name.startswith("/")
        or re.match("[A-Za-z]:", name)
        or any(sign in name for sign in "\\\0")
        or ".." in name.split("/")
    ):
        return "has a path that leads out of the zip"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way that Kaggle does not use"
    if member.file_size > (MOST_TABLE if name.endswith(".csv") else MOST_PATCH):
        return f"is too large ({member.file_size:,} bytes)"
    return ""


def _flaw_of_members(archive: zipfile.ZipFile, progress: Callable[[int], None]) -> str:
    for member in archive.infolist():
        try:
            with archive.open(member) as stream:
                while stream.read(CHUNK):
                    pass  # zipfile compares the CRC-32 at the end
        except DAMAGES as error:
            return f"its file {member.filename[:200]} is damaged ({message_of(error, 200)})"
        progress(1)
    return ""
