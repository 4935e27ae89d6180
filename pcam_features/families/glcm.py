"""Gray-level co-occurrence matrix (GLCM): statistics of pairs of pixels at fixed offsets.

Pairs are counted at distances 1, 2 and 4 in four directions and symmetrically, on `gray` and
`hematoxylin` quantized to 32 levels, and normalized to a probability p(i, j). A diagonal step of
distance d is d rows and d columns, as in mahotas; scikit-image's step is shorter. A pair belongs to
`center` or `ring` if both of its pixels do. Columns are named
`glcm__<property>__<region>_<plane>_d<distance>_<mean|range>`: the mean and the range (largest minus
smallest) over the four directions, which do not change when the patch is rotated or flipped.

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

from ..engine.kernel import LANES, Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .counts import N_DIRECTIONS, n_log2_n_table, reduce_directions
from .family import Family, Feature
from .planes import PLANES

LEVEL_BITS = 5
LEVELS = 1 << LEVEL_BITS
TOP = LEVELS - 1  # the largest level, and the largest difference
GRAYCOPROPS, HARALICK = "skimage.feature.graycoprops", "mahotas.features.haralick; Haralick 1973"
CONNERS = "Conners, Trivedi and Harlow 1984"
LITTLE = 1e-6  # tolerance for rounding at a bound
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

PAD = max(DISTANCES)  # columns on both sides of the levels, so that all rows of pairs are equally long

# The cell of a pair is smaller level * LEVELS + difference, which does not depend on the order of the
# pixels, plus CELLS for each pixel in the center. Pairs across its edge belong only to the patch.
CELLS = LEVELS * LEVELS
PLACES = 3  # both pixels in the ring, one in each, both in the center
PLACE_OF = (1, 2, 0)  # the block of each region, after pairs across the edge became the whole patch's

# Small histograms of one region, with the padding that `fold` needs; then, for each difference, the
# sum of squared counts and the largest count.
SUMS, DIFFERENCES, MARGINAL = 0, 3 * LEVELS, 4 * LEVELS
SQUARES, LARGEST, SMALL = 6 * LEVELS, 7 * LEVELS, 8 * LEVELS
LOGS = N_DIRECTIONS  # the row of floating-point scratch after those of the directions
VECTOR = 8  # counts that a CPU adds at once


@device
def cut(plane: Any, levels: Any) -> None:
    """Quantize the plane, and add CELLS in the center."""
    for y in range(lane(), PATCH_SIZE, lanes()):
        for x in range(PATCH_SIZE):
            levels[y, PAD + x] = plane[y, x] >> (8 - LEVEL_BITS)
        if START <= y < STOP:
            for x in range(START, STOP):
                levels[y, PAD + x] += CELLS
    barrier()


@device
def count_pairs(levels: Any, dy: int, dx: int, counts: Any) -> None:
    """Count the pairs in each cell: those of the ring, the patch and the center."""
    for k in range(lane(), PLACES * CELLS, lanes()):
        counts[k] = 0
    barrier()
    cells = levels[PATCH_SIZE + lane()]
    for y in range(max(0, -dy) + lane(), min(PATCH_SIZE, PATCH_SIZE - dy), lanes()):
        first = levels[y, PAD : PAD + PATCH_SIZE]
        second = levels[y + dy, PAD + dx : PAD + dx + PATCH_SIZE]
        for x in range(PATCH_SIZE):  # SIMD; cells beside the patch are not counted
            smaller = min(np.uint16(first[x] & TOP), np.uint16(second[x] & TOP))
            cells[x] = first[x] + second[x] + (LEVELS - 2) * smaller
        for x in range(max(0, -dx), min(PATCH_SIZE, PATCH_SIZE - dx)):
            add(counts, cells[x], 1)
    barrier()
    for k in range(lane(), CELLS, lanes()):
        counts[CELLS + k] += counts[k] + counts[2 * CELLS + k]
    barrier()


@device
def fold(counts: Any, small: Any) -> None:
    """One region's histograms of i + j, |i - j| and j, and the statistics of each difference.

    Rows are processed in steps of VECTOR. Loads then align with earlier stores, so that a CPU need not
    wait for them.
    """
    for k in range(lane(), SMALL, lanes()):
        small[k] = 0
    barrier()
    for start in range(VECTOR):
        for i in range(start, LEVELS, VECTOR):
            for d in range(lane(), LEVELS, lanes()):
                n = counts[i * LEVELS + d]
                small[DIFFERENCES + d] += n
                small[SQUARES + d] += n * n
                small[LARGEST + d] = max(small[LARGEST + d], n)
                add(small, SUMS + 2 * i + d, n)
                add(small, MARGINAL + i + d, n)


@device
def sum_logs(counts: Any, n_log2_n: Any, small: Any, logs: Any) -> None:
    """The sum of n log2 n over one region's cells, and its levels i.

    Each lane takes a row and its opposite row, which together always have 33 cells.
    """
    for k in range(lane(), LEVELS // 2, lanes()):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0  # four independent sums, so that none waits for another
        for i in (k, TOP - k):
            pairs = 0
            for x in range(
                i * LEVELS, (i + 1) * LEVELS - i, 4
            ):  # the cells after the last one are zero
                n0, n1, n2, n3 = counts[x], counts[x + 1], counts[x + 2], counts[x + 3]
                pairs += n0 + n1 + n2 + n3
                a += n_log2_n[
                    np.uint32(n0)
                ]  # unsigned, so that Numba does not check the sign of the index
                b += n_log2_n[np.uint32(n1)]
                c += n_log2_n[np.uint32(n2)]
                d += n_log2_n[np.uint32(n3)]
            add(small, MARGINAL + i, pairs)
        logs[k] = a + b + c + d


@device
def describe(small: Any, logs: Any, n_log2_n: Any, out: Any) -> None:
    """All properties of one region in one direction.

    Moments stay integers until the end. Those of i + j are about an integer near their mean.
    """
    pairs, differences, contrast, sums = 0, 0, 0, 0
    squares, largest = int(small[SQUARES]), 2 * small[LARGEST]  # a diagonal cell holds both orders
    for k in range(LEVELS):
        n = int(small[DIFFERENCES + k])  # without int(), products stay in 32 bits in the simulator
        pairs += n
        differences += k * n
        contrast += k * k * n
        squares += small[SQUARES + k]
        largest = max(largest, small[LARGEST + k])
    for s in range(2 * LEVELS):
        sums += s * int(small[SUMS + s])
    middle = (2 * sums + pairs) // (2 * pairs)
    first, second, third, fourth = sums - middle * pairs, 0, 0, 0
    for s in range(2 * LEVELS):
        away, n = s - middle, int(small[SUMS + s])
        second += away * away * n
        third += away * away * away * n
        fourth += away * away * away * away * n

    homogeneity, even_logs, odd_logs, difference_logs, marginal_logs = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(LEVELS):
        homogeneity += small[DIFFERENCES + k] / (1.0 + k * k)
        difference_logs += n_log2_n[np.uint32(small[DIFFERENCES + k])]
        marginal_logs += n_log2_n[np.uint32(small[MARGINAL + k])]
        even_logs += n_log2_n[np.uint32(small[SUMS + 2 * k])]
        odd_logs += n_log2_n[np.uint32(small[SUMS + 2 * k + 1])]
    joint = float(small[DIFFERENCES])  # 2n log 2n = 2n + 2n log n
    for k in range(LEVELS // 2):
        joint += logs[k]

    both, square = 2 * pairs, float(pairs * pairs)
    sum_variance = pairs * second - first * first  # times `square`, as are the next two
    spread = pairs * contrast
    shade = pairs * pairs * third - 3 * pairs * first * second + 2 * first * first * first
    shift = first / pairs
    entropy = (n_log2_n[both] - 2 * joint) / both
    marginal_entropy = (n_log2_n[both] - marginal_logs) / both
    information = max(2 * marginal_entropy - entropy, 0.0)
    flat = largest == both  # every pair is of one level with itself
    out[0] = squares / (2 * square)
    out[1] = contrast / pairs
    out[2] = 1.0 if flat else (sum_variance - spread) / (sum_variance + spread)
    out[3] = (sum_variance + spread) / (4 * square)
    out[4] = homogeneity / pairs
    out[5] = sums / pairs
    out[6] = sum_variance / square
    out[7] = (n_log2_n[pairs] - (even_logs + odd_logs)) / pairs
    out[8] = entropy
    out[9] = (spread - differences * differences) / square
    out[10] = (n_log2_n[pairs] - difference_logs) / pairs
    out[11] = 0.0 if flat else -information / marginal_entropy
    out[12] = sqrt(1 - exp(-2 * information))
    out[13] = differences / pairs
    out[14] = largest / both
    out[15] = shade / (square * pairs)
    out[16] = (fourth - 4 * shift * third + 6 * shift * shift * second) / pairs - 3 * shift**4


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    described = floats[:, :N_DIRECTIONS]  # [region, direction, property]
    at = 0
    for plane in range(len(PLANE_INDEX)):
        cut(planes[PLANE_INDEX[plane]], work)
        for distance in range(len(DISTANCES)):
            for direction in range(N_DIRECTIONS):
                dy = DISTANCES[distance] * DIRECTIONS[direction][0]
                dx = DISTANCES[distance] * DIRECTIONS[direction][1]
                count_pairs(work, dy, dx, ints)
                for region in range(N_REGIONS):
                    counts = ints[PLACE_OF[region] * CELLS : (PLACE_OF[region] + 1) * CELLS]
                    small = ints[PLACES * CELLS + region * SMALL :]
                    fold(counts, small)
                    sum_logs(counts, table, small, floats[region, LOGS])
                barrier()
                for region in range(lane(), N_REGIONS, lanes()):
                    small = ints[PLACES * CELLS + region * SMALL :]
                    describe(small, floats[region, LOGS], table, described[region, direction])
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
    version=2,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="glcm",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=n_log2_n_table(2 * PATCH_SIZE * PATCH_SIZE),
        ints=(PLACES * CELLS + N_REGIONS * SMALL,),
        floats=(N_REGIONS, N_DIRECTIONS + 1, N_PROPERTIES),
        work=(PATCH_SIZE + LANES, PATCH_SIZE + 2 * PAD),
        work_dtype=np.uint16,
    ),
)
