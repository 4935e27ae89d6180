"""Nuclei: number, size, shape, stain, texture and spacing of segmented nuclei.

`families.segmentation` segments the nuclei and splits touching ones. Columns are named
`nuclei__<feature>__<region>` and `nuclei__<feature>__center_minus_ring`. A nucleus is in `center` if
its centroid is. All features except `share`, `cellularity`, `threshold` and `separability` are over the
nuclei that do not touch the border of the patch. They are 0 in a region without such nuclei, where
`count` is 0 too. The threshold is computed on the whole patch, so every column depends on all of it.

`_deviation` is the standard deviation over the nuclei; `_p10`, `_p50` and `_p90` are percentiles.

Sources: `skimage.measure.regionprops`; M. Veta et al., "Prognostic value of automatically extracted
nuclear morphometric features in whole slide images of male breast cancer", Mod. Pathol. 25, 2012;
J. S. Meyer et al., "Breast carcinoma malignancy grading by Bloom-Richardson system vs proliferation
index", Mod. Pathol. 18, 2005 (pleomorphism).
"""

from __future__ import annotations

from math import inf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from ..engine.kernel import Kernel, barrier, device, lane, lanes
from ..geometry import REGIONS
from .family import Family, Feature
from .margins import CELLS, SIDE, STRIDE
from .outline import (
    AREA,
    CENTRAL,
    DIAGONALS,
    EDGES,
    FLAGS,
    HH,
    HULL,
    RIM,
    STAIN_SUMS,
    TOUCHING,
    WHOLE,
    XX,
    XY,
    YY,
    H,
    X,
    Y,
    measure_nucleus,
)
from .segmentation import (
    BOX_SIZE,
    BOXES,
    CHANGED,
    COUNT,
    DARK,
    LABEL,
    MASKED,
    MASKED_CENTER,
    MOST,
    N_IMAGES,
    QUEUE,
    START,
    STOP,
    TEMP,
    TISSUED,
    TISSUED_CENTER,
    heights,
    segment,
)

LARGE = 80  # pixels: about twice the nucleus of a lymphocyte
DARKER = (5, 4)  # a hyperchromatic nucleus is 5/4 times as dark as the mean of nuclear pixels
PERCENTILES = (10, 50, 90)
N_REGIONS = len(REGIONS)

MEMBERS, ORDER = QUEUE, TEMP  # images that are no longer needed, reused for lists of nuclei
CENTRALS = CHANGED

PROPS = "skimage.measure.regionprops"
INTENSITY = f"{PROPS}: mean_intensity"
LONGEST = 4 * SIDE  # an upper bound of the axes of a nucleus


class Measure(NamedTuple):
    """A measure with its range and its source; `ranked` says whether percentiles are columns."""

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    source: str
    ranked: bool = False


