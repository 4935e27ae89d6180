"""Gradients: magnitude, orientation and coherence of edges.

gx and gy are the Sobel derivatives, and the magnitude G = sqrt(gx² + gy²) / 8 is in levels per pixel.
Orientation is that of a line, over half a turn, in eight bins centered on 0°, 22.5° and so on; each
pixel has weight G. The structure tensor sums gx², gy² and gx gy over a square window 5 or 15 pixels
wide. Its eigenvalues are a >= b, and the coherence is c = (a - b) / (a + b), or 0 on a constant
window. At its edges the patch is extended by repeating the last row or column. Columns are named
`gradient__<feature>__<region>_<plane>[_t<threshold>|_w<window>]`, and
`gradient__<feature>__center_minus_ring_<plane>[_w<window>]` for the features in `BETWEEN`.

G is rounded to 1/128 level (for percentiles and edge density to 1/8), and c to 1/4096, so that all sums
are sums of integers.

Sources: I. Sobel and G. Feldman, 1968, as `cv2.Sobel`; J. Bigün and G. H. Granlund, "Optimal
orientation detection of linear symmetry", Proc. ICCV 1987, and `cv2.cornerEigenValsAndVecs` (the
structure tensor); J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", Proc.
ICPR 2000 (standard deviation of `cv2.Laplacian`); L. I. Rudin, S. Osher and E. Fatemi, "Nonlinear total
variation based noise removal algorithms", Physica D 60, 1992.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS, THIRD
from .color import PERCENTILES, percentiles
from .family import Family, Feature
from .planes import PLANES

MEASURED = ("gray", "hematoxylin", "eosin")
THRESHOLDS = (4, 8, 16, 32)  # levels per pixel
NEAR, FAR = 5, 15  # pixels: FAR is three windows of NEAR side by side
WINDOWS = (NEAR, FAR)

PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
N_PLANES, N_REGIONS, N_THRESHOLDS = len(MEASURED), len(REGIONS), len(THRESHOLDS)
START, STOP = CENTER
PIXELS = (PATCH_SIZE**2, THIRD**2, PATCH_SIZE**2 - THIRD**2)  # of each region
SOBEL = 8  # response of the Sobel filter to a slope of one level per pixel
STEEPEST = 1141  # the largest sqrt(gx² + gy²) is 255 sqrt(20)
FINE = 16  # magnitudes are summed in units of 1 / (SOBEL * FINE) level
COHERENT = 4096  # the integer that represents a coherence of 1
REACH = FAR // 2  # half the width of a far window
SIDE = PATCH_SIZE + 2 * REACH  # of the images in `work`, which include the repeated edges
TAN = np.float32(np.sqrt(2) - 1)  # tan 22.5°: half a bin, for twice the angle

# Images in `work`, side by side so that the loop over a row runs through three of them: the plane; gx²
# + gy², gx² - gy² and 2 gx gy, later replaced by their sums over far windows; their sums over near
# windows; and one scratch row for each lane.
TENSOR, NEAR_SUMS, SPARE, WIDTH = SIDE, 4 * SIDE, 7 * SIDE, 10 * SIDE
# The sums over the pixels of a region: the position and number of each.
MAGNITUDE, MAGNITUDE_SQUARED, POWER, ALONG, ACROSS, VARIATION = 0, 1, 2, 3, 4, 5
BINS = 6  # eight sums
LAPLACIAN = 14  # values, absolute values and squares
COHERENCES = 17  # c, c², a - b and a + b, for each window
N_SUMS = 25


@device
def widen(row: Any) -> None:
    """Extend a row into its margins by repeating its first and last pixel."""
    for x in range(REACH):
        row[x] = row[REACH]
        row[SIDE - 1 - x] = row[SIDE - 1 - REACH]


@device
def load(plane: Any, work: Any) -> None:
    """Load the plane as int32, extended by repeating its edges."""
    height, width = plane.shape
    for r in range(lane(), SIDE, lanes()):
        pixels, row = plane[min(max(r - REACH, 0), height - 1)], work[r, :SIDE]
        inner = row[REACH:]
        for x in range(width):
            inner[x] = pixels[x]
        widen(row)
    barrier()


@device
def differentiate(work: Any, r: int) -> None:
    """One row of the three images of `TENSOR`, from three rows of the plane."""
    a, b, c = work[r - 1, REACH - 1 :], work[r - 1, REACH:], work[r - 1, REACH + 1 :]
    d, f = work[r, REACH - 1 :], work[r, REACH + 1 :]
    g, h, i = work[r + 1, REACH - 1 :], work[r + 1, REACH:], work[r + 1, REACH + 1 :]
    rows = work[r, TENSOR:NEAR_SUMS]
    power, along, across = rows[REACH:], rows[SIDE + REACH :], rows[2 * SIDE + REACH :]
    for x in range(PATCH_SIZE):
        gx = np.int32((c[x] - a[x]) + 2 * (f[x] - d[x]) + (i[x] - g[x]))
        gy = np.int32((g[x] - a[x]) + 2 * (h[x] - b[x]) + (i[x] - c[x]))
        xx, yy = np.int32(gx * gx), np.int32(gy * gy)
        power[x], along[x] = np.int32(xx + yy), np.int32(xx - yy)
        across[x] = np.int32(2 * np.int32(gx * gy))
    for k in range(3):
        widen(rows[k * SIDE : (k + 1) * SIDE])


@device
def sum_magnitudes(n: int, power: Any, along: Any, across: Any, spare: Any, sums: Any) -> None:
    """Sums of G and of the tensor. G is written to `spare`, in 1/8 level and with more precision."""
    total, squares, whole = np.int32(0), np.int64(0), np.int32(0)
    first, second = np.int32(0), np.int32(0)
    levels, fine = spare[:SIDE], spare[SIDE:]
    for x in range(n):
        root = np.float32(sqrt(np.float32(power[x])))
        magnitude = np.int32(root * np.float32(FINE) + np.float32(0.5))
        levels[x], fine[x] = np.int32(root + np.float32(0.5)), magnitude
        total, whole = np.int32(total + magnitude), np.int32(whole + power[x])
        first, second = np.int32(first + along[x]), np.int32(second + across[x])
    for x in range(n):  # a separate loop: its 64-bit sums would halve the SIMD width above
        squares += np.int32(fine[x] * fine[x])
    sums[MAGNITUDE] += total
    sums[MAGNITUDE_SQUARED] += squares
    sums[POWER] += whole
    sums[ALONG] += first
    sums[ACROSS] += second


@device
def sum_orientations(n: int, along: Any, across: Any, weights: Any, sums: Any) -> None:
    """The weights of the orientation bins, in groups: 0° and 90°; 45° and 135°; the other four.

    `along` and `across` are proportional to cosine and sine of twice the angle. Rotations and flips
    change only their signs, and signs select a bin within a group, so a pixel stays in its group.
    """
    zero = np.int32(0)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    for x in range(n):
        cosine, sine = np.float32(abs(along[x])), np.float32(abs(across[x]))
        straight = weights[x] if sine < TAN * cosine else zero
        diagonal = weights[x] if cosine < TAN * sine else zero
        between = np.int32(weights[x] - straight - diagonal)
        upright, falling = along[x] < 0, across[x] < 0
        s0, s1 = np.int32(s0 + straight), np.int32(s1 + (straight if upright else zero))
        s2, s3 = np.int32(s2 + diagonal), np.int32(s3 + (diagonal if falling else zero))
        s4, s5 = np.int32(s4 + between), np.int32(s5 + (between if upright else zero))
        s6 = np.int32(s6 + (between if falling else zero))
        s7 = np.int32(s7 + (between if upright and falling else zero))
    sums[BINS] += s0 - s1
    sums[BINS + 1] += s1
    sums[BINS + 2] += s2 - s3
    sums[BINS + 3] += s3
    sums[BINS + 4] += s4 - s5 - s6 + s7
    sums[BINS + 5] += s5 - s7
    sums[BINS + 6] += s6 - s7
    sums[BINS + 7] += s7


@device
def sum_neighbors(n: int, work: Any, r: int, left: int, sums: Any) -> None:
    """Sums for total variation and Laplacian: differences from the four neighbors."""
    up, down, middle = work[r - 1, left:], work[r + 1, left:], work[r, left:]
    before, after = work[r, left - 1 :], work[r, left + 1 :]
    value, absolute, square, variation = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for x in range(n):
        a, b = np.int32(up[x] - middle[x]), np.int32(down[x] - middle[x])
        c, d = np.int32(before[x] - middle[x]), np.int32(after[x] - middle[x])
        laplacian = np.int32(a + b + c + d)
        value = np.int32(value + laplacian)
        absolute = np.int32(absolute + abs(laplacian))
        square = np.int32(square + laplacian * laplacian)
        variation = np.int32(variation + abs(a) + abs(b) + abs(c) + abs(d))
    sums[LAPLACIAN] += value
    sums[LAPLACIAN + 1] += absolute
    sums[LAPLACIAN + 2] += square
    sums[VARIATION] += variation


@device
def sum_near(work: Any, r: int, columns: Any) -> None:
    """Sum the tensor over NEAR rows, then over NEAR columns; only margins mix neighboring images."""
    first, last = REACH, REACH + PATCH_SIZE - 1
    a = work[min(max(r - 2, first), last), TENSOR:NEAR_SUMS]
    b = work[min(max(r - 1, first), last), TENSOR:NEAR_SUMS]
    c = work[min(max(r, first), last), TENSOR:NEAR_SUMS]
    d = work[min(max(r + 1, first), last), TENSOR:NEAR_SUMS]
    e = work[min(max(r + 2, first), last), TENSOR:NEAR_SUMS]
    for x in range(3 * SIDE):
        columns[x] = np.int32(a[x] + b[x] + c[x] + d[x] + e[x])
    p, q, s, t = columns[1:], columns[2:], columns[3:], columns[4:]
    found = work[r, NEAR_SUMS + 2 : SPARE]
    for x in range(3 * SIDE - 4):
        found[x] = np.int32(columns[x] + p[x] + q[x] + s[x] + t[x])


@device
def sum_far(work: Any, r: int, columns: Any) -> None:
    """Sum the tensor over FAR windows, each of which is 3 × 3 adjacent near windows."""
    above, beside, below = work[r - NEAR], work[r], work[r + NEAR]
    a, b, c = above[NEAR_SUMS:SPARE], beside[NEAR_SUMS:SPARE], below[NEAR_SUMS:SPARE]
    for x in range(3 * SIDE):
        columns[x] = np.int32(a[x] + b[x] + c[x])
    p, q = columns[NEAR:], columns[2 * NEAR :]
    found = work[r, TENSOR + NEAR : NEAR_SUMS]
    for x in range(3 * SIDE - 2 * NEAR):
        found[x] = np.int32(columns[x] + p[x] + q[x])


@device
def sum_coherences(n: int, power: Any, along: Any, across: Any, sums: Any) -> None:
    first, second = np.int32(0), np.int32(0)
    difference, low, whole, rest = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for x in range(n):
        a, b, c = np.float32(power[x]), np.float32(along[x]), np.float32(across[x])
        root = min(np.float32(sqrt(np.float32(b * b + c * c))), a)
        coherent = np.int32(root / max(a, np.float32(1)) * np.float32(COHERENT) + np.float32(0.5))
        first, second = np.int32(first + coherent), np.int32(second + coherent * coherent)
        r, w = np.int32(root + np.float32(0.5)), np.int32(a)
        # Values that exceed 32 bits are kept in two parts, because 64 bits would halve the SIMD width.
        difference, low = np.int32(difference + (r >> 16)), np.int32(low + (r & 65535))
        whole, rest = np.int32(whole + (w >> 16)), np.int32(rest + (w & 65535))
    sums[0] += first
    sums[1] += second
    sums[2] += 65536.0 * difference + low
    sums[3] += 65536.0 * whole + rest


@device
def sum_row(work: Any, r: int, sums: Any, histograms: Any) -> None:
    """Add the gradients, orientations and neighbor differences of a row to this lane's sums."""
    differentiate(work, r)
    spare = work[lane(), SPARE:]
    pieces = 3 if START <= r - REACH < STOP else 1
    n = PATCH_SIZE // pieces
    for piece in range(pieces):
        left, region = REACH + piece * n, 1 if piece == 1 else 2
        power, along = work[r, TENSOR + left :], work[r, TENSOR + SIDE + left :]
        across = work[r, TENSOR + 2 * SIDE + left :]
        sum_magnitudes(n, power, along, across, spare, sums[region])
        sum_orientations(n, along, across, spare[SIDE:], sums[region])
        sum_neighbors(n, work, r, left, sums[region])
        for x in range(n):
            add(histograms, (region, spare[x]), 1)


