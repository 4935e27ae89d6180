"""Gray-level run lengths (GLRLM): statistics of runs of equal level along lines.

A run is a maximal sequence of pixels of one level along a line. Runs are counted in four directions on
`gray` and `hematoxylin` quantized to 16 levels, which gives a probability p(i, l) of level i, counted
from 1, and length l. `center` and `ring` contain the runs of their own pixels: a run that crosses the
edge of the center is split there. Columns are named
`glrlm__<feature>__<region>_<plane>_<mean|range>`: the mean and the range (largest minus smallest) over
the four directions, which do not change when the patch is rotated or flipped.

All features are normalized by the number of runs or its square, so that regions of different size can
be compared. In the formulas, sums run over the cells of p, p(i) and p(l) are its marginals, and lengths
are in pixels, also along a diagonal.

Sources: M. M. Galloway, "Texture analysis using gray level run lengths", Comput. Graph. Image
Process. 4, 1975 (the first five; the nonuniformities are divided once more by the number of runs);
A. Chu, C. M. Sehgal and J. F. Greenleaf, "Use of gray value distribution of run lengths for
texture analysis", Pattern Recognit. Lett. 11, 1990 (gray-level emphasis); B. V. Dasarathy and
E. B. Holder, "Image characterizations based on joint gray level-run length distributions",
Pattern Recognit. Lett. 12, 1991 (joint emphasis); A. Zwanenburg et al., "The Image Biomarker
Standardization Initiative", Radiology 295, 2020 (variances and entropy).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .counts import N_DIRECTIONS, n_log2_n_table, reduce_directions
from .family import Family, Feature
from .planes import PLANES

LEVEL_BITS = 4
LEVELS = 1 << LEVEL_BITS
LONGEST = PATCH_SIZE
MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
# Steps to the previous pixel, up to a sign. A rotation by 90° exchanges 0 and 2, and 1 and 3.
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))
GALLOWAY, CHU, DASARATHY = "Galloway 1975", "Chu et al. 1990", "Dasarathy and Holder 1991"
IBSI = "Zwanenburg et al. 2020"
LINES = "depends on its lines"  # in a constant region, each line is one run
FEATURES = (
    Feature("short_runs", "sum p / l²", "1", 0, 1, LINES, GALLOWAY),
    Feature("long_runs", "sum p l²", "pixels²", 1, LONGEST**2, LINES, GALLOWAY),
    Feature("level_nonuniformity", "sum p(i)²", "1", 0, 1, "1", GALLOWAY),
    Feature("length_nonuniformity", "sum p(l)²", "1", 0, 1, LINES, GALLOWAY),
    Feature("run_share", "runs / pixels: run percentage", "1", 0, 1, "lines / pixels", GALLOWAY),
    Feature("low_levels", "sum p / i²", "1", 0, 1, "1 / i²", CHU),
    Feature("high_levels", "sum p i²", "levels²", 1, LEVELS**2, "i²", CHU),
    Feature("short_low", "sum p / (i² l²)", "1", 0, 1, LINES, DASARATHY),
    Feature("short_high", "sum p i² / l²", "levels²", 0, LEVELS**2, LINES, DASARATHY),
    Feature("long_low", "sum p l² / i²", "pixels²", 0, LONGEST**2, LINES, DASARATHY),
    Feature(
        "long_high", "sum p i² l²", "levels² pixels²", 1, (LEVELS * LONGEST) ** 2, LINES, DASARATHY
    ),
    Feature("level_variance", "variance of i", "levels²", 0, (LEVELS - 1) ** 2 / 4, "0", IBSI),
    Feature("length_variance", "variance of l", "pixels²", 0, (LONGEST - 1) ** 2 / 4, LINES, IBSI),
    Feature("entropy", "-sum p log2 p", "bits", 0, 11, LINES, IBSI),
)
NAMES = tuple(feature.name for feature in FEATURES)
N_FEATURES, N_REGIONS = len(FEATURES), len(REGIONS)
START, STOP = CENTER
PATCH, IN_CENTER, IN_RING = range(N_REGIONS)

# Scratch: one row over lengths 0 to LONGEST + 1 for each region and level, then one for each region.
LENGTHS = N_REGIONS * LEVELS
# Images in `work`, with one spare column on either side: levels, levels transposed, then rows of run
# lengths so far, of the patch and of its parts, for even and odd y.
STRAIGHT, TRANSPOSED, SO_FAR = range(3)


@device
def fill_levels(plane: Any, work: Any) -> None:
    """Each pixel's level + LEVELS x its region, which is equal for neighbors in the same run."""
    height, width = plane.shape
    for y in range(lane(), height, lanes()):
        row = work[STRAIGHT, y, 1 : 1 + width]
        for x in range(width):
            row[x] = (plane[y, x] >> (8 - LEVEL_BITS)) + IN_RING * LEVELS
        if START <= y < STOP:
            for x in range(START, STOP):
                row[x] -= (IN_RING - IN_CENTER) * LEVELS
        for x in range(width):
            work[TRANSPOSED, x, 1 + y] = row[x]
    for k in range(lane(), 4, lanes()):
        work[SO_FAR, k, 0] = work[SO_FAR, k, 1 + width] = 0


@device
def lengthen(here: Any, above: Any, mask: int, so_far: Any, so_far_above: Any) -> None:
    """Process one more row: a run continues where the bits of the level in `mask` are equal."""
    for x in range(lane(), PATCH_SIZE, lanes()):  # a constant size and 8 bits, for SIMD
        change = np.uint8((here[x] ^ above[x]) & mask)
        longer = np.uint8(so_far_above[x] + np.uint8(1))  # always loaded, so that there is no branch
        so_far[x] = np.uint8(longer if change == 0 else np.uint8(1))


