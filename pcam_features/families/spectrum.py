"""Power spectrum: power and directionality of the contrast by spatial frequency.

The planes are `gray` and `hematoxylin`, minus their mean (in whole levels), under a Hann window.
`patch` is the whole patch. `center` is the 64×64 pixels around the center; its window is one half at
the edge of the center. Frequencies are rounded to whole cycles across the window, r = |(u, v)|, from 2
(the window spreads the mean up to 1) to just below half a cycle per pixel. P(r) is the mean power of
the frequencies that round to r, scaled so that P of white noise is its variance, plus 1/12, the
variance caused by rounding to whole levels. This term avoids undefined values, and makes the spectrum
of a constant region that of white noise. Columns are named `spectrum__<feature>__<region>_<plane>`,
with `_cycles<from>to<to>` for a ring of frequencies, which includes its first number and excludes its
second.

In the formulas, n(r) is the number of frequencies, p(r) = n P / sum n P, and t the direction of (u, v).

Every coefficient is exact. Cosines and sines are rounded to 14 fractional bits, and sums stay below
2^53, where double precision represents every integer. Therefore the order of summation does not matter
up to the power. Rows are folded to sums and differences about their middle, and again about their
quarters, which leaves four products of a quarter of the length; mirrored patches give the same numbers
up to signs. The window is applied to the frequencies, where its weights are integers: 1, 2, 1. Powers
(u, v) and (v, u) are added before any others.

Sources: D. J. Field, "Relations between the statistics of natural images and the response
properties of cortical cells", J. Opt. Soc. Am. A 4, 1987 (`slope`); F. J. Harris, "On the use of
windows for harmonic analysis with the discrete Fourier transform", Proc. IEEE 66, 1978;
J. D. Johnston, "Transform coding of audio signals using perceptual noise criteria", IEEE J. Sel.
Areas Commun. 6, 1988 (`flatness`); J. Bigün and G. H. Granlund, "Optimal orientation detection
of linear symmetry", ICCV 1987 (`anisotropy`); `scipy.fft.fft2`.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, log, log2, sqrt
from typing import Any

import numpy as np

from ..engine.kernel import Kernel, barrier, device, lane, lanes
from ..geometry import PATCH_SIZE
from .family import Family, Feature
from .planes import PLANES

MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
WINDOWED = ("patch", "center")
SIZES = (96, 64)
RINGS = ((2, 3, 4, 6, 8, 12, 16, 24, 32, 48), (2, 3, 4, 6, 8, 12, 16, 24, 32))
LOWEST = 2
BITS = 14  # fractional bits of cosines and sines: 8 × 255 × (96 × 2^14)² < 2^53
FLOOR = 1 / 12
ENERGY, ALONG, ACROSS, N_SUMS = 0, 1, 2, 3  # sums over the frequencies that round to r
PAIR = 5  # numbers that describe one pair of frequencies

SCIPY = "scipy.fft.fft2"
LITTLE = 1e-6  # tolerance for rounding at a bound
FEATURES = (
    Feature("share", "sum of p over the ring", "1", 0, 1, "as white noise", SCIPY),
    Feature(
        "anisotropy",
        "|sum power exp(2 i t)| / sum n P over the ring: 0 if isotropic, 1 for stripes",
        "1",
        0,
        1 + LITTLE,
        "0",
        "Bigün and Granlund 1987",
    ),
    Feature(
        "power",
        "sum over n (P - 1/12) / size²: the variance explained",
        "levels²",
        0,
        255**2,
        "0",
        SCIPY,
    ),
    Feature(
        "slope", "slope of log2 P over log2 r, both means over a ring", "1", -12, 12, "0", "Field 1987"
    ),
    Feature("centroid", "sum r p / size", "cycles / pixel", LOWEST / 96, 0.5, "as white noise", SCIPY),
    Feature(
        "bandwidth",
        "standard deviation of r under p / size",
        "cycles / pixel",
        0,
        0.25,
        "as white noise",
        SCIPY,
    ),
    Feature("entropy", "-sum p log2 p", "bits", 0, log2(48), "as white noise", SCIPY),
    Feature("flatness", "geometric / arithmetic mean of P", "1", 0, 1 + LITTLE, "1", "Johnston 1988"),
)
GLOBAL = tuple(feature.name for feature in FEATURES[2:])


def frequency(k: int, size: int) -> int:
    """The frequency of coefficient `k`: even frequencies come first, then odd ones."""
    quarter = size // 4
    return 2 * k if k < quarter else 2 * (k - quarter) + 1


def _waves(size: int) -> np.ndarray:
    """Cosines and sines: [quarter, coefficient, position], flattened."""
    quarter = size // 4
    place = (np.arange(quarter) + 0.5) * 2 * np.pi / size
    k = 2 * np.arange(quarter)[:, None]
    even, odd = k * place, (k + 1) * place
    waves = np.stack([np.cos(even), np.cos(odd), np.sin(even), np.sin(odd)])
    waves[2, 0] = np.sin(size // 2 * place)  # replaces sin(0), which is 0
    return np.asarray(np.rint(waves * 2**BITS)).ravel()


def _pairs(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables of the pairs (u, v), (v, u), sorted by r.

    Returns the pairs' positions and weights in the power and in its two directions, the index at which
    each r begins, and the number of frequencies of each r, with all signs.
    """
    half, rows = size // 2, []
    for i in range(half):
        for j in range(half):
            u, v = frequency(i, size), frequency(j, size)
            square = max(u * u + v * v, 1)
            r = round(square**0.5)
            if u <= v and LOWEST <= r < half:
                weight = (0.5 if u == v else 1) * (0.5 if u == 0 else 1)
                along, across = (v * v - u * u) / square, 4 * u * v / square
                rows.append((r, i, j, weight, weight * along, weight * across))
    rows.sort()
    pairs = np.array(rows)
    begins = np.searchsorted(pairs[:, 0], np.arange(half + 1)).astype(float)
    counts = np.bincount(pairs[:, 0].astype(int), 8 * pairs[:, 3])
    return pairs[:, 1:], begins, counts


