"""Thumbnails of patches, which a store keeps beside features so that copies of patches can be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..check.look import gray_of, thumbnails
from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..geometry import THUMBNAIL_SIDE
from ..store.names import THUMBNAIL

SIDE = range(THUMBNAIL_SIDE)
COLUMNS = tuple(f"{THUMBNAIL}__gray__row{y}_column{x}" for y in SIDE for x in SIDE)


@dataclass(frozen=True)
class Thumbnails:
    """Gray levels of 8×8 cells of a patch, measured and stored as if they were a family of features.

    No model learns from them, and `Store.families` does not list them.
    """

    name: str = THUMBNAIL
    columns: tuple[str, ...] = COLUMNS
    group: str = THUMBNAIL
    kernels: tuple[Kernel, ...] = ()
    trained_on: None = None

    def describe(self) -> dict[str, Any]:
        """The entry in a store's manifest."""
        return {"version": 1, "columns": list(self.columns)}

    def computed_on(self, device: str) -> str:
        """The device that computes them: the CPU."""
        return "cpu"

    def open(self, members: Sequence[Thumbnails], target: Target, threads: int) -> OpenThumbnails:
        """Make ready to measure."""
        return OpenThumbnails()


class OpenThumbnails:
    """Thumbnails, ready to measure; see `families.measuring.Opened`."""

    rows = 1  # whatever suits the families measured with them

    def prepare(self) -> None:
        """Nothing has to be compiled."""

    def __call__(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Measure a batch: float32 (rows, cells)."""
        return {THUMBNAIL: thumbnails(gray_of(batch)).reshape(len(batch), -1).astype(np.float32)}
