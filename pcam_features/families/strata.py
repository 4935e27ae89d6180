"""Strata: what the darkest pixels of a region are like, and the next, up to the palest.

The pixels of a region are ranked by how dark they are, in `hematoxylin` or in `gray`, and cut into
strata at set shares of the region: the darkest tenth is nuclei, the palest is lumen or glass, and
each is described by itself, whatever its shape. Ranked so, a stain that is darker in all of a slide
changes nothing about who stands in a stratum.

A plane is smoothed by the binomial (1, 4, 6, 4, 1) / 16 both ways (B1, a Gaussian of σ = 1), again
(B2, σ = 1.4), and with holes of one pixel between the taps twice more (B3, σ = 2.4; B4, σ = 3.2),
its edge pixels repeated. Darkness is B1 in quarters of a level. Pixels that are equally dark stay
together, in the stratum where the middle of their ranks lies. A stratum that gets no pixel has the
region's values.

Columns `strata__<feature>__<region>_<plane>_by_<ranked plane>_p<from>to<to>`, with shares of the
region in percent, from the darkest.

Sources: the smoothing is P. J. Burt, "Fast filter transforms for image processing", Comput. Graph.
Image Process. 16, 1981; ranks are `scipy.stats.rankdata(method="average")`, the statistics
`scipy.ndimage.mean` and `standard_deviation` by label.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ..engine.lanes import LANES, Kernel, add, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature

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

SIXTEENTHS, EIGHTHS = 4, 3  # bits behind the point of a smoothed level, and of a detail
WEIGHT_BITS = 8  # of the binomial, both ways
KEYS = 1024  # levels of darkness
LARGEST_DETAIL = 255  # eighths of a level: squares of a patch's details then fit 31 bits
NOWHERE = -1  # the stratum of pixels outside a region

# Images of `work`, each flat: smoothed planes; for each ranked plane its darkness and two details;
# for each ranked plane and region the strata; then each lane's row or strip.
SIDE = PATCH_SIZE
CELLS = SIDE * SIDE
MARGIN = 4
SMOOTHED, DARKNESS = 0, 2
DETAILS = DARKNESS + N_RANKED
STRATUM = DETAILS + 2 * N_RANKED
OWN = STRATUM + N_RANKED * N_REGIONS
STRIP = SIDE // LANES  # rows of which a lane adds up the pixels in one loop
IMAGES = OWN + 1
assert STRIP * SIDE >= SIDE + 2 * MARGIN
# Parts of `ints`: histograms of center and ring, then what each region and stratum sums up.
STARTS = 2 * KEYS
COUNTS = STARTS + N_RANKED * N_REGIONS * N_CUTS
SUMS = COUNTS + N_RANKED * N_REGIONS * N_STRATA
EACH = 2 * N_STRATA  # sums, then sums of squares, of one plane in one region
INTS = SUMS + N_RANKED * N_REGIONS * N_MAPS * EACH


@device
def smooth(source: Any, step: int, shift: int, own: Any, target: Any) -> None:
    """The binomial with its taps `step` pixels apart, rounded by `shift` bits once at the end."""
    half = 1 << (shift - 1)
    for y in range(lane(), SIDE, lanes()):
        # Rows as slices: a device function cannot return one on CUDA.
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
    """How far apart two smoothings are, in eighths of a level."""
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
    """Darkness and both details of a ranked plane; `flip` is 1 where low levels are dark."""
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
    """The least darkness of each stratum but the palest."""
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
def place(darkness: Any, starts: Any, region: int, strata: Any) -> None:
    """The stratum of each pixel of a region, from 0 for the darkest."""
    s0, s1, s2, s3 = starts[0], starts[1], starts[2], starts[3]
    for y in range(lane(), SIDE, lanes()):
        dark, row = darkness[y * SIDE : (y + 1) * SIDE], strata[y * SIDE : (y + 1) * SIDE]
        for x in range(SIDE):
            k = dark[x]
            row[x] = np.int32(k < s0) + np.int32(k < s1) + np.int32(k < s2) + np.int32(k < s3)
        inside = START <= y < STOP
        if region == 1 and not inside:
            for x in range(SIDE):
                row[x] = NOWHERE
        elif region == 1:
            for x in range(START):
                row[x], row[SIDE - 1 - x] = NOWHERE, NOWHERE
        elif region == 2 and inside:
            for x in range(START, STOP):
                row[x] = NOWHERE


@device
def add_strip(values: Any, strata: Any, n: int, sums: Any) -> None:
    """Add up a strip's values and their squares by stratum."""
    s0, s1, s2, s3, s4 = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    q0, q1, q2, q3, q4 = np.int32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for i in range(n):
        v, k = values[i], strata[i]
        square = np.int32(v * v)
        m0, m1 = -np.int32(k == 0), -np.int32(k == 1)
        m2, m3, m4 = -np.int32(k == 2), -np.int32(k == 3), -np.int32(k == 4)
        s0, q0 = np.int32(s0 + (v & m0)), np.int32(q0 + (square & m0))
        s1, q1 = np.int32(s1 + (v & m1)), np.int32(q1 + (square & m1))
        s2, q2 = np.int32(s2 + (v & m2)), np.int32(q2 + (square & m2))
        s3, q3 = np.int32(s3 + (v & m3)), np.int32(q3 + (square & m3))
        s4, q4 = np.int32(s4 + (v & m4)), np.int32(q4 + (square & m4))
    add(sums, 0, s0)
    add(sums, 1, s1)
    add(sums, 2, s2)
    add(sums, 3, s3)
    add(sums, 4, s4)
    add(sums, 5, q0)
    add(sums, 6, q1)
    add(sums, 7, q2)
    add(sums, 8, q3)
    add(sums, 9, q4)


