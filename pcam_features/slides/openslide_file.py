"""Slides in the formats of scanners' makers, read by OpenSlide (extra `slides`)."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..sources.images import to_rgb
from .pyramid import Level, UnreadableError
from .resolution import number, of_axes


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
