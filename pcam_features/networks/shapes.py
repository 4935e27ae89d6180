"""What PyTorch and the encoders have to know alike of reference networks: sizes, normalization, and the
tables of the group p4m. It needs no PyTorch.
"""

from __future__ import annotations

import numpy as np

HALF = (0.5, 0.5, 0.5)  # mean of the pixels that `residual` and `p4m_densenet` take
QUARTER = (0.25, 0.25, 0.25)  # and their deviation
EPSILON = 1e-5  # of their batch norm

RESIDUAL_WIDTHS = (32, 64, 128)  # channels of the three stages of `residual`

ELEMENTS = 8  # of the group p4m, one for each view of a square
GROWTH = 9  # channels that a dense block of `p4m_densenet` adds
PAIRS = 5  # of a dense block with one layer, as in the paper, and a transition
P4M_CHANNELS = GROWTH * (PAIRS + 1)  # of the maps that its head takes


def turned(maps: np.ndarray, view: int) -> np.ndarray:
    """One of the eight flips and rotations of maps (N, C, H, H), as `augment.turned` has them."""
    flipped = maps[..., ::-1] if view >= 4 else maps
    return np.rot90(flipped, view % 4, (2, 3))


def products() -> list[list[int]]:
    """The element gh of p4m for each g and h: h is applied first.

    Examples
    --------
    >>> products()[1][:4], products()[4][4]
    ([1, 2, 3, 0], 0)
    """
    square = np.arange(9).reshape(1, 1, 3, 3)
    known = {tuple(turned(square, g).ravel().tolist()): g for g in range(ELEMENTS)}
    return [
        [known[tuple(turned(turned(square, h), g).ravel().tolist())] for h in range(ELEMENTS)]
        for g in range(ELEMENTS)
    ]


def places(side: int, *, lifts: bool) -> np.ndarray:
    """Where in a filter the numbers of the filter turned by each element are.

    Parameters
    ----------
    side
        Side of the filter.
    lifts
        Whether the filter is for a patch, rather than for maps with the eight elements.

    Returns
    -------
    numpy.ndarray
        int64 (8, elements * side²), where `elements` is 1 for a patch and 8 for maps.
    """
    elements = 1 if lifts else ELEMENTS
    numbers = np.arange(elements * side * side).reshape(1, elements, side, side)
    table = products()
    rows = []
    for g in range(ELEMENTS):
        inverse = table[g].index(0)
        order = [0] if lifts else [table[inverse][h] for h in range(ELEMENTS)]
        rows.append(turned(numbers[:, order], g).ravel())
    return np.stack(rows)
