"""Strata: statistics of the planes among the darkest pixels of a region, the next, up to the palest.

The pixels of a region are ranked by darkness in `hematoxylin` or in `gray`, and divided into strata at
fixed shares of the region. The darkest tenth is nuclei, the palest stratum is lumen or glass. Each
stratum is described separately, whatever its shape. A stain that is darker in a whole slide does not
change which pixels are in a stratum.

A plane is smoothed by the binomial filter (1, 4, 6, 4, 1) / 16 along both axes (B1, a Gaussian of σ =
1), then again (B2, σ = 1.4), and twice more with taps two pixels apart (B3, σ = 2.4; B4, σ = 3.2). Edge
pixels are repeated. Darkness is B1 in 1/4 level. Pixels of equal darkness stay together, in the stratum
that contains the middle of their ranks. A stratum without pixels has the values of the region.

Columns are named `strata__<feature>__<region>_<plane>_by_<ranked plane>_p<from>to<to>`, with shares of
the region in percent, from the darkest.

Sources: the smoothing is P. J. Burt, "Fast filter transforms for image processing", Comput. Graph.
Image Process. 16, 1981; ranks are `scipy.stats.rankdata(method="average")`, the statistics
`scipy.ndimage.mean` and `standard_deviation` by label.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import PLANES

RANKED = ("hematoxylin", "gray")
RANKED_INDEX = tuple(PLANES.index(plane) for plane in RANKED)
CUTS = (0, 10, 30, 60, 85, 100)  # percent of a region's pixels, from the darkest
INNER_CUTS = CUTS[1:-1]
DESCRIBED = (
    "red",
    "green",
    "blue",
    "hue",
    "saturation",
    "lab_a",
    "lab_b",
    "hematoxylin",
    "eosin",
    "residual",
)
DESCRIBED_INDEX = tuple(PLANES.index(plane) for plane in DESCRIBED)
N_RANKED, N_REGIONS, N_STRATA, N_CUTS = len(RANKED), len(REGIONS), len(CUTS) - 1, len(INNER_CUTS)
N_PLANES = len(DESCRIBED)
N_MAPS = N_PLANES + 2 * N_RANKED
START, STOP = CENTER

SIXTEENTHS, EIGHTHS = 4, 3  # fractional bits of a smoothed level and of a detail
WEIGHT_BITS = 8  # of the binomial filter along both axes
KEYS = 1024  # levels of darkness
LARGEST_DETAIL = 255  # eighths of a level: squares of a patch's details then fit 31 bits

# Images in `work`, each flat: smoothed planes; for each ranked plane its darkness, two details, and the
# place of each pixel; then the row of each lane, or the maps of a strip.
SIDE = PATCH_SIZE
CELLS = SIDE * SIDE
MARGIN = 4
SMOOTHED, DARKNESS = 0, 2
DETAILS = DARKNESS + N_RANKED
PLACES = DETAILS + 2 * N_RANKED
OWN = PLACES + N_RANKED
STRIP = SIDE // LANES  # rows that are summed together
IMAGES = OWN + 1
assert STRIP * SIDE >= SIDE + 2 * MARGIN
# For each ranked plane, a pixel is added to one place: that of its stratum in the patch together with
# its stratum in the center or the ring. A place holds the sums of all maps and of ones, then of
# squares. With 16 values per pixel LLVM adds them one by one; from 24 on it adds eight at a time.
ONES, VALUES = N_MAPS, 24
EACH = 2 * VALUES
PER_RANKED = 2 * N_STRATA * N_STRATA  # places of the center, then of the ring
# Parts of `ints`: histograms of center and ring; limits of the strata; places; and the strata of each
# region, summed like places.
STARTS = 2 * KEYS
SUMS = STARTS + N_RANKED * N_REGIONS * N_CUTS
TOTALS = SUMS + N_RANKED * PER_RANKED * EACH
INTS = TOTALS + N_RANKED * N_REGIONS * N_STRATA * EACH
assert N_MAPS < VALUES
assert STRIP * SIDE * VALUES <= CELLS


@device
def smooth(source: Any, step: int, shift: int, own: Any, target: Any) -> None:
    """Apply the binomial filter with taps `step` pixels apart, and round by `shift` bits at the end."""
    half = 1 << (shift - 1)
    for y in range(lane(), SIDE, lanes()):
        # Slices are created here, because a device function cannot return one on CUDA.
        a, b = source[max(y - 2 * step, 0) * SIDE :], source[max(y - step, 0) * SIDE :]
        c, d = source[y * SIDE :], source[min(y + step, SIDE - 1) * SIDE :]
        e = source[min(y + 2 * step, SIDE - 1) * SIDE :]
        inner = own[MARGIN : MARGIN + SIDE]
        for x in range(SIDE):
            inner[x] = np.int32(a[x] + e[x] + 4 * (b[x] + d[x]) + 6 * c[x])
        for k in range(MARGIN):
            own[k], own[MARGIN + SIDE + k] = inner[0], inner[SIDE - 1]
        first, second = own[MARGIN - 2 * step :], own[MARGIN - step :]
        fourth, fifth = own[MARGIN + step :], own[MARGIN + 2 * step :]
        row = target[y * SIDE : (y + 1) * SIDE]
        for x in range(SIDE):
            total = np.int32(first[x] + fifth[x] + 4 * (second[x] + fourth[x]) + 6 * inner[x])
            row[x] = np.int32(total + np.int32(half)) >> np.int32(shift)
    barrier()


@device
def find_detail(finer: Any, coarser: Any, detail: Any) -> None:
    """The absolute difference of two smoothed planes, in 1/8 level."""
    for y in range(lane(), SIDE, lanes()):
        a, b, row = (
            finer[y * SIDE : (y + 1) * SIDE],
            coarser[y * SIDE : (y + 1) * SIDE],
            detail[y * SIDE : (y + 1) * SIDE],
        )
        for x in range(SIDE):
            apart = np.int32(np.int32(abs(np.int32(a[x] - b[x]))) + 1) >> np.int32(SIXTEENTHS - EIGHTHS)
            row[x] = min(apart, np.int32(LARGEST_DETAIL))
    barrier()


@device
def find_maps(plane: Any, flip: int, own: Any, work: Any, darkness: Any, details: Any) -> None:
    """Darkness and both details of a ranked plane; `flip` is 1 if low levels are dark."""
    one, two = work[SMOOTHED], work[SMOOTHED + 1]
    for y in range(lane(), SIDE, lanes()):
        row = two[y * SIDE : (y + 1) * SIDE]
        for x in range(SIDE):
            row[x] = plane[y, x]
    barrier()
    smooth(two, 1, WEIGHT_BITS - SIXTEENTHS, own, one)
    for y in range(lane(), SIDE, lanes()):
        smoothed, dark = one[y * SIDE : (y + 1) * SIDE], darkness[y * SIDE : (y + 1) * SIDE]
        for x in range(SIDE):
            level = smoothed[x] >> np.int32(2)
            dark[x] = np.int32(KEYS - 1 - level) if flip else level
    smooth(one, 1, WEIGHT_BITS, own, two)
    find_detail(one, two, details[0])
    smooth(two, 2, WEIGHT_BITS, own, one)
    smooth(one, 2, WEIGHT_BITS, own, two)
    find_detail(one, two, details[1])


@device
def count_darkness(darkness: Any, histograms: Any) -> None:
    for k in range(lane(), 2 * KEYS, lanes()):
        histograms[k] = 0
    barrier()
    for y in range(lane(), SIDE, lanes()):
        row, inside = darkness[y * SIDE : (y + 1) * SIDE], START <= y < STOP
        for x in range(SIDE):
            ring = 0 if inside and START <= x < STOP else KEYS
            add(histograms, ring + row[x], 1)
    barrier()


@device
def find_starts(histograms: Any, region: int, starts: Any) -> None:
    """The smallest darkness of each stratum except the palest."""
    pixels = CELLS if region == 0 else (STOP - START) ** 2
    if region == 2:
        pixels = CELLS - pixels
    for cut in range(N_CUTS):
        starts[cut] = KEYS
    darker, cut = 0, 0
    for level in range(KEYS - 1, -1, -1):
        n = 0
        if region != 2:
            n += int(histograms[level])
        if region != 1:
            n += int(histograms[KEYS + level])
        if n == 0:
            continue
        while cut < N_CUTS and 100 * (2 * darker + n) >= 2 * pixels * INNER_CUTS[cut]:
            cut += 1
        for k in range(cut, N_CUTS):
            starts[k] = level
        darker += n


@device
def strata_of(dark: Any, starts: Any, first: int, last: int, step: int, row: Any) -> None:
    """Add `step` to each pixel's place, for every stratum that is darker than the pixel's."""
    s0, s1, s2, s3 = starts[0], starts[1], starts[2], starts[3]
    for x in range(first, last):
        k = dark[x]
        beyond = np.int32(k < s0) + np.int32(k < s1) + np.int32(k < s2) + np.int32(k < s3)
        row[x] += np.int32(beyond * step)


@device
def place(darkness: Any, starts: Any, places: Any) -> None:
    """Compute the place of each pixel."""
    center, ring = starts[N_CUTS:], starts[2 * N_CUTS :]
    for y in range(lane(), SIDE, lanes()):
        dark, row = darkness[y * SIDE : (y + 1) * SIDE], places[y * SIDE : (y + 1) * SIDE]
        for x in range(SIDE):
            row[x] = N_STRATA * N_STRATA * EACH
        strata_of(dark, ring, 0, SIDE, EACH, row)
        if START <= y < STOP:
            for x in range(START, STOP):
                row[x] = 0
            strata_of(dark, center, START, STOP, EACH, row)
        strata_of(dark, starts, 0, SIDE, N_STRATA * EACH, row)
    barrier()


@device
def gather(planes: Any, details: Any, top: int, maps: Any) -> None:
    """Gather all maps of a strip, side by side for each pixel."""
    for y in range(lane(), STRIP, lanes()):
        for x in range(SIDE):
            at = (y * SIDE + x) * VALUES
            for k in range(N_PLANES):
                maps[at + k] = planes[DESCRIBED_INDEX[k], top + y, x]
            for k in range(2 * N_RANKED):
                maps[at + N_PLANES + k] = details[k, (top + y) * SIDE + x]
            maps[at + ONES] = 1
    barrier()


@device
def add_maps(maps: Any, places: Any, top: int, sums: Any) -> None:
    """Add the maps of a strip and their squares to the places. Each lane has its own map."""
    other = sums[PER_RANKED * EACH :]
    for i in range(STRIP * SIDE):
        a, b = np.uint32(places[0, top * SIDE + i]), np.uint32(places[1, top * SIDE + i])
        for k in range(lane(), VALUES, lanes()):
            v = maps[i * VALUES + k]
            sums[a + k] += v
            sums[a + VALUES + k] += v * v
            other[b + k] += v
            other[b + VALUES + k] += v * v
    barrier()


@device
def add_places(sums: Any, totals: Any) -> None:
    """Sum the places to the strata of patch, center and ring."""
    for k in range(lane(), EACH, lanes()):
        for n in range(N_RANKED * N_REGIONS * N_STRATA):
            totals[n * EACH + k] = 0
    for ranked in range(N_RANKED):
        for ring in range(2):
            for whole in range(N_STRATA):
                for part in range(N_STRATA):
                    at = (((ranked * 2 + ring) * N_STRATA + whole) * N_STRATA + part) * EACH
                    patch = (ranked * N_REGIONS * N_STRATA + whole) * EACH
                    region = ((ranked * N_REGIONS + 1 + ring) * N_STRATA + part) * EACH
                    for k in range(lane(), EACH, lanes()):
                        totals[patch + k] += sums[at + k]
                        totals[region + k] += sums[at + k]
    barrier()


@device
def describe(totals: Any, which: int, unit: float, out: Any) -> None:
    """Mean and standard deviation of one map in each stratum of one region."""
    pixels, total, squares = 0, 0, 0
    for k in range(N_STRATA):
        pixels += int(totals[k * EACH + ONES])
        total += int(totals[k * EACH + which])
        squares += int(totals[k * EACH + VALUES + which])
    for k in range(N_STRATA):
        n, s = int(totals[k * EACH + ONES]), int(totals[k * EACH + which])
        q = int(totals[k * EACH + VALUES + which])
        if n == 0:
            n, s, q = pixels, total, squares
        out[2 * k] = s / (n * unit)
        out[2 * k + 1] = sqrt(float(n * q - s * s)) / (n * unit)


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    own = work[OWN, lane() * STRIP * SIDE : (lane() + 1) * STRIP * SIDE]
    for ranked in range(N_RANKED):
        plane = planes[RANKED_INDEX[ranked]]
        first = DETAILS + 2 * ranked
        find_maps(plane, ranked, own, work, work[DARKNESS + ranked], work[first : first + 2])
        count_darkness(work[DARKNESS + ranked], ints)
        starts = ints[STARTS + ranked * N_REGIONS * N_CUTS :]
        for region in range(lane(), N_REGIONS, lanes()):
            find_starts(ints, region, starts[region * N_CUTS :])
        barrier()
        place(work[DARKNESS + ranked], starts, work[PLACES + ranked])
    for k in range(lane(), TOTALS - SUMS, lanes()):
        ints[SUMS + k] = 0
    maps, sums, totals = work[SMOOTHED], ints[SUMS:TOTALS], ints[TOTALS:]
    for k in range(lane(), CELLS, lanes()):
        maps[k] = 0  # values that are not maps stay 0
    barrier()
    for top in range(0, SIDE, STRIP):
        gather(planes, work[DETAILS:PLACES], top, maps)
        add_maps(maps, work[PLACES:OWN], top, sums)
    add_places(sums, totals)
    for k in range(lane(), N_RANKED * N_REGIONS * N_MAPS, lanes()):
        pair, which = k // N_MAPS, k % N_MAPS
        unit = 1.0 if which < N_PLANES else float(1 << EIGHTHS)
        first = k * 2 * N_STRATA
        describe(totals[pair * N_STRATA * EACH :], which, unit, out[first : first + 2 * N_STRATA])
    barrier()


SOURCE = "scipy.ndimage.mean and standard_deviation, by label"
DETAIL = LARGEST_DETAIL / (1 << EIGHTHS)
FEATURES = (
    Feature("mean", "mean of the plane", "levels", 0, 255, "its level", SOURCE),
    Feature("deviation", "standard deviation of the plane", "levels", 0, 127.5, "0", SOURCE),
    Feature("fine_mean", "mean of |B1 - B2|", "levels", 0, DETAIL, "0", SOURCE),
    Feature("fine_deviation", "standard deviation of |B1 - B2|", "levels", 0, DETAIL / 2, "0", SOURCE),
    Feature("coarse_mean", "mean of |B3 - B4|", "levels", 0, DETAIL, "0", SOURCE),
    Feature(
        "coarse_deviation", "standard deviation of |B3 - B4|", "levels", 0, DETAIL / 2, "0", SOURCE
    ),
)
MAPS = tuple(("", plane) for plane in DESCRIBED) + tuple(
    (f"{detail}_", plane) for plane in RANKED for detail in ("fine", "coarse")
)
COLUMNS = tuple(
    f"strata__{prefix}{statistic}__{region}_{plane}_by_{ranked}_p{CUTS[k]:02d}to{CUTS[k + 1]:02d}"
    for ranked in RANKED
    for region in REGIONS
    for prefix, plane in MAPS
    for k in range(N_STRATA)
    for statistic in ("mean", "deviation")
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="strata",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=np.zeros(1),
        ints=(INTS,),
        work=(IMAGES, CELLS),
    ),
)
