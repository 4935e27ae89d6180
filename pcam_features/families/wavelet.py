"""Wavelets: energy, kurtosis and entropy of the contrast at four scales.

The undecimated Haar transform (a wavelet frame) of `gray` and `hematoxylin`. At level k, a square 2^k
pixels wide is placed at every position where it fits. Its details are the differences of the means of
its right and left half, of its lower and upper half, and of its two pairs of opposite quarters, in
levels of the plane, rounded to 1/8. A rotation by 90° exchanges the first two, so they are pooled as
`straight` (`energy` has their mean and range); the third is `diagonal`. Summed over levels, a quarter
of all energies is the variance that the details explain.

A square belongs to `center` if its middle lies inside the center, and otherwise to `ring`. A square of
level 4 then extends 7 pixels beyond the center. Columns are named
`wavelet__<feature>__<region>_<plane>`, with `_level<k>` and `_straight|_diagonal` where they apply.

In the formulas, d is a detail, E an energy, and n the number of details.

Sources: S. G. Mallat, "A theory for multiresolution signal decomposition", IEEE TPAMI 11, 1989;
M. Unser, "Texture classification and segmentation using wavelet frames", IEEE Trans. Image
Process. 4, 1995 (energies); R. R. Coifman and M. V. Wickerhauser, "Entropy-based algorithms for
best basis selection", IEEE Trans. Inf. Theory 38, 1992 (`entropy`, over the squares of the
decimated transform, which is an orthogonal basis); O. A. Rosso et al., "Wavelet entropy", J.
Neurosci. Methods 105, 2001 (`scale_entropy`); P. Flandrin, "Wavelet analysis and synthesis of
fractional Brownian motion", IEEE Trans. Inf. Theory 38, 1992 (`slope`); `pywt.swt2`, `pywt.dwt2`.
"""

from __future__ import annotations

from math import inf, log2
from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS, THIRD
from .family import Family, Feature
from .planes import PLANES

MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
LEVELS = 4  # a fifth would exceed 16 bits
# A detail of level k is a sum of pixels, in units of 1/2^(2k - 1) level. After these shifts it is in
# UNITS of a level; the largest is 255 × 8.
SHIFTS, UNITS = (0, 0, 2, 4), (2, 8, 8, 8)
LARGEST = 255 * 8
LOG_BITS = 14  # fractional bits of e log2 e: the sum over a band stays below 2^53
N_REGIONS, N_BANDS = len(REGIONS), 3
START, STOP = CENTER

# Sums over one band and part (whole patch, center). Fourth powers need 58 bits, in two words.
ABSOLUTE, SQUARES, FOURTH_HIGH, FOURTH_LOW, BASIS_SQUARES, BASIS_LOGS, N_SUMS = 0, 1, 2, 3, 4, 5, 6
WORD = 32
# Rows that each lane needs. Loops run over whole rows, whose length the compiler knows, and the mask
# clears values after the last square.
TOTAL, CHANGE, BAND, MIDDLE, MASK, N_ROWS = 0, 1, 2, 3, 4, 5
WIDTH = PATCH_SIZE + 2 ** (LEVELS - 1)

FLOOR = 1 / 12  # the variance caused by rounding to whole levels
FRAME, DWT = "pywt.swt2; Unser 1995", "pywt.dwt2; Coifman and Wickerhauser 1992"
LITTLE = 1e-6  # tolerance for rounding at a bound
FEATURES = (
    Feature("energy", "mean d²", "levels²", 0, 255**2, "0", FRAME),
    Feature("magnitude", "mean |d|", "levels", 0, 255, "0", FRAME),
    Feature("kurtosis", "mean d⁴ / (mean d²)² - 3", "1", -2 - LITTLE, inf, "0", FRAME),
    Feature("entropy", "-sum p log2 p / log2 n, p = d² / sum d²", "1", 0, 1 + LITTLE, "0", DWT),
    Feature("share", "E of the level's three bands / E of all levels", "1", 0, 1, "0", FRAME),
    Feature(
        "scale_entropy",
        "-sum p log2 p, p = E / E of all, over levels, straight and diagonal",
        "bits",
        0,
        log2(2 * LEVELS) + LITTLE,
        "0",
        "Rosso 2001",
    ),
    Feature(
        "slope",
        "slope of log2(E of the level's three bands + 1/12) over the level",
        "octaves / octave",
        -10,
        10,
        "0",
        "Flandrin 1992",
    ),
)


