"""Color histograms: the share of pixels in each bin of each plane, and in bins of two planes jointly.

The 256 levels of each plane of `families.planes` are divided into 16 bins of 16 levels. Hue with
saturation, and hematoxylin with eosin, are also counted jointly, in 8 × 8 bins of 32 × 32 levels. A
value is the exact number of pixels divided by the number of pixels of the region.

Columns are named `histogram__share__<region>_<plane>_<from>to<to>` and
`histogram__joint_share__<region>_<plane>_<other plane>_<from>to<to>_<from>to<to>`, with the first and
the last level of a bin, both included: `histogram__share__center_red_016to031` is the share of the
center's pixels whose red is at least 16 and at most 31.

Source: M. J. Swain and D. H. Ballard, "Color indexing", Int. J. Comput. Vis. 7, 1991; the counts are
those of `numpy.histogramdd` and of OpenCV's `calcHist`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import PLANES

BINS, JOINT_BINS = 16, 8
WIDTH, JOINT_WIDTH = 256 // BINS, 256 // JOINT_BINS
JOINT = (("hue", "saturation"), ("hematoxylin", "eosin"))
# Two planes are counted at once, in 16 × 16 cells. The cells of a row, or of a column, add up to a bin
# of one plane; 2 × 2 cells of the first pairs add up to a joint bin. One plane is paired with itself.
PAIRS = (
    *JOINT,
    ("red", "green"),
    ("blue", "gray"),
    ("value", "lab_l"),
    ("lab_a", "lab_b"),
    ("residual", "residual"),
)
FIRST = tuple(PLANES.index(first) for first, _ in PAIRS)
SECOND = tuple(PLANES.index(second) for _, second in PAIRS)
# For each plane, the first cell of bin 0 and the distances to the next bin and to the bin's next cell.
N_CELLS = BINS * BINS
PAIR_OF = tuple([plane in pair for pair in PAIRS].index(True) for plane in PLANES)
IS_FIRST = tuple(PAIRS[pair][0] == plane for pair, plane in zip(PAIR_OF, PLANES, strict=True))
NEXT_BIN = tuple(BINS if first else 1 for first in IS_FIRST)
NEXT_CELL = tuple(1 if first else BINS for first in IS_FIRST)
FINE = BINS // JOINT_BINS  # bins of a plane along one axis of a joint bin

SIDE = PATCH_SIZE
N_PLANES, N_REGIONS, N_PAIRS, N_JOINT = len(PLANES), len(REGIONS), len(PAIRS), len(JOINT)
START, STOP = CENTER
IN_CENTER = (STOP - START) ** 2
IN_RING = SIDE * SIDE - IN_CENTER
CENTER_COUNTS, RING_COUNTS = 0, 1
JOINT_AT = N_PLANES * N_REGIONS * BINS  # the first column of the joint histograms
N_JOINT_CELLS = JOINT_BINS * JOINT_BINS


@device
def find_cells(planes: Any, y: int, cells: Any) -> None:
    """The cell of each pixel of a row, for each pair of planes."""
    for pair in range(N_PAIRS):
        first, second, row = planes[FIRST[pair], y], planes[SECOND[pair], y], cells[pair]
        for x in range(SIDE):
            high = np.uint8(first[x] // np.uint8(WIDTH)) * np.uint8(BINS)
            row[x] = np.uint8(high + np.uint8(second[x] // np.uint8(WIDTH)))


@device
def count(cells: Any, start: int, stop: int, region: int, counts: Any) -> None:
    """Count the pixels of a part of a row. Pairs alternate, so that no addition waits for another."""
    for x in range(start, stop):
        for pair in range(N_PAIRS):
            add(counts, (region, pair, cells[pair, x]), 1)


@device
def write(center: int, ring: int, at: int, bins: int, out: Any) -> None:
    """The shares of one bin in patch, center and ring; `bins` is the number of bins of a region."""
    out[at] = (center + ring) / (SIDE * SIDE)
    out[at + bins] = center / IN_CENTER
    out[at + 2 * bins] = ring / IN_RING


@device
def write_plane(counts: Any, plane: int, k: int, out: Any) -> None:
    """The shares of bin `k` of a plane."""
    pair, cell, step = PAIR_OF[plane], k * NEXT_BIN[plane], NEXT_CELL[plane]
    center, ring = 0, 0
    for n in range(BINS):
        center += int(counts[CENTER_COUNTS, pair, cell + n * step])
        ring += int(counts[RING_COUNTS, pair, cell + n * step])
    write(center, ring, plane * N_REGIONS * BINS + k, BINS, out)


@device
def write_joint(counts: Any, pair: int, k: int, out: Any) -> None:
    """The shares of joint bin `k` of a pair of planes."""
    cell = (k // JOINT_BINS) * FINE * BINS + (k % JOINT_BINS) * FINE
    center, ring = 0, 0
    for i in range(FINE):
        for j in range(FINE):
            center += int(counts[CENTER_COUNTS, pair, cell + i * BINS + j])
            ring += int(counts[RING_COUNTS, pair, cell + i * BINS + j])
    write(center, ring, JOINT_AT + pair * N_REGIONS * N_JOINT_CELLS + k, N_JOINT_CELLS, out)


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    for pair in range(N_PAIRS):
        for cell in range(lane(), N_CELLS, lanes()):
            ints[CENTER_COUNTS, pair, cell] = 0
            ints[RING_COUNTS, pair, cell] = 0
    barrier()
    cells = work[lane()]
    for y in range(lane(), SIDE, lanes()):
        find_cells(planes, y, cells)
        if START <= y < STOP:
            count(cells, 0, START, RING_COUNTS, ints)
            count(cells, START, STOP, CENTER_COUNTS, ints)
            count(cells, STOP, SIDE, RING_COUNTS, ints)
        else:
            count(cells, 0, SIDE, RING_COUNTS, ints)
    barrier()
    for plane in range(N_PLANES):
        for k in range(lane(), BINS, lanes()):
            write_plane(ints, plane, k, out)
    for pair in range(N_JOINT):
        for k in range(lane(), N_JOINT_CELLS, lanes()):
            write_joint(ints, pair, k, out)
    barrier()


SOURCE = "numpy.histogramdd; cv2.calcHist"
FLAT = "1 in the bin of its level, 0 in the others"
FEATURES = (
    Feature("share", "share of the pixels whose level is in the bin", "1", 0, 1, FLAT, SOURCE),
    Feature(
        "joint_share",
        "share of the pixels whose levels in both planes are in the bin",
        "1",
        0,
        1,
        FLAT,
        SOURCE,
    ),
)


def bin_name(k: int, width: int) -> str:
    """The first and the last level of bin `k` as columns spell them."""
    return f"{k * width:03d}to{(k + 1) * width - 1:03d}"


COLUMNS = tuple(
    f"histogram__share__{region}_{plane}_{bin_name(k, WIDTH)}"
    for plane in PLANES
    for region in REGIONS
    for k in range(BINS)
) + tuple(
    f"histogram__joint_share__{region}_{first}_{second}_"
    f"{bin_name(i, JOINT_WIDTH)}_{bin_name(j, JOINT_WIDTH)}"
    for first, second in JOINT
    for region in REGIONS
    for i in range(JOINT_BINS)
    for j in range(JOINT_BINS)
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="histogram",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=np.zeros(1),
        ints=(2, N_PAIRS, N_CELLS),
        work=(LANES, N_PAIRS, SIDE),
        work_dtype=np.uint8,
    ),
)
