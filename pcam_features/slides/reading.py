"""Opening slides, and regions of them at any scale.

OpenSlide reads a slide if it is installed (extra `slides`) and knows the format. Without it, TIFF files
(Aperio's SVS among them) are read through tifffile and Pillow, and PNG and JPEG through Pillow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..extras import how_to_install
from ..sources.fitting import check_mpp, resized
from .openslide_file import OpenSlideFile, openslide_module
from .pyramid import Level, Pixels, UnreadableError
from .tiff import TiffSlide, UnsupportedError
from .whole_image import WholeImage

EXTRA = "slides"  # brings OpenSlide
CACHE_BYTES = 256 << 20  # of decoded tiles
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
IMAGE_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG"}
# Formats of scanners that only OpenSlide reads. Some look like TIFF files and are none of a usual kind.
VENDORS = {
    ".bif": "a Ventana",
    ".czi": "a Zeiss",
    ".dcm": "a DICOM",
    ".mrxs": "a MIRAX",
    ".ndpi": "a Hamamatsu",
    ".scn": "a Leica",
    ".svslide": "a Sakura",
    ".vms": "a Hamamatsu",
    ".vmu": "a Hamamatsu",
}
FINER = 1.01  # a level is fine enough for a scale if its pixels are at most 1% larger


@dataclass(frozen=True)
class Slide:
    """A slide that is open.

    Parameters
    ----------
    path
        The file.
    pixels
        Its pixels.
    mpp
        Micrometers per pixel of level 0.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (400, 300), "pink").save("slide.png")
    >>> with open_slide("slide.png", mpp=0.5) as slide:
    ...     slide.levels, slide.region(0, 0, (96, 96), 0.972).shape
    ((Level(width=400, height=300, downsample=1.0),), (96, 96, 3))
    """

    path: Path
    pixels: Pixels
    mpp: float

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, the finest first."""
        return self.pixels.levels

    @property
    def width(self) -> int:
        """Width of level 0 in pixels."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Height of level 0 in pixels."""
        return self.levels[0].height

    def level_for(self, mpp: float) -> int:
        """The coarsest level whose pixels are not larger than `mpp` micrometers; else the finest."""
        fine = [k for k, one in enumerate(self.levels) if one.downsample * self.mpp <= mpp * FINER]
        return max(fine, key=lambda k: self.levels[k].downsample, default=0)

    def region(self, x: int, y: int, size: tuple[int, int], mpp: float) -> np.ndarray:
        """A region of the slide at a scale, resampled by area.

        It is read from the level of `level_for`, from whole pixels of that level: its place and size
        are rounded to them. Where the slide is coarser than `mpp`, it is enlarged, by cubic
        interpolation.

        Parameters
        ----------
        x, y
            The left and upper edge, in pixels of level 0.
        size
            Width and height of the result in pixels.
        mpp
            Micrometers per pixel of the result.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3), RGB.

        Raises
        ------
        UnreadableError
            If some of its pixels are damaged.
        ValueError
            If it does not lie within the slide.
        """
        k = self.level_for(mpp)
        level = self.levels[k]
        scale = mpp / (self.mpp * level.downsample)
        left, width = within(x / level.downsample, size[0] * scale, level.width)
        top, height = within(y / level.downsample, size[1] * scale, level.height)
        return resized(self.pixels.read(k, left, top, width, height), size)

    def close(self) -> None:
        """Close the file."""
        self.pixels.close()


def within(start: float, length: float, whole: int) -> tuple[int, int]:
    """A span in whole pixels, moved by at most a pixel so that it ends within the level.

    Examples
    --------
    >>> within(10.4, 95.6, 300), within(204.4, 96, 300)
    ((10, 96), (204, 96))
    >>> within(204.6, 96, 300)
    (204, 96)
    """
    pixels = max(1, round(length))
    first = min(round(start), whole - pixels)
    if first < 0 or first < start - 2:
        raise ValueError(f"{start:.1f} + {length:.1f} is beyond {whole}")
    return first, pixels


@contextmanager
def open_slide(path: str | Path, mpp: float | None = None, cache: int = CACHE_BYTES) -> Iterator[Slide]:
    """Open a slide during the block.

    Parameters
    ----------
    path
        The file.
    mpp
        Micrometers per pixel of level 0, in place of what the file tells.
    cache
        Bytes of decoded tiles that are kept in memory.

    Yields
    ------
    Slide
        The slide. Several threads may read it at once.

    Raises
    ------
    InputError
        If it cannot be read here, or its scale is unknown.
    """
    check_mpp(mpp)
    pixels = open_pixels(Path(path), cache)
    try:
        scale = mpp or pixels.mpp
        if scale is None:
            raise InputError(
                f"{path} does not tell how large its pixels are; give the micrometers per pixel with "
                "--mpp, such as 0.25 for most scans at 40× and 0.5 at 20×."
            )
        yield Slide(Path(path), pixels, scale)
    finally:
        pixels.close()


def open_pixels(path: Path, cache: int) -> Pixels:
    """Open a file with the reader that knows its format. Raises InputError if none does."""
    if not path.is_file():
        kind = "is a folder, not a slide" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {kind}; give the file of a slide.")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise InputError(f"{path} is empty (0 bytes); copy it again.")
    module = openslide_module()
    if module is not None and module.OpenSlide.detect_format(str(path)) is not None:
        return OpenSlideFile(path, module, cache)
    if path.suffix.lower() in VENDORS and module is None:
        raise InputError(
            f"{path} is {VENDORS[path.suffix.lower()]} slide, which only OpenSlide reads; install it "
            f"with: {how_to_install(EXTRA)}."
        )
    if start in TIFF_STARTS:
        return open_tiff(path, cache, has_openslide=module is not None)
    formats = tuple(kind for magic, kind in IMAGE_STARTS.items() if start.startswith(magic))
    if not formats:
        advice = (
            ""
            if module is not None
            else f", or install OpenSlide for those of scanners: {how_to_install(EXTRA)}"
        )
        raise InputError(
            f"{path} is not a TIFF, PNG or JPEG file; give a slide in one of these{advice}."
        )
    return WholeImage(path, formats)


def open_tiff(path: Path, cache: int, *, has_openslide: bool) -> Pixels:
    """Open a TIFF file; one that cannot be read in parts is read whole, if it is small enough."""
    try:
        return TiffSlide(path, cache)
    except UnsupportedError as error:
        unsupported = error
    try:
        return WholeImage(path, ("TIFF",))
    except InputError as error:
        remedy = "convert it with: vips tiffsave --tile --pyramid --compression jpeg"
        if not has_openslide:
            remedy = f"install OpenSlide, which may read it: {how_to_install(EXTRA)}"
        reason = str(error).partition(": ")[2] or str(error)
        raise InputError(f"{unsupported} ({reason.rstrip('.')}); {remedy}.") from None


__all__ = ["Level", "Pixels", "Slide", "UnreadableError", "open_slide"]
