"""Stain vectors of a patch, after Macenko: where its tissue's colors end on either side.

Optical density is OD = -ln(max(level, 1) / 255), natural as in the usual code, of `red`, `green`
and `blue`. Tissue is where all three are at least 0.15; the rest is glass. From the covariance of
the tissue's OD (divisor n - 1) come eigenvalues l1 ≥ l2 ≥ l3 and the plane of the first two. In
that plane each tissue pixel has an angle, measured from the mean's direction and kept within a
quarter turn; the directions at percentiles 1 and 99 are the stain vectors, unit length,
hematoxylin being the one with more red. Where there is no such plane (`has_plane`), or the vectors
stand less than 5 or more than 90 degrees apart, Ruifrok & Johnston's vectors take their place.

Sums are whole numbers, and angles are counted in 8193 bins of y / (x + |y|), each 0.014 to 0.028
degrees, so that a turned patch has the same vectors to the last bit.

Source: M. Macenko et al., "A method for normalizing histology slides for quantitative analysis",
IEEE ISBI 2009.
"""

from __future__ import annotations

from math import atan2, ceil, cos, sin, sqrt
from typing import Any

import numpy as np

from ..engine.kernel import add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE
from .planes import PLANES, RGB_FROM_HED
from .vectors import angle_between, cross, diagonalize, dot, normalize, to_fixed

RED, GREEN, BLUE = PLANES.index("red"), PLANES.index("green"), PLANES.index("blue")
GLASS = 0.15  # OD below which a channel lets enough light through to call the pixel glass
ANGLES = (1, 99)  # percentiles
LEAST_TISSUE = PATCH_SIZE**2 // 32  # pixels
LEAST_VARIANCE = 1e-4  # of l2, OD²; rounding to 8 bits gives some 1e-6
ROUNDEST = 0.9  # the largest l3 / l2 at which the plane is still one
LEAST_IN_PLANE = 0.5  # of the mean's length: angles are measured from its direction
SEPARATIONS = (5.0, 90.0)  # degrees
REFERENCE = tuple(tuple(float(v) for v in row / np.linalg.norm(row)) for row in RGB_FROM_HED[:2])

# Bits behind the point. With OD at most ln 255 a channel and vectors no nearer than 5 degrees, every
# product with a vector stays below 2^31.
OD_BITS, AXIS_BITS, SOLVE_BITS = 12, 15, 12
GLASS_LEVEL = ceil(GLASS * 2**OD_BITS)
HALF_BINS = 4096  # of angles, on either side of the mean
NOT_TISSUE = 2 * HALF_BINS + 1  # the bin after the last angle's
N_BINS = NOT_TISSUE + 1
START, STOP = CENTER

# Rows of three or more numbers.
TISSUE_SUMS = 0  # pixels, sums of OD and of its products rr, gg, bb, rg, rb, gb
REGION_SUMS = 1  # patch, center, ring: the first number is the tissue's pixels
COVARIANCE, EIGENVECTORS = 4, 7  # three rows each, the vectors in columns
ALONG, ACROSS = 10, 11  # axes in the plane: the mean's direction, and at right angles
VECTORS, NORMAL, SHARES = 12, 14, 15  # H and E; the normal of their plane; l2, l3 and `fallback`
N_ROWS, N_SUMS = 16, 10
N_FIXED = 9  # three vectors in fixed point


def density_table() -> np.ndarray:
    """Optical density of each channel value."""
    density = -np.log(np.maximum(np.arange(256), 1) / 255)
    return np.asarray(np.rint(density * 2**OD_BITS), np.int32)


@device
def covariance(sums: Any, out: Any) -> None:
    """Of tissue's OD, from exact sums: whole numbers to the last subtraction."""
    n = np.int64(sums[0])
    scale = float(n) * float(n - 1) * float(1 << (2 * OD_BITS))
    for k in range(6):
        i, j = (k, k) if k < 3 else (0, k - 2) if k < 5 else (1, 2)
        apart = n * np.int64(sums[4 + k]) - np.int64(sums[1 + i]) * np.int64(sums[1 + j])
        out[i, j] = out[j, i] = apart / scale


