"""Reading one patch from an image file."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..errors import InputError
from ..geometry import PATCH_SIZE
from .source import EXAMPLES, Problem, digest, problem

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
SHAPE = (PATCH_SIZE, PATCH_SIZE, 3)
PIXEL_BYTES = PATCH_SIZE * PATCH_SIZE * 3
DOUBLE_ID = "double id"
File = TypeVar("File")
LARGEST_FILE = 1 << 24  # bytes; a patch without compression has 27,648

# What a TIFF's tags must say for its pixels to lie in the file as they are: TIFF 6.0, section 6.
PLAIN_TIFF: dict[int, set[int | None]] = {
    256: {PATCH_SIZE},  # width
    257: {PATCH_SIZE},  # height
    259: {1},  # compression: none
    262: {2},  # color space: RGB
    277: {3},  # samples per pixel
    279: {PIXEL_BYTES},  # bytes of the one strip
    266: {None, 1},  # fill order: high bits first
    274: {None, 1},  # orientation: as it is
    284: {None, 1},  # planes: interleaved
    317: {None, 1},  # predictor: none
    339: {None, 1},  # sample format: unsigned
}
BITS_PER_SAMPLE, STRIP_OFFSETS, SHORT, LONG = 258, 273, 3, 4


def plain_tiff(data: bytes) -> np.ndarray | None:
    """The pixels of a little-endian, uncompressed, one-strip RGB TIFF without decoding it.

    None for any other file, which then needs a decoder. The header alone decides.
    """
    if data[:4] != b"II*\0":
        return None
    tags: dict[int, int] = {}
    bits_at = None
    try:
        (directory,) = struct.unpack_from("<I", data, 4)
        (entries,) = struct.unpack_from("<H", data, directory)
        for k in range(entries):
            tag, kind, count, value = struct.unpack_from("<HHII", data, directory + 2 + 12 * k)
            if tag == BITS_PER_SAMPLE and kind == SHORT and count == 3:
                bits_at = value
            elif count == 1 and kind in (SHORT, LONG):
                tags[tag] = value & 0xFFFF if kind == SHORT else value
            elif tag in PLAIN_TIFF:
                tags[tag] = -1  # said in a way that only a decoder should read
        if bits_at is None or struct.unpack_from("<3H", data, bits_at) != (8, 8, 8):
            return None
    except struct.error:
        return None
    start = tags.get(STRIP_OFFSETS, len(data))
    if any(tags.get(tag) not in allowed for tag, allowed in PLAIN_TIFF.items()):
        return None
    if start + PIXEL_BYTES > len(data):
        return None
    return np.frombuffer(data, np.uint8, PIXEL_BYTES, start).reshape(SHAPE)


def decode(data: bytes, path: Path) -> np.ndarray:
    """The pixels of a TIFF, PNG or JPEG, uint8 (96, 96, 3).

    Raises InputError for anything that is not an 8-bit RGB image of that size, opaque if it could be
    otherwise.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG")) as image:
            if image.size != (PATCH_SIZE, PATCH_SIZE):
                width, height = image.size
                raise InputError(
                    f"{path} is {width}×{height} pixels; patches are {PATCH_SIZE}×{PATCH_SIZE}."
                )
            deep = ";16" in str(image.tile)  # Pillow would cut 16 bits to 8 without a word
            if image.mode == "RGBA" and not deep and image.getchannel("A").getextrema() == (255, 255):
                return np.ascontiguousarray(np.asarray(image)[..., :3])  # opaque, as WILDS has them
            if image.mode != "RGB" or deep:
                kind = f"{image.mode}, 16 bits" if deep else image.mode
                raise InputError(f"{path} is not an 8-bit RGB image (it is {kind}); convert it first.")
            return np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # decoders meet damage in too many ways to list
        reason = " ".join(str(error).replace(repr(data), "").split())
        if "cannot identify" in reason:
            known = data.startswith((b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8"))
            reason = "it is damaged or cut off" if known else "it is not a TIFF, PNG or JPEG image"
        raise InputError(f"{path} cannot be read: {reason}; replace the file and run again.") from None


def patch_of(data: bytes, where: Path) -> np.ndarray:
    """The pixels in the bytes of an image file. Raises InputError, naming the file, if it is none."""
    if not data:
        raise InputError(f"{where} is empty (0 bytes); replace the file and run again.")
    if len(data) > LARGEST_FILE:
        raise InputError(f"{where} is larger than {LARGEST_FILE >> 20} MiB, too large for a patch.")
    pixels = plain_tiff(data)
    return decode(data, where) if pixels is None else pixels


def read_patch(path: Path) -> np.ndarray:
    """The pixels of one image file. Raises InputError if it is not a patch."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, LARGEST_FILE) + 1)  # room for what is there, not for the most
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    return patch_of(data, path)


def one_by_one(patch: Callable[[int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` from what reads a row's patch."""

    def read(start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, *SHAPE), np.uint8)
        for k in range(start, stop):
            batch[k - start] = patch(k)
        return batch

    return read


def reader(paths: Sequence[Path]) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` over image files."""
    return one_by_one(lambda k: read_patch(paths[k]))


def list_images(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The image files directly in a folder by id (the file's stem), in the order of their ids; of two
    files with one id only the first, which is a problem."""
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return by_id((path.stem, path) for path in paths)


def by_id(files: Iterable[tuple[str, File]]) -> tuple[dict[str, File], list[Problem]]:
    """Files by their ids; of two with one id only the first, which is a problem."""
    found: dict[str, File] = {}
    twice: list[str] = []
    problems: list[Problem] = []
    for patch_id, file in files:
        if patch_id in found:
            twice.append(patch_id)
            says = (
                f"{file} and {found[patch_id]} have the same id {patch_id}; ids are unique in a split."
            )
            problems = problems or problem(DOUBLE_ID, [patch_id], says)
        else:
            found[patch_id] = file
    return found, [replace(one, count=len(twice), examples=twice[:EXAMPLES]) for one in problems]


def content_of(paths: Sequence[Path]) -> Callable[[int, int], str]:
    """A `Split.content`: the files' sizes are all that can be told without reading them."""
    return lambda start, stop: digest(str(path.stat().st_size) for path in paths[start:stop])
