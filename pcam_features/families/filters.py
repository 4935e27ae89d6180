"""Gabor and Laplacian-of-Gaussian filters: the strength of wavelengths, orientations and blobs.

One set of 9×9 filters is applied to `gray` and `hematoxylin` at three scales: the plane itself, its
means over 2 × 2 pixels, and its means over 4 × 4 pixels.

| scale | pixels averaged | Gabor wavelength | σ of the Gaussian | radius of the matching disc |
| --- | --- | --- | --- | --- |
| `s1` | 1 | 4 pixels | 1.25 | 1.8: grains of chromatin |
| `s2` | 2 × 2 | 8 | 2.5 | 3.5: nucleus of a lymphocyte |
| `s3` | 4 × 4 | 16 | 5 | 7.1: nucleus of a tumor cell |

A Gabor filter is 2 g (exp(i k·x) - DC) with a Gaussian g of sum 1. The complex response to a wave of
amplitude a has magnitude a, and the constant DC makes the response to a constant plane 0. With σ =
0.3125 wavelengths the bandwidth is two octaves, so that four orientations (k at 0, 45, 90 and 135
degrees) and octaves meet at half of their power. The Laplacian filter is -σ² times the Laplacian of g,
with its sum set to 0 in the same way. Its response is positive in the middle of a bright blob, and
0.74 of the contrast of a disc of matching size. Planes are extended by reflection
(`d c b a | a b c d`).

Columns are named `filters__<feature>__<region>_<plane>_<scale>`. Columns that end in `_mean` are means
over the four orientations. Two features also have center minus ring. In the formulas, A is the
magnitude of a Gabor response in one orientation, E the mean of A² in one orientation, L the response of
the Laplacian, and max and min are over orientations. The mean of L is not a feature, because it is 0
over a reflected patch.

Filters are products of 1-D filters with 10-bit integer taps, and sums of such products. Nothing is
rounded between rows and columns, so a rotated patch gives the same bits.

Sources: J. G. Daugman, "Uncertainty relation for resolution in space, spatial frequency, and
orientation optimized by two-dimensional visual cortical filters", J. Opt. Soc. Am. A 2, 1985;
B. S. Manjunath and W. Y. Ma, "Texture features for browsing and retrieval of image data", IEEE
TPAMI 18, 1996 (mean and standard deviation of magnitudes); T. Lindeberg, "Feature detection with
automatic scale selection", Int. J. Comput. Vision 30, 1998 (the Laplacian times σ²).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from ..engine.kernel import Kernel, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import PLANES

MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
SCALES = ("s1", "s2", "s3")
WAVELENGTH, SIGMA, RADIUS = 4, 1.25, 4  # in pixels of a scale; the filters reach 16 pixels of the patch
BLOB = 10  # levels: a stronger response counts as a blob
GABOR, STATISTICS = "skimage.filters.gabor_kernel", "skimage.filters.gabor_kernel; Manjunath 1996"
LAPLACE = "scipy.ndimage.gaussian_laplace"
FEATURES = (
    Feature("gabor_energy", "E", "levels²", 0, 200**2, "0", GABOR),
    Feature("gabor_amplitude", "mean A", "levels", 0, 200, "0", STATISTICS),
    Feature("gabor_deviation", "standard deviation of A", "levels", 0, 100, "0", STATISTICS),
    Feature("gabor_anisotropy", "(max E - min E) / (max E + min E)", "1", 0, 1, "0", GABOR),
    Feature("gabor_selectivity", "sum (max A - min A) / sum (max A + min A)", "1", 0, 1, "0", GABOR),
    Feature("gabor_share", "mean E as a share of its sum over the scales", "share", 0, 1, "0", GABOR),
    Feature("log_absolute", "mean |L|", "levels", 0, 200, "0", LAPLACE),
    Feature("log_deviation", "standard deviation of L", "levels", 0, 200, "0", LAPLACE),
    Feature("log_skewness", "skewness of L", "1", -inf, inf, "0", LAPLACE),
    Feature("log_kurtosis", "excess kurtosis of L: 0 for a Gaussian", "1", -2, inf, "0", LAPLACE),
    Feature("log_bright", f"share of pixels with L > {BLOB}", "share", 0, 1, "0", LAPLACE),
    Feature("log_dark", f"share of pixels with L < -{BLOB}", "share", 0, 1, "0", LAPLACE),
)
N_FEATURES, N_SCALES, N_REGIONS = len(FEATURES), len(SCALES), len(REGIONS)
ENERGY, AMPLITUDE, SHARE, LOG = 0, 1, 5, 6  # positions among the features of a region
COMPARED = (AMPLITUDE, LOG)  # center minus ring
EACH = N_REGIONS * N_FEATURES + len(COMPARED)  # columns of one plane at one scale
START, STOP = CENTER

# Fixed point: planes are stored in 1/4 level (10 bits, with 4 × 4 means rounded) and the taps of 1-D
# filters in 1/1024, so a 2-D response fits in 31 bits. It is then rounded to 1/16 level.
TAP_BITS, UNIT = 10, 16
GABOR_SHIFT, LOG_SHIFT = 17, 18  # from 2^22 per level to `UNIT`; the former includes the 2 of 2 g
# The 1-D filters: a Gaussian, the waves along an axis and along a diagonal, the second derivative.
G, C0, S0, C1, S1, L = range(6)

# Images in `work`, each a flat array: the planes of the scales, their row filters, and for each lane a
# strip of a few rows of PRODUCTS. They have reflected margins of RADIUS pixels.
STRIP = 3  # rows per strip: loops over a strip are long, and 96 rows divide evenly among 32 lanes
WIDEST = PATCH_SIZE + 2 * RADIUS
# Products of a row filter and a column filter: even and odd part of each orientation, and three more.
DIRECTED = ((C0, G), (S0, G), (C1, C1), (C1, S1), (G, C0), (G, S0), (S1, S1), (S1, C1))
PRODUCTS = (*DIRECTED, (G, G), (L, G), (G, L))
ROW_FILTERED, STRIPS = N_SCALES, N_SCALES + 6
GAUSS, LAPLACE_ROWS, LAPLACE_COLUMNS = 8, 9, 10  # positions among the products

# Sums of A and of A² in each orientation, of the largest and the smallest A, of the powers of L, of
# |L|, and the numbers of blobs. They are integers. `floats` has them for each row and in total, as
# [row, part (whole width, center), sum], because the fourth powers of a row take 53 bits.
AMPLITUDES, ENERGIES, LARGEST, LEAST, POWERS, MAGNITUDE, BRIGHT, DARK = 0, 4, 8, 9, 10, 14, 15, 16
N_SUMS = 17


def _taps() -> np.ndarray:
    """The 1-D filters in 1/1024. Where the sum must be exact, the middle tap absorbs the rounding."""
    x = np.arange(-RADIUS, RADIUS + 1)
    gauss = np.exp(-(x**2) / (2 * SIGMA**2))
    gauss /= gauss.sum()
    straight = 2 * np.pi / WAVELENGTH * x
    diagonal = straight / np.sqrt(2)
    waves = [gauss * wave for wave in (np.sin(straight), np.cos(diagonal), np.sin(diagonal))]
    cosine, bend = gauss * np.cos(straight), gauss * (1 - x**2 / SIGMA**2)
    rows = [gauss, cosine - cosine.sum() * gauss, *waves, bend - bend.sum() * gauss]
    taps: np.ndarray = np.rint(np.array(rows) * 2**TAP_BITS).astype(np.int32)
    for row, total in ((G, 1 << TAP_BITS), (C0, 0), (L, 0)):
        taps[row, RADIUS] += total - taps[row].sum()
    return taps


TAPS = _taps()
C1_SUM = int(TAPS[C1].sum())


@device
def reflected(k: int, size: int) -> int:
    return -1 - k if k < 0 else 2 * size - 1 - k if k >= size else k


@device
def place(y: int, x: int, size: int) -> int:
    """The index of pixel (y, x) in an image of `size`, which has one more margin at either end."""
    return RADIUS + (RADIUS + y) * (size + 2 * RADIUS) + RADIUS + x


@device
def reflect_row(row: Any, size: int) -> None:
    for k in range(RADIUS):
        row[RADIUS - 1 - k] = row[RADIUS + k]
        row[RADIUS + size + k] = row[RADIUS + size - 1 - k]


@device
def copy_plane(plane: Any, image: Any) -> None:
    size = plane.shape[0]
    for y in range(lane() - RADIUS, size + RADIUS, lanes()):
        row = image[place(y, -RADIUS, size) : place(y, size + RADIUS, size)]
        pixels, inner = plane[reflected(y, size)], row[RADIUS:]
        for x in range(size):
            inner[x] = np.int32(pixels[x]) << 2
        reflect_row(row, size)


@device
def halve(image: Any, size: int, half: Any) -> None:
    """The rounded means over 2 × 2 pixels of an image of `size`."""
    n = size // 2
    for y in range(lane() - RADIUS, n + RADIUS, lanes()):
        row = half[place(y, -RADIUS, n) : place(y, n + RADIUS, n)]
        above = 2 * reflected(y, n)
        upper, lower = image[place(above, 0, size) :], image[place(above + 1, 0, size) :]
        inner = row[RADIUS:]
        for x in range(n):
            four = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]
            inner[x] = np.int32(four + 2) >> np.int32(2)
        reflect_row(row, n)


@device
def weigh(image: Any, first: int, step: int, n: int, taps: Any, out: Any) -> None:
    """out[i] = sum of taps[k] · image[first + i + (k - RADIUS) step], over the nine taps."""
    p0, p1 = image[first - 4 * step :], image[first - 3 * step :]
    p2, p3 = image[first - 2 * step :], image[first - step :]
    p4, p5, p6 = image[first:], image[first + step :], image[first + 2 * step :]
    p7, p8 = image[first + 3 * step :], image[first + 4 * step :]
    t0, t1, t2, t3, t4 = taps[0], taps[1], taps[2], taps[3], taps[4]
    t5, t6, t7, t8 = taps[5], taps[6], taps[7], taps[8]
    for i in range(n):
        before = np.int32(t0 * p0[i] + t1 * p1[i] + t2 * p2[i] + t3 * p3[i])
        after = np.int32(t5 * p5[i] + t6 * p6[i] + t7 * p7[i] + t8 * p8[i])
        out[i] = np.int32(before + t4 * p4[i] + after)


@device
def magnitude(even: Any, odd: Any, n: int) -> None:
    """Replace `even` by sqrt(even² + odd²), rounded. A flip only changes signs, which do not matter."""
    half = np.int32(1 << (GABOR_SHIFT - 1))
    for i in range(n):
        a = np.int32(np.int32(abs(even[i])) + half) >> np.int32(GABOR_SHIFT)
        b = np.int32(np.int32(abs(odd[i])) + half) >> np.int32(GABOR_SHIFT)
        squares = np.float32(np.int32(np.int32(a) * np.int32(a) + np.int32(b) * np.int32(b)))
        even[i] = np.int32(np.float32(sqrt(squares)) + np.float32(0.5))


@device
def combine_diagonals(cc: Any, cs: Any, ss: Any, sc: Any, gauss: Any, n: int) -> None:
    """The even and odd parts at 45 degrees, into `cc` and `cs`, and at 135, into `ss` and `sc`."""
    for i in range(n):
        # The Gaussian times (C1_SUM / 1024)², in two steps, exact where the image is constant.
        once = np.int32(np.int32(gauss[i] >> np.int32(TAP_BITS)) * np.int32(C1_SUM))
        dc = np.int32(np.int32(once >> np.int32(TAP_BITS)) * np.int32(C1_SUM))
        c, s = cc[i], ss[i]
        cc[i], ss[i] = np.int32(c - s - dc), np.int32(c + s - dc)
        c, s = cs[i], sc[i]
        cs[i], sc[i] = np.int32(c + s), np.int32(s - c)


@device
def filter_columns(work: Any, first: int, step: int, n: int, taps: Any, strips: Any, at: int) -> None:
    """All responses of a strip: magnitudes replace the even parts, and L is in LAPLACE_ROWS."""
    for k in range(len(PRODUCTS)):
        row, column = PRODUCTS[k]
        weigh(work[ROW_FILTERED + row], first, step, n, taps[column], strips[k, at:])
    cc, cs, ss, sc = strips[2, at:], strips[3, at:], strips[6, at:], strips[7, at:]
    combine_diagonals(cc, cs, ss, sc, strips[GAUSS, at:], n)
    for k in range(4):
        magnitude(strips[2 * k, at:], strips[2 * k + 1, at:], n)
    along, across = strips[LAPLACE_ROWS, at:], strips[LAPLACE_COLUMNS, at:]
    for i in range(n):
        both = np.int32(along[i] + across[i])
        along[i] = np.int32(both + np.int32(1 << (LOG_SHIFT - 1))) >> np.int32(LOG_SHIFT)


@device
def sum_amplitudes(strips: Any, at: int, n: int, sums: Any) -> None:
    for k in range(4):
        amplitudes = strips[2 * k, at:]
        first, second = np.int32(0), np.int32(0)
        for x in range(n):
            a = amplitudes[x]
            first, second = np.int32(first + a), np.int32(second + a * a)
        sums[AMPLITUDES + k], sums[ENERGIES + k] = first, second
    a0, a45, a90, a135 = strips[0, at:], strips[2, at:], strips[4, at:], strips[6, at:]
    largest, least = np.int32(0), np.int32(0)
    for x in range(n):
        largest = np.int32(largest + max(a0[x], a45[x], a90[x], a135[x]))
        least = np.int32(least + min(a0[x], a45[x], a90[x], a135[x]))
    sums[LARGEST], sums[LEAST] = largest, least


@device
def sum_laplacian(values: Any, n: int, sums: Any) -> None:
    first, second, magnitudes = np.int32(0), np.int32(0), np.int32(0)
    bright, dark = np.int32(0), np.int32(0)
    for x in range(n):
        v = values[x]
        first, second = np.int32(first + v), np.int32(second + v * v)
        magnitudes = np.int32(magnitudes + abs(v))
        bright = np.int32(bright + np.int32(v > BLOB * UNIT))
        dark = np.int32(dark + np.int32(v < -BLOB * UNIT))
    third, fourth = np.int64(0), np.int64(0)
    for x in range(n):
        square = np.int64(np.int32(values[x] * values[x]))
        third += square * np.int64(values[x])
        fourth += square * square
    sums[POWERS], sums[POWERS + 1], sums[POWERS + 2], sums[POWERS + 3] = first, second, third, fourth
    sums[MAGNITUDE], sums[BRIGHT], sums[DARK] = magnitudes, bright, dark


@device
def filter_scale(image: Any, size: int, work: Any, taps: Any, sums: Any) -> None:
    """The sums of an image of `size`: those of each row, and the totals in the last row."""
    step = size + 2 * RADIUS
    for y in range(lane() * STRIP, step, lanes() * STRIP):
        first = place(y - RADIUS, -RADIUS, size)
        n = min(STRIP, step - y) * step
        for k in range(len(taps)):
            weigh(image, first, 1, n, taps[k], work[ROW_FILTERED + k, first : first + n])
    barrier()
    start, stop = START * size // PATCH_SIZE, STOP * size // PATCH_SIZE
    strips, n = work[STRIPS:], STRIP * step - 2 * RADIUS
    for top in range(lane() * STRIP, size, lanes() * STRIP):
        at = lane() * STRIP * WIDEST
        filter_columns(work, place(top, 0, size), step, n, taps, strips, at)
        for y in range(top, top + STRIP):
            sum_amplitudes(strips, at, size, sums[y, 0])
            sum_laplacian(strips[LAPLACE_ROWS, at:], size, sums[y, 0])
            if start <= y < stop:
                sum_amplitudes(strips, at + start, stop - start, sums[y, 1])
                sum_laplacian(strips[LAPLACE_ROWS, at + start :], stop - start, sums[y, 1])
            at += step
    barrier()
    for which in range(lane(), N_SUMS, lanes()):
        whole, center = 0, 0
        for y in range(size):
            whole += int(sums[y, 0, which])
        for y in range(start, stop):
            center += int(sums[y, 1, which])
        sums[PATCH_SIZE, 0, which], sums[PATCH_SIZE, 1, which] = whole, center
    barrier()


@device
def total(sums: Any, which: int, region: int) -> int:
    center = int(sums[1, which])
    return center if region == 1 else int(sums[0, which]) - (center if region == 2 else 0)


@device
def describe_gabor(sums: Any, region: int, pixels: int, out: Any) -> None:
    amplitude, energy, highest, straight, diagonal = 0, 0, 0, 0.0, 0.0
    lowest = total(sums, ENERGIES, region)
    for k in range(4):
        s, q = total(sums, AMPLITUDES + k, region), total(sums, ENERGIES + k, region)
        amplitude += s
        energy += q
        highest, lowest = max(highest, q), min(lowest, q)
        deviation = sqrt(float(pixels * q - s * s)) / pixels
        # Add orientations at right angles first, because a rotation by 90° exchanges them.
        if k % 2 == 0:
            straight += deviation
        else:
            diagonal += deviation
    largest, least = total(sums, LARGEST, region), total(sums, LEAST, region)
    out[ENERGY] = energy / (4 * pixels * UNIT**2)
    out[AMPLITUDE] = amplitude / (4 * pixels * UNIT)
    out[2] = (straight + diagonal) / (4 * UNIT)
    out[3] = (highest - lowest) / max(highest + lowest, 1)
    out[4] = (largest - least) / max(largest + least, 1)


@device
def describe_laplacian(sums: Any, region: int, pixels: int, out: Any) -> None:
    first, second = total(sums, POWERS, region), total(sums, POWERS + 1, region)
    third, fourth = total(sums, POWERS + 2, region), total(sums, POWERS + 3, region)
    m = first // pixels  # an integer near the mean, about which sums stay exact
    s1, s2 = first - pixels * m, second - 2 * m * first + pixels * m**2
    s3 = third - 3 * m * second + 3 * m**2 * first - pixels * m**3
    s4 = fourth - 4 * m * third + 6 * m**2 * second - 4 * m**3 * first + pixels * m**4
    shift, m2, m3, m4 = s1 / pixels, s2 / pixels, s3 / pixels, s4 / pixels
    out[0] = total(sums, MAGNITUDE, region) / (pixels * UNIT)
    out[1], out[2], out[3] = 0, 0, 0
    if pixels * s2 > s1 * s1:
        variance = m2 - shift * shift
        out[1] = sqrt(variance) / UNIT
        out[2] = (m3 - 3 * shift * m2 + 2 * shift**3) / variance**1.5
        out[3] = (m4 - 4 * shift * m3 + 6 * shift**2 * m2 - 3 * shift**4) / variance**2 - 3
    out[4], out[5] = total(sums, BRIGHT, region) / pixels, total(sums, DARK, region) / pixels


@device
def compare(columns: Any) -> None:
    """Energy shares of the scales of one plane, then center minus ring for each scale."""
    for region in range(N_REGIONS):
        first, every = region * N_FEATURES, 0.0
        for scale in range(N_SCALES):
            every += columns[first + scale * EACH + ENERGY]
        for scale in range(N_SCALES):
            at = first + scale * EACH
            columns[at + SHARE] = columns[at + ENERGY] / every if every > 0 else 0.0
    for scale in range(N_SCALES):
        center = scale * EACH + N_FEATURES
        for k in range(len(COMPARED)):
            inside = columns[center + COMPARED[k]]
            columns[center + 2 * N_FEATURES + k] = inside - columns[center + N_FEATURES + COMPARED[k]]


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    sums = floats[PATCH_SIZE]
    for plane in range(len(PLANE_INDEX)):
        columns = out[plane * N_SCALES * EACH :]
        copy_plane(planes[PLANE_INDEX[plane]], work[0])
        barrier()
        for scale in range(N_SCALES):
            size, center = PATCH_SIZE >> scale, (STOP - START) ** 2 >> (2 * scale)
            if scale > 0:
                halve(work[scale - 1], 2 * size, work[scale])
                barrier()
            filter_scale(work[scale], size, work, table, floats)
            for region in range(lane(), N_REGIONS, lanes()):
                pixels = size * size if region == 0 else center if region == 1 else size * size - center
                at = scale * EACH + region * N_FEATURES
                describe_gabor(sums, region, pixels, columns[at:])
                describe_laplacian(sums, region, pixels, columns[at + LOG :])
            barrier()
        if lane() == 0:
            compare(columns)
        barrier()


OVER_ORIENTATIONS = ("gabor_energy", "gabor_amplitude", "gabor_deviation")
COLUMNS = tuple(
    f"filters__{name}__{where}_{plane}_{scale}" + ("_mean" if name in OVER_ORIENTATIONS else "")
    for plane in MEASURED
    for scale in SCALES
    for name, where in (
        *((feature.name, region) for region in REGIONS for feature in FEATURES),
        *((FEATURES[k].name, "center_minus_ring") for k in COMPARED),
    )
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="filters",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=TAPS,
        floats=(PATCH_SIZE + 1, 2, N_SUMS),
        work=(STRIPS + len(PRODUCTS), WIDEST * WIDEST + 2 * RADIUS),
    ),
)
