"""Images in memory or files (arrays, PIL images, paths), read as batches of patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..constants import Fitting
from ..errors import InputError
from ..geometry import PATCH_SIZE
from ..sources.fitting import Size, SizeError, how_named
from ..sources.images import SHAPE, check_mode, patches, read_patch, to_rgb
from ..sources.source import Source, Split

EXPECTED = f"uint8 (n, {PATCH_SIZE}, {PATCH_SIZE}, 3), RGB"


class Images(Protocol):
    """Patches in a fixed order: a split of a source, an array, a list of images.

    `read(start, stop)` returns uint8 (stop - start, 96, 96, 3). Several threads may call it at once.
    """

    def __len__(self) -> int: ...
    def read(self, start: int, stop: int) -> np.ndarray: ...


@dataclass(frozen=True)
class ArrayImages:
    """Patches in one array, uint8 (n, 96, 96, 3)."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.ascontiguousarray(self.pixels[start:stop])


@dataclass(frozen=True)
class ListedImages:
    """Patches in a list of arrays, PIL images and paths, each read with its batch."""

    items: Sequence[Any]

    def __len__(self) -> int:
        return len(self.items)

    def read(self, start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, *SHAPE), np.uint8)
        for position in range(start, stop):
            batch[position - start] = patch_of(self.items[position], f"image {position}")
        return batch


def images_of(images: Any, fit: str | None = None, mpp: float | None = None) -> Images:
    """The patches in `images`, checked as far as possible without reading files.

    Parameters
    ----------
    images
        One of: an array, uint8 (n, 96, 96, 3) or (96, 96, 3) for one image; a PIL image; a path of
        an image file; a sequence of these; or an object with a length and `read(start, stop)`,
        such as a split of a source.
    fit
        How images of another size are brought to 96×96 pixels: "resize", "crop" or "tile".
    mpp
        Micrometers per pixel of the images, so that they are brought to PCam's scale; needs `fit`.

    Raises
    ------
    InputError
        If `images` is none of these, or an array of another shape or type.
    """
    if mpp is not None and fit is None:
        raise InputError(f"--mpp {mpp:g} needs --fit; choose one of: {', '.join(Fitting)}.")
    if isinstance(images, ArrayImages | ListedImages):
        return images
    if isinstance(images, str | Path | Image.Image):
        images = [images]
    elif callable(getattr(images, "read", None)) and hasattr(images, "__len__"):
        split: Images = images
        return split
    is_array = hasattr(images, "__array__")
    if is_array and getattr(getattr(images, "dtype", None), "kind", None) not in ("O", "U"):
        if fit is None:
            return ArrayImages(_checked(np.asarray(images), "images"))
        pixels = np.asarray(images)
        images = pixels[None] if pixels.ndim == 3 else pixels
    if not hasattr(images, "__iter__") or getattr(images, "ndim", 1) == 0:
        raise InputError(
            f"images must be an array, {EXPECTED}, PIL images or paths, not {type(images).__name__}."
        )
    items = list(images)
    if fit is None or not items:
        return ListedImages(items)
    return fitted(items, how_named(fit), mpp)


def fitted(items: Sequence[Any], how: Fitting, mpp: float | None) -> Images:
    """Bring images of one size to 96×96 pixels.

    Parameters
    ----------
    items
        Arrays, PIL images or paths.
    how
        How they are brought to that size.
    mpp
        Micrometers per pixel of the images, or None.

    Raises
    ------
    InputError
        If the first image cannot be brought to that size in this way.
    """

    def original(row: int, size: Size | None) -> np.ndarray:
        image = any_image(items[row], f"image {row}")
        height, width = image.shape[:2]
        if size is not None and (width, height) != size:
            raise InputError(
                f"image {row} is {width}×{height} pixels, but the first is {size[0]}×{size[1]}; give "
                "images of one size at a time."
            )
        return image

    split = Split(
        name="images",
        ids=[str(row) for row in range(len(items))],
        labels=None,
        slides=[None] * len(items),
        content=lambda start, stop: "",
        read=patches(original),
        original=original,
    )
    return Source("images", "images", "", {"images": split}).fitted(how, mpp).splits["images"]


def patch_of(item: Any, where: str) -> np.ndarray:
    """One patch, uint8 (96, 96, 3), from an array, a PIL image or a path.

    Raises InputError if it is none of these; the message begins with `where`.
    """
    if isinstance(item, str | Path):
        return read_patch(Path(item))
    patch: np.ndarray = _checked(any_image(item, where), where)[0]
    return patch


def any_image(item: Any, where: str) -> np.ndarray:
    """One image of any size, uint8 (height, width, 3), from an array, a PIL image or a path.

    Raises InputError if it is none of these; the message begins with `where`.
    """
    if isinstance(item, str | Path):
        return read_patch(Path(item), None)
    if isinstance(item, Image.Image):
        check_mode(item, where)
        return to_rgb(item)
    if not hasattr(item, "__array__"):
        raise InputError(f"{where} must be an array, a PIL image or a path, not {type(item).__name__}.")
    pixels = np.asarray(item)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(
            f"{where} must be uint8 ({PATCH_SIZE}, {PATCH_SIZE}, 3), not of shape {pixels.shape}."
        )
    _check_dtype(pixels, where)
    return pixels


def _check_dtype(pixels: np.ndarray, what: str) -> None:
    if pixels.dtype != np.uint8:
        advice = "convert levels of 0 to 255 with .astype('uint8')"
        if pixels.dtype.kind == "f":
            advice += ", after multiplying by 255 where they are 0 to 1"
        raise InputError(f"{what} must be {EXPECTED}, not {pixels.dtype}; {advice}.")


def _checked(pixels: np.ndarray, what: str) -> np.ndarray:
    """An array of patches as uint8 (n, 96, 96, 3). Raises InputError for another shape or type."""
    if pixels.ndim == 3:
        pixels = pixels[None]
    _check_dtype(pixels, what)
    if pixels.ndim == 4 and pixels.shape[1:] == (3, PATCH_SIZE, PATCH_SIZE):
        raise InputError(
            f"{what} must have the channels last, {EXPECTED}, not {pixels.shape}; "
            "use np.moveaxis(images, 1, -1)."
        )
    if pixels.ndim == 4 and pixels.shape[3] == 3 and pixels.shape[1:] != SHAPE:
        height, width = pixels.shape[1:3]
        raise SizeError(
            f"the size of {what} is {width}×{height} pixels; choose with --fit how to bring patches to "
            f"{PATCH_SIZE}×{PATCH_SIZE}."
        )
    if pixels.ndim != 4 or pixels.shape[1:] != SHAPE:
        raise InputError(f"{what} must be {EXPECTED}, not an array of shape {pixels.shape}.")
    return pixels
