"""Stain vectors of a patch by Macenko's method: the extreme directions of its tissue colors.

Optical density is OD = -ln(max(level, 1) / 255) of `red`, `green` and `blue`, with the natural
logarithm as in common code. Pixels where all three are at least 0.15 are tissue; the rest is glass. The
covariance of the tissue's OD (divisor n - 1) has eigenvalues l1 ≥ l2 ≥ l3. In the plane of the first
two eigenvectors, each tissue pixel has an angle, measured from the direction of the mean and clipped at
90 degrees. The directions at percentiles 1 and 99 are the stain vectors, normalized to unit length;
hematoxylin is the one with more red. If there is no such plane (see `has_plane`), or if the vectors are
less than 5 or more than 90 degrees apart, the vectors of Ruifrok & Johnston are used instead.

Sums are integers, and angles are counted in 8193 bins of y / (x + |y|), each 0.014 to 0.028 degrees
wide, so that a rotated patch has the same vectors to the last bit.

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
GLASS = 0.15  # OD: a pixel with a lower OD in any channel is glass
ANGLES = (1, 99)  # percentiles
LEAST_TISSUE = PATCH_SIZE**2 // 32  # pixels
LEAST_VARIANCE = 1e-4  # OD²: the minimum of l2; rounding to 8 bits causes about 1e-6
ROUNDEST = 0.9  # the largest l3 / l2 at which a plane is well defined
LEAST_IN_PLANE = 0.5  # minimum share of the mean's length in the plane, for a defined direction
SEPARATIONS = (5.0, 90.0)  # degrees
REFERENCE = tuple(tuple(float(v) for v in row / np.linalg.norm(row)) for row in RGB_FROM_HED[:2])

# Fractional bits. With OD of at most ln 255 per channel and vectors at least 5 degrees apart, every
# product with a vector stays below 2^31.
OD_BITS, AXIS_BITS, SOLVE_BITS = 12, 15, 12
GLASS_LEVEL = ceil(GLASS * 2**OD_BITS)
HALF_BINS = 4096  # bins of angles on either side of the mean
NOT_TISSUE = 2 * HALF_BINS + 1  # the bin after the last angle
N_BINS = NOT_TISSUE + 1
START, STOP = CENTER

# Rows of three or more numbers.
TISSUE_SUMS = 0  # number of pixels, sums of OD and of its products rr, gg, bb, rg, rb, gb
REGION_SUMS = 1  # patch, center, ring: the first number is that of tissue pixels
COVARIANCE, EIGENVECTORS = 4, 7  # three rows each; the eigenvectors are columns
ALONG, ACROSS = 10, 11  # axes in the plane: the direction of the mean, and the perpendicular
VECTORS, NORMAL, SHARES = 12, 14, 15  # H and E; the normal of their plane; l2, l3 and `fallback`
N_ROWS, N_SUMS = 16, 10
N_FIXED = 9  # three vectors in fixed point


def density_table() -> np.ndarray:
    """Optical density of each channel value."""
    density = -np.log(np.maximum(np.arange(256), 1) / 255)
    return np.asarray(np.rint(density * 2**OD_BITS), np.int32)


@device
def covariance(sums: Any, out: Any) -> None:
    """The covariance of the tissue's OD, from exact integer sums."""
    n = np.int64(sums[0])
    scale = float(n) * float(n - 1) * float(1 << (2 * OD_BITS))
    for k in range(6):
        i, j = (k, k) if k < 3 else (0, k - 2) if k < 5 else (1, 2)
        apart = n * np.int64(sums[4 + k]) - np.int64(sums[1 + i]) * np.int64(sums[1 + j])
        out[i, j] = out[j, i] = apart / scale


@device
def has_plane(floats: Any) -> bool:
    """Compute the axes of the tissue's plane; returns whether the plane is well defined."""
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
    # Fix the sign. Its choice does not matter, because both ends of the angles are treated alike.
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
    """The OD of every pixel, whether it is tissue, and the sums over the tissue."""
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
    """Count the angles of tissue pixels from the direction of the mean, in bins of y / (x + |y|)."""
    height, width = work.shape[1], work.shape[2]
    xr, xg, xb, yr, yg, yb = axes[0], axes[1], axes[2], axes[3], axes[4], axes[5]
    for y in range(lane(), height, lanes()):
        red, green, blue, tissue, bin_of = work[0, y], work[1, y], work[2, y], work[3, y], work[4, y]
        for x in range(width):
            r, g, b = np.int32(red[x]), np.int32(green[x]), np.int32(blue[x])
            along = np.int32(max(np.int32(xr * r + xg * g + xb * b), np.int32(0)))
            across = np.int32(yr * r + yg * g + yb * b)
            whole = np.int32(max(np.int32(along + abs(across)), np.int32(1)))
            # One division, then exact steps, so that no target can round differently.
            place = np.int32(float(across) / float(whole) * HALF_BINS + (HALF_BINS + 0.5))
            bin_of[x] = place if tissue[x] > 0 else NOT_TISSUE
        for x in range(width):
            add(bins, bin_of[x], 1)


@device
def seek(bins: Any, rank: int, level: int, below: int) -> Any:
    """The level of the value with this rank, searched from `level`, up to which `below` values lie."""
    while below <= rank:
        level += 1
        below += bins[level]
    return level, below


@device
def angle_of(place: Any) -> Any:
    """The angle of a bin from the direction of the mean."""
    y = (place - HALF_BINS) / HALF_BINS
    return atan2(y, 1 - abs(y))


@device
def find_vectors(bins: Any, floats: Any) -> bool:
    """Compute the vectors at the extreme angles; returns whether their separation is valid."""
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
    """The rows of the least-squares solution for both stains, and the normal of their plane, in fixed
    point."""
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
    """Fill the rows of `floats`, and `fixed` with the solution for concentrations and residual.

    `work` receives the optical density. `bins` and the rows of sums must be zero at the start.
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
