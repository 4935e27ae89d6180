"""Gray-level co-occurrence: how often two levels stand a step apart, and what that says.

Pairs are counted at distances 1, 2 and 4 in four directions, both ways round (symmetric), on
`gray` and `hematoxylin` cut into 32 levels, and normalized to a probability p(i, j). A diagonal
step of distance d is d rows and d columns (as in mahotas; scikit-image's is shorter). A pair
belongs to `center` or `ring` if both its pixels do. Columns are
`glcm__<property>__<region>_<plane>_d<distance>_<mean|range>`: the mean and the range (largest
minus smallest) over the four directions, which a turned or flipped patch leaves as they are.

In the formulas s = i + j, d = |i - j|, mu and var are the mean and variance of p's marginal, and
H is an entropy in bits.

Sources: R. M. Haralick, K. Shanmugam and I. Dinstein, "Textural features for image
classification", IEEE Trans. SMC 3, 1973 (the first thirteen, with levels from 0, and `sum_variance`
about `sum_average`, as `mahotas.features.haralick` has it); R. W. Conners, M. M. Trivedi and C. A.
Harlow, "Segmentation of a high-resolution urban scene using texture operators", Comput. Vision
Graph. 25, 1984 (the cluster properties); `skimage.feature.graycoprops`.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

import numpy as np

from ..engine.lanes import Kernel, add, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, PATCH_SIZE, REGIONS
from .counts import N_DIRECTIONS, n_log2_n_table, reduce_directions
from .family import Family, Feature

LEVEL_BITS = 5
LEVELS = 1 << LEVEL_BITS
TOP = LEVELS - 1  # the largest level, and the largest difference
GRAYCOPROPS, HARALICK = "skimage.feature.graycoprops", "mahotas.features.haralick; Haralick 1973"
CONNERS = "Conners, Trivedi and Harlow 1984"
LITTLE = 1e-6  # what rounding may add to a bound
FEATURES = (
    Feature("asm", "sum p²: angular second moment", "1", 0, 1, "1", GRAYCOPROPS),
    Feature("contrast", "sum d² p", "levels²", 0, TOP**2, "0", GRAYCOPROPS),
    Feature("correlation", "(sum i j p - mu²) / var", "1", -1 - LITTLE, 1 + LITTLE, "1", GRAYCOPROPS),
    Feature("variance", "var", "levels²", 0, TOP**2 / 4, "0", GRAYCOPROPS),
    Feature("homogeneity", "sum p / (1 + d²)", "1", 0, 1, "1", GRAYCOPROPS),
    Feature("sum_average", "mean of s", "levels", 0, 2 * TOP, "s", HARALICK),
    Feature("sum_variance", "variance of s", "levels²", 0, TOP**2, "0", HARALICK),
    Feature("sum_entropy", "H(s)", "bits", 0, 6, "0", HARALICK),
    Feature("entropy", "H(p)", "bits", 0, 2 * LEVEL_BITS, "0", HARALICK),
    Feature("difference_variance", "variance of d", "levels²", 0, TOP**2 / 4, "0", HARALICK),
    Feature("difference_entropy", "H(d)", "bits", 0, LEVEL_BITS, "0", HARALICK),
    Feature(
        "imc1",
        "information measure of correlation: (H(p) - 2 H(marginal)) / H(marginal)",
        "1",
        -1 - LITTLE,
        0,
        "0",
        HARALICK,
    ),
    Feature(
        "imc2",
        "information measure of correlation: sqrt(1 - exp(-2 (2 H(marginal) - H(p))))",
        "1",
        0,
        1,
        "0",
        HARALICK,
    ),
    Feature("dissimilarity", "sum d p", "levels", 0, TOP, "0", GRAYCOPROPS),
    Feature("max_probability", "max p", "1", 0, 1, "1", "Haralick 1973"),
    Feature(
        "cluster_shade", "sum (s - 2 mu)³ p", "levels³", -((2 * TOP) ** 3), (2 * TOP) ** 3, "0", CONNERS
    ),
    Feature("cluster_prominence", "sum (s - 2 mu)⁴ p", "levels⁴", 0, (2 * TOP) ** 4, "0", CONNERS),
)
PROPERTIES = tuple(feature.name for feature in FEATURES)
MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
DISTANCES = (1, 2, 4)
DIRECTIONS = ((0, 1), (-1, 1), (-1, 0), (-1, -1))
N_PROPERTIES, N_REGIONS = len(PROPERTIES), len(REGIONS)
START, STOP = CENTER

# Scratch of one region: LEVELS rows of pair counts, then the histograms of i + j, |i - j| and i.
SUMS, DIFFERENCES, MARGINAL = LEVELS, LEVELS + 2, LEVELS + 3
ROWS = LEVELS + 4
SQUARES, LOGS, LARGEST = 0, 1, 2  # what is summed, or sought, over each row of a joint histogram


@device
def count_pairs(
    plane: Any, top: int, bottom: int, left: int, right: int, dy: int, dx: int, step: int, counts: Any
) -> None:
    """Add `step` for each pair that starts in the rectangle and ends in the plane."""
    height, width = plane.shape
    x0, x1 = max(left, -dx), min(right, width - dx)
    for y in range(max(top, -dy) + lane(), min(bottom, height - dy), lanes()):
        for x in range(x0, x1):
            i = plane[y, x] >> (8 - LEVEL_BITS)
            j = plane[y + dy, x + dx] >> (8 - LEVEL_BITS)
            add(counts, (i, j), step)


@device
def count_regions(plane: Any, dy: int, dx: int, counts: Any) -> None:
    """Count the pairs of each region; a pair that straddles the center's edge is in neither part."""
    height, width = plane.shape
    for y in range(lane(), ROWS, lanes()):
        for region in range(N_REGIONS):
            for x in range(LEVELS):
                counts[region, y, x] = 0
    barrier()
    top, bottom = max(START, START - dy), min(STOP, STOP - dy)
    left, right = max(START, START - dx), min(STOP, STOP - dx)
    count_pairs(plane, 0, height, 0, width, dy, dx, 1, counts[0])
    count_pairs(plane, top, bottom, left, right, dy, dx, 1, counts[1])
    # ring = patch - (first in center) - (second in center) + (both in center)
    count_pairs(plane, START, STOP, START, STOP, dy, dx, -1, counts[2])
    count_pairs(plane, START - dy, STOP - dy, START - dx, STOP - dx, dy, dx, -1, counts[2])
    barrier()
    for i in range(lane(), LEVELS, lanes()):
        for j in range(LEVELS):
            counts[2, i, j] += counts[0, i, j] + counts[1, i, j]
    barrier()