def _slope_weights(counts: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    """The weight of log2 P of each ring in the slope of the least-squares line."""
    r = np.arange(len(counts))
    middles = [np.average(r[a:b], weights=counts[a:b]) for a, b in pairwise(edges)]
    away = np.log2(middles) - np.log2(middles).mean()
    return np.asarray(away / (away**2).sum())


def _table() -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """All tables in one array, and the offsets of each region's tables."""
    parts: list[np.ndarray] = []
    places, at = [], 0
    for size, edges in zip(SIZES, RINGS, strict=True):
        pairs, begins, counts = _pairs(size)
        slopes = _slope_weights(counts, edges)
        mine = (_waves(size), counts, begins, pairs.ravel(), np.array(edges, float), slopes)
        starts = at + np.cumsum([0, *(len(part) for part in mine)])
        places.append(tuple(int(start) for start in starts[:-1]))
        parts += mine
        at = int(starts[-1])
    return np.concatenate(parts), tuple(places)


TABLE, PLACES = _table()
WAVES, COUNTS, BEGINS, PAIRS, EDGES, SLOPES = 0, 1, 2, 3, 4, 5
N_RINGS = tuple(len(edges) - 1 for edges in RINGS)


@device
def add_levels(plane: Any, start: int, size: int, sums: Any) -> None:
    """The sum of each row, for the mean."""
    for y in range(lane(), size, lanes()):
        row = plane[start + y, start : start + size]
        levels = np.int32(0)
        for x in range(size):
            levels = np.int32(levels + np.int32(row[x]))
        sums[y] = levels


@device
def fold(source: Any, start: int, size: int, mean: Any, out: Any) -> None:
    """Fold each row about its middle and its quarters, and transpose."""
    half, quarter = size // 2, size // 4
    for y in range(lane(), size, lanes()):
        row = source[start + y, start : start + size]
        for i in range(quarter):
            right, left = float(row[half + i]) - mean, float(row[half - 1 - i]) - mean
            last, first = float(row[size - 1 - i]) - mean, float(row[i]) - mean
            even, odd, far_even, far_odd = right + left, right - left, last + first, last - first
            out[i, y], out[quarter + i, y] = even + far_even, even - far_even
            out[2 * quarter + i, y], out[3 * quarter + i, y] = odd - far_odd, odd + far_odd


@device
def transform(folded: Any, size: int, waves: Any, out: Any) -> None:
    """Multiply each quarter of the rows by its sines or cosines, eight terms at a time."""
    quarter = size // 4
    for k in range(lane(), size, lanes()):
        first = k // quarter * quarter
        for x in range(size):
            out[k, x] = 0
        for i in range(0, quarter, 8):
            w = waves[k * quarter + i : k * quarter + i + 8]
            w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
            a = folded[first + i : first + i + 8]
            for x in range(size):
                near = w0 * a[0, x] + w1 * a[1, x] + w2 * a[2, x] + w3 * a[3, x]
                far = w4 * a[4, x] + w5 * a[5, x] + w6 * a[6, x] + w7 * a[7, x]
                out[k, x] += near + far


@device
def window(waves: Any, size: int, out: Any) -> None:
    """Apply the Hann window, times 4: twice a frequency and its two neighbors."""
    quarter = size // 4
    for k in range(lane(), size, lanes()):
        sine, i = k // (2 * quarter) * 2 * quarter, k % quarter
        if k - sine < quarter:  # even
            below, above = sine + quarter + max(i - 1, 0), sine + quarter + i
        else:  # sin(size / 2), which follows the last odd sine, is stored in place of sin(0)
            below, above = sine + i, sine + (i + 1) % quarter
        # sin(0) = 0 does not contribute to sin(1), nor cos(size / 2) = 0 to the last odd cosine.
        own: Any = 0.0 if k == 2 * quarter else 2.0
        low: Any = 0.0 if k == 2 * quarter or k == 3 * quarter else 1.0
        high: Any = 0.0 if k == 2 * quarter or k == 2 * quarter - 1 else 1.0
        for x in range(size):
            out[k, x] = own * waves[k, x] + (low * waves[below, x] + high * waves[above, x])


@device
def square(waves: Any, size: int, out: Any) -> None:
    """The powers of (u, v) and (u, -v): their mean, followed by half of their difference."""
    half = size // 2
    for i in range(lane(), half, lanes()):
        for j in range(half):
            cc, cs = waves[i, j], waves[i, half + j]
            sc, ss = waves[half + i, j], waves[half + i, half + j]
            out[i, j] = (cc * cc + ss * ss) + (cs * cs + sc * sc)
            out[half + i, j] = cs * sc - cc * ss


@device
def add_frequencies(power: Any, size: int, begins: Any, pairs: Any, sums: Any) -> None:
    """Sum the power, and its parts along the second harmonic's two directions, for each r."""
    half = size // 2
    for r in range(LOWEST + lane(), half, lanes()):
        energy, along, across = 0.0, 0.0, 0.0
        for k in range(int(begins[r]), int(begins[r + 1])):
            pair = pairs[PAIR * k : PAIR * (k + 1)]
            i, j = int(pair[0]), int(pair[1])
            energy += pair[2] * (power[i, j] + power[j, i])
            along += pair[3] * (power[i, j] - power[j, i])
            across += pair[4] * (power[half + i, j] + power[half + j, i])
        sums[r, ENERGY], sums[r, ALONG], sums[r, ACROSS] = energy, along, across


@device
def describe_rings(
    sums: Any, counts: Any, size: int, n_rings: int, edges: Any, slopes: Any, out: Any
) -> None:
    """Share and anisotropy of each ring, total power and slope."""
    scale = scale_of(size)
    whole, floor = 0.0, 0.0
    for r in range(LOWEST, size // 2):
        whole += sums[r, ENERGY] * scale
        floor += counts[r] * FLOOR
    slope = 0.0
    for ring in range(n_rings):
        energy, along, across, n = 0.0, 0.0, 0.0, 0.0
        for r in range(int(edges[ring]), int(edges[ring + 1])):
            energy += sums[r, ENERGY] * scale
            along += sums[r, ALONG] * scale
            across += sums[r, ACROSS] * scale
            n += counts[r]
        energy += n * FLOOR
        out[ring] = energy / (whole + floor)
        out[n_rings + ring] = sqrt(along * along + across * across) / energy
        slope += slopes[ring] * log2(energy / n)
    out[2 * n_rings] = whole / (size * size)
    out[2 * n_rings + 1] = slope


@device
def scale_of(size: int) -> float:
    """The factor from the sums to the power, scaled so that that of white noise is its variance."""
    squares = (3 * size / 8) ** 2  # sum of the squared window
    return 4 / (squares * 2.0 ** (4 * BITS + 8))


@device
def describe_curve(sums: Any, counts: Any, size: int, out: Any) -> None:
    """Centroid, bandwidth, entropy and flatness of P(r)."""
    scale, half = scale_of(size), size // 2
    whole, first, second, entropy = 0.0, 0.0, 0.0, 0.0
    power, logs = 0.0, 0.0
    for r in range(LOWEST, half):
        energy = sums[r, ENERGY] * scale + counts[r] * FLOOR
        whole += energy
        first += r * energy
        second += r * r * energy
        entropy += energy * log2(energy)
        power += energy / counts[r]
        logs += log(energy / counts[r])
    mean = first / whole
    out[0] = mean / size
    out[1] = sqrt(max(second / whole - mean * mean, 0.0)) / size
    out[2] = log2(whole) - entropy / whole
    out[3] = exp(logs / (half - LOWEST)) / (power / (half - LOWEST))


@device
def measure_region(plane: Any, region: int, table: Any, floats: Any, work: Any, out: Any) -> None:
    size, places = SIZES[region], PLACES[region]
    start = (PATCH_SIZE - size) // 2
    waves = table[places[WAVES] :]
    counts, pairs = table[places[COUNTS] :], table[places[PAIRS] :]
    levels = floats[:, N_SUMS]
    add_levels(plane, start, size, levels)
    barrier()
    whole = 0.0
    for y in range(size):
        whole += levels[y]
    mean = (2 * int(whole) + size * size) // (2 * size * size)
    fold(plane, start, size, float(mean), work[0])
    barrier()
    transform(work[0], size, waves, work[1])
    barrier()
    window(work[1], size, work[0])
    barrier()
    fold(work[0], 0, size, 0.0, work[1])
    barrier()
    transform(work[1], size, waves, work[0])
    barrier()
    window(work[0], size, work[1])
    barrier()
    square(work[1], size, work[0])
    barrier()
    add_frequencies(work[0], size, table[places[BEGINS] :], pairs, floats)
    barrier()
    if lane() == 0:
        edges, slopes = table[places[EDGES] :], table[places[SLOPES] :]
        describe_rings(floats, counts, size, N_RINGS[region], edges, slopes, out)
        describe_curve(floats, counts, size, out[2 * N_RINGS[region] + 2 :])
    barrier()


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    at = 0
    for plane in range(len(PLANE_INDEX)):
        for region in range(len(SIZES)):
            measure_region(planes[PLANE_INDEX[plane]], region, table, floats, work, out[at:])
            at += 2 * N_RINGS[region] + len(GLOBAL)


COLUMNS = tuple(
    column
    for plane in MEASURED
    for region, edges in zip(WINDOWED, RINGS, strict=True)
    for column in (
        *(
            f"spectrum__{name}__{region}_{plane}_cycles{a}to{b}"
            for name in ("share", "anisotropy")
            for a, b in pairwise(edges)
        ),
        *(f"spectrum__{name}__{region}_{plane}" for name in GLOBAL),
    )
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="spectrum",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=TABLE,
        floats=(PATCH_SIZE, N_SUMS + 1),
        work=(2, PATCH_SIZE, PATCH_SIZE),
        work_dtype=np.float64,
    ),
)
