"""Gray-level size zones (GLSZM): sizes of connected zones of equal level.

A zone is an 8-connected set of pixels of one level: diagonal neighbors are included. Zones are counted
on `gray` and `hematoxylin` quantized to 8 levels, which gives a probability p(i, s) of level i, counted
from 1, and size s in pixels. `center` and `ring` contain the zones of their own pixels: a zone that
crosses the edge of the center is split there. Columns are named `glszm__<feature>__<region>_<plane>`.

All features are normalized by the number of zones or its square, so that regions of different size can
be compared. In the formulas, sums run over the cells of p; p(i) and p(s) are its marginals.

Sources: G. Thibault, B. Fertil, C. Navarro, S. Pereira, P. Cau, N. Levy, J. Sequeira and J.-L. Mari,
"Shape and texture indexes: application to cell nuclei classification", Int. J. Pattern Recognit.
Artif. Intell. 27, 2013; A. Zwanenburg et al., "The Image Biomarker Standardization Initiative",
Radiology 295, 2020 (variances and entropy).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .counts import n_log2_n_table
from .family import Family, Feature
from .planes import PLANES

LEVEL_BITS = 3
LEVELS = 1 << LEVEL_BITS
MEASURED = ("gray", "hematoxylin")
PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
MOST = PATCH_SIZE * PATCH_SIZE
THIBAULT, IBSI = "Thibault et al. 2013", "Zwanenburg et al. 2020"
FEATURES = (
    Feature("small_zones", "sum p / s²", "1", 0, 1, "1 / s²", THIBAULT),
    Feature("large_zones", "sum p s²", "pixels²", 1, MOST**2, "s²", THIBAULT),
    Feature("level_nonuniformity", "sum p(i)²", "1", 0, 1, "1", THIBAULT),
    Feature("size_nonuniformity", "sum p(s)²", "1", 0, 1, "1", THIBAULT),
    Feature("zone_share", "zones / pixels: zone percentage", "1", 0, 1, "1 / pixels", THIBAULT),
    Feature("low_levels", "sum p / i²", "1", 0, 1, "1 / i²", THIBAULT),
    Feature("high_levels", "sum p i²", "levels²", 1, LEVELS**2, "i²", THIBAULT),
    Feature("small_low", "sum p / (i² s²)", "1", 0, 1, "1 / (i² s²)", THIBAULT),
    Feature("small_high", "sum p i² / s²", "levels²", 0, LEVELS**2, "i² / s²", THIBAULT),
    Feature("large_low", "sum p s² / i²", "pixels²", 0, MOST**2, "s² / i²", THIBAULT),
    Feature("large_high", "sum p i² s²", "levels² pixels²", 1, (LEVELS * MOST) ** 2, "i² s²", THIBAULT),
    Feature("level_variance", "variance of i", "levels²", 0, (LEVELS - 1) ** 2 / 4, "0", IBSI),
    Feature("size_variance", "variance of s", "pixels²", 0, MOST**2 / 4, "0", IBSI),
    Feature("entropy", "-sum p log2 p", "bits", 0, 14, "0", IBSI),
)
NAMES = tuple(feature.name for feature in FEATURES)
N_FEATURES, N_REGIONS = len(FEATURES), len(REGIONS)
START, STOP = CENTER
PATCH, IN_CENTER, IN_RING = range(N_REGIONS)

# Zones of at most SMALL pixels are counted by level and size. The few larger ones are listed and
# sorted.
SMALL = 63
OF_LEVEL = LEVELS  # the row of a region's counts with the number of zones of each level
# Images in `work`, with a frame one pixel wide: levels; links from each pixel to an earlier pixel of
# its zone, or to itself; sizes, at the first pixel of each zone; large zones by row, after their
# number; and the large zones of each region, sorted.
WIDTH = PATCH_SIZE + 2
LEVEL, LINK, SIZE, LARGE, SORTED = range(5)
FRAME = -1
CODES = N_REGIONS * LEVELS
# The sums over the zones of a region.
SMALL_ZONES, LARGE_ZONES, SMALL_LOW, SMALL_HIGH, LARGE_LOW, LARGE_HIGH, LOGS = range(7)


@device
def fill_levels(plane: Any, levels: Any) -> None:
    """Each pixel's level + LEVELS x its region, which is equal for neighbors in the same zone."""
    for y in range(lane(), PATCH_SIZE, lanes()):
        start = (1 + y) * WIDTH + 1
        source, row = plane[y], levels[start:]
        for x in range(PATCH_SIZE):
            row[x] = np.int32(source[x] >> (8 - LEVEL_BITS)) + IN_RING * LEVELS
        if START <= y < STOP:
            for x in range(START, STOP):
                row[x] -= (IN_RING - IN_CENTER) * LEVELS
        levels[start - 1] = levels[start + PATCH_SIZE] = FRAME
    for x in range(lane(), WIDTH, lanes()):
        levels[x] = levels[(WIDTH - 1) * WIDTH + x] = FRAME


