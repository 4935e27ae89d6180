"""Local binary patterns: which of the points on a circle are at least as bright as its middle.

Rotation-invariant uniform patterns (riu2) with (points, radius) = (8, 1), (16, 2), (24, 3) on
`gray` and `hematoxylin`. Points between pixels are interpolated bilinearly, in fixed point. A
pattern with at most two changes around the circle is named by its number of ones, any other is
`mixed`. What patterns leave out is how strong they are: the variance of the circle's points. Columns
`lbp__<feature>__<region>_<plane>_p<points>_r<radius>`, over the pixels whose circle lies inside the
patch.

Sources: T. Ojala, M. Pietikäinen and T. Mäenpää, "Multiresolution gray-scale and rotation
invariant texture classification with local binary patterns", IEEE TPAMI 24, 2002;
`skimage.feature.local_binary_pattern(method="uniform")`, which differs where a point ties with
the middle to within its floating-point noise.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ..engine.lanes import LANES, Kernel, add, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature

CIRCLES = ((8, 1), (16, 2), (24, 3))
MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
N_REGIONS = len(REGIONS)
STRENGTHS = ("variance", "deviation_spread")
MOST_POINTS = max(points for points, _ in CIRCLES)
START, STOP = CENTER
HALVES = 1  # bits behind the point of a level on the circle, when its variance is taken
FINE = 16  # a deviation is counted in sixteenths of a level
# Rows of sums, exact because they are whole numbers below 2^53: of the deviations and of their
# squares, in the center and in all.
SUMS = 4
ROWS = 4  # of scratch that a lane has to itself
BITS = 10  # of the position between two pixels: weights of a point are products, 20 bits in all
HALF_OF_HALVES = 1 << (2 * BITS - HALVES - 1)  # what rounds a level to halves


def _points() -> np.ndarray:
    """For each point of each circle: its pixel up and left, and the weights of the four around it."""
    rows = []
    for points, radius in CIRCLES:
        angle = 2 * np.pi * np.arange(points) / points
        # A position is rounded about the middle, so that mirrored points have mirrored weights.
        places = np.rint(np.stack([-np.sin(angle), np.cos(angle)], axis=1) * radius * 2**BITS)
        for place_y, place_x in places.astype(int):
            y, x = int(place_y) >> BITS, int(place_x) >> BITS
            down, right = int(place_y) - (y << BITS), int(place_x) - (x << BITS)
            up, left = (1 << BITS) - down, (1 << BITS) - right
            rows.append((y, x, up * left, up * right, down * left, down * right))
    return np.array(rows, np.int32).ravel()


@device
def ones(bits: int) -> int:
    """The number of ones among 32 bits."""
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    bits = bits + (bits >> 8)
    return (bits + (bits >> 16)) & 63


@device
def pattern_of(bits: int, points: int) -> int:
    """The pattern's number of ones, or `points` + 1 if it is mixed."""
    turned = (bits >> 1) | ((bits & 1) << (points - 1))
    return ones(bits) if ones(bits ^ turned) <= 2 else points + 1


@device
def compare_row(plane: Any, y: int, points: int, radius: int, circle: Any, row: Any) -> None:
    """Set bit k of `row[0, x]` where point k around (y, radius + x) is at least as bright as it.

    `row[1]` gets the sum of the points' levels, in halves, and `row[2]` that of their squares.
    """
    n = plane.shape[1] - 2 * radius
    middle = plane[y, radius : radius + n]
    bits, sums, squares, level = row[0], row[1], row[2], row[3]
    for x in range(n):
        bits[x], sums[x], squares[x] = 0, 0, 0
    for k in range(points):
        dy, dx, w00, w01, w10, w11 = circle[6 * k : 6 * k + 6]
        # A weight of 0 may stand outside the patch: look at a pixel inside instead.
        below = y + dy + (1 if w10 + w11 > 0 else 0)
        left = radius + dx
        right = left + (1 if w01 + w11 > 0 else 0)
        p00, p01 = plane[y + dy, left : left + n], plane[y + dy, right : right + n]
        p10, p11 = plane[below, left : left + n], plane[below, right : right + n]
        # 32 bits throughout, rows from index 0, few rows in a loop: the compiler makes it SIMD.
        for x in range(n):
            above = np.int32(w00 * np.int32(p00[x]) + w01 * np.int32(p01[x]))
            under = np.int32(w10 * np.int32(p10[x]) + w11 * np.int32(p11[x]))
            level[x] = np.int32(above + under)
        for x in range(n):
            brighter = level[x] >= np.int32(np.int32(middle[x]) << (2 * BITS))
            bits[x] |= np.int32(np.int32(brighter) << np.int32(k))
        for x in range(n):
            rounded = np.int32((level[x] + np.int32(HALF_OF_HALVES)) >> np.int32(2 * BITS - HALVES))
            sums[x] += rounded
            squares[x] += np.int32(rounded * rounded)


