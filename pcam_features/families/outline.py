"""Measures one nucleus: integer sums over its pixels, its border and its convex hull."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import device
from .margins import MARGIN, SIDE, at
from .planes import PLANES
from .segmentation import BOTTOM, HEMATOXYLIN, LEFT, RIGHT, START, STOP, TOP

EOSIN, GRAY, RED = PLANES.index("eosin"), PLANES.index("gray"), PLANES.index("red")

# The entries of a nucleus in its row of `ints`: geometry, then sums of levels, rim and flags.
AREA, X, Y, XX, YY, XY, EDGES, DIAGONALS, HULL = range(9)
H, E, G, R, HH, RIM, FLAGS = range(9, 16)
STAIN_SUMS = H  # the first of the sums of levels, in the order of MEASURES
WHOLE, CENTRAL, TOUCHING = 1, 2, 4


@device
def corner(edge: Any, rows: int, k: int, sign: int) -> int:
    """The extent of a pixel outline at the line between its rows k - 1 and k."""
    return sign * max(sign * int(edge[max(k - 1, 0)]), sign * int(edge[min(k, rows - 1)]))


@device
def area_beside(edge: Any, rows: int, sign: int, chain: Any) -> int:
    """Twice the area left of the convex chain around a pixel outline.

    The chain is the right side of the outline with sign 1, and its left side with sign -1. `edge` has
    the position of the outline in each row.
    """
    size, area = 0, 0
    for k in range(rows + 1):
        place = corner(edge, rows, k, sign)
        while size >= 2:
            a, b = int(chain[size - 2]), int(chain[size - 1])
            at_a, at_b = corner(edge, rows, a, sign), corner(edge, rows, b, sign)
            if sign * ((at_b - at_a) * (k - a) - (place - at_a) * (b - a)) > 0:
                break
            size -= 1
        chain[size] = k
        size += 1
    for k in range(size - 1):
        a, b = int(chain[k]), int(chain[k + 1])
        area += (b - a) * (corner(edge, rows, a, sign) + corner(edge, rows, b, sign))
    return area


@device
def measure_nucleus(planes: Any, label: Any, number: int, box: Any, scratch: Any, cell: Any) -> None:
    """Exact moments, sums of levels, border and hull of one nucleus."""
    hematoxylin, eosin, gray, red = planes[HEMATOXYLIN], planes[EOSIN], planes[GRAY], planes[RED]
    top, bottom, left, right = int(box[TOP]), int(box[BOTTOM]), int(box[LEFT]), int(box[RIGHT])
    first, last, chain = scratch[:SIDE], scratch[SIDE : 2 * SIDE], scratch[2 * SIDE :]
    area, sum_x, sum_y, sum_xx, sum_yy, sum_xy = 0, 0, 0, 0, 0, 0
    edges, diagonals, others, h, hh, e, g, r, rim = 0, 0, 0, 0, 0, 0, 0, 0, 0
    for y in range(top, bottom + 1):
        above, here, below = label[at(y - 1) :], label[at(y) :], label[at(y + 1) :]
        upper, lower = hematoxylin[max(y - 2, 0)], hematoxylin[min(y + 2, SIDE - 1)]
        beside, start, stop, n, row_x = hematoxylin[y], SIDE, 0, 0, 0
        for x in range(left, right + 1):
            p = x + MARGIN
            if here[p] != number:
                continue
            start, stop, n, row_x, sum_xx = min(start, x), x + 1, n + 1, row_x + x, sum_xx + x * x
            level = int(np.int32(beside[x]))
            h, hh, e = h + level, hh + level * level, e + int(np.int32(eosin[y, x]))
            g, r = g + int(np.int32(gray[y, x])), r + int(np.int32(red[y, x]))
            a, b = int(above[p] != number), int(below[p] != number)
            c, d = int(here[p - 1] != number), int(here[p + 1] != number)
            edges += a + b + c + d
            rim += a * int(np.int32(upper[x])) + b * int(np.int32(lower[x]))
            rim += c * int(np.int32(beside[max(x - 2, 0)]))
            rim += d * int(np.int32(beside[min(x + 2, SIDE - 1)]))
            diagonals += int(above[p - 1] != number) + int(above[p + 1] != number)
            diagonals += int(below[p - 1] != number) + int(below[p + 1] != number)
            # Only the background is 0. Any other label is another nucleus, or the line between them.
            for dx in range(-1, 2):
                others |= int(above[p + dx] != number) & int(above[p + dx] != 0)
                others |= int(here[p + dx] != number) & int(here[p + dx] != 0)
                others |= int(below[p + dx] != number) & int(below[p + dx] != 0)
        first[y - top], last[y - top] = start, stop
        area, sum_x, sum_y = area + n, sum_x + row_x, sum_y + y * n
        sum_yy, sum_xy = sum_yy + y * y * n, sum_xy + y * row_x
    rows = bottom - top + 1
    flags = TOUCHING * others
    if top > 0 and left > 0 and bottom < SIDE - 1 and right < SIDE - 1:
        flags += WHOLE
    low, high = (2 * START - 1) * area, (2 * STOP - 1) * area
    if low <= 2 * sum_x <= high and low <= 2 * sum_y <= high:
        flags += CENTRAL
    cell[AREA], cell[X], cell[Y], cell[XX], cell[YY] = area, sum_x, sum_y, sum_xx, sum_yy
    cell[XY], cell[EDGES], cell[DIAGONALS], cell[FLAGS] = sum_xy, edges, diagonals, flags
    cell[HULL] = area_beside(last, rows, 1, chain) - area_beside(first, rows, -1, chain)
    cell[H], cell[HH], cell[E], cell[G], cell[R], cell[RIM] = h, hh, e, g, r, rim
