"""Nuclei: segmented and split as `segmentation` says, and measured one by one.

Columns are `nuclei__<feature>__<region>` and `nuclei__<feature>__center_minus_ring`. A nucleus is in
`center` if its centroid is. All but `share`, `cellularity`, `threshold` and `separability` are over
the nuclei that do not touch the patch's border; a region without any has 0, and `count` tells. The
threshold is the patch's, so that through it every column hangs on the whole patch.

`_deviation` is the standard deviation over the nuclei, `_p10`, `_p50` and `_p90` are percentiles.

Sources: `skimage.measure.regionprops`; M. Veta et al., "Prognostic value of automatically extracted
nuclear morphometric features in whole slide images of male breast cancer", Mod. Pathol. 25, 2012;
J. S. Meyer et al., "Breast carcinoma malignancy grading by Bloom-Richardson system vs proliferation
index", Mod. Pathol. 18, 2005 (pleomorphism).
"""

from __future__ import annotations

from math import inf, pi, sqrt
from typing import Any

import numpy as np

from ..engine.lanes import Kernel, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, REGIONS
from .family import Family, Feature
from .segmentation import (
    BOX_SIZE, BOXES, BOTTOM, CELLS, COUNT, DARK, HEMATOXYLIN, LABEL, LEFT, MARGIN, MASKED,
    MASKED_CENTER, MOST, N_IMAGES, RIGHT, SIDE, STRIDE, TEMP, TISSUED, TISSUED_CENTER, TOP,
    heights, row_of, segment,
)  # fmt: skip

LARGE = 80  # pixels: about twice a lymphocyte's nucleus
DARKER = (5, 4)  # a hyperchromatic nucleus is that much darker than nuclear pixels are on the mean
PERCENTILES = (10, 50, 90)
N_REGIONS = len(REGIONS)
START, STOP = CENTER
EOSIN, GRAY, RED = PLANES.index("eosin"), PLANES.index("gray"), PLANES.index("red")

# What each nucleus has in its row of `ints`.
(
    AREA, X, Y, XX, YY, XY, EDGES, DIAGONALS, HULL,
    H, HH, E, G, R, RIM, FLAGS,
) = range(16)  # fmt: skip
WHOLE, CENTRAL, TOUCHING = 1, 2, 4