@device
def root(links: Any, pixel: Any) -> Any:
    """The first pixel, in reading order, of the pixels linked so far."""
    while links[pixel] != pixel:
        pixel = links[pixel]
    return pixel


@device
def join(links: Any, one: Any, other: Any) -> Any:
    one, other = root(links, one), root(links, other)
    links[max(one, other)] = min(one, other)
    return min(one, other)


@device
def link_top(levels: Any, links: Any, start: int) -> None:
    """Link each pixel of a row to its left neighbor if their levels are equal."""
    for pixel in range(start, start + PATCH_SIZE):
        links[pixel] = pixel - 1 if levels[pixel - 1] == levels[pixel] else pixel


@device
def link_row(levels: Any, links: Any, start: int) -> None:
    """Link each pixel of a row to an earlier one, or to itself, and join zones that meet here.

    The pixel above touches all other earlier neighbors except the one above right. So zones can only
    meet between above right and the others.
    """
    here, row = levels[start:], links[start:]
    left, above = levels[start - 1 :], levels[start - WIDTH :]
    above_left, above_right = levels[start - WIDTH - 1 :], levels[start - WIDTH + 1 :]
    for x in range(PATCH_SIZE):  # no branches, a constant size and 32 bits, for SIMD
        w, n = here[x] == left[x], here[x] == above[x]
        nw, ne = here[x] == above_left[x], here[x] == above_right[x]
        back = WIDTH if n else WIDTH - 1 if ne else WIDTH + 1 if nw else 1 if w else 0
        link = np.int32(np.int32(start) + np.int32(x) - np.int32(back))
        row[x] = ~link if (ne & (nw | w)) > n else link
    for x in range(PATCH_SIZE):
        link = row[x]
        if link >= 0:
            row[x] = links[link]  # a link to itself does not change
        else:
            other = start + x - (WIDTH + 1 if above_left[x] == here[x] else 1)
            row[x] = join(links, ~link, other)


@device
def join_rows(levels: Any, links: Any, start: int) -> None:
    """Join the top row of a strip to the row above it."""
    for pixel in range(start, start + PATCH_SIZE):
        for above in range(pixel - WIDTH - 1, pixel - WIDTH + 2):
            if levels[above] == levels[pixel]:
                join(links, pixel, above)


@device
def find_zones(levels: Any, links: Any, sizes: Any) -> None:
    """Link each pixel to the first pixel of its zone, and count the pixels of the zone there.

    Each lane links a strip of rows. Then strips are joined in pairs, pairs in fours, and so on.
    """
    rows = (PATCH_SIZE + lanes() - 1) // lanes()
    for y in range(lane() * rows, min((lane() + 1) * rows, PATCH_SIZE)):
        start = (1 + y) * WIDTH + 1
        if y == lane() * rows:
            link_top(levels, links, start)
        else:
            link_row(levels, links, start)
        for x in range(PATCH_SIZE):
            sizes[start + x] = 0
    joined = 1
    while joined < lanes():
        barrier()
        y = (lane() + joined) * rows
        if lane() % (2 * joined) == 0 and y < PATCH_SIZE:
            join_rows(levels, links, (1 + y) * WIDTH + 1)
        joined *= 2
    barrier()
    for y in range(lane() * rows, min((lane() + 1) * rows, PATCH_SIZE)):
        start = (1 + y) * WIDTH + 1
        for pixel in range(start, start + PATCH_SIZE):
            # Earlier pixels are already linked to their first pixel, so two steps are enough.
            first = root(links, links[links[pixel]])
            links[pixel] = first
            add(sizes, first, 1)
    barrier()


