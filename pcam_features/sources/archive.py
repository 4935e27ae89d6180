"""Reading files in a zip without unpacking it, from several threads."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..errors import InputError
from .positions import Positions

LOCAL = struct.Struct("<4s5H3I2H")  # the header before a file's bytes: APPNOTE.TXT, section 4.3.7
SPARE = 128  # bytes; a header's extra fields rarely need more
ENCRYPTED = 1  # a bit of the flags
PIECE = 1 << 22  # bytes that are unpacked at a time
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
        with self._damage(name):
            data = self._unpacked(info)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            raise InputError(f"{self.path}: {name} is damaged (wrong CRC-32); download the zip again.")
        return data

    def position(self, name: str) -> int | None:
        """Where the bytes of a file begin in the zip; None if they are compressed.

        Raises InputError if the zip is damaged.
        """
        info = self.members[name]
        with self._damage(name):
            at = self._content_at(info)
        return at if info.compress_type == zipfile.ZIP_STORED else None

    def first(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file in the zip. Raises InputError if it is damaged."""
        info = self.members[name]
        with self._damage(name):
            packed = self._file.read(self._content_at(info), min(info.compress_size, count + SPARE))
            if info.compress_type == zipfile.ZIP_STORED:
                return packed[:count]
            content: bytes = _decompressor(info).decompress(packed, count)
        return content

    def unpack(self, name: str, target: BinaryIO, advance: Callable[[int], None]) -> None:
        """Write the content of a file in the zip, a piece at a time; `advance` is told how many bytes.

        Raises InputError if it is damaged, or longer than the zip says.
        """
        info = self.members[name]
        with self._damage(name):
            at = self._content_at(info)
            end = at + info.compress_size
            inflate, written, crc = _decompressor(info), 0, 0
            packed = b""
            while not inflate.eof:
                if not packed and at < end:
                    packed = self._file.read(at, min(PIECE, end - at))
                    at += len(packed)
                piece = inflate.decompress(packed, PIECE)
                if not (packed or piece):
                    raise ValueError("it is cut off")
                packed = inflate.unconsumed_tail
                written, crc = written + len(piece), zlib.crc32(piece, crc)
                if written > info.file_size:
                    raise ValueError("it is longer than the directory says")
                target.write(piece)
                advance(len(piece))
            if written != info.file_size or crc != info.CRC:
                raise ValueError("wrong CRC-32")

    @contextmanager
    def _damage(self, name: str) -> Iterator[None]:
        """Turns what damage raises into an InputError."""
        try:
            yield
        except (struct.error, zlib.error, ValueError) as error:
            raise InputError(
                f"{self.path}: {name} cannot be read: {error}; download the zip again."
            ) from None

    def _content_at(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of a file begin, packed or not. Raises ValueError or struct.error."""
        if info.flag_bits & ENCRYPTED:
            raise ValueError("it is encrypted")
        fields: tuple[Any, ...] = LOCAL.unpack_from(self._file.read(info.header_offset, LOCAL.size))
        if fields[0] != b"PK\3\4":
            raise ValueError("the zip's directory gives a wrong position")
        return info.header_offset + LOCAL.size + int(fields[-2]) + int(fields[-1])

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
        unpacked: bytes = _decompressor(info).decompress(content, info.file_size + 1)
        return unpacked


def _decompressor(info: zipfile.ZipInfo) -> Any:
    """What unpacks a file of a zip. Raises ValueError unless its method is deflate."""
    if info.compress_type != zipfile.ZIP_DEFLATED:
        raise ValueError(f"it is compressed with method {info.compress_type}; unpack the zip first")
    return zlib.decompressobj(-zlib.MAX_WBITS)
