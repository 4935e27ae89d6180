"""Slides that Pillow reads as a whole: PNG, JPEG, and TIFF that cannot be read in parts."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..sources.images import check_mode, to_rgb
from ..words import message_of
from .pyramid import levels_of
from .resolution import of_density

LARGEST_WHOLE = 150_000_000  # pixels, 430 MiB as RGB
INCH = 25_400.0  # micrometers
TOO_LARGE = (
    f"more than {LARGEST_WHOLE:,} pixels in one piece; save it as a tiled TIFF first, for example with "
    "vips tiffsave --tile --pyramid"
)


class WholeImage:
    """A slide whose only level is in memory.

    Parameters
    ----------
    path
        The file.
    formats
        Pillow's names of the formats that it may have.

    Raises
    ------
    InputError
        If it is damaged, too large, or not 8-bit.
    """

    def __init__(self, path: Path, formats: tuple[str, ...]) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=formats) as image:
                    check_size(path, image.size)
                    check_mode(image, path)
                    self.reader = f"Pillow ({image.format})"
                    density = image.info.get("dpi", (0, 0))
                    self._pixels = to_rgb(image)
        except (InputError, MemoryError):
            raise
        except Image.DecompressionBombError:  # Pillow's own limit is higher, and it looks first
            raise InputError(f"{path} has {TOO_LARGE}.") from None
        except Exception as error:  # decoders raise many kinds of exceptions on damage
            reason = message_of(error)
            raise InputError(
                f"{path} cannot be read: {reason}; it is damaged or cut off, so copy it again."
            ) from None
        height, width = self._pixels.shape[:2]
        self.levels = levels_of([(width, height)])
        self.mpp = of_density(float(density[0]), float(density[1]), INCH)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See `Pixels.read`."""
        return self._pixels[y : y + height, x : x + width]

    def close(self) -> None:
        """Nothing: the file is closed already."""


def check_size(path: Path, size: tuple[int, int]) -> None:
    """Raise InputError, before pixels are decoded, for an image that is too large for memory."""
    if size[0] * size[1] > LARGEST_WHOLE:
        raise InputError(f"{path} has {TOO_LARGE}.")