@device
def sum_deviations(row: Any, y: int, points: int, radius: int, n: int, sums: Any) -> None:
    """A row's deviations of circles, in whole sixteenths of a level: their sum, and their squares'."""
    total, squares, deviation = row[1], row[2], row[3]
    scale = FINE / (points << HALVES)
    for x in range(n):
        spread = float(np.int32(np.int32(points * squares[x]) - np.int32(total[x] * total[x])))
        deviation[x] = np.int32(sqrt(spread) * scale + 0.5)
    add_up(deviation[:n], sums[2:])
    sums[0], sums[1] = 0, 0
    if START <= y < STOP:
        add_up(deviation[START - radius : STOP - radius], sums)


@device
def add_up(values: Any, sums: Any) -> None:
    first, second = np.int32(0), np.int32(0)
    for x in range(values.shape[0]):
        first += values[x]
        second += np.int32(values[x] * values[x])
    sums[0], sums[1] = first, second


@device
def describe_deviations(rows: Any, first: int, last: int, region: int, pixels: int, out: Any) -> None:
    """Mean of the variance, then spread of the deviation, of a region's circles."""
    total, squares = 0.0, 0.0
    for y in range(first, last):
        if region != 2:
            total += rows[y, 2 - 2 * region]
            squares += rows[y, 3 - 2 * region]
        else:
            total += rows[y, 2] - rows[y, 0]
            squares += rows[y, 3] - rows[y, 1]
    out[0] = squares / pixels / FINE**2
    out[1] = sqrt(pixels * squares - total * total) / pixels / FINE


@device
def count_rows(
    plane: Any, points: int, radius: int, circle: Any, row: Any, sums: Any, counts: Any
) -> None:
    """Patterns and deviations of every circle inside the plane; `row` is this lane's own."""
    height, n = plane.shape[0], plane.shape[1] - 2 * radius
    for y in range(radius + lane(), height - radius, lanes()):
        compare_row(plane, y, points, radius, circle, row)
        sum_deviations(row, y, points, radius, n, sums[y])
        for x in range(n):
            row[0, x] = pattern_of(row[0, x], points)
        inside = START <= y < STOP
        for x in range(n):
            region = 1 if inside and START <= x + radius < STOP else 2
            add(counts, (region, row[0, x]), 1)


@device
def describe(counts: Any, sums: Any, points: int, radius: int, out: Any) -> None:
    """All features of one circle size, region after region."""
    patterns = points + 2
    center = (STOP - START) ** 2
    whole = (sums.shape[0] - 2 * radius) ** 2
    for region in range(lane(), N_REGIONS, lanes()):
        size = whole if region == 0 else center if region == 1 else whole - center
        at = region * (patterns + 2)
        for pattern in range(patterns):
            count = counts[region, pattern]
            if region == 0:
                count = counts[1, pattern] + counts[2, pattern]
            out[at + pattern] = count / size
        last = sums.shape[0] - radius
        describe_deviations(sums, radius, last, region, size, out[at + patterns :])


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    row = work[ROWS * lane() : ROWS * lane() + ROWS]
    at = 0
    for plane in range(len(PLANE_INDEX)):
        first = 0
        for c in range(len(CIRCLES)):
            points, radius = CIRCLES[c]
            for pattern in range(lane(), points + 2, lanes()):
                for region in range(N_REGIONS):
                    ints[region, pattern] = 0
            barrier()
            circle = table[6 * first :]
            count_rows(planes[PLANE_INDEX[plane]], points, radius, circle, row, floats, ints)
            barrier()
            describe(ints, floats, points, radius, out[at:])
            at += N_REGIONS * (points + 4)
            first += points
            barrier()


def pattern_name(pattern: int, points: int) -> str:
    return "mixed" if pattern > points else f"ones{pattern:02d}"


def names_of(points: int) -> list[str]:
    return [*(pattern_name(k, points) for k in range(points + 2)), *STRENGTHS]


VARIANCE_SOURCE = "Ojala 2002; skimage.feature.local_binary_pattern(method='var')"
SOURCE = "skimage.feature.local_binary_pattern(method='uniform')"
FEATURES = (
    *(
        Feature(
            pattern_name(pattern, MOST_POINTS),
            f"share of pixels whose circle has {pattern} ones, side by side",
            "share",
            0,
            1,
            "1 if all points are ones, else 0",
            SOURCE,
        )
        for pattern in range(MOST_POINTS + 1)
    ),
    Feature(
        pattern_name(MOST_POINTS + 1, MOST_POINTS),
        "share of pixels whose circle has more than two changes",
        "share",
        0,
        1,
        "0",
        SOURCE,
    ),
    Feature("variance", "mean of the circles' variance", "levels²", 0, 127.5**2, "0", VARIANCE_SOURCE),
    Feature(
        "deviation_spread",
        "standard deviation, over the region, of the circles' standard deviation",
        "levels",
        0,
        127.5 / 2,
        "0",
        VARIANCE_SOURCE,
    ),
)
COLUMNS = tuple(
    f"lbp__{name}__{region}_{plane}_p{points}_r{radius}"
    for plane in MEASURED
    for points, radius in CIRCLES
    for region in REGIONS
    for name in names_of(points)
)

FAMILY = Family(
    version=2,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="lbp",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=_points(),
        ints=(N_REGIONS, MOST_POINTS + 2),
        floats=(PATCH_SIZE, SUMS),
        work=(ROWS * LANES, PATCH_SIZE),
    ),
)