@device
def count_runs(levels: Any, so_far: Any, dx: int, counts: Any) -> None:
    """Count, for each level, the pixels at which a run has reached each length so far.

    From row to row, runs go down and `dx` to the right. Pixels whose length so far differs between the
    patch and their region are counted separately; they correct the sum of the regions to the patch.
    """
    left, right = START if dx >= 0 else 0, STOP if dx <= 0 else PATCH_SIZE
    for x in range(lane(), PATCH_SIZE, lanes()):
        so_far[2, 1 + x] = so_far[3, 1 + x] = 0  # nothing above row 0
    barrier()
    for y in range(PATCH_SIZE):
        here, above = levels[y, 1:], levels[max(y - 1, 0), 1 - dx :]
        now, before = 2 * (y & 1), 2 - 2 * (y & 1)
        whole, part = so_far[now, 1:], so_far[now + 1, 1:]
        lengthen(here, above, LEVELS - 1, whole, so_far[before, 1 - dx :])
        lengthen(here, above, 255, part, so_far[before + 1, 1 - dx :])
        for x in range(lane(), PATCH_SIZE, lanes()):
            add(counts, (here[x], part[x]), 1)
        if y >= START:
            for x in range(left + lane(), right, lanes()):
                if whole[x] != part[x]:
                    level = here[x] & (LEVELS - 1)
                    add(counts, (level, part[x]), -1)
                    add(counts, (level, whole[x]), 1)
        barrier()


@device
def describe(counts: Any, lengths: Any, pixels: int, n_log2_n: Any, out: Any) -> None:
    """All features of one region in one direction.

    `counts[level, length]` is the number of runs that are at least `length` long.
    """
    runs, level_sum, level_squares, of_level_squared = 0, 0, 0, 0
    long_runs, long_high, run_squares = 0, 0, 0
    short_runs, low_levels, short_low, short_high, long_low, logs = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for level in range(LEVELS):
        i = level + 1
        of_level = int(counts[level, 1])
        short, long, length = 0.0, 0, 1
        while counts[level, length] > 0:
            n = counts[level, length] - counts[level, length + 1]
            lengths[length] += n
            short += n / float(length * length)
            long += n * length * length
            logs += n_log2_n[n]
            length += 1
        runs += of_level
        level_sum += i * of_level
        level_squares += i * i * of_level
        of_level_squared += of_level * of_level
        short_runs += short
        long_runs += long
        low_levels += of_level / float(i * i)
        short_low += short / (i * i)
        short_high += short * (i * i)
        long_low += long / float(i * i)
        long_high += long * (i * i)
    for length in range(1, LONGEST + 1):
        run_squares += int(lengths[length]) * int(lengths[length])
    square = float(runs) * float(runs)
    out[0] = short_runs / runs
    out[1] = long_runs / float(runs)
    out[2] = of_level_squared / square
    out[3] = run_squares / square
    out[4] = runs / float(pixels)
    out[5] = low_levels / runs
    out[6] = level_squares / float(runs)
    out[7] = short_low / runs
    out[8] = short_high / runs
    out[9] = long_low / runs
    out[10] = long_high / float(runs)
    out[11] = (runs * level_squares - level_sum * level_sum) / square  # exact, because all are integers
    out[12] = (runs * long_runs - pixels * pixels) / square
    out[13] = (n_log2_n[runs] - logs) / runs


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    pixels, inner = PATCH_SIZE * PATCH_SIZE, (STOP - START) ** 2
    for plane in range(len(PLANE_INDEX)):
        fill_levels(planes[PLANE_INDEX[plane]], work)
        for direction in range(N_DIRECTIONS):
            for row in range(lane(), ints.shape[0], lanes()):
                for length in range(ints.shape[1]):
                    ints[row, length] = 0
            barrier()
            down, dx = DIRECTIONS[direction]
            levels = work[STRAIGHT if down else TRANSPOSED]
            count_runs(levels, work[SO_FAR], dx if down else 0, ints)
            for level in range(lane(), LEVELS, lanes()):
                for length in range(ints.shape[1]):
                    ints[level, length] += (
                        ints[LEVELS + level, length] + ints[2 * LEVELS + level, length]
                    )
            barrier()
            for region in range(lane(), N_REGIONS, lanes()):
                size = pixels if region == PATCH else inner if region == IN_CENTER else pixels - inner
                counts = ints[region * LEVELS : (region + 1) * LEVELS]
                describe(counts, ints[LENGTHS + region], size, table, floats[region, direction])
            barrier()
        for region in range(lane(), N_REGIONS, lanes()):
            at = (plane * N_REGIONS + region) * 2 * N_FEATURES
            reduce_directions(floats[region], out[at : at + 2 * N_FEATURES])
        barrier()


COLUMNS = tuple(
    f"glrlm__{name}__{region}_{plane}_{statistic}"
    for plane in MEASURED
    for region in REGIONS
    for name in NAMES
    for statistic in ("mean", "range")
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="glrlm",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=n_log2_n_table(PATCH_SIZE * PATCH_SIZE),
        ints=(LENGTHS + N_REGIONS, LONGEST + 2),
        floats=(N_REGIONS, N_DIRECTIONS, N_FEATURES),
        work=(3, PATCH_SIZE, PATCH_SIZE + 2),
        work_dtype=np.uint8,
    ),
)