@device
def sum_windows(work: Any, r: int, sums: Any) -> None:
    """Add the coherences of a row to this lane's sums."""
    sum_far(work, r, work[lane(), SPARE:])
    pieces = 3 if START <= r - REACH < STOP else 1
    n = PATCH_SIZE // pieces
    for piece in range(pieces):
        region = 1 if piece == 1 else 2
        for w in range(2):
            at = (NEAR_SUMS if w == 0 else TENSOR) + REACH + piece * n
            power, along, across = work[r, at:], work[r, at + SIDE :], work[r, at + 2 * SIDE :]
            sum_coherences(n, power, along, across, sums[region, COHERENCES + 4 * w :])


@device
def sum_plane(work: Any, sums: Any, histograms: Any) -> None:
    """All sums of the loaded plane; `sums` belongs to this lane."""
    for r in range(REACH + lane(), REACH + PATCH_SIZE, lanes()):
        sum_row(work, r, sums, histograms)
    barrier()
    for r in range(REACH - NEAR + lane(), REACH + PATCH_SIZE + NEAR, lanes()):
        sum_near(work, r, work[lane(), SPARE:])
    barrier()
    for r in range(REACH + lane(), REACH + PATCH_SIZE, lanes()):
        sum_windows(work, r, sums)
    barrier()