@device
def has_plane(floats: Any) -> bool:
    """Find the axes of the tissue's plane, or say that there is none worth the name."""
    sums, m, v = floats[TISSUE_SUMS], floats[COVARIANCE:], floats[EIGENVECTORS:]
    along, across, normal, shares = floats[ALONG], floats[ACROSS], floats[NORMAL], floats[SHARES]
    if sums[0] < LEAST_TISSUE:
        return False
    covariance(sums, m)
    diagonalize(m, v)
    last = 0 if m[0, 0] < m[1, 1] else 1
    if m[2, 2] < m[last, last]:
        last = 2
    one, other = (last + 1) % 3, (last + 2) % 3
    second, third = min(m[one, one], m[other, other]), max(m[last, last], 0.0)
    if second < LEAST_VARIANCE or third > ROUNDEST * second:
        return False
    trace = m[one, one] + m[other, other] + third
    shares[0], shares[1] = second / trace, third / trace
    # A sign by rule; which one does not matter, as the angles' two ends are treated alike.
    sign = 1.0 if v[0, last] + v[1, last] + v[2, last] >= 0 else -1.0
    for k in range(3):
        normal[k] = sign * v[k, last]
        along[k] = sums[1 + k] / sums[0]
    length = sqrt(dot(along, along))
    height = dot(along, normal)
    for k in range(3):
        along[k] -= height * normal[k]
    if dot(along, along) < (LEAST_IN_PLANE * length) ** 2:
        return False
    normalize(along)
    cross(normal, along, across)
    return True


@device
def measure_density(planes: Any, table: Any, work: Any, floats: Any) -> None:
    """OD of every pixel and whether it is tissue; the tissue's sums."""
    height, width = planes.shape[1], planes.shape[2]
    for y in range(lane(), height, lanes()):
        red, green, blue, tissue = work[0, y], work[1, y], work[2, y], work[3, y]
        for x in range(width):
            red[x] = table[planes[RED, y, x]]
            green[x] = table[planes[GREEN, y, x]]
            blue[x] = table[planes[BLUE, y, x]]
        n, n_center = 0, 0
        r1, g1, b1, rr, gg, bb, rg, rb, gb = 0, 0, 0, 0, 0, 0, 0, 0, 0
        for x in range(width):
            keep = 1 if min(red[x], green[x], blue[x]) >= GLASS_LEVEL else 0
            tissue[x] = keep
            r, g, b = int(red[x]) * keep, int(green[x]) * keep, int(blue[x]) * keep
            n, r1, g1, b1 = n + keep, r1 + r, g1 + g, b1 + b
            rr, gg, bb = rr + r * r, gg + g * g, bb + b * b
            rg, rb, gb = rg + r * g, rb + r * b, gb + g * b
        if START <= y < STOP:
            for x in range(START, STOP):
                n_center += int(tissue[x])
        sums = (n, r1, g1, b1, rr, gg, bb, rg, rb, gb)
        for k in range(len(sums)):
            add(floats, (TISSUE_SUMS, k), float(sums[k]))
        add(floats, (REGION_SUMS, 0), float(n))
        add(floats, (REGION_SUMS + 1, 0), float(n_center))


@device
def count_angles(work: Any, axes: Any, bins: Any) -> None:
    """Angles of tissue from the mean's direction, in bins of y / (x + |y|)."""
    height, width = work.shape[1], work.shape[2]
    xr, xg, xb, yr, yg, yb = axes[0], axes[1], axes[2], axes[3], axes[4], axes[5]
    for y in range(lane(), height, lanes()):
        red, green, blue, tissue, bin_of = work[0, y], work[1, y], work[2, y], work[3, y], work[4, y]
        for x in range(width):
            r, g, b = np.int32(red[x]), np.int32(green[x]), np.int32(blue[x])
            along = np.int32(max(np.int32(xr * r + xg * g + xb * b), np.int32(0)))
            across = np.int32(yr * r + yg * g + yb * b)
            whole = np.int32(max(np.int32(along + abs(across)), np.int32(1)))
            # One division, then steps that are exact: no target can round differently.
            place = np.int32(float(across) / float(whole) * HALF_BINS + (HALF_BINS + 0.5))
            bin_of[x] = place if tissue[x] > 0 else NOT_TISSUE
        for x in range(width):
            add(bins, bin_of[x], 1)