def _e_log2_e() -> np.ndarray:
    """e log2 e in fixed point, for the square e of every possible detail."""
    e = np.arange(LARGEST + 1, dtype=np.float64) ** 2
    return np.asarray(np.rint(e * np.log2(np.maximum(e, 1)) * 2**LOG_BITS), np.int64)


@device
def add_rows(work: Any, top: int, bottom: int, rows: int) -> None:
    for x in range(PATCH_SIZE):
        work[rows + TOTAL, x] = np.int16(work[top, x] + work[bottom, x])
    for x in range(PATCH_SIZE):
        work[rows + CHANGE, x] = np.int16(work[bottom, x] - work[top, x])


@device
def smooth(work: Any, source: int, step: int, to: int) -> None:
    left, right = work[source, :PATCH_SIZE], work[source, step : step + PATCH_SIZE]
    for x in range(PATCH_SIZE):
        work[to, x] = np.int16(left[x] + right[x])


@device
def magnitudes(work: Any, source: int, step: int, sign: int, shift: Any, mask: int, to: int) -> None:
    """|right + sign × left|, rounded half up, whatever the sign of the detail."""
    left, right = work[source, :PATCH_SIZE], work[source, step : step + PATCH_SIZE]
    factor, half = np.int16(sign), np.int16((1 << shift) >> 1)
    for x in range(PATCH_SIZE):
        detail = np.int16(right[x] + np.int16(factor * left[x]))
        # The mask does not change the shift. It tells LLVM that 16 bits suffice: twice the SIMD width.
        magnitude = np.int16(np.int16(np.int16(abs(detail)) + half) >> (shift & np.int16(15)))
        work[to, x] = np.int16(magnitude & work[mask, x])


@device
def add_band(row: Any, n: int, band: int, sums: Any) -> None:
    """Exact sums of a row of magnitudes, of their squares and of their fourth powers."""
    absolute, squares, fourth = np.int32(0), np.int32(0), np.int64(0)
    for x in range(n):
        absolute = np.int32(absolute + np.int32(row[x]))
        squares = np.int32(squares + np.int32(np.int32(row[x]) * np.int32(row[x])))
    for x in range(n):  # a separate loop: its 64-bit sums would halve the SIMD width above
        square = np.int64(np.int32(np.int32(row[x]) * np.int32(row[x])))
        fourth += square * square
    sums[band, ABSOLUTE] += absolute
    sums[band, SQUARES] += squares
    sums[band, FOURTH_HIGH] += fourth >> WORD
    sums[band, FOURTH_LOW] += fourth & ((1 << WORD) - 1)


@device
def add_basis(row: Any, start: int, stop: int, size: int, e_log2_e: Any, band: int, sums: Any) -> None:
    """Sums of the squares e of a row's decimated details, and of e log2 e."""
    squares, logs = np.int64(0), np.int64(0)
    for x in range(start, stop, size):
        magnitude = np.int64(np.uint16(row[x]))  # an index that cannot be negative
        squares += magnitude * magnitude
        logs += e_log2_e[magnitude]
    sums[band, BASIS_SQUARES] += squares
    sums[band, BASIS_LOGS] += logs


