"""Bringing patches of other sizes to 96×96 pixels.

Features are measured on 96×96 pixels. Without `mpp`, `resize` changes the scale of a patch, and `crop`
and `tile` keep it. With `mpp`, the micrometers per pixel of the images, a patch is first scaled by
`mpp` / 0.972, which is the scale of PCam.

======  =====================================  =================================================
        without `mpp`                          with `mpp`
======  =====================================  =================================================
resize  the whole square patch is resized      the patch is scaled, and the center 96×96 is kept
crop    the center 96×96 is kept               the same as `resize`
tile    the patch is cut into 96×96 tiles      the scaled patch is cut into 96×96 tiles
======  =====================================  =================================================

Tiles cover the whole patch: along a side of S pixels there are ceil(S / 96), evenly spaced, so that
neighbors overlap where S is not a multiple of 96. Features are the mean over the tiles.

OpenCV resamples: by area where a patch shrinks, by cubic interpolation where it grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import cv2
import numpy as np

from ..constants import Fitting
from ..errors import InputError
from ..geometry import PATCH_SIZE
from ..words import counted

PCAM_MPP = 0.972  # micrometers per pixel: level 2 of CAMELYON16's slides
LARGEST_SIDE = 2048  # pixels
MPP_RANGE = (0.01, 100.0)
SIDE_UM = PATCH_SIZE * PCAM_MPP
Size = tuple[int, int]  # width and height in pixels


class SizeError(InputError):
    """A patch has another size than 96×96 pixels, and no way to fit it was chosen."""


@dataclass(frozen=True)
class Fit:
    """How the patches of a source are brought to 96×96 pixels.

    Parameters
    ----------
    how
        `resize`, `crop` or `tile`.
    mpp
        Micrometers per pixel of the images; None if the scale is unknown.
    width, height
        The size of the source's patches, in pixels.

    Raises
    ------
    InputError
        If patches of this size cannot be brought to 96×96 in this way.

    Examples
    --------
    >>> fit = Fit(Fitting.tile, 0.486, 384, 384)
    >>> fit.scaled, fit.tile_count
    ((192, 192), 4)
    >>> fit.to_dict()
    {'how': 'tile', 'mpp': 0.486, 'width': 384, 'height': 384}
    """

    how: Fitting
    mpp: float | None
    width: int
    height: int

    def __post_init__(self) -> None:
        check_mpp(self.mpp)
        for side in (self.width, self.height):
            if not 1 <= side <= LARGEST_SIDE:
                raise InputError(f"a patch has 1 to {LARGEST_SIDE} pixels on a side, not {side}.")
        size, scaled = f"{self.width}×{self.height}", self.scaled
        if max(scaled) > LARGEST_SIDE:
            raise InputError(
                f"patches of {size} pixels at {self.mpp} µm per pixel become {scaled[0]}×{scaled[1]} "
                f"at PCam's scale, more than {LARGEST_SIDE} on a side; correct --mpp."
            )
        if min(scaled) < PATCH_SIZE and self.mpp is not None:
            raise InputError(
                f"patches of {size} pixels at {self.mpp} µm per pixel show less tissue than the "
                f"{SIDE_UM:.1f} µm of a PCam patch; use --fit resize without --mpp to enlarge them."
            )
        if min(scaled) < PATCH_SIZE and self.how != Fitting.resize:
            raise InputError(
                f"patches of {size} pixels are smaller than {PATCH_SIZE}×{PATCH_SIZE}; use --fit "
                "resize to enlarge them."
            )
        if self.how == Fitting.resize and self.mpp is None and self.width != self.height:
            raise InputError(
                f"patches of {size} pixels are not square, and resizing would distort them; use --fit "
                "crop or tile."
            )

    @property
    def size(self) -> Size:
        """Width and height of the source's patches, in pixels."""
        return self.width, self.height

    @property
    def scaled(self) -> Size:
        """Width and height of a patch at PCam's scale; the size itself if `mpp` is None."""
        if self.mpp is None:
            return self.size
        scale = self.mpp / PCAM_MPP
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    @property
    def changes_nothing(self) -> bool:
        """Whether patches are 96×96 already and stay as they are."""
        return self.size == self.scaled == (PATCH_SIZE, PATCH_SIZE)

    @property
    def tile_count(self) -> int:
        """Number of tiles that features are averaged over; 1 unless patches are cut into tiles."""
        if self.how != Fitting.tile:
            return 1
        width, height = self.scaled
        return len(tile_starts(width)) * len(tile_starts(height))

    def patch(self, image: np.ndarray) -> np.ndarray:
        """Bring one image to 96×96 pixels.

        For `tile`, this is the whole patch resized, which is shown in pictures; if the patch is not
        square, its center square is taken.

        Parameters
        ----------
        image
            uint8 (height, width, 3), of the source's size.

        Returns
        -------
        numpy.ndarray
            uint8 (96, 96, 3).
        """
        if self.how == Fitting.tile:
            side = min(self.size)
            return resized(center(image, side), (PATCH_SIZE, PATCH_SIZE))
        if self.how == Fitting.resize and self.mpp is None:
            return resized(image, (PATCH_SIZE, PATCH_SIZE))
        return center(resized(image, self.scaled), PATCH_SIZE)

    def tiles(self, image: np.ndarray) -> np.ndarray:
        """Cut one image into tiles, uint8 (`tile_count`, 96, 96, 3), row by row."""
        whole = resized(image, self.scaled)
        return np.stack(
            [
                whole[y : y + PATCH_SIZE, x : x + PATCH_SIZE]
                for y in tile_starts(self.scaled[1])
                for x in tile_starts(self.scaled[0])
            ]
        )

    def sentence(self) -> str:
        """What is done to patches, for a message."""
        side = f"{PATCH_SIZE}×{PATCH_SIZE}"
        start = f"patches of {self.width}×{self.height} pixels are "
        if self.mpp is not None:
            width, height = self.scaled
            start += f"scaled from {self.mpp} to {PCAM_MPP} µm per pixel ({width}×{height}) and "
        if self.how == Fitting.tile:
            tiles = counted(self.tile_count, "tile")
            return f"{start}cut into {tiles} of {side}; features are the mean over tiles"
        if self.how == Fitting.resize and self.mpp is None:
            return f"{start}resized to {side}"
        return f"{start}cropped to the center {side}"

    def to_dict(self) -> dict[str, Any]:
        """The record that a store keeps, as plain JSON."""
        return asdict(self) | {"how": self.how.value}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Fit:
        """Read a record that `to_dict` wrote. Raises InputError if it is damaged."""
        how, mpp = record.get("how"), record.get("mpp")
        width, height = record.get("width"), record.get("height")
        whole = type(width) is int and type(height) is int
        if not isinstance(how, str) or not whole or type(mpp) not in (float, int, type(None)):
            raise InputError(
                "the record of how patches were brought to 96×96 pixels is damaged; extract again "
                "with --overwrite."
            )
        return cls(how_named(how), mpp, cast(int, width), cast(int, height))