# Measures of each nucleus.
MEASURES = (
    Measure("area", "area", "pixels", 0, SIDE**2, f"{PROPS}: area", ranked=True),
    Measure(
        "perimeter",
        "perimeter, by Crofton's formula in four directions",
        "pixels",
        0,
        3 * SIDE**2,
        "skimage.measure.perimeter_crofton",
    ),
    Measure(
        "major",
        "major axis of the ellipse with the same moments",
        "pixels",
        0,
        LONGEST,
        f"{PROPS}: axis_major_length",
    ),
    Measure(
        "minor",
        "minor axis of that ellipse",
        "pixels",
        0,
        LONGEST,
        f"{PROPS}: axis_minor_length",
        ranked=True,
    ),
    Measure("eccentricity", "eccentricity of that ellipse", "1", 0, 1, f"{PROPS}: eccentricity"),
    Measure(
        "solidity",
        "area / area of the convex hull of the pixels' corners",
        "1",
        0,
        1,
        "scipy.spatial.ConvexHull",
        ranked=True,
    ),
    Measure("form_factor", "4 pi area / perimeter²", "1", 0, 1.5, "skimage.measure.perimeter_crofton"),
    Measure("hematoxylin", "mean hematoxylin", "levels", 0, 255, INTENSITY, ranked=True),
    Measure("eosin", "mean eosin", "levels", 0, 255, INTENSITY),
    Measure("gray", "mean gray", "levels", 0, 255, INTENSITY),
    Measure("red", "mean red", "levels", 0, 255, INTENSITY),
    Measure(
        "texture",
        "standard deviation of hematoxylin",
        "levels",
        0,
        127.5,
        "numpy.std",
        ranked=True,
    ),
    Measure(
        "contrast",
        "mean hematoxylin - mean hematoxylin two pixels outside the border",
        "levels",
        -255,
        255,
        "numpy",
    ),
    Measure(
        "neighbor",
        "distance to the nearest centroid of another nucleus; 96 if there is no other",
        "pixels",
        0,
        2 * SIDE,
        "scipy.spatial.cKDTree",
        ranked=True,
    ),
)
N_MEASURES = len(MEASURES)
PERIMETER, MAJOR, MINOR, ECCENTRICITY, FORM = 1, 2, 3, 4, 6  # positions among MEASURES
STAIN, TEXTURE, CONTRAST, NEIGHBOR = 7, 11, 12, 13
RANKED = tuple(measure.ranked for measure in MEASURES)
# Measures of each region: name, meaning, unit, low, high, source.
SUMMARIES = (
    ("count", "nuclei", "1", 0, MOST, "skimage.measure.label"),
    ("share", "nuclear pixels / pixels", "share", 0, 1, "scikit-image"),
    ("cellularity", "nuclear pixels / tissue pixels", "share", 0, 1, "scikit-image"),
    ("largest", "largest area", "pixels", 0, SIDE**2, f"{PROPS}: area"),
    ("weighted_area", "sum area² / sum area", "pixels", 0, SIDE**2, f"{PROPS}: area"),
    ("area_variation", "standard deviation / mean of the area", "1", 0, inf, "scipy.stats.variation"),
    (
        "stain_variation",
        "standard deviation / mean of the mean hematoxylin",
        "1",
        0,
        inf,
        "scipy.stats.variation",
    ),
    ("large", f"share of nuclei of at least {LARGE} pixels", "share", 0, 1, "numpy"),
    (
        "dark",
        "share of nuclei at least 1.25 times as dark as the mean of all nuclear pixels",
        "share",
        0,
        1,
        "numpy",
    ),
    ("touching", "share of nuclei that touch another", "share", 0, 1, "numpy"),
)
WHOLE_PATCH = (
    ("threshold", "Otsu's threshold of the tissue", "levels", 0, 255, "skimage.filters.threshold_otsu"),
    ("separability", "variance between Otsu's two classes / variance", "1", 0, 1, "Otsu 1979: eta"),
)
N_SUMMARIES = len(SUMMARIES)
WHERE = tuple(2 * k + len(PERCENTILES) * sum(RANKED[:k]) for k in range(N_MEASURES + 1))
SUMMARY = WHERE[N_MEASURES]  # position of the first summary among a region's columns
PER_REGION = SUMMARY + N_SUMMARIES
DIFFERENCES = N_REGIONS * PER_REGION
OTSU = DIFFERENCES + N_MEASURES + N_SUMMARIES


@device
def nearest(cells: Any, nuclei: int, i: int) -> float:
    """Distance of a centroid to the nearest other one, or the side of the patch if there is none."""
    best = float(SIDE * SIDE)
    area = int(cells[i, AREA])
    for j in range(nuclei):
        if j == i:
            continue
        other = int(cells[j, AREA])
        # Two areas lie in the same patch, so these integers stay below 2⁶³.
        dx = int(cells[i, X]) * other - int(cells[j, X]) * area
        dy = int(cells[i, Y]) * other - int(cells[j, Y]) * area
        shared = float(area * other)
        best = min(best, float(dx * dx + dy * dy) / (shared * shared))
    return sqrt(best)


@device
def shape_of(cell: Any, k: int) -> float:
    """One of the MEASURES of a nucleus that depend on its outline."""
    area = int(cell[AREA])
    if k in (PERIMETER, FORM):
        perimeter = float(cell[EDGES] + cell[DIAGONALS] / sqrt(2.0)) * (pi / 8)
        return perimeter if k == PERIMETER else 4 * pi * area / (perimeter * perimeter)
    if k in (MAJOR, MINOR, ECCENTRICITY):
        xx = float(area * int(cell[XX]) - int(cell[X]) * int(cell[X]))
        yy = float(area * int(cell[YY]) - int(cell[Y]) * int(cell[Y]))
        xy = float(area * int(cell[XY]) - int(cell[X]) * int(cell[Y]))
        root = sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)
        long, short = (xx + yy + root) / 2, max((xx + yy - root) / 2, 0.0)
        if k == ECCENTRICITY:
            return sqrt(1 - short / long)
        return 4 * sqrt(long if k == MAJOR else short) / area
    return float(area) if k == AREA else 2 * area / int(cell[HULL])


@device
def stain_of(cell: Any, k: int) -> float:
    """One of the MEASURES of a nucleus that depend on levels."""
    area, h = int(cell[AREA]), int(cell[H])
    if k == TEXTURE:
        return sqrt(float(area * int(cell[HH]) - h * h)) / area
    if k == CONTRAST:
        return h / area - int(cell[RIM]) / int(cell[EDGES])
    return int(cell[STAIN_SUMS + k - STAIN]) / area


@device
def choose(cells: Any, nuclei: int, members: Any) -> tuple[int, int]:
    """List the nuclei that do not touch the border; returns their number and that of central ones."""
    count, central = 0, 0
    for i in range(nuclei):
        if cells[i, FLAGS] & WHOLE != 0:
            members[count] = i
            count += 1
            central += cells[i, FLAGS] & CENTRAL != 0
    return count, central


