"""Local binary patterns (LBP): comparisons of the points on a circle with its central pixel.

Rotation-invariant uniform patterns (riu2) with (points, radius) = (8, 1), (16, 2), (24, 3) on `gray`
and `hematoxylin`. A point is a one if it is at least as bright as the central pixel. Points between
pixels are interpolated bilinearly, in fixed point. A pattern with at most two changes around the circle
is named by its number of ones; any other pattern is `mixed`. Patterns do not contain their contrast, so
the variance of the points is a feature too. Columns are named
`lbp__<feature>__<region>_<plane>_p<points>_r<radius>`. They count the pixels whose circle lies inside
the patch.

Sources: T. Ojala, M. Pietikäinen and T. Mäenpää, "Multiresolution gray-scale and rotation
invariant texture classification with local binary patterns", IEEE TPAMI 24, 2002;
`skimage.feature.local_binary_pattern(method="uniform")`, which differs where a point equals the central
pixel within its floating-point noise.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import PLANES

CIRCLES = ((8, 1), (16, 2), (24, 3))
MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
N_REGIONS = len(REGIONS)
STRENGTHS = ("variance", "deviation_spread")
MOST_POINTS = max(points for points, _ in CIRCLES)
START, STOP = CENTER
PER_PLANE = N_REGIONS * sum(points + 4 for points, _ in CIRCLES)  # columns
HALVES = 1  # fractional bits of a point's level in the variance
FINE = 16  # standard deviations are counted in 1/16 level
# Rows of sums of the standard deviations and of their squares, in the center and in total. They are
# exact, because they are integers below 2^53.
SUMS = 4
BITS = 10  # of a position between two pixels; the weights of a point are products with 20 bits
LEVEL_SHIFT = 2 * BITS - HALVES  # from the full precision of a point's level to halves
# The scratch of a lane holds one row of all planes side by side, so that loops are long: the levels
# that points are compared with, patterns, sums of levels and of their squares; then interpolated rows.
MARGIN = 4  # columns at either end of a plane's row
WIDTH = PATCH_SIZE + 2 * MARGIN
SPAN = len(MEASURED) * WIDTH
BELOW, PATTERN, TOTAL, SQUARES = range(0, 4 * SPAN, SPAN)
BETWEEN = 4 * SPAN + MARGIN
MOST_ROWS = MOST_POINTS // 2 + 1  # the number of rows on which the points of a circle lie
SCRATCH = BETWEEN + MOST_ROWS * SPAN + MARGIN
TOGETHER = 4  # points that one loop processes
PER_ROW, PER_POINT = 3, 3  # numbers in the table


def _circles() -> np.ndarray:
    """The interpolation table of each circle.

    For each row of points: the row of pixels above it, and the weights of this row and of the next.
    Then for each point: its position among the interpolated rows, and the weights of left and right.
    """
    table: list[int] = []
    one = 1 << BITS
    for points, radius in CIRCLES:
        angle = 2 * np.pi * np.arange(points) / points
        # Positions are rounded relative to the center, so that mirrored points have mirrored weights.
        places = np.rint(np.stack([-np.sin(angle), np.cos(angle)], axis=1) * radius * one).astype(int)
        rows = sorted(set(places[:, 0].tolist()))
        for y in rows:
            table += [y // one, one - y % one, y % one]
        for y, x in places.tolist():
            at = BETWEEN + rows.index(y) * SPAN + x // one
            table += [at, one - x % one, x % one]
    return np.array(table, np.int32)


@device
def ones(bits: Any) -> Any:
    """The number of ones among 32 bits. Any 64-bit operation here would halve the SIMD width."""
    bits = np.int32(bits - ((bits >> 1) & 0x55555555))
    bits = np.int32((bits & 0x33333333) + ((bits >> 2) & 0x33333333))
    bits = np.int32((bits + (bits >> 4)) & 0x0F0F0F0F)
    bits = np.int32(bits + (bits >> 8))
    return np.int32((bits + (bits >> 16)) & 63)


@device
def pattern_of(bits: Any, points: int) -> Any:
    """The pattern's number of ones, or `points` + 1 if it is mixed."""
    turned = np.int32((bits >> 1) | ((bits & 1) << (points - 1)))
    return np.int32(ones(bits) if ones(np.int32(bits ^ turned)) <= 2 else points + 1)


