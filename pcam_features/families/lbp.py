"""Local binary patterns: which of the points on a circle are at least as bright as its middle.

Rotation-invariant uniform patterns (riu2) with (points, radius) = (8, 1), (16, 2), (24, 3) on
`gray` and `hematoxylin`. Points between pixels are interpolated bilinearly, in fixed point. A
pattern with at most two changes around the circle is named by its number of ones, any other is
`mixed`. Columns `lbp__<ones00…|mixed>__<region>_<plane>_p<points>_r<radius>`, counted over the
pixels whose circle lies inside the patch.

Sources: T. Ojala, M. Pietikäinen and T. Mäenpää, "Multiresolution gray-scale and rotation
invariant texture classification with local binary patterns", IEEE TPAMI 24, 2002;
`skimage.feature.local_binary_pattern(method="uniform")`, which differs where a point ties with
the middle to within its floating-point noise.
"""

from __future__ import annotations

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
MOST_POINTS = max(points for points, _ in CIRCLES)
START, STOP = CENTER
BITS = 10  # of the position between two pixels: weights of a point are products, 20 bits in all


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
def compare_row(plane: Any, y: int, points: int, radius: int, circle: Any, bits: Any) -> None:
    """Set bit k of `bits[x]` where point k around (y, radius + x) is at least as bright as it."""
    n = plane.shape[1] - 2 * radius
    middle = plane[y, radius : radius + n]
    for x in range(n):
        bits[x] = 0
    for k in range(points):
        dy, dx, w00, w01, w10, w11 = circle[6 * k : 6 * k + 6]
        # A weight of 0 may stand outside the patch: look at a pixel inside instead.
        below = y + dy + (1 if w10 + w11 > 0 else 0)
        left = radius + dx
        right = left + (1 if w01 + w11 > 0 else 0)
        p00, p01 = plane[y + dy, left : left + n], plane[y + dy, right : right + n]
        p10, p11 = plane[below, left : left + n], plane[below, right : right + n]
        for x in range(n):  # 32 bits throughout, rows from index 0: the compiler makes it SIMD
            above = np.int32(w00 * np.int32(p00[x]) + w01 * np.int32(p01[x]))
            under = np.int32(w10 * np.int32(p10[x]) + w11 * np.int32(p11[x]))
            brighter = np.int32(above + under) >= np.int32(np.int32(middle[x]) << (2 * BITS))
            bits[x] |= np.int32(np.int32(brighter) << np.int32(k))


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    height, width = planes.shape[1], planes.shape[2]
    bits = ints[lane()]
    histograms = ints[LANES:]
    at = 0
    for plane in range(len(PLANE_INDEX)):
        circle = 0
        for c in range(len(CIRCLES)):
            points, radius = CIRCLES[c]
            patterns = points + 2
            for pattern in range(lane(), patterns, lanes()):
                for region in range(N_REGIONS):
                    histograms[region, pattern] = 0
            barrier()
            for y in range(radius + lane(), height - radius, lanes()):
                compare_row(planes[PLANE_INDEX[plane]], y, points, radius, table[6 * circle :], bits)
                inside = START <= y < STOP
                for x in range(width - 2 * radius):
                    bits[x] = pattern_of(bits[x], points)
                for x in range(width - 2 * radius):
                    region = 1 if inside and START <= x + radius < STOP else 2
                    add(histograms, (region, bits[x]), 1)
            barrier()
            center = (STOP - START) ** 2
            whole = (height - 2 * radius) * (width - 2 * radius)
            for pattern in range(lane(), patterns, lanes()):
                in_center, in_ring = histograms[1, pattern], histograms[2, pattern]
                out[at + pattern] = (in_center + in_ring) / whole
                out[at + patterns + pattern] = in_center / center
                out[at + 2 * patterns + pattern] = in_ring / (whole - center)
            at += N_REGIONS * patterns
            circle += points
            barrier()


def pattern_name(pattern: int, points: int) -> str:
    return "mixed" if pattern > points else f"ones{pattern:02d}"


SOURCE = "skimage.feature.local_binary_pattern(method='uniform')"
FEATURES = tuple(
    Feature(
        pattern_name(pattern, MOST_POINTS),
        "share of pixels whose circle "
        + (
            "has more than two changes"
            if pattern > MOST_POINTS
            else f"has {pattern} ones, side by side"
        ),
        "share",
        0,
        1,
        "1 if all points are ones, else 0",
        SOURCE,
    )
    for pattern in range(MOST_POINTS + 2)
)
COLUMNS = tuple(
    f"lbp__{pattern_name(pattern, points)}__{region}_{plane}_p{points}_r{radius}"
    for plane in MEASURED
    for points, radius in CIRCLES
    for region in REGIONS
    for pattern in range(points + 2)
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="lbp",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=_points(),
        ints=(LANES + N_REGIONS, PATCH_SIZE),
    ),
)