@device
def add_row(work: Any, top: int, y: int, level: int, rows: int, e_log2_e: Any, sums: Any) -> None:
    """Add the details of the squares of `level` whose first row is `y`, and keep their row totals."""
    step, size = 1 << (level - 1), 1 << level
    n = PATCH_SIZE - size + 1
    first = START + 1 - step  # the first square whose middle is inside the center, of THIRD - 1
    shift = np.int16(SHIFTS[level - 1])
    add_rows(work, top, top + step, rows)
    for band in range(N_BANDS):
        source = rows + TOTAL if band == 0 else rows + CHANGE
        sign = 1 if band == 1 else -1
        magnitudes(work, source, step, sign, shift, rows + MASK, rows + BAND)
        add_band(work[rows + BAND], PATCH_SIZE, band, sums)
        if first <= y < first + THIRD - 1:
            for x in range(THIRD):
                work[rows + MIDDLE, x] = work[rows + BAND, first + x]
            work[rows + MIDDLE, THIRD - 1] = 0
            add_band(work[rows + MIDDLE], THIRD, N_BANDS + band, sums)
        if y % size == 0:
            add_basis(work[rows + BAND], 0, n, size, e_log2_e, band, sums)
            if START <= y < STOP:
                add_basis(work[rows + BAND], START, STOP, size, e_log2_e, N_BANDS + band, sums)


@device
def total(sums: Any, region: int, band: int, what: int) -> Any:
    """The sum of a band over a region and all lanes: exact, because integers stay below 2^53."""
    whole, center = 0.0, 0.0
    for k in range(lanes()):
        whole += sums[k, band, what]
        center += sums[k, N_BANDS + band, what]
    return whole if region == 0 else center if region == 1 else whole - center