@device
def join_across(levels: Any, links: Any, sizes: Any, inside: int, step: int, outside: int) -> None:
    """Join zones across one side of the center, from `inside` and `outside`, in steps of `step`."""
    for k in range(STOP - START):
        pixel = inside + k * step
        for other in range(outside + (k - 1) * step, outside + (k + 2) * step, step):
            if (levels[pixel] ^ levels[other]) & (LEVELS - 1) == 0:
                one, two = root(links, pixel), root(links, other)
                if one != two:
                    total = sizes[one] + sizes[two]
                    sizes[one] = sizes[two] = 0
                    sizes[join(links, one, two)] = total


@device
def join_parts(levels: Any, links: Any, sizes: Any) -> None:
    """Join the zones of center and ring to the zones of the patch. Runs on one lane."""
    top, left = (1 + START) * WIDTH + 1 + START, (1 + START) * WIDTH + 1 + START
    bottom, right = top + (STOP - START - 1) * WIDTH, left + STOP - START - 1
    join_across(levels, links, sizes, top, 1, top - WIDTH)
    join_across(levels, links, sizes, bottom, 1, bottom + WIDTH)
    join_across(levels, links, sizes, left, WIDTH, left - 1)
    join_across(levels, links, sizes, right, WIDTH, right + 1)


@device
def count_zones(levels: Any, sizes: Any, mask: int, counts: Any, large: Any) -> None:
    """Count small zones by region, level and size, and list the larger ones of each row.

    `mask` selects the bits of region and level: all of them, or for the patch only those of the level.
    """
    for y in range(lane(), PATCH_SIZE, lanes()):
        start = (1 + y) * WIDTH + 1
        row, zones, listed = large[start:], 0, 0
        for x in range(PATCH_SIZE):  # list the row's zones first, without an unpredictable branch
            row[zones] = start + x
            zones += 1 if sizes[start + x] > 0 else 0
        for k in range(zones):
            size, code = sizes[row[k]], levels[row[k]] & mask
            if size > SMALL:
                row[listed] = size * CODES + code
                listed += 1
            else:
                add(counts, (code >> LEVEL_BITS, code & (LEVELS - 1), size), 1)
        large[start - 1] = listed
    barrier()


@device
def gather(large: Any, region: int, found: Any) -> int:
    """Sort the large zones of a region by size and level, and return their number."""
    n = 0
    for y in range(PATCH_SIZE):
        start = (1 + y) * WIDTH + 1
        for k in range(start, start + large[start - 1]):
            zone = large[k]
            if zone % CODES // LEVELS == region:
                at = n
                while at > 0 and found[at - 1] > zone:
                    found[at] = found[at - 1]
                    at -= 1
                found[at] = zone
                n += 1
    return n


@device
def tally(level: Any, size: Any, n: Any, n_log2_n: Any, of_level: Any, sums: Any) -> None:
    """Add the `n` zones of one level and size to the sums."""
    i, square = float(level + 1), float(size) * float(size)
    of_level[level] += n
    sums[SMALL_ZONES] += n / square
    sums[LARGE_ZONES] += n * square
    sums[SMALL_LOW] += n / (i * i * square)
    sums[SMALL_HIGH] += n * i * i / square
    sums[LARGE_LOW] += n * square / (i * i)
    sums[LARGE_HIGH] += n * i * i * square
    sums[LOGS] += n_log2_n[n]


