"""Gabor and Laplacian-of-Gaussian filters: which wavelengths, orientations and blobs there are.

One set of nine-by-nine filters, on `gray` and `hematoxylin`, at three scales: the plane itself,
its means over 2 × 2 and over 4 × 4 pixels.

| scale | pixels averaged | Gabor wavelength | Gaussian's σ | disc the Laplacian fits |
| --- | --- | --- | --- | --- |
| `s1` | 1 | 4 pixels | 1.25 | radius 1.8: grains of chromatin |
| `s2` | 2 × 2 | 8 | 2.5 | 3.5: a lymphocyte's nucleus |
| `s3` | 4 × 4 | 16 | 5 | 7.1: a tumor cell's nucleus |

A Gabor filter is 2 g (exp(i k·x) - DC) with a Gaussian g of sum 1: the complex response to a wave
of amplitude a has magnitude a, the constant DC makes a constant plane's response 0. σ = 0.3125
wavelengths is a bandwidth of two octaves, with which four orientations (k at 0, 45, 90 and 135
degrees) and octaves meet at half their power. The Laplacian is -σ² times the Laplacian of g, its
sum made 0 in the same way: positive in the middle of a bright blob, 0.74 of its contrast where its
disc fits. Planes are continued by reflection (`d c b a | a b c d`).

Columns `filters__<feature>__<region>_<plane>_<scale>`, with `_mean` at the end for means over the
four orientations, and center minus ring of two features. In the formulas A is the magnitude of a
Gabor response in an orientation, E the mean of A² in an orientation, L the Laplacian's response.
Its mean is a column for `center` only: over a reflected patch it is 0, so the ring's mirrors it.

Filters are products of 1-D filters with 10-bit integer taps, and sums of such products. Nothing is
rounded between rows and columns, so a turned patch gives the same bits.

Sources: J. G. Daugman, "Uncertainty relation for resolution in space, spatial frequency, and
orientation optimized by two-dimensional visual cortical filters", J. Opt. Soc. Am. A 2, 1985;
B. S. Manjunath and W. Y. Ma, "Texture features for browsing and retrieval of image data", IEEE
TPAMI 18, 1996 (mean and deviation of magnitudes); T. Lindeberg, "Feature detection with automatic
scale selection", Int. J. Comput. Vision 30, 1998 (the Laplacian times σ²).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from ..engine.lanes import Kernel, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature

MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
SCALES = ("s1", "s2", "s3")
WAVELENGTH, SIGMA, RADIUS = 4, 1.25, 4  # in pixels of a scale; the filters reach 16 of the patch
BLOB = 10  # levels: a response beyond this is a blob
GABOR, STATISTICS = "skimage.filters.gabor_kernel", "skimage.filters.gabor_kernel; Manjunath 1996"
LAPLACE = "scipy.ndimage.gaussian_laplace"
REGION_FEATURES = (
    Feature("gabor_energy", "E", "levels²", 0, 200**2, "0", GABOR),
    Feature("gabor_amplitude", "mean A", "levels", 0, 200, "0", STATISTICS),
    Feature("gabor_deviation", "standard deviation of A", "levels", 0, 100, "0", STATISTICS),
    Feature(
        "gabor_anisotropy", "(max E - min E) / (max E + min E) over orientations", "1", 0, 1, "0", GABOR
    ),
    Feature(
        "gabor_selectivity",
        "sum of (max A - min A) / sum of (max A + min A), over orientations at each pixel",
        "1",
        0,
        1,
        "0",
        GABOR,
    ),
    Feature("gabor_share", "mean E as a share of its sum over the scales", "share", 0, 1, "0", GABOR),
    Feature("log_absolute", "mean |L|", "levels", 0, 200, "0", LAPLACE),
    Feature("log_deviation", "standard deviation of L", "levels", 0, 200, "0", LAPLACE),
    Feature("log_skewness", "skewness of L", "1", -inf, inf, "0", LAPLACE),
    Feature("log_kurtosis", "excess kurtosis of L: 0 for a Gaussian", "1", -2, inf, "0", LAPLACE),
    Feature("log_bright", f"share of pixels with L > {BLOB}", "share", 0, 1, "0", LAPLACE),
    Feature("log_dark", f"share of pixels with L < -{BLOB}", "share", 0, 1, "0", LAPLACE),
)
CENTER_FEATURES = (Feature("log_mean", "mean L", "levels", -200, 200, "0", LAPLACE),)
FEATURES = (*REGION_FEATURES, *CENTER_FEATURES)
N_FEATURES, N_SCALES, N_REGIONS = len(REGION_FEATURES), len(SCALES), len(REGIONS)
ENERGY, AMPLITUDE, SHARE, LOG = 0, 1, 5, 6  # places among a region's features
COMPARED = N_REGIONS * N_FEATURES  # where the columns that have no region of their own begin
EACH = COMPARED + 3  # columns of a plane's scale
START, STOP = CENTER

# Fixed point. A plane is held in quarters of a level (10 bits with 4 × 4 means rounded), taps of 1-D
# filters in 1024ths, so a 2-D response fits 31 bits; then it is rounded to 16ths of a level.
TAP_BITS, UNIT = 10, 16
GABOR_SHIFT, LOG_SHIFT = 17, 18  # from 2^22 a level to `UNIT`; the 2 of 2 g is in the first
# The 1-D filters: Gaussian, its waves along an axis and along a diagonal, its second derivative.
G, C0, S0, C1, S1, L = range(6)
N_TAPS = 6

# Images in `work`, one element after the other: each scale's plane, its six row filters, and what
# each lane needs for a strip of rows. All have a margin of RADIUS, by reflection.
STRIP = 3  # rows: the loops over a strip are long, and 32 lanes share the 96 rows evenly
WIDEST = PATCH_SIZE + 2 * RADIUS
ROW_FILTERED, STRIPS = N_SCALES, N_SCALES + N_TAPS
RE0, IM0, RE90, IM90, CC, SS, CS, SC, GG, LG, GL = range(STRIPS, STRIPS + 11)
IMAGES = STRIPS + 11

# Sums of A and of A² in each orientation, of the largest and least A, of the powers of L, of |L|,
# and numbers of blobs. They are whole; `floats` holds them for each row and for all, as [row, part
# (the whole width, the center), sum], because the fourth powers of a row take 53 bits.
AMPLITUDES, ENERGIES, LARGEST, LEAST, POWERS, MAGNITUDE, BRIGHT, DARK = 0, 4, 8, 9, 10, 14, 15, 16
N_SUMS = 17


def _taps() -> np.ndarray:
    """The 1-D filters, in 1024ths. The middle tap takes up rounding where the sum must be exact."""
    x = np.arange(-RADIUS, RADIUS + 1)
    gauss = np.exp(-(x**2) / (2 * SIGMA**2))
    gauss /= gauss.sum()
    straight = 2 * np.pi / WAVELENGTH * x
    diagonal = straight / np.sqrt(2)
    cosine, bend = gauss * np.cos(straight), gauss * (1 - x**2 / SIGMA**2)
    rows = [
        gauss,
        cosine - cosine.sum() * gauss,
        gauss * np.sin(straight),
        gauss * np.cos(diagonal),
        gauss * np.sin(diagonal),
        bend - bend.sum() * gauss,
    ]
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
    """Where an image of `size` has its pixel (y, x); one margin more stands at either end."""
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
    """The means over 2 × 2 pixels of an image of `size`, rounded."""
    n = size // 2
    for y in range(lane() - RADIUS, n + RADIUS, lanes()):
        row = half[place(y, -RADIUS, n) : place(y, n + RADIUS, n)]
        upper = place(2 * reflected(y, n), 0, size)
        lower = upper + size + 2 * RADIUS
        for x in range(n):
            two = image[upper + 2 * x] + image[upper + 2 * x + 1]
            row[RADIUS + x] = (two + image[lower + 2 * x] + image[lower + 2 * x + 1] + 2) >> 2
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
    """sqrt(even² + odd²), rounded, in place of `even`. A flip changes signs, which it ignores."""
    half = np.int32(1 << (GABOR_SHIFT - 1))
    for i in range(n):
        a = np.int32(np.int32(abs(even[i])) + half) >> np.int32(GABOR_SHIFT)
        b = np.int32(np.int32(abs(odd[i])) + half) >> np.int32(GABOR_SHIFT)
        squares = np.float32(np.int32(np.int32(a) * np.int32(a) + np.int32(b) * np.int32(b)))
        even[i] = np.int32(np.float32(sqrt(squares)) + np.float32(0.5))


@device
def combine_diagonals(cc: Any, ss: Any, cs: Any, sc: Any, gg: Any, n: int) -> None:
    """Responses at 45 degrees in `cc` and `cs`, at 135 in `ss` and `sc`, from the four products."""
    for i in range(n):
        # The Gaussian times (C1_SUM / 1024)², in two steps that are exact where it is constant.
        once = np.int32(np.int32(gg[i] >> np.int32(TAP_BITS)) * np.int32(C1_SUM)) >> np.int32(TAP_BITS)
        dc = np.int32(np.int32(once) * np.int32(C1_SUM))
        c, s = cc[i], ss[i]
        cc[i], ss[i] = np.int32(c - s - dc), np.int32(c + s - dc)
    for i in range(n):
        c, s = cs[i], sc[i]
        cs[i], sc[i] = np.int32(c + s), np.int32(s - c)


@device
def add_laplacian(along: Any, across: Any, n: int) -> None:
    half = np.int32(1 << (LOG_SHIFT - 1))
    for i in range(n):
        along[i] = np.int32(along[i] + across[i] + half) >> np.int32(LOG_SHIFT)


@device
def filter_columns(work: Any, first: int, step: int, n: int, taps: Any, at: int, end: int) -> None:
    """All responses of a strip from its row filters: magnitudes in RE0, CC, RE90, SS; L in LG."""
    rows = work[ROW_FILTERED:STRIPS]
    weigh(rows[C0], first, step, n, taps[G], work[RE0, at:end])
    weigh(rows[S0], first, step, n, taps[G], work[IM0, at:end])
    weigh(rows[G], first, step, n, taps[C0], work[RE90, at:end])
    weigh(rows[G], first, step, n, taps[S0], work[IM90, at:end])
    weigh(rows[C1], first, step, n, taps[C1], work[CC, at:end])
    weigh(rows[S1], first, step, n, taps[S1], work[SS, at:end])
    weigh(rows[C1], first, step, n, taps[S1], work[CS, at:end])
    weigh(rows[S1], first, step, n, taps[C1], work[SC, at:end])
    weigh(rows[G], first, step, n, taps[G], work[GG, at:end])
    weigh(rows[L], first, step, n, taps[G], work[LG, at:end])
    weigh(rows[G], first, step, n, taps[L], work[GL, at:end])
    cc, ss, cs, sc = work[CC, at:end], work[SS, at:end], work[CS, at:end], work[SC, at:end]
    combine_diagonals(cc, ss, cs, sc, work[GG, at:end], n)
    magnitude(work[RE0, at:end], work[IM0, at:end], n)
    magnitude(work[RE90, at:end], work[IM90, at:end], n)
    magnitude(cc, cs, n)
    magnitude(ss, sc, n)
    add_laplacian(work[LG, at:end], work[GL, at:end], n)


@device
def sum_amplitudes(amplitudes: Any, n: int, sums: Any, orientation: int) -> None:
    first, second = np.int32(0), np.int32(0)
    for x in range(n):
        a = amplitudes[x]
        first, second = np.int32(first + a), np.int32(second + a * a)
    sums[AMPLITUDES + orientation], sums[ENERGIES + orientation] = first, second


@device
def sum_extremes(a0: Any, a45: Any, a90: Any, a135: Any, n: int, sums: Any) -> None:
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
def sum_row(work: Any, at: int, n: int, sums: Any) -> None:
    end = at + n
    a0, a45, a90, a135 = work[RE0, at:end], work[CC, at:end], work[RE90, at:end], work[SS, at:end]
    sum_amplitudes(a0, n, sums, 0)
    sum_amplitudes(a45, n, sums, 1)
    sum_amplitudes(a90, n, sums, 2)
    sum_amplitudes(a135, n, sums, 3)
    sum_extremes(a0, a45, a90, a135, n, sums)
    sum_laplacian(work[LG, at:end], n, sums)


@device
def filter_scale(image: Any, size: int, work: Any, taps: Any, sums: Any) -> None:
    """The sums of an image of `size`, row by row and then of all, in the last row."""
    step = size + 2 * RADIUS
    for y in range(lane() * STRIP, step, lanes() * STRIP):
        first = place(y - RADIUS, -RADIUS, size)
        n = min(STRIP, step - y) * step
        for k in range(N_TAPS):
            weigh(image, first, 1, n, taps[k], work[ROW_FILTERED + k, first : first + n])
    barrier()
    start, stop = START * size // PATCH_SIZE, STOP * size // PATCH_SIZE
    at, n = lane() * STRIP * WIDEST, STRIP * step - 2 * RADIUS
    for top in range(lane() * STRIP, size, lanes() * STRIP):
        filter_columns(work, place(top, 0, size), step, n, taps, at, at + n)
        for k in range(STRIP):
            y = top + k
            sum_row(work, at + k * step, size, sums[y, 0])
            if start <= y < stop:
                sum_row(work, at + k * step + start, stop - start, sums[y, 1])
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
        # In pairs at right angles, which a quarter turn exchanges.
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
    m = first // pixels  # a whole number near the mean: sums about it stay exact
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
    out[4] = total(sums, BRIGHT, region) / pixels
    out[5] = total(sums, DARK, region) / pixels


@device
def compare(sums: Any, pixels: int, out: Any) -> None:
    """The columns of one scale that follow from several regions."""
    inside, outside = out[N_FEATURES:], out[2 * N_FEATURES :]
    out[COMPARED] = inside[AMPLITUDE] - outside[AMPLITUDE]
    out[COMPARED + 1] = inside[LOG] - outside[LOG]
    out[COMPARED + 2] = total(sums, POWERS, 1) / (pixels * UNIT)


@device
def share_energy(region: Any) -> None:
    """Energy shares of one plane's scales, from one region's features in the first."""
    every = 0.0
    for scale in range(N_SCALES):
        every += float(region[scale * EACH + ENERGY])
    for scale in range(N_SCALES):
        energy = float(region[scale * EACH + ENERGY])
        region[scale * EACH + SHARE] = energy / every if every > 0 else 0.0


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
                compare(sums, center, columns[scale * EACH :])
            barrier()
        for region in range(lane(), N_REGIONS, lanes()):
            share_energy(columns[region * N_FEATURES :])
        barrier()


OVER_ORIENTATIONS = ("gabor_energy", "gabor_amplitude", "gabor_deviation")
COLUMNS = tuple(
    f"filters__{name}__{where}_{plane}_{scale}" + ("_mean" if name in OVER_ORIENTATIONS else "")
    for plane in MEASURED
    for scale in SCALES
    for name, where in (
        *((feature.name, region) for region in REGIONS for feature in REGION_FEATURES),
        ("gabor_amplitude", "center_minus_ring"),
        ("log_absolute", "center_minus_ring"),
        ("log_mean", "center"),
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
        work=(IMAGES, WIDEST * WIDEST + 2 * RADIUS),
    ),
)