@device
def interpolate_rows(plane: Any, y: int, rows: Any, n: int, between: Any) -> None:
    """Interpolate the rows on which the points around row y lie, plus a half for later rounding."""
    half = np.int32(1 << (LEVEL_SHIFT - 1 - BITS))
    for k in range(n):
        above, below = rows[PER_ROW * k + 1], rows[PER_ROW * k + 2]
        first = y + rows[PER_ROW * k]
        # A row with weight 0 may be outside the patch: read a row inside instead.
        upper, lower = plane[first], plane[first + (1 if below else 0)]
        row = between[k * SPAN : k * SPAN + PATCH_SIZE]
        for x in range(PATCH_SIZE):
            weighted = np.int32(above * np.int32(upper[x]) + below * np.int32(lower[x]))
            row[x] = np.int32(weighted + half)


@device
def level_of(row: Any, left: int, right: int, x: int) -> Any:
    return np.int32(left * row[x] + right * row[x + 1])


@device
def append(bits: Any, level: Any, below: Any) -> Any:
    """Append a bit: 1 if `level` is greater than `below`."""
    return np.int32(bits + bits + np.int32(level > below))


@device
def compare_points(circle: Any, scratch: Any) -> None:
    """Process the first four points of `circle`: bits in PATTERN, sums in TOTAL and SQUARES.

    One loop processes four points, so that bits and sums are loaded and stored only once.
    """
    a, al, ar = circle[0], circle[1], circle[2]
    b, bl, br = circle[3], circle[4], circle[5]
    c, cl, cr = circle[6], circle[7], circle[8]
    d, dl, dr = circle[9], circle[10], circle[11]
    v0, v1, v2, v3 = scratch[a:], scratch[b:], scratch[c:], scratch[d:]
    for x in range(SPAN):
        below = scratch[BELOW + x]
        l0, l1 = level_of(v0, al, ar, x), level_of(v1, bl, br, x)
        l2, l3 = level_of(v2, cl, cr, x), level_of(v3, dl, dr, x)
        bits = append(append(scratch[PATTERN + x], l0, below), l1, below)
        scratch[PATTERN + x] = append(append(bits, l2, below), l3, below)
        h0 = np.int32(l0 >> np.int32(LEVEL_SHIFT))
        h1 = np.int32(l1 >> np.int32(LEVEL_SHIFT))
        h2 = np.int32(l2 >> np.int32(LEVEL_SHIFT))
        h3 = np.int32(l3 >> np.int32(LEVEL_SHIFT))
        scratch[TOTAL + x] += np.int32(h0 + h1 + h2 + h3)
        scratch[SQUARES + x] += np.int32(h0 * h0 + h1 * h1 + h2 * h2 + h3 * h3)


@device
def compare_row(planes: Any, y: int, points: int, circle: Any, scratch: Any) -> None:
    """Compare the points around each pixel of row y with the pixel.

    PATTERN gets one bit per point: 1 if it is at least as bright. TOTAL gets the sum of the points'
    levels, in halves, and SQUARES the sum of their squares.
    """
    n = points // 2 + 1
    for plane in range(len(PLANE_INDEX)):
        pixels, start = planes[PLANE_INDEX[plane], y], plane * WIDTH + MARGIN
        below = scratch[BELOW + start : BELOW + start + PATCH_SIZE]
        for x in range(PATCH_SIZE):
            # Levels include the rounding term; "at least as bright" means greater than one less.
            below[x] = (np.int32(pixels[x]) << (2 * BITS)) + (1 << (LEVEL_SHIFT - 1)) - 1
        interpolate_rows(planes[PLANE_INDEX[plane]], y, circle, n, scratch[BETWEEN + start :])
    for x in range(3 * SPAN):
        scratch[PATTERN + x] = 0
    for k in range(0, points, TOGETHER):
        compare_points(circle[PER_ROW * n + PER_POINT * k :], scratch)