def check_mpp(mpp: float | None) -> None:
    """Raise InputError for an impossible scale."""
    low, high = MPP_RANGE
    if mpp is not None and not low <= mpp <= high:  # also false for NaN
        raise InputError(f"--mpp is {mpp}; give micrometers per pixel, from {low} to {high:g}.")


def how_named(name: str) -> Fitting:
    """The way of fitting with this name. Raises InputError for another name."""
    try:
        return Fitting(name)
    except ValueError:
        raise InputError(f"--fit is {name!r}; give one of: {', '.join(Fitting)}.") from None


def resized(image: np.ndarray, size: Size) -> np.ndarray:
    """An image of another size: by area interpolation if smaller, else by cubic."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    shrinks = size[0] * size[1] < width * height
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def center(image: np.ndarray, side: int) -> np.ndarray:
    """The center square of an image."""
    height, width = image.shape[:2]
    y, x = (height - side) // 2, (width - side) // 2
    return image[y : y + side, x : x + side]


def tile_starts(side: int) -> list[int]:
    """Where the tiles along a side of at least 96 pixels begin.

    Examples
    --------
    >>> tile_starts(96), tile_starts(224), tile_starts(288)
    ([0], [0, 64, 128], [0, 96, 192])
    """
    count = math.ceil(side / PATCH_SIZE)
    last = side - PATCH_SIZE
    return [round(k * last / max(count - 1, 1)) for k in range(count)]