@device
def count(region: int, size: int, every: int) -> int:
    """The number of squares of a region, with a step of `every` along both axes.

    With step 1, squares whose middle is on the edge of the center are not in the center.
    """
    whole = ((PATCH_SIZE - size) // every + 1) ** 2
    center = ((STOP - START) // every - (1 if every == 1 else 0)) ** 2
    return whole if region == 0 else center if region == 1 else whole - center


@device
def describe_bands(sums: Any, region: int, level: int, first: int, last: int, out: Any) -> None:
    """Pooled magnitude, kurtosis and entropy of bands `first` to `last`, at every second position."""
    bands, size = last - first, 1 << level
    n = bands * count(region, size, 1)
    absolute, squares, high, low = 0.0, 0.0, 0.0, 0.0
    basis_squares, logs = 0.0, 0.0
    for band in range(first, last):
        absolute += total(sums, region, band, ABSOLUTE)
        squares += total(sums, region, band, SQUARES)
        high += total(sums, region, band, FOURTH_HIGH)
        low += total(sums, region, band, FOURTH_LOW)
        basis_squares += total(sums, region, band, BASIS_SQUARES)
        logs += total(sums, region, band, BASIS_LOGS)
    fourth = high * float(1 << WORD) + low
    out[0] = absolute / n / UNITS[level - 1]
    out[2] = fourth * n / (squares * squares) - 3 if squares > 0 else 0.0
    out[4] = 0.0
    if basis_squares > 0:
        entropy = log2(basis_squares) - logs / (1 << LOG_BITS) / basis_squares
        out[4] = max(entropy, 0.0) / log2(float(bands * count(region, size, size)))


@device
def describe_level(sums: Any, region: int, level: int, energies: Any, out: Any) -> None:
    """All columns of one level except its share; keeps its straight and diagonal energies."""
    scale = count(region, 1 << level, 1) * UNITS[level - 1] * UNITS[level - 1]
    across = total(sums, region, 0, SQUARES) / scale
    along = total(sums, region, 1, SQUARES) / scale
    diagonal = total(sums, region, 2, SQUARES) / scale
    out[0], out[1], out[2] = (across + along) / 2, abs(across - along), diagonal
    describe_bands(sums, region, level, 0, 2, out[3:])
    describe_bands(sums, region, level, 2, 3, out[4:])
    energies[level - 1, 0], energies[level - 1, 1] = across + along, diagonal


@device
def compare_levels(energies: Any, out: Any) -> None:
    """The share of the energy of each level, the entropy of the shares, and the slope."""
    whole, logs, slope, divisor = 0.0, 0.0, 0.0, 0.0
    for level in range(LEVELS):
        for kind in range(2):
            energy = energies[level, kind]
            whole += energy
            if energy > 0:
                logs += energy * log2(energy)
    for level in range(LEVELS):
        energy = energies[level, 0] + energies[level, 1]
        away = level - (LEVELS - 1) / 2
        slope += away * log2(energy + FLOOR)
        divisor += away * away
        out[(level + 1) * N_OF_LEVEL - 1] = energy / whole if whole > 0 else 0.0
    out[LEVELS * N_OF_LEVEL] = max(log2(whole) - logs / whole, 0.0) if whole > 0 else 0.0
    out[LEVELS * N_OF_LEVEL + 1] = slope / divisor


@device
def measure_level(work: Any, level: int, rows: int, e_log2_e: Any, sums: Any) -> None:
    """Add the details of this lane's rows of a level, and keep the squares for the next level."""
    # Two images alternate: the squares of one level, and those of the next.
    image, following = (level - 1) % 2 * PATCH_SIZE, level % 2 * PATCH_SIZE
    n = PATCH_SIZE - (1 << level) + 1
    for x in range(PATCH_SIZE):
        work[rows + MASK, x] = -1 if x < n else 0
    for band in range(2 * N_BANDS):
        for what in range(N_SUMS):
            sums[band, what] = 0
    for y in range(lane(), n, lanes()):
        add_row(work, image + y, y, level, rows, e_log2_e, sums)
        smooth(work, rows + TOTAL, 1 << (level - 1), following + y)


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    rows = 2 * PATCH_SIZE + N_ROWS * lane()
    sums, energies = floats[:LANES], floats[LANES:]  # of [lane] and [region]
    for x in range(PATCH_SIZE, WIDTH):
        work[rows + TOTAL, x] = work[rows + CHANGE, x] = 0
    for plane in range(len(PLANE_INDEX)):
        for y in range(lane(), PATCH_SIZE, lanes()):
            for x in range(PATCH_SIZE):
                work[y, x] = planes[PLANE_INDEX[plane], y, x]
        barrier()
        at = plane * N_REGIONS * N_OF_REGION
        for level in range(1, LEVELS + 1):
            measure_level(work, level, rows, table, sums[lane()])
            barrier()
            for region in range(lane(), N_REGIONS, lanes()):
                first = at + region * N_OF_REGION + (level - 1) * N_OF_LEVEL
                describe_level(sums, region, level, energies[region], out[first:])
            barrier()
        for region in range(lane(), N_REGIONS, lanes()):
            compare_levels(energies[region], out[at + region * N_OF_REGION :])
        barrier()


OF_LEVEL = (
    ("energy", "_straight_mean"),
    ("energy", "_straight_range"),
    ("energy", "_diagonal"),
    *(
        (name, kind)
        for name in ("magnitude", "kurtosis", "entropy")
        for kind in ("_straight", "_diagonal")
    ),
    ("share", ""),
)
N_OF_LEVEL = len(OF_LEVEL)
N_OF_REGION = LEVELS * N_OF_LEVEL + 2
COLUMNS = tuple(
    column
    for plane in MEASURED
    for region in REGIONS
    for column in (
        *(
            f"wavelet__{name}__{region}_{plane}_level{level}{kind}"
            for level in range(1, LEVELS + 1)
            for name, kind in OF_LEVEL
        ),
        f"wavelet__scale_entropy__{region}_{plane}",
        f"wavelet__slope__{region}_{plane}",
    )
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="wavelet",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=_e_log2_e(),
        floats=(LANES + N_REGIONS, 2 * N_BANDS, N_SUMS),
        work=(2 * PATCH_SIZE + N_ROWS * LANES, WIDTH),
        work_dtype=np.int16,
    ),
)
