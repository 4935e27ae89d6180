"""The patches of a slide whose centers tile its tissue."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..geometry import CENTER, PATCH_SIZE, THIRD
from ..sources.fitting import PCAM_MPP
from .pyramid import WHITE, UnreadableError
from .reading import Slide
from .tissue import Overview

TISSUE_SHARE = 0.1  # of a center has to be tissue
SIZE = (PATCH_SIZE, PATCH_SIZE)


@dataclass(frozen=True)
class Grid:
    """Patches of 96×96 pixels at PCam's scale that lie within a slide.

    Parameters
    ----------
    columns, rows
        Number of patches side by side, and one below the other.
    stride
        Distance of neighbors in pixels at PCam's scale. With 32, centers touch each other.
    step
        Pixels of level 0 along a pixel at PCam's scale.

    Examples
    --------
    >>> grid = Grid.of(1000, 800, 0.486, 32)
    >>> grid.columns, grid.rows, grid.corner(2, 1), grid.middle(0, 0)
    (13, 10, (64, 128), (96, 96))
    """

    columns: int
    rows: int
    stride: int
    step: float

    @classmethod
    def of(cls, width: int, height: int, mpp: float, stride: int) -> Grid:
        """The grid of a slide of this size; it has no patches if the slide is smaller than one."""
        step = PCAM_MPP / mpp
        columns, rows = (
            max(0, (int(side / step + 1e-6) - PATCH_SIZE) // stride + 1) for side in (width, height)
        )
        return cls(columns, rows, stride, step)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """The left and upper edge of a patch, in pixels of level 0."""
        return round(column * self.stride * self.step), round(row * self.stride * self.step)

    def middle(self, row: int, column: int) -> tuple[int, int]:
        """The middle of a patch, in pixels of level 0."""
        half = PATCH_SIZE / 2
        return (
            round((column * self.stride + half) * self.step),
            round((row * self.stride + half) * self.step),
        )

    @property
    def edge(self) -> float:
        """Where the square around the first patch's middle begins on either axis, in level 0's pixels.

        The square has the width of a stride. With a stride of 32, it is the patch's center.
        """
        return self.border * self.step

    @property
    def border(self) -> float:
        """The same as `edge` in pixels at PCam's scale."""
        return (PATCH_SIZE - self.stride) / 2

    @property
    def pitch(self) -> float:
        """Distance of neighbors in pixels of level 0."""
        return self.stride * self.step

    @property
    def mpp(self) -> float:
        """Distance of neighbors in micrometers."""
        return self.stride * PCAM_MPP

    @property
    def square_mm(self) -> float:
        """The area that a patch stands for, in mm²."""
        return (self.mpp / 1000) ** 2

    def on_tissue(self, tissue: np.ndarray, seen: Overview) -> np.ndarray:
        """The patches whose center has tissue, int32 (patches, 2) of row and column, row by row.

        There are none if the slide is smaller than a patch.

        Parameters
        ----------
        tissue
            bool (height, width), of the overview's size.
        seen
            The overview.
        """
        sums = cv2.integral(tissue.astype(np.uint8))
        top, bottom = self._cells(self.rows, seen, tissue.shape[0])
        left, right = self._cells(self.columns, seen, tissue.shape[1])
        inside = (
            sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
        )
        cells = (bottom - top)[:, None] * (right - left)
        return np.argwhere(inside >= TISSUE_SHARE * cells).astype(np.int32)

    def _cells(self, count: int, seen: Overview, whole: int) -> tuple[np.ndarray, np.ndarray]:
        """The pixels of the overview from which and to which each center extends, on an axis."""
        starts = (np.arange(count) * self.stride + CENTER[0]) * PCAM_MPP / seen.mpp
        first = np.clip(np.floor(starts + 1e-6).astype(int), 0, whole - 1)
        last = np.ceil(starts + THIRD * PCAM_MPP / seen.mpp - 1e-6).astype(int)
        return first, np.clip(last, first + 1, whole)


@dataclass
class SlidePatches:
    """Patches of a slide as images; several threads may read them at once.

    A patch with damaged pixels is white; its position in `places` is added to `unreadable`.

    Parameters
    ----------
    slide, grid
        The slide and the grid.
    places
        Row and column of each patch, int32 (patches, 2).
    """

    slide: Slide
    grid: Grid
    places: np.ndarray
    unreadable: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.places)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Patches `start` to `stop`, uint8 (stop - start, 96, 96, 3)."""
        batch = np.full((stop - start, PATCH_SIZE, PATCH_SIZE, 3), WHITE, np.uint8)
        for k, (row, column) in enumerate(self.places[start:stop].tolist(), start):
            try:
                batch[k - start] = self.slide.region(*self.grid.corner(row, column), SIZE, PCAM_MPP)
            except UnreadableError:
                with self._lock:
                    self.unreadable.add(k)
        return batch
