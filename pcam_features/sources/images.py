"""Decoding image files to 8-bit RGB pixels."""

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
from .fitting import LARGEST_SIDE, Size, SizeError
from .source import EXAMPLES, Original, Problem, digest, problem

# Formats by Pillow's names, and the suffixes of their files. Each begins with bytes of its own, so that
# a damaged file is not taken for one of another format.
FORMATS = {
    "TIFF": (".tif", ".tiff"),
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "QOI": (".qoi",),
}
ANIMATED = ("GIF", "WEBP", "PNG")  # formats whose frames follow each other in time
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
STARTS = (
    b"II*\0",
    b"MM\0*",
    b"\x89PNG",
    b"\xff\xd8",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"qoif",
)
KINDS = "a TIFF, PNG, JPEG, BMP, GIF, WebP, JPEG 2000, PPM or QOI image"
CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000; 38 bytes on is the depth of the first channel
DEPTH_AT = 42
SHAPE = (PATCH_SIZE, PATCH_SIZE, 3)
PATCH: Size = (PATCH_SIZE, PATCH_SIZE)
PIXEL_BYTES = PATCH_SIZE * PATCH_SIZE * 3
DOUBLE_ID = "double id"
File = TypeVar("File")
LARGEST_FILE = 1 << 24  # bytes; the largest image without compression has 12.6 million
OPAQUE = 255
WITH_ALPHA = ("LA", "PA", "RGBA")
READABLE_MODES = ("RGB", "L", "1", "P", *WITH_ALPHA)
COLORED = ("RGB", "RGBA", "P", "PA")

# Values of TIFF tags for which the file contains plain pixels (TIFF 6.0, section 6).
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
    """The pixels of a little-endian, uncompressed RGB TIFF of 96×96 pixels in one strip, not decoded.

    None for any other file, which then needs a decoder. Only the header is looked at.
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
                tags[tag] = -1  # stored in a form that is left to the decoder
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


def decode(data: bytes, path: Path, size: Size | None = PATCH) -> np.ndarray:
    """Decode an image in one of `FORMATS` to 8-bit RGB.

    Gray values become equal R, G and B. Palettes are expanded. Transparent pixels are composited over
    white, which is the color of bare glass.

    Parameters
    ----------
    data
        The content of the file.
    path
        The file's name, for messages.
    size
        The width and height that the image must have, in pixels. With None, any size up to
        `LARGEST_SIDE` pixels on each side is read.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width, 3).

    Raises
    ------
    InputError
        If the image is damaged, has another size, or cannot be converted to 8-bit RGB without guessing.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
            check_size(image.size, size, path)
            check_mode(image, path)
            check_depth(data, image, path)
            if image.format in ANIMATED and getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path} has several frames; save the one that is meant as PNG first.")
            if image.mode not in COLORED and has_more_pages(image):
                raise InputError(
                    f"{path} has several pages of gray values, which may be color channels; convert it "
                    "to one 8-bit RGB page first."
                )
            return to_rgb(image)
    except InputError:
        raise
    except Exception as error:  # decoders raise many kinds of exceptions on damage
        reason = " ".join(str(error).replace(repr(data), "").split())
        if "cannot identify" in reason:
            known = data.startswith(STARTS)
            reason = "it is damaged or cut off" if known else f"it is not {KINDS}"
        raise InputError(f"{path} cannot be read: {reason}; replace the file and run again.") from None


def check_size(found: Size, expected: Size | None, path: Path) -> None:
    """Raise InputError, before pixels are decoded, for an image of another size than expected."""
    width, height = found
    if max(found) > LARGEST_SIDE:
        raise InputError(
            f"{path} is {width}×{height} pixels; the largest image that is read has {LARGEST_SIDE} "
            "pixels on a side: cut it into patches first."
        )
    if expected in (None, found):
        return
    if expected == PATCH:
        raise SizeError(other_size(str(path), found, of_few="leave them out with --skip-unreadable"))
    raise InputError(
        f"{path} is {width}×{height} pixels and the first patch is {expected[0]}×{expected[1]}; give "
        "a source whose patches all have one size."
    )


def other_size(where: str, size: Size, of_few: str = "") -> str:
    """The sentence that refuses patches of another size than 96×96.

    `of_few` is what to do if few patches have that size, where it can differ.
    """
    return (
        f"{where} is {size[0]}×{size[1]} pixels, and features are measured on "
        f"{PATCH_SIZE}×{PATCH_SIZE}; if all patches have that size, choose with --fit how they are "
        f"brought to {PATCH_SIZE}×{PATCH_SIZE}{of_few and f'; if few have, {of_few}'}."
    )


