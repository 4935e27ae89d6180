"""Color statistics: the distribution of each color plane in the patch, its center and its ring.

Columns are named `color__<statistic>__<region>_<plane>`, in levels of the plane (see
`families.planes`), and `color__mean__center_minus_ring_<plane>`.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..engine.kernel import Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, REGIONS
from .family import Family, Feature
from .planes import PLANES

PERCENTILES = (5, 25, 50, 75, 95)
FEATURES = (
    Feature("mean", "mean", "levels", 0, 255, "its level", "numpy.mean"),
    Feature("deviation", "standard deviation", "levels", 0, 127.5, "0", "numpy.std"),
    Feature("skewness", "skewness", "1", -inf, inf, "0", "scipy.stats.skew"),
    Feature("kurtosis", "excess kurtosis: 0 for a Gaussian", "1", -2, inf, "0", "scipy.stats.kurtosis"),
    *(
        Feature(
            f"p{percent:02d}",
            f"percentile {percent}, linearly interpolated",
            "levels",
            0,
            255,
            "its level",
            "numpy.percentile",
        )
        for percent in PERCENTILES
    ),
)
STATISTICS = tuple(feature.name for feature in FEATURES)
MOMENTS = STATISTICS[: -len(PERCENTILES)]
N_PLANES, N_REGIONS, N_STATISTICS, N_MOMENTS = (
    len(PLANES),
    len(REGIONS),
    len(STATISTICS),
    len(MOMENTS),
)
START, STOP = CENTER


@device
def moments(histogram: Any, total: int, out: Any) -> None:
    """Mean, standard deviation, skewness and excess kurtosis of the levels counted in `histogram`."""
    first = 0
    for level in range(256):
        first += level * histogram[level]
    middle = int(first // total)  # an integer near the mean, about which sums stay exact
    s1, s2, s3, s4 = 0, 0, 0, 0
    for level in range(256):
        d = level - middle
        n = int(histogram[level])
        s1 += d * n
        s2 += d * d * n
        s3 += d * d * d * n
        s4 += d * d * d * d * n
    shift = s1 / total
    m2 = s2 / total - shift * shift
    m3 = s3 / total - 3 * shift * (s2 / total) + 2 * shift**3
    m4 = s4 / total - 4 * shift * (s3 / total) + 6 * shift**2 * (s2 / total) - 3 * shift**4
    out[0] = first / total
    out[1], out[2], out[3] = 0, 0, 0
    if s2 * total > s1 * s1:
        out[1] = m2**0.5
        out[2] = m3 / m2**1.5
        out[3] = m4 / (m2 * m2) - 3


@device
def percentiles(histogram: Any, total: int, out: Any) -> None:
    """Percentiles with linear interpolation between adjacent ranks."""
    level, below = 0, int(histogram[0])  # `below` counts the pixels up to `level`
    for k in range(len(PERCENTILES)):
        position = PERCENTILES[k] * (total - 1)
        rank, part = position // 100, position % 100
        while below <= rank:
            level += 1
            below += histogram[level]
        following = level
        if below <= rank + 1 and part > 0:
            following += 1
            while histogram[following] == 0:
                following += 1
        out[k] = level + (following - level) * part / 100


@device
def summarize(histograms: Any, pixels: int, out: Any) -> None:
    """All statistics of one plane, by region, from the histograms of its center and its ring."""
    for level in range(256):
        histograms[0, level] = histograms[1, level] + histograms[2, level]
    center = (STOP - START) ** 2
    for region in range(N_REGIONS):
        size = pixels if region == 0 else center if region == 1 else pixels - center
        at = region * N_STATISTICS
        moments(histograms[region], size, out[at : at + N_MOMENTS])
        percentiles(histograms[region], size, out[at + N_MOMENTS : at + N_STATISTICS])


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    height, width = planes.shape[1], planes.shape[2]
    for plane in range(lane(), N_PLANES, lanes()):
        for region in range(N_REGIONS):
            for level in range(256):
                ints[plane, region, level] = 0
    barrier()
    for plane in range(N_PLANES):
        for y in range(lane(), height, lanes()):
            inside = START <= y < STOP
            for x in range(width):
                region = 1 if inside and START <= x < STOP else 2
                add(ints, (plane, region, planes[plane, y, x]), 1)
    barrier()
    each = N_REGIONS * N_STATISTICS
    for plane in range(lane(), N_PLANES, lanes()):
        at = plane * each
        summarize(ints[plane], height * width, out[at : at + each])
        out[N_PLANES * each + plane] = out[at + N_STATISTICS] - out[at + 2 * N_STATISTICS]
    barrier()


COLUMNS = tuple(
    f"color__{statistic}__{region}_{plane}"
    for plane in PLANES
    for region in REGIONS
    for statistic in STATISTICS
) + tuple(f"color__mean__center_minus_ring_{plane}" for plane in PLANES)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="color",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=np.zeros(1),
        ints=(N_PLANES, N_REGIONS, 256),
    ),
)
