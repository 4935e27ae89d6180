"""Functions that counting families share: entropies of counts, and statistics over directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import device

# A rotation by 90° exchanges directions 0 and 2, and 1 and 3, which are at right angles.
N_DIRECTIONS = 4


def n_log2_n_table(most: int) -> np.ndarray:
    """n log2 n for every count n from 0 to `most`, the terms of an entropy."""
    n = np.arange(most + 1, dtype=np.float64)
    return n * np.log2(np.maximum(n, 1))


@device
def reduce_directions(described: Any, out: Any) -> None:
    """The mean and the range of each column of `described` over its rows, which are the directions.

    Directions at right angles are added first, so a rotated patch gives exactly the same bits.
    """
    for k in range(described.shape[1]):
        low = high = described[0, k]
        for direction in range(1, N_DIRECTIONS):
            low = min(low, described[direction, k])
            high = max(high, described[direction, k])
        straight = described[0, k] + described[2, k]
        diagonal = described[1, k] + described[3, k]
        out[2 * k] = (straight + diagonal) / N_DIRECTIONS
        out[2 * k + 1] = high - low
