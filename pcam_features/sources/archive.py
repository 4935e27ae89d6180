"""Reading files in a zip without unpacking it, from several threads."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from .positions import Positions

LOCAL = struct.Struct("<4s5H3I2H")  # the header before a file's bytes: APPNOTE.TXT, section 4.3.7
SPARE = 128  # bytes; a header's extra fields rarely need more
ENCRYPTED = 1  # a bit of the flags
LARGEST_DIRECTORY = 1 << 28  # bytes; the directory of Kaggle's zip has about 30 million


class _Bounded(io.FileIO):
    """A file that refuses to read more than the largest directory at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory is larger than {LARGEST_DIRECTORY >> 20} MiB")
        return super().read(size) or b""


class Archive:
    """The files in a zip, by name. Raises InputError if the file is not a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Positions(path)
        try:
            with _Bounded(path) as file, zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
        except Exception as error:  # zipfile raises more exceptions on damage than it documents
            raise InputError(f"{path} cannot be read as a zip: {error}; download it again.") from None
        files = [(str(PurePosixPath(info.filename)), info) for info in infos if not info.is_dir()]
        self.names = [name for name, _ in files]  # with repetitions
        self.members = dict(files)

    def read(self, name: str, most: int) -> bytes:
        """The content of a file in the zip. Raises InputError if it is damaged or has more bytes."""
        info = self.members[name]
        if info.file_size > most:
            raise InputError(
                f"{self.path}: {name} is larger than {most >> 20} MiB, too large for a patch or table."
            )
        try:
            data = self._unpacked(info)
        except (struct.error, zlib.error, ValueError) as error:
            raise InputError(
                f"{self.path}: {name} cannot be read: {error}; download the zip again."
            ) from None
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise InputError(f"{self.path}: {name} is damaged (wrong CRC-32); download the zip again.")
        return data

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & ENCRYPTED:
            raise ValueError("it is encrypted")
        # Compression hardly ever makes a file larger.
        packed = min(info.compress_size, info.file_size + (info.file_size >> 3) + 1024)
        head = LOCAL.size + len(info.orig_filename.encode()) + SPARE
        data = self._file.read(info.header_offset, head + packed)
        fields: tuple[Any, ...] = LOCAL.unpack_from(data)
        start = LOCAL.size + fields[-2] + fields[-1]
        if fields[0] != b"PK\3\4":
            raise ValueError("the zip's directory gives a wrong position")
        if len(data) < start + packed:
            data, start = self._file.read(info.header_offset + start, packed), 0
        content = data[start : start + packed]
        if info.compress_type == zipfile.ZIP_STORED:
            return content
        if info.compress_type == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size + 1)
        raise ValueError(f"it is compressed with method {info.compress_type}; unpack the zip first")
