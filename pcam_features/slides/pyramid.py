"""What every reader of slides offers: levels of pixels, read region by region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import InputError

WHITE = 255  # bare glass, where a slide has no pixels


class UnreadableError(InputError):
    """Some pixels of a slide are damaged or missing; others may be whole."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Parameters
    ----------
    width, height
        In pixels of this level.
    downsample
        Pixels of level 0 along a pixel of this level.
    """

    width: int
    height: int
    downsample: float


class Pixels(Protocol):
    """The pixels of a slide. Several threads may read at once."""

    @property
    def reader(self) -> str:
        """What reads them, for records."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, the finest first."""
        ...

    @property
    def mpp(self) -> float | None:
        """Micrometers per pixel of level 0; None if the file does not tell."""
        ...

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A region that lies within a level, in its pixels, uint8 (height, width, 3).

        Raises UnreadableError if some of it is damaged.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def check_room(count: int, file_size: int) -> None:
    """Raise ValueError if a file is too small for its tiles: each needs an offset and a length.

    Examples
    --------
    >>> check_room(1_000_000, 134)
    Traceback (most recent call last):
    ...
    ValueError: 134 bytes cannot hold 1,000,000 tiles
    """
    if count * 2 > file_size:
        raise ValueError(f"{file_size:,} bytes cannot hold {count:,} tiles")


def levels_of(sizes: list[tuple[int, int]]) -> tuple[Level, ...]:
    """Levels by their sizes, (width, height), the finest first."""
    width, height = sizes[0]
    return tuple(Level(w, h, (width / w + height / h) / 2) for w, h in sizes)