@device
def add_map(values: Any, top: int, which: int, work: Any, sums: Any) -> None:
    """Add up a strip of one map in every region, for each ranking."""
    first, n = top * SIDE, STRIP * SIDE
    for pair in range(N_RANKED * N_REGIONS):
        if pair % N_REGIONS == 1 and (top + STRIP <= START or top >= STOP):
            continue
        strata = work[STRATUM + pair, first : first + n]
        add_strip(values, strata, n, sums[(pair * N_MAPS + which) * EACH :])


@device
def add_maps(planes: Any, own: Any, work: Any, sums: Any) -> None:
    for k in range(lane(), N_RANKED * N_REGIONS * N_MAPS * EACH, lanes()):
        sums[k] = 0
    barrier()
    for top in range(lane() * STRIP, SIDE, lanes() * STRIP):
        for which in range(N_PLANES):
            for y in range(STRIP):
                pixels, row = planes[DESCRIBED_INDEX[which], top + y], own[y * SIDE : (y + 1) * SIDE]
                for x in range(SIDE):
                    row[x] = pixels[x]
            add_map(own, top, which, work, sums)
        for detail in range(2 * N_RANKED):
            values = work[DETAILS + detail, top * SIDE : (top + STRIP) * SIDE]
            add_map(values, top, N_PLANES + detail, work, sums)
    barrier()


@device
def count_strata(strata: Any, counts: Any) -> None:
    for k in range(lane(), N_RANKED * N_REGIONS * N_STRATA, lanes()):
        counts[k] = 0
    barrier()
    for y in range(lane(), SIDE, lanes()):
        for pair in range(N_RANKED * N_REGIONS):
            row = strata[pair][y * SIDE : (y + 1) * SIDE]
            for stratum in range(N_STRATA):
                n = np.int32(0)
                for x in range(SIDE):
                    n += np.int32(row[x] == stratum)
                add(counts, pair * N_STRATA + stratum, n)
    barrier()


@device
def describe(counts: Any, sums: Any, unit: float, out: Any) -> None:
    """Mean and deviation of one map in each stratum of one region."""
    pixels, total, squares = 0, 0, 0
    for k in range(N_STRATA):
        pixels += int(counts[k])
        total += int(sums[k])
        squares += int(sums[N_STRATA + k])
    for k in range(N_STRATA):
        n, s, q = int(counts[k]), int(sums[k]), int(sums[N_STRATA + k])
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
        for region in range(N_REGIONS):
            strata = work[STRATUM + ranked * N_REGIONS + region]
            place(work[DARKNESS + ranked], starts[region * N_CUTS :], region, strata)
        barrier()
    count_strata(work[STRATUM:OWN], ints[COUNTS:SUMS])
    add_maps(planes, own, work, ints[SUMS:])
    for k in range(lane(), N_RANKED * N_REGIONS * N_MAPS, lanes()):
        pair = k // N_MAPS
        unit = 1.0 if k % N_MAPS < N_PLANES else float(1 << EIGHTHS)
        describe(ints[COUNTS + pair * N_STRATA :], ints[SUMS + k * EACH :], unit, out[k * EACH :])
    barrier()


SOURCE = "scipy.ndimage.mean and standard_deviation, by label"
DETAIL = LARGEST_DETAIL / (1 << EIGHTHS)
FEATURES = (
    Feature("mean", "mean of the plane", "levels", 0, 255, "its level", SOURCE),
    Feature("deviation", "standard deviation of the plane", "levels", 0, 127.5, "0", SOURCE),
    Feature("fine_mean", "mean of |B1 - B2|", "levels", 0, DETAIL, "0", SOURCE),
    Feature("fine_deviation", "deviation of |B1 - B2|", "levels", 0, DETAIL / 2, "0", SOURCE),
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
