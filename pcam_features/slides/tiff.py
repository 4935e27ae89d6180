"""Slides in TIFF files, with tiles or strips, read without OpenSlide.

Aperio's SVS, generic pyramids (reduced pages or SubIFDs, as libvips and QuPath write them) and flat
images, 8-bit RGB. tifffile reads the directories, and Pillow decodes tiles and strips.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..words import message_of
from .pyramid import WHITE, UnreadableError, check_room, levels_of
from .resolution import PER_UNIT, of_density, of_description
from .segments import BY_LIBTIFF, JPEG, RGB, YCBCR, decode_by_libtiff, decode_jpeg

LARGEST_SIDE = 1 << 20  # pixels: half a meter at 0.5 µm
LARGEST_SEGMENT = 1 << 26  # pixels of a tile or strip, 192 MiB decoded
MOST_PAGES = 64
SIMILAR = 0.02  # relative difference of sides up to which a page shows the same picture as level 0
RESOLUTION_X, RESOLUTION_Y, RESOLUTION_UNIT = 282, 283, 296
NO_SLIDE = ("label ", "macro ")  # what the pages of an Aperio file that show no tissue are called

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it logs what it finds odd in a file


class UnsupportedError(InputError):
    """A TIFF file that is whole, but is not read here."""


@dataclass(frozen=True)
class Page:
    """A level of a TIFF file: where its tiles or strips are, and how they are coded."""

    width: int
    height: int
    segment_width: int
    segment_height: int
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    compression: int
    photometric: int
    predictor: int
    tables: bytes

    @property
    def across(self) -> int:
        """Number of segments side by side."""
        return -(-self.width // self.segment_width)

    def size_of(self, k: int) -> tuple[int, int]:
        """Width and height of segment k: tiles are all alike, and the last strip may be lower."""
        if self.tiled:
            return self.segment_width, self.segment_height
        return self.width, min(self.segment_height, self.height - k * self.segment_height)


class SegmentCache:
    """Decoded tiles or strips, the most recently used of them within a number of bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def get(self, key: tuple[int, int]) -> np.ndarray | None:
        """A segment that is kept, by its page and number."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, int], pixels: np.ndarray) -> None:
        """Keep a segment, in place of those that were not used for longest."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = pixels
            self._held += pixels.nbytes
            while self._held > self._most and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes


class TiffSlide:
    """A slide in a TIFF file.

    Parameters
    ----------
    path
        The file.
    cache
        Bytes of decoded tiles or strips that are kept.

    Raises
    ------
    UnsupportedError
        If its pixels are coded in a way that is not read here.
    InputError
        If it is damaged, or larger than any slide.
    """

    reader = "tifffile and Pillow"

    def __init__(self, path: Path, cache: int) -> None:
        self._path = path
        pages, self.mpp = read_directories(path)
        self._pages = pages
        self.levels = levels_of([(page.width, page.height) for page in pages])
        self._cache = SegmentCache(cache)
        self._damaged: dict[tuple[int, int], str] = {}  # why segments cannot be read, once it is known
        self._file = path.open("rb")
        self._lock = threading.Lock()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `Pixels.read`. A tile that the file leaves out is white."""
        page = self._pages[level]
        region = np.empty((height, width, 3), np.uint8)
        rows = range(y // page.segment_height, (y + height - 1) // page.segment_height + 1)
        columns = range(x // page.segment_width, (x + width - 1) // page.segment_width + 1)
        for row in rows:
            for column in columns:
                segment = self._segment(level, row * page.across + column)
                top, left = row * page.segment_height, column * page.segment_width
                low, high = max(y, top), min(y + height, top + segment.shape[0])
                near, far = max(x, left), min(x + width, left + segment.shape[1])
                part = segment[low - top : high - top, near - left : far - left]
                region[low - y : high - y, near - x : far - x] = part
        return region

    def _segment(self, level: int, k: int) -> np.ndarray:
        """A decoded tile or strip. Raises UnreadableError if it is damaged."""
        kept = self._cache.get((level, k))
        if kept is not None:
            return kept
        if (level, k) in self._damaged:
            raise UnreadableError(self._damaged[level, k])
        page = self._pages[level]
        size = page.size_of(k)
        if not page.counts[k]:
            return np.full((size[1], size[0], 3), WHITE, np.uint8)
        try:
            data = self._bytes(page.offsets[k], page.counts[k])
            if page.compression == JPEG:
                pixels = decode_jpeg(data, page.tables, page.photometric, size)
            else:
                pixels = decode_by_libtiff(data, page.compression, page.predictor, size)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise many kinds of exceptions on damage
            reason = message_of(error)
            sentence = (
                f"{self._path}: {'tile' if page.tiled else 'strip'} {k} of level {level} cannot be "
                f"read: {reason}; copy the file again."
            )
            self._damaged[level, k] = sentence
            raise UnreadableError(sentence) from None
        self._cache.put((level, k), pixels)
        return pixels

    def _bytes(self, offset: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(count)
        if len(data) < count:
            raise ValueError("the file is cut off")
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_directories(path: Path) -> tuple[list[Page], float | None]:
    """The levels of a TIFF file, the finest first, and its micrometers per pixel.

    Raises InputError if it is damaged, UnsupportedError if its pixels are not read here.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            found = list(islice(pages_of(file), MOST_PAGES))
            if not found:
                raise ValueError("it has no page")
            first = found[0]
            check_first(path, first)
            mpp = of_description(first.description or "") or of_tags(first)
            whole = (first.imagewidth, first.imagelength)
            similar = [page for page in found[1:] if is_level(page, first, whole)]
            similar.sort(key=lambda page: -int(page.imagewidth))
            size = os.path.getsize(path)
            return [level_of(path, page, size) for page in (first, *similar)], mpp
    except (InputError, MemoryError):
        raise
    except Exception as error:  # tifffile raises many kinds of exceptions on damage
        reason = message_of(error)
        raise InputError(
            f"{path} cannot be read as a TIFF file: {reason[:200]}; it is damaged or cut off, so copy "
            "it again."
        ) from None