PROPS = "skimage.measure.regionprops"
INTENSITY = f"{PROPS}: mean_intensity"
LONGEST = 4 * SIDE  # no axis of a nucleus is longer
# Of each nucleus: name, meaning, unit, low, high, source, and whether its percentiles are columns.
MEASURES = (
    ("area", "area", "pixels", 0, SIDE**2, f"{PROPS}: area", True),
    ("perimeter", "perimeter, by Crofton's formula in four directions", "pixels", 0, 3 * SIDE**2,
     "skimage.measure.perimeter_crofton", False),
    ("major", "major axis of the ellipse with the same moments", "pixels", 0, LONGEST,
     f"{PROPS}: axis_major_length", False),
    ("minor", "minor axis of that ellipse", "pixels", 0, LONGEST, f"{PROPS}: axis_minor_length", True),
    ("eccentricity", "eccentricity of that ellipse", "1", 0, 1, f"{PROPS}: eccentricity", False),
    ("solidity", "area / area of the convex hull of the pixels' corners", "1", 0, 1,
     "scipy.spatial.ConvexHull", True),
    ("form_factor", "4 pi area / perimeter²", "1", 0, 1.5, "skimage.measure.perimeter_crofton", False),
    ("hematoxylin", "mean hematoxylin", "levels", 0, 255, INTENSITY, True),
    ("eosin", "mean eosin", "levels", 0, 255, INTENSITY, False),
    ("gray", "mean gray", "levels", 0, 255, INTENSITY, False),
    ("red", "mean red", "levels", 0, 255, INTENSITY, False),
    ("texture", "standard deviation of hematoxylin", "levels", 0, 127.5, "numpy.std", True),
    ("contrast", "mean hematoxylin - its mean two pixels outward of each border pixel's open sides",
     "levels", -255, 255, "numpy", False),
    ("neighbor", "distance of the centroid to the nearest one, of any nucleus; 96 if there is no other",
     "pixels", 0, 2 * SIDE, "scipy.spatial.cKDTree", True),
)  # fmt: skip
N_MEASURES = len(MEASURES)
STAIN = [measure[0] for measure in MEASURES].index("hematoxylin")
RANKED = tuple(measure[-1] for measure in MEASURES)
# Of each region: name, meaning, unit, low, high, source.
SUMMARIES = (
    ("count", "nuclei", "1", 0, MOST, "skimage.measure.label"),
    ("share", "nuclear pixels / pixels", "share", 0, 1, "scikit-image"),
    ("cellularity", "nuclear pixels / pixels of tissue", "share", 0, 1, "scikit-image"),
    ("largest", "largest area", "pixels", 0, SIDE**2, f"{PROPS}: area"),
    ("weighted_area", "sum area² / sum area", "pixels", 0, SIDE**2, f"{PROPS}: area"),
    ("area_variation", "deviation / mean of the area", "1", 0, inf, "scipy.stats.variation"),
    (
        "stain_variation",
        "deviation / mean of the mean hematoxylin",
        "1",
        0,
        inf,
        "scipy.stats.variation",
    ),
    ("large", f"share of nuclei of at least {LARGE} pixels", "share", 0, 1, "numpy"),
    (
        "dark",
        "share of nuclei 1.25 times as dark as nuclear pixels of the patch",
        "share",
        0,
        1,
        "numpy",
    ),
    ("touching", "share of nuclei that touch another", "share", 0, 1, "numpy"),
)
N_SUMMARIES = len(SUMMARIES)
WHERE = tuple(2 * k + len(PERCENTILES) * sum(RANKED[:k]) for k in range(N_MEASURES + 1))
SUMMARY = WHERE[N_MEASURES]  # where a region's summaries begin among its columns
PER_REGION = SUMMARY + N_SUMMARIES
DIFFERENCES = N_REGIONS * PER_REGION
OTSU = DIFFERENCES + N_MEASURES + N_SUMMARIES


@device
def corner(edge: Any, rows: int, k: int, sign: int) -> int:
    """How far out a pixel outline reaches at the line between its rows k - 1 and k."""
    return sign * max(sign * int(edge[max(k - 1, 0)]), sign * int(edge[min(k, rows - 1)]))


@device
def area_beside(edge: Any, rows: int, sign: int, chain: Any) -> int:
    """Twice the area left of the convex chain around a pixel outline: its right side with sign 1,
    its left with -1. `edge` has the outline's place in each row."""
    size, area = 0, 0
    for k in range(rows + 1):
        place = corner(edge, rows, k, sign)
        while size >= 2:
            a, b = int(chain[size - 2]), int(chain[size - 1])
            at_a, at_b = corner(edge, rows, a, sign), corner(edge, rows, b, sign)
            if sign * ((at_b - at_a) * (k - a) - (place - at_a) * (b - a)) > 0:
                break
            size -= 1
        chain[size] = k
        size += 1
    for k in range(size - 1):
        a, b = int(chain[k]), int(chain[k + 1])
        area += (b - a) * (corner(edge, rows, a, sign) + corner(edge, rows, b, sign))
    return area