@device
def bits(weight: float, whole: float) -> float:
    return 0.0 if weight == 0 else -weight / whole * log2(weight / whole)


@device
def orientation_entropy(bins: Any, whole: float) -> float:
    """The entropy of the bins, added in pairs that rotations and flips exchange, so its bits stay."""
    axes = bits(bins[0], whole) + bits(bins[1], whole)
    diagonals = bits(bins[2], whole) + bits(bins[3], whole)
    between = bits(bins[4], whole) + bits(bins[7], whole)
    return axes + diagonals + (between + (bits(bins[5], whole) + bits(bins[6], whole)))


@device
def deviation(total: float, squares: float, n: float) -> float:
    return sqrt(max(n * squares - total * total, 0.0)) / n


@device
def describe(sums: Any, histogram: Any, pixels: int, out: Any) -> None:
    """The features of one region, in the order of `MEASURES`."""
    out[0] = sums[MAGNITUDE] / (FINE * SOBEL * float(pixels))
    out[1] = deviation(sums[MAGNITUDE], sums[MAGNITUDE_SQUARED], pixels) / (FINE * SOBEL)
    percentiles(histogram, pixels, out[2:7])
    for k in range(2, 7):
        out[k] /= SOBEL
    below, level = 0, 0
    for k in range(N_THRESHOLDS):
        while level < THRESHOLDS[k] * SOBEL:
            below += histogram[level]
            level += 1
        out[7 + k] = (pixels - below) / pixels
    out[11] = orientation_entropy(sums[BINS : BINS + 8], sums[MAGNITUDE])
    out[12] = sqrt(sums[ALONG] ** 2 + sums[ACROSS] ** 2) / max(sums[POWER], 1.0)
    out[13] = sums[VARIATION] / (2 * pixels)
    out[14] = sums[LAPLACIAN + 1] / pixels
    out[15] = deviation(sums[LAPLACIAN], sums[LAPLACIAN + 2], pixels)
    for w in range(2):
        first = COHERENCES + 4 * w
        out[16 + 3 * w] = sums[first] / (COHERENT * float(pixels))
        out[17 + 3 * w] = deviation(sums[first], sums[first + 1], pixels) / COHERENT
        out[18 + 3 * w] = sums[first + 2] / max(sums[first + 3], 1.0)


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    mine = floats[lane()]
    at = 0
    for plane in range(N_PLANES):
        for region in range(1, N_REGIONS):
            for level in range(lane(), LEVELS, lanes()):
                ints[region, level] = 0
            for s in range(N_SUMS):
                mine[region, s] = 0
        load(planes[PLANE_INDEX[plane]], work)
        sum_plane(work, mine, ints)
        for level in range(lane(), LEVELS, lanes()):
            ints[0, level] = ints[1, level] + ints[2, level]
        for s in range(lane(), N_SUMS, lanes()):  # integers: their order does not matter
            for other in range(1, lanes()):
                floats[0, 1, s] += floats[other, 1, s]
                floats[0, 2, s] += floats[other, 2, s]
            floats[0, 0, s] = floats[0, 1, s] + floats[0, 2, s]
        barrier()
        for region in range(lane(), N_REGIONS, lanes()):
            first = at + region * N_MEASURES
            describe(floats[0, region], ints[region], PIXELS[region], out[first : first + N_MEASURES])
        barrier()
        center, at = at + N_MEASURES, at + N_REGIONS * N_MEASURES + N_COMPARED
        for k in range(lane(), N_COMPARED, lanes()):
            first = center + COMPARED[k]
            out[at - N_COMPARED + k] = out[first] - out[first + N_MEASURES]
        barrier()