@device
def summarize_row(counts: Any, i: int, n_log2_n: Any, row: Any) -> None:
    """One row of a joint histogram, at and right of the diagonal: its share of all that is needed."""
    squares, logs, largest = 0.0, 0.0, 0
    for j in range(i, LEVELS):
        if counts[i, j] == 0 and counts[j, i] == 0:
            continue
        both = counts[i, j] + counts[j, i]
        once = both if i != j else counts[i, i]  # the pairs themselves, each counted one way round
        weight = 2 if i != j else 1  # cells of the symmetric histogram that hold `both`
        squares += weight * float(both) * float(both)
        logs += weight * n_log2_n[both]
        largest = max(largest, both)
        add(counts, (SUMS + ((i + j) >> LEVEL_BITS), (i + j) & (LEVELS - 1)), once)
        add(counts, (DIFFERENCES, j - i), once)
        add(counts, (MARGINAL, i), once)
        add(counts, (MARGINAL, j), once)
    row[SQUARES], row[LOGS], row[LARGEST] = squares, logs, largest


@device
def describe(counts: Any, rows: Any, n_log2_n: Any, out: Any) -> None:
    """All properties of one region in one direction, from its histograms and row sums."""
    pairs = 0
    for d in range(LEVELS):
        pairs += counts[DIFFERENCES, d]
    both = 2 * pairs
    squares, joint, largest = 0.0, 0.0, 0.0
    for i in range(LEVELS):
        squares += rows[i, SQUARES]
        joint += rows[i, LOGS]
        largest = max(largest, rows[i, LARGEST])
    contrast, dissimilarity, homogeneity, difference_logs = 0.0, 0.0, 0.0, 0.0
    mean, marginal_logs = 0.0, 0.0
    for k in range(LEVELS):
        n = counts[DIFFERENCES, k]
        contrast += k * k * n
        dissimilarity += k * n
        homogeneity += n / (1.0 + k * k)
        difference_logs += n_log2_n[n]
        mean += k * counts[MARGINAL, k]
        marginal_logs += n_log2_n[counts[MARGINAL, k]]
    contrast, dissimilarity, mean = contrast / pairs, dissimilarity / pairs, mean / both
    variance = 0.0
    for k in range(LEVELS):
        variance += (k - mean) * (k - mean) * counts[MARGINAL, k] / both
    sum_variance, shade, prominence, sum_logs = 0.0, 0.0, 0.0, 0.0
    for s in range(2 * LEVELS - 1):
        n = counts[SUMS + (s >> LEVEL_BITS), s & (LEVELS - 1)]
        away = s - 2 * mean
        sum_variance += away * away * n / pairs
        shade += away * away * away * n / pairs
        prominence += away * away * away * away * n / pairs
        sum_logs += n_log2_n[n]
    entropy = (n_log2_n[both] - joint) / both
    marginal_entropy = (n_log2_n[both] - marginal_logs) / both
    information = max(2 * marginal_entropy - entropy, 0.0)
    flat = largest == both  # every pair is of one level with itself
    out[0] = squares / (float(both) * float(both))
    out[1] = contrast
    out[2] = 1.0 if flat else (sum_variance - contrast) / (4 * variance)
    out[3] = 0.0 if flat else variance
    out[4] = homogeneity / pairs
    out[5] = 2 * mean
    out[6] = 0.0 if flat else sum_variance
    out[7] = (n_log2_n[pairs] - sum_logs) / pairs
    out[8] = entropy
    out[9] = contrast - dissimilarity * dissimilarity
    out[10] = (n_log2_n[pairs] - difference_logs) / pairs
    out[11] = 0.0 if flat else -information / marginal_entropy
    out[12] = sqrt(1 - exp(-2 * information))
    out[13] = dissimilarity
    out[14] = largest / both
    out[15] = 0.0 if flat else shade
    out[16] = 0.0 if flat else prominence


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    described = floats[:, :N_DIRECTIONS]  # [region, direction, property]
    rows = floats[:, N_DIRECTIONS:]  # [region, row, what]
    at = 0
    for plane in range(len(PLANE_INDEX)):
        for distance in range(len(DISTANCES)):
            for direction in range(N_DIRECTIONS):
                dy = DISTANCES[distance] * DIRECTIONS[direction][0]
                dx = DISTANCES[distance] * DIRECTIONS[direction][1]
                count_regions(planes[PLANE_INDEX[plane]], dy, dx, ints)
                for i in range(lane(), LEVELS, lanes()):
                    for region in range(N_REGIONS):
                        summarize_row(ints[region], i, table, rows[region, i])
                barrier()
                for region in range(lane(), N_REGIONS, lanes()):
                    describe(ints[region], rows[region], table, described[region, direction])
                barrier()
            for region in range(lane(), N_REGIONS, lanes()):
                first = at + region * 2 * N_PROPERTIES
                reduce_directions(described[region], out[first : first + 2 * N_PROPERTIES])
            at += N_REGIONS * 2 * N_PROPERTIES
            barrier()


COLUMNS = tuple(
    f"glcm__{name}__{region}_{plane}_d{distance}_{statistic}"
    for plane in MEASURED
    for distance in DISTANCES
    for region in REGIONS
    for name in PROPERTIES
    for statistic in ("mean", "range")
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="glcm",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=n_log2_n_table(2 * PATCH_SIZE * PATCH_SIZE),
        ints=(N_REGIONS, ROWS, LEVELS),
        floats=(N_REGIONS, N_DIRECTIONS + LEVELS, N_PROPERTIES),
    ),
)
