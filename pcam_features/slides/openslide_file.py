"""Slides in the formats of scanners' makers, read by OpenSlide (extra `slides`)."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..sources.images import to_rgb
from .pyramid import Level, UnreadableError, check_room
from .resolution import number, of_axes

# Makers whose slides are one TIFF file, by OpenSlide's names.
ONE_FILE = ("aperio", "generic-tiff", "leica", "philips", "trestle", "ventana")
SIDES = ("width", "height")


def openslide_module() -> Any | None:
    """OpenSlide's Python module, or None if it or its library is not installed."""
    try:
        import openslide
    except (ImportError, OSError):  # the module needs a C library, which may be missing
        return None
    return openslide


class OpenSlideFile:
    """A slide that OpenSlide reads.

    After an error, OpenSlide refuses every further read from the same handle, so it is opened again.

    Parameters
    ----------
    path
        The file.
    module
        What `openslide_module` gave.
    cache
        Bytes of decoded tiles that are kept.

    Raises
    ------
    InputError
        If OpenSlide cannot open it.
    """

    def __init__(self, path: Path, module: Any, cache: int) -> None:
        self._path, self._module = path, module
        self._cache = module.OpenSlideCache(cache)
        self._lock = threading.Lock()
        self._slide = self._open()
        self.reader = f"OpenSlide {module.__library_version__}"
        sizes = list(self._slide.level_dimensions)
        steps = self._slide.level_downsamples
        self.levels = tuple(Level(w, h, step) for (w, h), step in zip(sizes, steps, strict=True))
        told = self._slide.properties
        self._check_room(told)
        self.mpp = of_axes(
            number(told.get(self._module.PROPERTY_NAME_MPP_X)),
            number(told.get(self._module.PROPERTY_NAME_MPP_Y)),
        )

    def _open(self) -> Any:
        try:
            slide = self._module.OpenSlide(str(self._path))
        except (self._module.OpenSlideError, OSError) as error:
            raise InputError(
                f"{self._path} cannot be opened as a slide: {error}; it is damaged or cut off, so copy "
                "it again."
            ) from None
        slide.set_cache(self._cache)
        return slide

    def _check_room(self, told: Any) -> None:
        """Raise InputError if the file says that it has more tiles than fit in it.

        OpenSlide takes the tiles that it lacks for white ones.
        """
        if told.get(self._module.PROPERTY_NAME_VENDOR) not in ONE_FILE:
            return
        width, height = (number(told.get(f"openslide.level[0].tile-{side}")) for side in SIDES)
        if not width or not height:
            return
        level = self.levels[0]
        count = math.ceil(level.width / width) * math.ceil(level.height / height)
        try:
            check_room(count, self._path.stat().st_size)
        except ValueError as error:
            self.close()
            raise InputError(f"{self._path} is damaged: {error}; copy it again.") from None

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `Pixels.read`. Where a scan has no pixels, the region is white."""
        slide, step = self._slide, self.levels[level].downsample
        try:
            image = slide.read_region((round(x * step), round(y * step)), level, (width, height))
        except self._module.OpenSlideError as error:
            with self._lock:
                if self._slide is slide:
                    self._slide = self._open()  # others may still read from the old handle
            raise UnreadableError(
                f"{self._path}: pixels at {x}, {y} of level {level} cannot be read: {error}; copy the "
                "file again."
            ) from None
        return to_rgb(image)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