@device
def measure_shape(label: Any, number: int, box: Any, scratch: Any, cell: Any) -> None:
    """Moments, border and hull of one nucleus, exactly."""
    top, bottom, left, right = int(box[TOP]), int(box[BOTTOM]), int(box[LEFT]), int(box[RIGHT])
    first, last = scratch[:STRIDE], scratch[STRIDE : 2 * STRIDE]
    area, sum_x, sum_y, sum_xx, sum_yy, sum_xy = 0, 0, 0, 0, 0, 0
    edges, diagonals, touching = 0, 0, 0
    for y in range(top, bottom + 1):
        above, here, below = row_of(label, y - 1), row_of(label, y), row_of(label, y + 1)
        first[y - top] = SIDE
        for x in range(left, right + 1):
            p = x + MARGIN
            if here[p] != number:
                continue
            first[y - top] = min(first[y - top], x)
            last[y - top] = x + 1
            area, sum_x, sum_y = area + 1, sum_x + x, sum_y + y
            sum_xx, sum_yy, sum_xy = sum_xx + x * x, sum_yy + y * y, sum_xy + x * y
            for dx in range(-1, 2):
                a, b, c = above[p + dx], here[p + dx], below[p + dx]
                other = (a != number) + (c != number)
                if dx == 0:
                    edges += other
                else:
                    diagonals += other
                    edges += b != number
                if max(a, b, c) > number or min(a, b, c) < 0:
                    touching = TOUCHING
                if (0 < a < number) or (0 < b < number) or (0 < c < number):
                    touching = TOUCHING
    rows = bottom - top + 1
    chain = scratch[2 * STRIDE :]
    hull = area_beside(last, rows, 1, chain) - area_beside(first, rows, -1, chain)
    flags = touching
    if top > 0 and left > 0 and bottom < SIDE - 1 and right < SIDE - 1:
        flags += WHOLE
    low, high = (2 * START - 1) * area, (2 * STOP - 1) * area
    if low <= 2 * sum_x <= high and low <= 2 * sum_y <= high:
        flags += CENTRAL
    cell[AREA], cell[X], cell[Y] = area, sum_x, sum_y
    cell[XX], cell[YY], cell[XY] = sum_xx, sum_yy, sum_xy
    cell[EDGES], cell[DIAGONALS], cell[HULL], cell[FLAGS] = edges, diagonals, hull, flags


@device
def measure_stain(planes: Any, label: Any, number: int, box: Any, cell: Any) -> None:
    """Sums of levels inside one nucleus, and of hematoxylin two pixels outside its border."""
    hematoxylin, last = planes[HEMATOXYLIN], SIDE - 1
    h, hh, e, g, r, rim = 0, 0, 0, 0, 0, 0
    for y in range(int(box[TOP]), int(box[BOTTOM]) + 1):
        above, here, below = row_of(label, y - 1), row_of(label, y), row_of(label, y + 1)
        for x in range(int(box[LEFT]), int(box[RIGHT]) + 1):
            p = x + MARGIN
            if here[p] != number:
                continue
            level = np.int32(hematoxylin[y, x])
            h, hh = h + level, hh + level * level
            e += np.int32(planes[EOSIN, y, x])
            g += np.int32(planes[GRAY, y, x])
            r += np.int32(planes[RED, y, x])
            if above[p] != number:
                rim += np.int32(hematoxylin[max(y - 2, 0), x])
            if below[p] != number:
                rim += np.int32(hematoxylin[min(y + 2, last), x])
            if here[p - 1] != number:
                rim += np.int32(hematoxylin[y, max(x - 2, 0)])
            if here[p + 1] != number:
                rim += np.int32(hematoxylin[y, min(x + 2, last)])
    cell[H], cell[HH], cell[E], cell[G], cell[R], cell[RIM] = h, hh, e, g, r, rim


@device
def nearest(cells: Any, nuclei: int, i: int) -> float:
    """Distance of a nucleus's centroid to the nearest other one; the patch's side if there is none."""
    best = float(SIDE * SIDE)
    area = int(cells[i, AREA])
    for j in range(nuclei):
        if j == i:
            continue
        other = int(cells[j, AREA])
        # Two areas share the patch, so that these whole numbers stay below 2⁶³.
        dx = int(cells[i, X]) * other - int(cells[j, X]) * area
        dy = int(cells[i, Y]) * other - int(cells[j, Y]) * area
        shared = float(area * other)
        best = min(best, float(dx * dx + dy * dy) / (shared * shared))
    return sqrt(best)