def pages_of(file: Any) -> Iterator[Any]:
    """The pages of a file, and after the first its SubIFDs, where some programs put the levels."""
    for k, page in enumerate(file.pages):
        yield page
        if k == 0 and page.subifds:
            yield from page.pages


def check_first(path: Path, page: Any) -> None:
    """Raise InputError unless the first page may be a slide's level 0."""
    width, height = int(page.imagewidth), int(page.imagelength)
    if max(width, height) > LARGEST_SIDE:
        raise InputError(
            f"{path} says that it has {width:,}×{height:,} pixels, more than the {LARGEST_SIDE:,} on a "
            "side that any slide has; it is damaged, so copy it again."
        )
    if min(width, height) < 1:
        raise InputError(f"{path} says that it has {width}×{height} pixels; copy it again.")
    second = (page.description or "").partition("\n")[2]
    if page.is_svs and second.lstrip().startswith(NO_SLIDE):
        raise InputError(
            f"{path} holds only the picture of a slide's label or of the whole glass; give the scan "
            "itself."
        )


def is_level(page: Any, first: Any, whole: tuple[int, int]) -> bool:
    """Whether a page is the same picture as the first at a lower resolution.

    A page that is not tiled although the first is, is a thumbnail.
    """
    width, height = int(page.imagewidth), int(page.imagelength)
    if page.is_tiled != first.is_tiled or not (0 < width < whole[0] and 0 < height < whole[1]):
        return False
    if not is_rgb(page) or not is_coded(page):
        return False
    wide, high = whole[0] / width, whole[1] / height
    rounding = 1 / min(width, height)  # each side is a whole number of pixels
    return bool(abs(wide / high - 1) <= SIMILAR + rounding)


def is_rgb(page: Any) -> bool:
    """Whether a page has 8-bit RGB pixels, channel beside channel."""
    return bool(
        page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.planarconfig == 1
        and page.imagedepth == 1
        and page.photometric in (RGB, YCBCR)
    )


def is_coded(page: Any) -> bool:
    """Whether the segments of a page are coded in a way that is read here."""
    if page.compression == JPEG:
        return True
    return page.compression in BY_LIBTIFF and page.photometric == RGB and page.fillorder == 1


def level_of(path: Path, page: Any, file_size: int) -> Page:
    """A page as a level. Raises UnsupportedError if it is not read here, ValueError if damaged."""
    width, height = int(page.imagewidth), int(page.imagelength)
    tiled = bool(page.is_tiled)
    segment = (int(page.tilewidth), int(page.tilelength))
    if not tiled:
        segment = (width, min(int(page.rowsperstrip), height))
    if not is_rgb(page) or not is_coded(page):
        raise UnsupportedError(f"{path} is not 8-bit RGB in a compression that is read here")
    if segment[0] * segment[1] > LARGEST_SEGMENT:
        raise UnsupportedError(f"{path} keeps {segment[0]:,}×{segment[1]:,} pixels in one piece")
    if min(segment) < 1:
        raise ValueError("its tiles have no pixels")
    count = -(-width // segment[0]) * -(-height // segment[1])
    check_room(count, file_size)
    offsets, counts = tuple(page.dataoffsets), tuple(page.databytecounts)
    if len(offsets) != count or len(counts) != count:
        raise ValueError(f"it lists {len(offsets):,} of {count:,} tiles")
    if min(offsets) < 0 or min(counts) < 0 or max(counts) > file_size:
        raise ValueError("a tile is longer than the file")
    tables = page.jpegtables or b""
    return Page(
        width,
        height,
        segment[0],
        segment[1],
        tiled,
        offsets,
        counts,
        int(page.compression),
        int(page.photometric),
        int(page.predictor),
        bytes(tables),
    )


def of_tags(page: Any) -> float | None:
    """Micrometers per pixel in TIFF's resolution tags; None if they tell none of a scanner."""
    values = [page.tags.valueof(tag) for tag in (RESOLUTION_X, RESOLUTION_Y)]
    unit = PER_UNIT.get(page.tags.valueof(RESOLUTION_UNIT, 2))
    if unit is None or None in values or not all(one[1] for one in values):
        return None
    x, y = (one[0] / one[1] for one in values)
    return of_density(x, y, unit)
