"""Where a slide has tissue, found at low resolution by color, or given as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..execution.executor import Threads
from ..sources.fitting import PCAM_MPP
from ..words import one_line
from .pyramid import WHITE, UnreadableError
from .reading import Slide, open_pixels

# Glass is bright and gray. A pixel of the overview is tissue if both are at least:
SATURATION = 0.07  # (largest - smallest) / largest of R, G and B; glass with a tint has 0.03
DENSITY = 0.06  # mean optical density of R, G and B; glass has 0.02, pale stroma 0.1
TISSUE_MPP = 8 * PCAM_MPP  # micrometers per pixel of the overview: a center 32×32 is 4×4 pixels
LONGEST = 4096  # pixels of an overview; larger slides have a coarser one
LEAST_CELLS = 16  # pixels of the overview: smaller pieces (0.001 mm²) are dust
BLOCK = 256  # pixels of the overview on a side that are read at a time,
READ = 2048  # unless they are more than so many of the slide's
SMALLEST_BLOCK = 8  # pixels: a block that cannot be read is quartered down to it
MASK_CACHE = 1 << 20  # bytes
SIMILAR = 0.03  # relative difference of sides up to which a mask is one of the slide


@dataclass(frozen=True)
class Overview:
    """A slide at low resolution.

    Parameters
    ----------
    pixels
        uint8 (height, width, 3).
    mpp
        Micrometers per pixel.
    unreadable
        The share of it that could not be read and is white.
    """

    pixels: np.ndarray
    mpp: float
    unreadable: float


def overview(slide: Slide, mpp: float, threads: int) -> Overview:
    """Read a slide at low resolution, block by block.

    Parameters
    ----------
    slide
        The slide.
    mpp
        Micrometers per pixel; more if it would have more than `LONGEST` pixels, and not less than the
        slide has.
    threads
        Number of threads.
    """
    mpp = max(mpp, slide.mpp, max(slide.width, slide.height) * slide.mpp / LONGEST)
    step = mpp / slide.mpp
    width, height = (max(1, int(side / step + 1e-6)) for side in (slide.width, slide.height))
    pixels = np.full((height, width, 3), WHITE, np.uint8)
    whole, scale = BLOCK, step / slide.levels[slide.level_for(mpp)].downsample
    while whole > SMALLEST_BLOCK and whole * scale > READ:
        whole //= 2
    corners = [(x, y) for y in range(0, height, whole) for x in range(0, width, whole)]

    def read(x: int, y: int, side: int) -> int:
        """Read a block; returns the number of its pixels that cannot be read."""
        part = pixels[y : y + side, x : x + side]
        if not part.size:
            return 0
        try:
            size = (part.shape[1], part.shape[0])
            part[:] = slide.region(round(x * step), round(y * step), size, mpp)
        except UnreadableError:
            if side <= SMALLEST_BLOCK:
                return int(part.shape[0] * part.shape[1])
            half = side // 2  # a damaged tile must not take the tissue around it along
            return sum(read(x + dx, y + dy, half) for dx in (0, half) for dy in (0, half))
        return 0

    lost = sum(Threads(threads).map(lambda corner: read(*corner, whole), corners))
    return Overview(pixels, mpp, lost / (width * height))


def find_tissue(pixels: np.ndarray) -> np.ndarray:
    """Where an overview shows tissue.

    Parameters
    ----------
    pixels
        uint8 (height, width, 3), RGB.

    Returns
    -------
    numpy.ndarray
        bool (height, width).

    Examples
    --------
    >>> pixels = np.full((20, 20, 3), 245, np.uint8)
    >>> pixels[5:15, 5:15] = (180, 100, 160)
    >>> int(find_tissue(pixels).sum())
    100
    """
    levels = pixels.astype(np.float32)
    largest, smallest = levels.max(axis=2), levels.min(axis=2)
    saturation = (largest - smallest) / np.maximum(largest, 1)
    density = -np.log10((levels + 1) / (WHITE + 1)).mean(axis=2)
    found = ((saturation >= SATURATION) & (density >= DENSITY)).astype(np.uint8)
    closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = facts[:, cv2.CC_STAT_AREA] >= LEAST_CELLS
    large[0] = False  # what is not tissue
    return np.asarray(large[pieces])


def read_mask(path: Path, slide: Slide, size: tuple[int, int]) -> np.ndarray:
    """Tissue that is given as a picture of the whole slide: where it is not black.

    Parameters
    ----------
    path
        The picture: PNG, JPEG or TIFF, of any size with the slide's proportions.
    slide
        The slide.
    size
        Width and height of the result.

    Returns
    -------
    numpy.ndarray
        bool (height, width).

    Raises
    ------
    InputError
        If it cannot be read, or has other proportions.
    """
    picture = open_pixels(path, MASK_CACHE)
    try:
        level = picture.levels[-1]
        proportion = level.width / level.height * slide.height / slide.width
        if abs(proportion - 1) > SIMILAR + 1 / min(level.width, level.height):
            raise InputError(
                f"mask {path} has {level.width:,}×{level.height:,} pixels and the slide "
                f"{slide.width:,}×{slide.height:,}; give a picture of the whole slide."
            )
        if level.width * level.height > LONGEST**2:
            raise InputError(
                f"mask {path} has {level.width:,}×{level.height:,} pixels; give one of at most "
                f"{LONGEST:,} on a side."
            )
        whole = picture.read(len(picture.levels) - 1, 0, 0, level.width, level.height)
    finally:
        picture.close()
    given = (whole.max(axis=2) > 0).astype(np.uint8)
    return np.asarray(cv2.resize(given, size, interpolation=cv2.INTER_NEAREST) > 0)


@dataclass(frozen=True)
class Tissue:
    """The tissue of a slide: an overview, which of it is tissue, and how that was found."""

    seen: Overview
    mask: np.ndarray
    how: str


def tissue_of(slide: Slide, mask: Path | None, threads: int) -> Tissue:
    """Find the tissue of a slide. Raises InputError if `mask` cannot be used."""
    seen = overview(slide, TISSUE_MPP, threads)
    size = (seen.pixels.shape[1], seen.pixels.shape[0])
    if mask is not None:
        return Tissue(seen, read_mask(mask, slide, size), f"mask {one_line(str(mask))}")
    how = (
        f"saturation of at least {SATURATION} and mean optical density of at least {DENSITY} at "
        f"{seen.mpp:.2f} µm per pixel"
    )
    return Tissue(seen, find_tissue(seen.pixels), how)