def check_mode(image: Image.Image, where: Path | str) -> None:
    """Raise InputError for an image whose 8-bit RGB values cannot be known without guessing."""
    tile = str(getattr(image, "tile", ""))  # what Pillow decodes; it would keep the high bytes alone
    if ";16" in tile or image.mode.startswith("I"):
        raise InputError(
            f"{where} has more than 8 bits per channel and does not say which value is white; rescale "
            "it to 8-bit RGB first (values from 0 to 65535 are divided by 257)."
        )
    if image.mode == "CMYK":
        raise InputError(
            f"{where} is a CMYK image, whose colors depend on a printing profile; convert it to 8-bit "
            "RGB with that profile first."
        )
    if image.mode not in READABLE_MODES:
        raise InputError(f"{where} is an image of mode {image.mode}; convert it to 8-bit RGB first.")


def check_depth(data: bytes, image: Image.Image, where: Path) -> None:
    """Raise InputError for an image of more than 8 bits that Pillow would bring to 8 bits."""
    at = data.find(CODESTREAM) + DEPTH_AT
    jpeg = image.format == "JPEG2000" and at < len(data) and data[at] & 0x7F > 7
    ppm = image.format == "PPM" and any(
        isinstance(one, tuple) and isinstance(one[-1], int) and one[-1] > OPAQUE
        for *_, one in getattr(image, "tile", ())
    )
    if jpeg or ppm:
        raise InputError(f"{where} has more than 8 bits per channel; rescale it to 8-bit RGB first.")


def has_more_pages(image: Image.Image) -> bool:
    """Whether a file has pages after the first, as stacks of channels written by ImageJ have."""
    try:
        image.seek(1)
    except EOFError:
        return False
    image.seek(0)
    return True


def to_rgb(image: Image.Image) -> np.ndarray:
    """The pixels of an image in one of `READABLE_MODES`, uint8 (height, width, 3)."""
    if image.mode not in WITH_ALPHA and "transparency" not in image.info:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    pixels = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
    color, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min() == OPAQUE:  # as WILDS has them
        return np.ascontiguousarray(color)
    weight = alpha.astype(np.uint16)
    over_white = color * weight + OPAQUE * (OPAQUE - weight)
    return ((over_white + OPAQUE // 2) // OPAQUE).astype(np.uint8)


def patch_of(data: bytes, where: Path, size: Size | None = PATCH) -> np.ndarray:
    """The pixels in the bytes of an image file; see `decode` for the parameters and errors."""
    if not data:
        raise InputError(f"{where} is empty (0 bytes); replace the file and run again.")
    if len(data) > LARGEST_FILE:
        raise InputError(
            f"{where} is larger than {LARGEST_FILE >> 20} MiB, too large for a patch; cut it into "
            "patches first."
        )
    pixels = plain_tiff(data) if size == PATCH else None
    return decode(data, where, size) if pixels is None else pixels


def read_patch(path: Path, size: Size | None = PATCH) -> np.ndarray:
    """The pixels of an image file; see `decode` for the parameters and errors."""
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} cannot be the path of an image; correct it.")
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            data = file.read(min(length, LARGEST_FILE) + 1)  # no more memory than the file needs
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the file.") from None
    return patch_of(data, path, size)


def one_by_one(patch: Callable[[int], np.ndarray]) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` from a function that gives the patch of a row."""

    def read(start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, *SHAPE), np.uint8)
        for k in range(start, stop):
            batch[k - start] = patch(k)
        return batch

    return read


def patches(original: Original) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` that takes only images of 96×96 pixels."""
    return one_by_one(lambda k: original(k, PATCH))


def originals(paths: Sequence[Path]) -> Original:
    """A `Split.original` over image files."""
    return lambda k, size: read_patch(paths[k], size)


def by_id(files: Iterable[tuple[str, File]]) -> tuple[dict[str, File], list[Problem]]:
    """Files by id. If two have the same id, the first is used and a problem is returned."""
    found: dict[str, File] = {}
    twice: list[str] = []
    problems: list[Problem] = []
    for patch_id, file in files:
        if patch_id in found:
            twice.append(patch_id)
            says = (
                f"{file} is listed twice, and both have the same id {patch_id}; keep one of them."
                if file == found[patch_id]
                else f"{file} and {found[patch_id]} have the same id {patch_id}; ids must be unique in "
                "a split, so rename one."
            )
            problems = problems or problem(DOUBLE_ID, [patch_id], says)
        else:
            found[patch_id] = file
    return found, [replace(one, count=len(twice), examples=twice[:EXAMPLES]) for one in problems]


def content_of(paths: Sequence[Path]) -> Callable[[int, int], str]:
    """A `Split.content` from file sizes, which are known without reading the files."""
    return lambda start, stop: digest(str(path.stat().st_size) for path in paths[start:stop])