@device
def find_deviations(scratch: Any, points: int) -> None:
    """Replace TOTAL by the standard deviation of each circle, in 1/16 level."""
    scale = FINE / (points << HALVES)
    total, squares = scratch[TOTAL:], scratch[SQUARES:]
    for x in range(SPAN):
        spread = float(np.int32(np.int32(points * squares[x]) - np.int32(total[x] * total[x])))
        total[x] = np.int32(sqrt(spread) * scale + 0.5)


@device
def add_up(values: Any, sums: Any) -> None:
    first, second = np.int32(0), np.int32(0)
    for x in range(values.shape[0]):
        first += values[x]
        second += np.int32(values[x] * values[x])
    sums[0], sums[1] = first, second


@device
def describe_deviations(rows: Any, first: int, last: int, region: int, pixels: int, out: Any) -> None:
    """The mean of the variance of a region's circles, and the spread of their standard deviation."""
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
def count(patterns: Any, first: int, last: int, counts: Any) -> None:
    for x in range(first, last):
        add(counts, patterns[x] & 31, 1)


@device
def count_row(row: Any, y: int, radius: int, sums: Any, counts: Any) -> None:
    """Count the patterns of row y of a plane, and sum its standard deviations and their squares."""
    patterns, deviations = row[PATTERN:], row[TOTAL:]
    stop = PATCH_SIZE - radius
    add_up(deviations[radius:stop], sums[2:])
    sums[0], sums[1] = 0, 0
    if START <= y < STOP:
        add_up(deviations[START:STOP], sums)
        count(patterns, radius, START, counts[2])
        count(patterns, START, STOP, counts[1])
        count(patterns, STOP, stop, counts[2])
    else:
        count(patterns, radius, stop, counts[2])


@device
def count_rows(
    planes: Any, points: int, radius: int, circle: Any, scratch: Any, sums: Any, counts: Any
) -> None:
    """Patterns and deviations of every circle inside the planes; `scratch` belongs to this lane."""
    for y in range(radius + lane(), PATCH_SIZE - radius, lanes()):
        compare_row(planes, y, points, circle, scratch)
        find_deviations(scratch, points)
        for x in range(SPAN):
            scratch[PATTERN + x] = pattern_of(scratch[PATTERN + x], points)
        for plane in range(len(PLANE_INDEX)):
            row = scratch[plane * WIDTH + MARGIN :]
            count_row(row, y, radius, sums[plane, y], counts[plane])


@device
def describe(counts: Any, sums: Any, points: int, radius: int, out: Any) -> None:
    """All features of one circle size, by region."""
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
    scratch = work[lane()]
    for x in range(SCRATCH):
        scratch[x] = 0  # margins, which only uncounted pixels read
    first, circle = 0, table
    for c in range(len(CIRCLES)):
        points, radius = CIRCLES[c]
        for pattern in range(lane(), points + 2, lanes()):
            for plane in range(len(PLANE_INDEX)):
                for region in range(N_REGIONS):
                    ints[plane, region, pattern] = 0
        barrier()
        count_rows(planes, points, radius, circle, scratch, floats, ints)
        barrier()
        for plane in range(len(PLANE_INDEX)):
            at = plane * PER_PLANE + first
            describe(ints[plane], floats[plane], points, radius, out[at:])
        first += N_REGIONS * (points + 4)
        circle = circle[PER_ROW * (points // 2 + 1) + PER_POINT * points :]
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
            f"share of pixels whose circle has {pattern} adjacent ones",
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
        table=_circles(),
        ints=(len(MEASURED), N_REGIONS, MOST_POINTS + 2),
        floats=(len(MEASURED), PATCH_SIZE, SUMS),
        work=(LANES, SCRATCH),
    ),
)