# The measures of a region in order: the feature, and the end of the column name.
MEASURES = (
    *((f"magnitude_{name}", "") for name in ("mean", "deviation")),
    *((f"magnitude_p{percent:02d}", "") for percent in PERCENTILES),
    *(("edge_density", f"_t{threshold:02d}") for threshold in THRESHOLDS),
    ("orientation_entropy", ""),
    ("anisotropy", ""),
    ("total_variation", ""),
    *((f"laplacian_{name}", "") for name in ("absolute", "deviation")),
    *((f"coherence{name}", f"_w{w:02d}") for w in WINDOWS for name in ("", "_deviation", "_weighted")),
)
BETWEEN = ("magnitude_mean", "orientation_entropy", "total_variation", "coherence_weighted")
COMPARED = tuple(
    k for k, (name, _) in enumerate(MEASURES) if name in BETWEEN
)  # those with center minus ring
N_MEASURES, N_COMPARED = len(MEASURES), len(COMPARED)
LEVELS, STEEP = STEEPEST + 1, STEEPEST / SOBEL
SLOPE, CURVE = "levels/pixel", "levels/pixel²"
BY_SOBEL, BY_LAPLACE, BY_TENSOR = "cv2.Sobel", "cv2.Laplacian", "cv2.cornerEigenValsAndVecs"
FEATURES = tuple(
    Feature(name, meaning, unit, 0, high, "0", source)
    for name, meaning, unit, high, source in (
        ("magnitude_mean", "mean of G", SLOPE, STEEP, BY_SOBEL),
        ("magnitude_deviation", "standard deviation of G", SLOPE, STEEP / 2, BY_SOBEL),
        *(
            (f"magnitude_p{p:02d}", f"percentile {p} of G", SLOPE, STEEP, "numpy.percentile")
            for p in PERCENTILES
        ),
        ("edge_density", "share of pixels with G at least t", "share", 1, BY_SOBEL),
        ("orientation_entropy", "entropy of the eight bins' weights", "bits", 3, BY_SOBEL),
        ("anisotropy", "c of the tensor summed over the region", "1", 1, "Bigün and Granlund 1987"),
        (
            "total_variation",
            "mean of half the sum of |neighbor - pixel|",
            SLOPE,
            510,
            "Rudin et al. 1992",
        ),
        ("laplacian_absolute", "mean absolute Laplacian", CURVE, 1020, BY_LAPLACE),
        ("laplacian_deviation", "standard deviation of the Laplacian", CURVE, 1020, BY_LAPLACE),
        ("coherence", "mean of c", "1", 1, BY_TENSOR),
        ("coherence_deviation", "standard deviation of c", "1", 0.5, BY_TENSOR),
        ("coherence_weighted", "sum (a - b) / sum (a + b)", "1", 1, BY_TENSOR),
    )
)
COLUMNS = tuple(
    column
    for plane in MEASURED
    for column in (
        *(f"gradient__{name}__{region}_{plane}{end}" for region in REGIONS for name, end in MEASURES),
        *(f"gradient__{MEASURES[k][0]}__center_minus_ring_{plane}{MEASURES[k][1]}" for k in COMPARED),
    )
)

KERNEL = Kernel(
    name="gradient",
    measure=measure,
    shape=(len(COLUMNS),),
    dtype=np.float32,
    table=np.zeros(1),
    ints=(N_REGIONS, LEVELS),
    floats=(LANES, N_REGIONS, N_SUMS),
    work=(SIDE, WIDTH),
)
FAMILY = Family(version=1, columns=COLUMNS, features=FEATURES, kernel=KERNEL)