@device
def tally_all(counts: Any, found: Any, listed: int, n_log2_n: Any, sums: Any) -> Any:
    """Add all zones of a region to the sums, by size and then level.

    Returns the sum of squares of the numbers of zones of each size.
    """
    squares = 0
    for level in range(LEVELS):
        counts[OF_LEVEL, level] = 0
    for k in range(len(sums)):
        sums[k] = 0.0
    for size in range(1, SMALL + 1):
        of_size = 0
        for level in range(LEVELS):
            n = counts[level, size]
            if n > 0:
                tally(level, size, n, n_log2_n, counts[OF_LEVEL], sums)
                of_size += n
        squares += of_size * of_size
    for k in range(listed):
        same_size, same = 0, 0
        for other in range(listed):
            same_size += 1 if found[other] // CODES == found[k] // CODES else 0
            same += 1 if found[other] == found[k] else 0
        squares += same_size
        if k == 0 or found[k] != found[k - 1]:
            level = found[k] % LEVELS
            tally(level, found[k] // CODES, same, n_log2_n, counts[OF_LEVEL], sums)
    return squares


@device
def describe(of_level: Any, size_squares: Any, pixels: int, n_log2_n: Any, sums: Any, out: Any) -> None:
    """All features of one region."""
    zones, level_sum, level_squares, of_level_squared, low_levels = 0, 0, 0, 0, 0.0
    for level in range(LEVELS):
        i, n = level + 1, int(of_level[level])
        zones += n
        level_sum += i * n
        level_squares += i * i * n
        of_level_squared += n * n
        low_levels += n / float(i * i)
    square = float(zones) * float(zones)
    out[0] = sums[SMALL_ZONES] / zones
    out[1] = sums[LARGE_ZONES] / zones
    out[2] = of_level_squared / square
    out[3] = size_squares / square
    out[4] = zones / float(pixels)
    out[5] = low_levels / zones
    out[6] = level_squares / float(zones)
    out[7] = sums[SMALL_LOW] / zones
    out[8] = sums[SMALL_HIGH] / zones
    out[9] = sums[LARGE_LOW] / zones
    out[10] = sums[LARGE_HIGH] / zones
    out[11] = (
        zones * level_squares - level_sum * level_sum
    ) / square  # exact, because all are integers
    out[12] = (zones * sums[LARGE_ZONES] - float(pixels) * float(pixels)) / square
    out[13] = (n_log2_n[zones] - sums[LOGS]) / zones


@device
def describe_region(region: int, table: Any, counts: Any, sums: Any, work: Any, out: Any) -> None:
    inner = (STOP - START) ** 2
    pixels = MOST if region == PATCH else inner if region == IN_CENTER else MOST - inner
    found = work[SORTED, region * (MOST // (SMALL + 1)) :]
    listed = gather(work[LARGE], region, found)
    squares = tally_all(counts, found, listed, table, sums)
    describe(counts[OF_LEVEL], squares, pixels, table, sums, out)


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    levels, links, sizes = work[LEVEL], work[LINK], work[SIZE]
    for plane in range(len(PLANE_INDEX)):
        described = out[plane * N_REGIONS * N_FEATURES :]
        fill_levels(planes[PLANE_INDEX[plane]], levels)
        for size in range(lane(), SMALL + 1, lanes()):
            for region in range(N_REGIONS):
                for level in range(LEVELS):
                    ints[region, level, size] = 0
        barrier()
        find_zones(levels, links, sizes)
        count_zones(levels, sizes, -1, ints, work[LARGE])
        for region in range(IN_CENTER + lane(), N_REGIONS, lanes()):
            at = described[region * N_FEATURES :]
            describe_region(region, table, ints[region], floats[region], work, at)
        barrier()
        if lane() == 0:
            join_parts(levels, links, sizes)
        barrier()
        count_zones(levels, sizes, LEVELS - 1, ints, work[LARGE])
        if lane() == 0:
            describe_region(PATCH, table, ints[PATCH], floats[PATCH], work, described)
        barrier()


COLUMNS = tuple(
    f"glszm__{name}__{region}_{plane}" for plane in MEASURED for region in REGIONS for name in NAMES
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="glszm",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=n_log2_n_table(MOST),
        ints=(N_REGIONS, LEVELS + 1, SMALL + 1),
        floats=(N_REGIONS, LOGS + 1),
        work=(5, WIDTH * WIDTH),
    ),
)