@device
def rank(count: int, values: Any, members: Any, ranked: Any, order: Any) -> None:
    """Sort the values, so that their sums do not depend on the numbering of the nuclei."""
    for i in range(lane(), count, lanes()):
        place, own = 0, values[i]
        for j in range(i):
            place += values[j] <= own
        for j in range(i + 1, count):
            place += values[j] < own
        ranked[place], order[place] = own, members[i]
    barrier()


@device
def describe(ranked: Any, count: int, with_ranks: bool, out: Any) -> None:
    """Mean, standard deviation and optionally percentiles of sorted values; 0 without values."""
    total, squares = 0.0, 0.0
    for k in range(count):
        total += ranked[k]
    mean = total / max(count, 1)
    for k in range(count):
        squares += (ranked[k] - mean) * (ranked[k] - mean)
    out[0], out[1] = mean, sqrt(squares / max(count, 1))
    for p in range(len(PERCENTILES) if with_ranks else 0):
        position = PERCENTILES[p] * max(count - 1, 0)
        k, part = position // 100, position % 100
        low = ranked[k] if count > 0 else 0.0
        high = ranked[k + 1] if part > 0 else low
        out[2 + p] = low + (high - low) * part / 100


@device
def describe_regions(
    cells: Any, count: int, central: int, ranked: Any, order: Any, part: Any, k: int, out: Any
) -> None:
    """Describe measure `k` over all nuclei, the central ones and the others, on one lane each."""
    for region in range(lane(), N_REGIONS, lanes()):
        found = out[region * PER_REGION + WHERE[k] :]
        if region == 0:
            describe(ranked, count, RANKED[k], found)
            continue
        first = 0 if region == 1 else central
        size = 0
        for place in range(count):
            if (cells[order[place], FLAGS] & CENTRAL != 0) == (region == 1):
                part[first + size] = ranked[place]
                size += 1
        describe(part[first:], size, RANKED[k], found)


@device
def summarize(cells: Any, members: Any, size: int, region: int, control: Any, out: Any) -> None:
    """The summaries of a region's nuclei. Its means and standard deviations are already in `out`."""
    count, area, squares, largest, large, dark, touching = 0, 0, 0, 0, 0, 0, 0
    for k in range(size):
        cell = cells[members[k]]
        central = cell[FLAGS] & CENTRAL != 0
        if region != 0 and central != (region == 1):
            continue
        own = int(cell[AREA])
        count, area, squares, largest = count + 1, area + own, squares + own * own, max(largest, own)
        large += own >= LARGE
        darkness = DARKER[1] * int(cell[H]) * int(control[MASKED])
        dark += darkness > DARKER[0] * int(control[DARK]) * own
        touching += cell[FLAGS] & TOUCHING != 0
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
        measure_nucleus(planes, label, i + 1, box, scratch, cells[i])
    barrier()
    members, order = work[MEMBERS], work[ORDER]
    if lane() == 0:
        control[COUNT], control[CENTRALS] = choose(cells, nuclei, members)
    barrier()
    count, central = int(control[COUNT]), int(control[CENTRALS])
    values, ranked, neighbors = floats[0], floats[1], floats[2]
    for i in range(lane(), count, lanes()):
        neighbors[i] = nearest(cells, nuclei, members[i])
    for k in range(N_MEASURES):
        barrier()
        for i in range(lane(), count, lanes()):
            cell = cells[members[i]]
            values[i] = (
                neighbors[i] if k == NEIGHBOR else shape_of(cell, k) if k < STAIN else stain_of(cell, k)
            )
        barrier()
        rank(count, values, members, ranked, order)
        describe_regions(cells, count, central, ranked, order, values, k, out)
    barrier()
    for region in range(lane(), N_REGIONS, lanes()):
        summarize(cells, members, count, region, control, out[region * PER_REGION :])
    barrier()
    center, ring = out[PER_REGION:], out[2 * PER_REGION :]
    for k in range(lane(), N_MEASURES, lanes()):
        out[DIFFERENCES + k] = center[WHERE[k]] - ring[WHERE[k]]
    for k in range(lane(), N_SUMMARIES, lanes()):
        out[DIFFERENCES + N_MEASURES + k] = center[SUMMARY + k] - ring[SUMMARY + k]
    barrier()


def _of_measure(measure: Measure) -> list[Feature]:
    """The features of a measure over the nuclei of a region."""
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
    *(
        Feature(name, meaning, unit, low, high, "0", source)
        for name, meaning, unit, low, high, source in (*SUMMARIES, *WHOLE_PATCH)
    ),
)
COLUMNS = (
    *(f"nuclei__{name}__{region}" for region in REGIONS for name in REGIONAL),
    *(f"nuclei__{name}__center_minus_ring" for name in COMPARED),
    *(f"nuclei__{summary[0]}__patch" for summary in WHOLE_PATCH),
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