@device
def seek(bins: Any, rank: int, level: int, below: int) -> Any:
    """From `level`, up to which there are `below`, on to the level of what has this rank."""
    while below <= rank:
        level += 1
        below += bins[level]
    return level, below


@device
def angle_of(place: Any) -> Any:
    """The angle of a bin, from the mean's direction."""
    y = (place - HALF_BINS) / HALF_BINS
    return atan2(y, 1 - abs(y))


@device
def find_vectors(bins: Any, floats: Any) -> bool:
    """The vectors at the ends of the angles, or whether they are too near or far apart."""
    total = int(floats[TISSUE_SUMS, 0])
    for k in range(2):
        position = ANGLES[k] * (total - 1)
        place, below = seek(bins, position // 100, 0, int(bins[0]))
        following, below = seek(bins, position // 100 + 1, place, below)
        start, part = angle_of(place), position % 100 / 100
        angle = start + (angle_of(following) - start) * part
        for c in range(3):
            floats[VECTORS + k, c] = floats[ALONG, c] * cos(angle) + floats[ACROSS, c] * sin(angle)
        normalize(floats[VECTORS + k])
    hematoxylin, eosin = floats[VECTORS], floats[VECTORS + 1]
    if hematoxylin[0] < eosin[0]:
        for c in range(3):
            hematoxylin[c], eosin[c] = eosin[c], hematoxylin[c]
    separation = angle_between(hematoxylin, eosin, floats[NORMAL])
    return bool(SEPARATIONS[0] <= separation <= SEPARATIONS[1])


@device
def prepare_solution(floats: Any, fixed: Any) -> None:
    """The least-squares rows of both stains, and the normal of their plane, in fixed point."""
    hematoxylin, eosin, normal = floats[VECTORS], floats[VECTORS + 1], floats[NORMAL]
    row = floats[ALONG]
    together = dot(hematoxylin, eosin)
    apart = 1 - together * together
    for k in range(3):
        row[k] = (hematoxylin[k] - together * eosin[k]) / apart
    to_fixed(row, SOLVE_BITS, fixed)
    for k in range(3):
        row[k] = (eosin[k] - together * hematoxylin[k]) / apart
    to_fixed(row, SOLVE_BITS, fixed[3:])
    cross(hematoxylin, eosin, normal)
    normalize(normal)
    to_fixed(normal, AXIS_BITS, fixed[6:])


@device
def fall_back(floats: Any) -> None:
    for k in range(3):
        floats[VECTORS, k], floats[VECTORS + 1, k] = REFERENCE[0][k], REFERENCE[1][k]
        floats[SHARES, k] = 1.0 if k == 2 else 0.0


@device
def find_stains(planes: Any, table: Any, work: Any, bins: Any, fixed: Any, floats: Any) -> None:
    """Fill the rows of `floats`, and `fixed` with what solves for concentrations and residual.

    `work` keeps optical density; `bins` and the rows of sums begin as zeros.
    """
    measure_density(planes, table, work, floats)
    barrier()
    if lane() == 0:
        floats[SHARES, 2] = 1.0
        if has_plane(floats):
            floats[SHARES, 2] = 0.0
            to_fixed(floats[ALONG], AXIS_BITS, fixed)
            to_fixed(floats[ACROSS], AXIS_BITS, fixed[3:])
    barrier()
    if floats[SHARES, 2] == 0:
        count_angles(work, fixed, bins)
    barrier()
    if lane() == 0:
        if floats[SHARES, 2] == 1 or not find_vectors(bins, floats):
            fall_back(floats)
        prepare_solution(floats, fixed)
    barrier()
