"""The files in a zip, read in place from several threads."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from .positions import Positions

LOCAL = struct.Struct("<4s5H3I2H")  # a member's header before its bytes: APPNOTE.TXT, section 4.3.7
SPARE = 128  # bytes that a header's extra fields rarely exceed
ENCRYPTED = 1  # the flag's bit
LARGEST_DIRECTORY = 1 << 28  # bytes; Kaggle's has some 30 million


class _Bounded(io.FileIO):
    """A file of which nothing asks for more than the largest directory at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > LARGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory is larger than {LARGEST_DIRECTORY >> 20} MiB")
        return super().read(size) or b""


class Archive:
    """A zip's members by name. Raises InputError if it is no zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Positions(path)
        try:
            with _Bounded(path) as file, zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
        except Exception as error:  # zipfile meets damage in more ways than it says
            raise InputError(f"{path} cannot be read as a zip: {error}.") from None
        files = [(str(PurePosixPath(info.filename)), info) for info in infos if not info.is_dir()]
        self.names = [name for name, _ in files]  # one that stands twice is there twice
        self.members = dict(files)

    def read(self, name: str, most: int) -> bytes:
        """A member's bytes. Raises InputError if they are more than `most`, or damaged."""
        info = self.members[name]
        if info.file_size > most:
            raise InputError(f"{self.path}: {name} is larger than {most >> 20} MiB.")
        try:
            data = self._unpacked(info)
        except (struct.error, zlib.error, ValueError) as error:
            raise InputError(
                f"{self.path}: {name} cannot be read: {error}; fetch the zip anew."
            ) from None
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise InputError(
                f"{self.path}: {name} is damaged (its CRC-32 says so); fetch the zip anew."
            )
        return data

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & ENCRYPTED:
            raise ValueError("it is encrypted")
        # A packed member is hardly larger than what is in it.
        packed = min(info.compress_size, info.file_size + (info.file_size >> 3) + 1024)
        head = LOCAL.size + len(info.orig_filename.encode()) + SPARE
        data = self._file.read(info.header_offset, head + packed)
        fields: tuple[Any, ...] = LOCAL.unpack_from(data)
        start = LOCAL.size + fields[-2] + fields[-1]
        if fields[0] != b"PK\3\4":
            raise ValueError("it is not where the zip's directory says")
        if len(data) < start + packed:
            data, start = self._file.read(info.header_offset + start, packed), 0
        content = data[start : start + packed]
        if info.compress_type == zipfile.ZIP_STORED:
            return content
        if info.compress_type == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, info.file_size + 1)
        raise ValueError(f"it is packed by method {info.compress_type}; unpack the zip")
