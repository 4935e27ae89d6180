"""Flat images with margins: rows of STRIDE pixels, and one more row above and below."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import device, lane, lanes
from ..geometry import PATCH_SIZE

SIDE = PATCH_SIZE
MARGIN = 12
STRIDE = SIDE + 2 * MARGIN
CELLS = STRIDE * (SIDE + 2)


@device
def at(y: int) -> int:
    """The index at which row `y` of an image begins."""
    return (y + 1) * STRIDE


@device
def extend(row: Any) -> None:
    """Extend a row into its margins by repeating its first and last pixel."""
    for k in range(MARGIN):
        row[k] = row[MARGIN]
        row[MARGIN + SIDE + k] = row[MARGIN + SIDE - 1]


@device
def clear(image: Any) -> None:
    for y in range(lane(), SIDE + 2, lanes()):
        row = image[at(y - 1) :]
        for x in range(STRIDE):
            row[x] = 0


@device
def binomial(source: Any, temp: Any, target: Any, half: int, shift: int) -> None:
    """Smooth by (1, 2, 1)², and round by a shift. The margins of `source` repeat its edges."""
    for y in range(lane(), SIDE, lanes()):
        above, middle = source[at(max(y - 1, 0)) :], source[at(y) :]
        below, sums = source[at(min(y + 1, SIDE - 1)) :], temp[at(y) :]
        for x in range(STRIDE):
            sums[x] = np.int32(above[x]) + 2 * np.int32(middle[x]) + np.int32(below[x])
        row = target[at(y) + MARGIN :]
        before, here = sums[MARGIN - 1 : MARGIN - 1 + SIDE], sums[MARGIN : MARGIN + SIDE]
        after = sums[MARGIN + 1 : MARGIN + 1 + SIDE]
        for x in range(SIDE):
            total = np.int32(before[x]) + 2 * np.int32(here[x]) + np.int32(after[x])
            row[x] = np.int32(total + half) >> np.int32(shift)