@device
def value_of(cell: Any, k: int, neighbor: float) -> float:
    """The k-th of MEASURES of one nucleus."""
    area = int(cell[AREA])
    if k == 0:
        return float(area)
    if k in (1, 6):
        perimeter = (cell[EDGES] + cell[DIAGONALS] / sqrt(2.0)) * (pi / 8)
        return perimeter if k == 1 else 4 * pi * area / (perimeter * perimeter)
    if k in (2, 3, 4):
        xx = float(area * int(cell[XX]) - int(cell[X]) * int(cell[X]))
        yy = float(area * int(cell[YY]) - int(cell[Y]) * int(cell[Y]))
        xy = float(area * int(cell[XY]) - int(cell[X]) * int(cell[Y]))
        root = sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)
        long, short = (xx + yy + root) / 2, max((xx + yy - root) / 2, 0.0)
        return sqrt(1 - short / long) if k == 4 else 4 * sqrt(long if k == 2 else short) / area
    if k == 5:
        return 2 * area / cell[HULL]
    if k == 7:
        return cell[H] / area
    if k == 8:
        return cell[E] / area
    if k == 9:
        return cell[G] / area
    if k == 10:
        return cell[R] / area
    if k == 11:
        return sqrt(float(area * int(cell[HH]) - int(cell[H]) * int(cell[H]))) / area
    if k == 12:
        return cell[H] / area - cell[RIM] / cell[EDGES]
    return neighbor


@device
def belongs(flags: int, region: int) -> bool:
    """Whether a nucleus counts in a region's statistics."""
    central = flags & CENTRAL != 0
    return flags & WHOLE != 0 and (region == 0 or central == (region == 1))


@device
def rank(nuclei: int, values: Any, ranked: Any, order: Any) -> None:
    """Sort the values, so that sums of them do not depend on how the nuclei are numbered."""
    for i in range(lane(), nuclei, lanes()):
        place = 0
        for j in range(nuclei):
            place += values[j] < values[i] or (values[j] == values[i] and j < i)
        ranked[place], order[place] = values[i], i
    barrier()


@device
def describe(
    cells: Any, nuclei: int, region: int, ranked: Any, order: Any, with_ranks: bool, out: Any
) -> None:
    """Mean, deviation and perhaps percentiles of one measure over a region's nuclei."""
    count, total = 0, 0.0
    for k in range(nuclei):
        if belongs(cells[order[k], FLAGS], region):
            count += 1
            total += ranked[k]
    mean, squares, passed, before = total / max(count, 1), 0.0, 0, 0.0
    for p in range(len(PERCENTILES) if with_ranks else 0):
        out[2 + p] = 0.0
    for k in range(nuclei):
        if not belongs(cells[order[k], FLAGS], region):
            continue
        squares += (ranked[k] - mean) * (ranked[k] - mean)
        for p in range(len(PERCENTILES) if with_ranks else 0):
            position = PERCENTILES[p] * (count - 1)
            if position // 100 == passed:
                out[2 + p] = ranked[k]
            elif position // 100 == passed - 1:
                out[2 + p] = before + (ranked[k] - before) * (position % 100) / 100
        passed, before = passed + 1, ranked[k]
    out[0], out[1] = mean, sqrt(squares / max(count, 1))


