"""Tiles and strips of TIFF files, decoded one by one by Pillow.

A segment is a tile or a strip. Its declared size is known before it is decoded, and nothing larger is
decoded.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

RGB, YCBCR = 2, 6  # TIFF's photometric interpretations
RAW, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
BY_LIBTIFF = (RAW, LZW, DEFLATE, OLD_DEFLATE, PACKBITS)
START, APP0 = b"\xff\xd8", b"\xff\xe0"
SHORT, LONG = 3, 4  # types of TIFF's tags


def decode_jpeg(data: bytes, tables: bytes, photometric: int, size: tuple[int, int]) -> np.ndarray:
    """Decode a segment in JPEG.

    TIFF keeps the tables of all segments in one place, and says in a tag of its own whether pixels are
    RGB. Adobe's marker, put before the segment, tells that to a decoder of JPEG files.

    Parameters
    ----------
    data
        The segment.
    tables
        The content of the tag JPEGTables; may be empty.
    photometric
        `RGB` or `YCBCR`.
    size
        Its width and height.

    Returns
    -------
    numpy.ndarray
        uint8 (height, width, 3).

    Raises
    ------
    ValueError
        If it is damaged or of another size. Pillow may raise other exceptions.
    """
    body = data[len(START) :]
    while body.startswith(APP0):  # JFIF would mean YCbCr whatever Adobe's marker says
        body = body[2 + struct.unpack_from(">H", body, 2)[0] :]
    adobe = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00" + bytes([photometric == YCBCR])
    stream = io.BytesIO(START + adobe + tables[len(START) : -2] + body)
    with Image.open(stream, formats=("JPEG",)) as image:
        check(image, size)
        return np.asarray(image)


def decode_by_libtiff(
    data: bytes, compression: int, predictor: int, size: tuple[int, int]
) -> np.ndarray:
    """Decode a segment of RGB pixels by wrapping it into a TIFF file of one strip.

    Raises ValueError if it is damaged; Pillow may raise other exceptions.
    """
    width, height = size
    entries = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 3, 0),  # three numbers of 16 bits, which stand behind the directory
        (259, SHORT, 1, compression),
        (262, SHORT, 1, RGB),
        (273, LONG, 1, 0),
        (277, SHORT, 1, 3),
        (278, LONG, 1, height),
        (279, LONG, 1, len(data)),
        (284, SHORT, 1, 1),
        (317, SHORT, 1, predictor),
    ]
    bits_at = 8 + 2 + 12 * len(entries) + 4
    places = {258: bits_at, 273: bits_at + 6}
    directory = b"".join(
        struct.pack("<HHII", tag, kind, count, places.get(tag, value))
        for tag, kind, count, value in entries
    )
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory
    stream = io.BytesIO(header + struct.pack("<I", 0) + struct.pack("<3H", 8, 8, 8) + data)
    with Image.open(stream, formats=("TIFF",)) as image:
        check(image, size)
        return np.asarray(image)


def check(image: Image.Image, size: tuple[int, int]) -> None:
    """Raise ValueError unless an image has this size and RGB pixels; nothing is decoded before."""
    if image.size != size or image.mode != "RGB":
        raise ValueError(f"it has {image.size[0]}×{image.size[1]} pixels of mode {image.mode}")