@device
def summarize(cells: Any, nuclei: int, region: int, control: Any, out: Any) -> None:
    """What a region says of its nuclei together; its means and deviations stand in `out` already."""
    count, area, squares, largest, large, dark, touching = 0, 0, 0, 0, 0, 0, 0
    for i in range(nuclei):
        flags = int(cells[i, FLAGS])
        if not belongs(flags, region):
            continue
        own = int(cells[i, AREA])
        count, area, squares, largest = count + 1, area + own, squares + own * own, max(largest, own)
        large += own >= LARGE
        darkness = DARKER[1] * int(cells[i, H]) * int(control[MASKED])
        dark += darkness > DARKER[0] * int(control[DARK]) * own
        touching += flags & TOUCHING != 0
    pixels, tissue, masked = SIDE * SIDE, int(control[TISSUED]), int(control[MASKED])
    inside = (STOP - START) ** 2
    if region == 1:
        pixels, tissue, masked = inside, int(control[TISSUED_CENTER]), int(control[MASKED_CENTER])
    elif region == 2:
        pixels, tissue = pixels - inside, tissue - control[TISSUED_CENTER]
        masked -= control[MASKED_CENTER]
    found = out[SUMMARY:]
    found[0], found[1], found[2] = count, masked / pixels, min(masked / max(tissue, 1), 1.0)
    found[3], found[4] = largest, squares / max(area, 1)
    stain = WHERE[STAIN]
    found[5] = out[1] / out[0] if out[0] > 0 else 0.0
    found[6] = out[stain + 1] / out[stain] if out[stain] > 0 else 0.0
    share = 1.0 / max(count, 1)
    found[7], found[8], found[9] = large * share, dark * share, touching * share


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    segment(planes, table, ints, work, out[OTSU : OTSU + 2])
    control, cells = ints[0], ints[1:]
    nuclei = int(control[COUNT])
    label, boxes = work[LABEL], work[BOXES]
    scratch = work[TEMP][3 * lane() * STRIDE :]
    for i in range(lane(), nuclei, lanes()):
        box = boxes[i * BOX_SIZE : (i + 1) * BOX_SIZE]
        measure_shape(label, i + 1, box, scratch, cells[i])
        measure_stain(planes, label, i + 1, box, cells[i])
    barrier()
    values, ranked, neighbors = floats[0], floats[1], floats[2]
    for i in range(lane(), nuclei, lanes()):
        neighbors[i] = nearest(cells, nuclei, i)
    order = work[TEMP]
    for k in range(N_MEASURES):
        barrier()
        for i in range(lane(), nuclei, lanes()):
            values[i] = value_of(cells[i], k, neighbors[i])
        barrier()
        rank(nuclei, values, ranked, order)
        for region in range(lane(), N_REGIONS, lanes()):
            at = region * PER_REGION + WHERE[k]
            describe(cells, nuclei, region, ranked, order, RANKED[k], out[at:])
    barrier()
    for region in range(lane(), N_REGIONS, lanes()):
        summarize(cells, nuclei, region, control, out[region * PER_REGION :])
    barrier()
    center, ring = out[PER_REGION:], out[2 * PER_REGION :]
    for k in range(lane(), N_MEASURES, lanes()):
        out[DIFFERENCES + k] = center[WHERE[k]] - ring[WHERE[k]]
    for k in range(lane(), N_SUMMARIES, lanes()):
        out[DIFFERENCES + N_MEASURES + k] = center[SUMMARY + k] - ring[SUMMARY + k]
    barrier()


def _of_measure(measure: tuple[Any, ...]) -> list[Feature]:
    name, meaning, unit, low, high, source, ranked = measure
    mean = Feature(f"{name}_mean", f"{meaning}: mean", unit, low, high, "0", source)
    spread = "standard deviation"
    deviation = Feature(f"{name}_deviation", f"{meaning}: {spread}", unit, 0, high - low, "0", source)
    percentiles = [
        Feature(f"{name}_p{p}", f"{meaning}: percentile {p}", unit, low, high, "0", source)
        for p in (PERCENTILES if ranked else ())
    ]
    return [mean, deviation, *percentiles]


PER_MEASURE = [_of_measure(measure) for measure in MEASURES]
REGIONAL = [feature.name for features in PER_MEASURE for feature in features]
REGIONAL += [summary[0] for summary in SUMMARIES]
COMPARED = [features[0].name for features in PER_MEASURE] + [summary[0] for summary in SUMMARIES]
FEATURES = (
    *(feature for features in PER_MEASURE for feature in features),
    *(Feature(*summary[:5], "0", summary[5]) for summary in SUMMARIES),
    Feature(
        "threshold",
        "Otsu's threshold of the tissue",
        "levels",
        0,
        255,
        "0",
        "skimage.filters.threshold_otsu",
    ),
    Feature(
        "separability",
        "variance between Otsu's two classes / variance",
        "1",
        0,
        1,
        "0",
        "Otsu 1979: eta",
    ),
)
COLUMNS = (
    *(f"nuclei__{name}__{region}" for region in REGIONS for name in REGIONAL),
    *(f"nuclei__{name}__center_minus_ring" for name in COMPARED),
    "nuclei__threshold__patch",
    "nuclei__separability__patch",
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="nuclei",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=heights(),
        ints=(1 + MOST, FLAGS + 1),
        floats=(3, MOST),
        work=(N_IMAGES, CELLS),
        work_dtype=np.int16,
    ),
)
