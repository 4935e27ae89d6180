"""Segmentation of nuclei on the hematoxylin plane, with splitting of touching nuclei.

1. Levels: `hematoxylin`, smoothed by a 3×3 binomial filter.
2. Threshold: Otsu's threshold of the tissue (levels of at least TISSUE), moved part of the way to the
   mean of the surrounding BOX×BOX pixels, so that pale nuclei far from dark ones are detected; at least
   FAINT.
3. Holes: enclosed background into which no 3×3 square fits is filled.
4. Height: Euclidean distance to the background (at most REACH), smoothed by a 3×3 binomial filter.
5. Seeds: h-maxima of the height with a rise of more than RISE, at least PEAK high.
6. Watershed: each pixel goes to the nearest seed, in steps to the 8 neighbors that never climb. A pixel
   that is equally near to two seeds goes to neither. Objects of fewer than LEAST pixels are dropped.

Every step is a fixed point, or a set that depends on values and not on the order of the scan. Therefore
flips and rotations by 90° give the same nuclei, in another numbering.

Sources: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9, 1979;
L. Vincent, "Morphological grayscale reconstruction in image analysis", IEEE Trans. Image Process. 2,
1993; N. Malpica et al., "Applying watershed algorithms to the segmentation of clustered nuclei",
Cytometry 28, 1997.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import LANES, add, barrier, device, lane, lanes
from ..geometry import CENTER
from .margins import CELLS, MARGIN, SIDE, STRIDE, at, binomial, clear, extend
from .planes import PLANES

TISSUE, FAINT = 12, 24  # levels: the minimum of tissue and of a nucleus
NEVER = 4 * 255  # an unreachable threshold, for tissue in which Otsu's method finds none
BOX, PULL = 25, 3  # width of the surroundings, and their weight in the threshold, in quarters
REACH = 8  # pixels: distances are capped here
UNIT = 16  # units of height per pixel
RISE, PEAK = 11, 24  # in units; heights are even and RISE is odd, so no rise equals it
LEAST = 18  # pixels: the minimum of a nucleus, so there are at most MOST nuclei

START, STOP = CENTER
MOST = SIDE * SIDE // LEAST
MOST_SEEDS = (SIDE // 2) ** 2  # a block of 2×2 pixels has at most one component of seeds
LINE, OUTSIDE = -1, -2  # labels: equally near to two seeds; background
HEMATOXYLIN = PLANES.index("hematoxylin")

# Images, and their successive contents.
LEVELS, QUEUE = 0, 0
MASK, STEPS = 1, 1
HEIGHT, ROOF, LABEL, TEMP, BOXES = 2, 3, 4, 5, 6
N_IMAGES = 7
# The entries of a seed in its box.
PIXELS, TOP, BOTTOM, LEFT, RIGHT = range(5)
BOX_SIZE = 5
assert max(REACH, BOX // 2) <= MARGIN
assert MOST_SEEDS * BOX_SIZE <= CELLS
assert LANES * 3 <= SIDE + 2  # each lane has three rows of TEMP for an outline

# Integers of the whole patch, in the first row of `ints`. The histogram uses the next sixteen rows.
CHANGED, COUNT, LEVEL, MASKED, MASKED_CENTER, TISSUED, TISSUED_CENTER, DARK = range(8)


def heights() -> np.ndarray:
    """The height for each squared distance."""
    return (2 * np.rint(np.sqrt(np.arange(REACH**2 + 1)) * UNIT / 2)).astype(np.int32)


@device
def otsu(histogram: Any, out: Any) -> int:
    """Otsu's threshold: the first level with the largest between-class variance."""
    total, moment, square = 0, 0, 0
    for level in range(TISSUE, 256):
        n = int(histogram[level >> 4, level & 15])
        total += n
        moment += level * n
        square += level * level * n
    best, found, below, sum_below = 0.0, NEVER, 0, 0
    for level in range(TISSUE, 256):
        n = int(histogram[level >> 4, level & 15])
        below += n
        sum_below += level * n
        if 0 < below < total:
            gap = float(moment * below - total * sum_below)
            between = gap * gap / (float(below) * float(total - below))
            if between > best:
                best, found = between, level
    spread = float(total * square - moment * moment)
    out[0] = found if best > 0 else 0
    out[1] = best / spread if best > 0 else 0.0
    return found


@device
def find_levels(plane: Any, ints: Any, work: Any, out: Any) -> None:
    """Step 1 and the first half of step 2. Writes the threshold and its separability to `out`."""
    control, histogram = ints[0], ints[1:17]
    for y in range(lane(), 17, lanes()):
        for k in range(16):
            ints[y, k] = 0
    for y in range(lane(), SIDE, lanes()):
        row = work[MASK][at(y) :]
        for x in range(SIDE):
            row[MARGIN + x] = plane[y, x]
        extend(row)
    barrier()
    binomial(work[MASK], work[TEMP], work[LEVELS], 8, 4)
    for y in range(lane(), SIDE, lanes()):
        row = work[LEVELS][at(y) :]
        extend(row)
        for x in range(MARGIN, MARGIN + SIDE):
            level = int(row[x])
            add(histogram, (level >> 4, level & 15), 1)
    barrier()
    if lane() == 0:
        control[LEVEL] = otsu(histogram, out)
    barrier()


@device
def find_mask(control: Any, levels: Any, temp: Any, background: Any) -> None:
    """The second half of step 2: `background` is 1 where a pixel is not above its threshold."""
    half = BOX // 2
    for x in range(lane(), STRIDE, lanes()):
        temp[at(-1) + x] = (half + 1) * levels[at(0) + x]
    for y in range(half):
        for x in range(lane(), STRIDE, lanes()):
            temp[at(-1) + x] += levels[at(y) + x]
    for y in range(SIDE):  # sums of BOX rows, each from the previous one; each lane has its columns
        before, sums = temp[at(y - 1) : at(y)], temp[at(y) : at(y + 1)]
        entering = levels[at(min(y + half, SIDE - 1)) :]
        leaving = levels[at(max(y - half - 1, 0)) :]
        for x in range(lane(), STRIDE, lanes()):
            sums[x] = before[x] + entering[x] - leaving[x]
    barrier()
    fixed = (4 - PULL) * BOX * BOX * int(control[LEVEL])
    for y in range(lane(), SIDE, lanes()):
        row, dark, sums = levels[at(y) :], background[at(y) :], temp[at(y) :]
        around = 0
        for x in range(MARGIN - half, MARGIN + half):
            around += int(sums[x])
        for x in range(MARGIN, MARGIN + SIDE):
            around += int(sums[x + half])
            needed = max(fixed + PULL * around, 4 * BOX * BOX * FAINT)
            dark[x] = 1 if 4 * BOX * BOX * int(row[x]) <= needed else 0
            around -= int(sums[x - half])
    barrier()


@device
def grow(image: Any, limit: Any, temp: Any, control: Any) -> None:
    """Morphological reconstruction: raise `image` to its 8 neighbors, up to `limit`, until stable.

    The result does not depend on the order in which pixels are raised.
    """
    changed, upward = 1, False
    while changed != 0:
        barrier()
        if lane() == 0:
            control[CHANGED] = 0
        barrier()
        bits = np.int16(0)
        for k in range(lane(), SIDE, lanes()):
            y = SIDE - 1 - k if upward else k
            above, below = image[at(y - 1) :], image[at(y + 1) :]
            here, sums = image[at(y) :], temp[at(y) :]
            top = limit[at(y) + MARGIN :]
            for x in range(STRIDE):
                sums[x] = max(above[x], here[x], below[x])
            before, middle = sums[MARGIN - 1 : MARGIN - 1 + SIDE], sums[MARGIN : MARGIN + SIDE]
            after, row = sums[MARGIN + 1 : MARGIN + 1 + SIDE], here[MARGIN : MARGIN + SIDE]
            for x in range(SIDE):
                value = min(top[x], max(before[x], middle[x], after[x]))
                bits |= np.int16(value ^ row[x])
                row[x] = value
        if bits != 0:
            add(control, CHANGED, 1)
        barrier()
        changed, upward = control[CHANGED], not upward


@device
def fill_holes(control: Any, work: Any) -> None:
    """Step 3: keep only background that is connected to the border or to a 3×3 square of background."""
    background, mask = work[HEIGHT], work[MASK]
    for y in range(lane(), SIDE, lanes()):
        above, here = background[at(max(y - 1, 0)) :], background[at(y) :]
        below, kept = background[at(min(y + 1, SIDE - 1)) :], work[ROOF][at(y) :]
        all_three = work[TEMP][at(y) :]
        for x in range(STRIDE):
            all_three[x] = above[x] & here[x] & below[x]
            kept[x] = here[x]
        if 0 < y < SIDE - 1:
            for x in range(MARGIN + 1, MARGIN + SIDE - 1):
                kept[x] = all_three[x - 1] & all_three[x] & all_three[x + 1]
    barrier()
    grow(work[ROOF], background, work[TEMP], control)
    for y in range(lane(), SIDE, lanes()):
        kept, row, tissue = work[ROOF][at(y) :], mask[at(y) :], work[LEVELS][at(y) :]
        nuclear, nuclear_center, all_tissue, center, dark = 0, 0, 0, 0, 0
        for x in range(MARGIN, MARGIN + SIDE):
            row[x] = 1 - kept[x]
            nuclear += row[x]
            dark += tissue[x] * row[x]
            all_tissue += tissue[x] >= TISSUE
        if START <= y < STOP:
            for x in range(MARGIN + START, MARGIN + STOP):
                nuclear_center += row[x]
                center += tissue[x] >= TISSUE
        add(control, MASKED, nuclear)
        add(control, MASKED_CENTER, nuclear_center)
        add(control, TISSUED, all_tissue)
        add(control, TISSUED_CENTER, center)
        add(control, DARK, dark)
    barrier()


@device
def find_distance(mask: Any, temp: Any, square: Any) -> None:
    """The squared distance to the nearest background pixel, at most REACH²."""
    for y in range(SIDE):  # first within each column, down and up; each lane has its columns
        before, here = temp[at(y - 1) :], temp[at(y) : at(y + 1)]
        inside = mask[at(y) :]
        for x in range(lane(), STRIDE, lanes()):
            nearer = np.int16(before[x] + 1) if y > 0 else np.int16(REACH)
            here[x] = min(nearer, np.int16(REACH)) if inside[x] != 0 else np.int16(0)
    for y in range(SIDE - 2, -1, -1):
        here, after = temp[at(y) : at(y + 1)], temp[at(y + 1) :]
        for x in range(lane(), STRIDE, lanes()):
            here[x] = min(here[x], np.int16(after[x] + 1))
    barrier()
    for y in range(lane(), SIDE, lanes()):
        column, row = temp[at(y) : at(y + 1)], square[at(y) + MARGIN :]
        for x in range(MARGIN):
            column[x], column[STRIDE - 1 - x] = REACH, REACH
        for x in range(STRIDE):
            column[x] = np.int16(column[x] * column[x])
        for x in range(SIDE):
            best = column[MARGIN + x]
            for dx in range(1, REACH):
                beside = min(column[MARGIN + x - dx], column[MARGIN + x + dx])
                best = min(best, np.int16(beside + np.int16(dx * dx)))
            row[x] = best
    barrier()


@device
def find_heights(height_of: Any, control: Any, work: Any) -> None:
    """Step 4 and the first part of step 5.

    Computes the heights, their reconstruction from RISE below (`ROOF`), and 1 at seeds (`STEPS`).
    """
    find_distance(work[MASK], work[TEMP], work[LABEL])
    for y in range(lane(), SIDE, lanes()):
        row = work[LABEL][at(y) :]
        for x in range(MARGIN, MARGIN + SIDE):
            row[x] = height_of[np.uint32(row[x])]
        extend(row)
    barrier()
    binomial(work[LABEL], work[TEMP], work[HEIGHT], 16, 5)
    for y in range(lane(), SIDE, lanes()):
        height, roof, mask = work[HEIGHT][at(y) :], work[ROOF][at(y) :], work[MASK][at(y) :]
        for x in range(MARGIN, MARGIN + SIDE):
            height[x] = 2 * height[x] * mask[x]
            roof[x] = max(height[x] - RISE, 0)
    grow(work[ROOF], work[HEIGHT], work[TEMP], control)
    for y in range(lane(), SIDE + 2, lanes()):
        label, height = work[LABEL][at(y - 1) :], work[HEIGHT][at(y - 1) :]
        roof, tops = work[ROOF][at(y - 1) :], work[STEPS][at(y - 1) :]
        for x in range(STRIDE):
            label[x] = OUTSIDE if height[x] == 0 else 0
            tops[x] = np.int16(height[x] >= PEAK) & np.int16(roof[x] == height[x] - RISE)
    barrier()


@device
def plant(roof: Any, label: Any, queue: Any, steps: Any) -> tuple[int, int]:
    """Step 5: label the plateaus of `roof` at the seeds, where `steps` is still 1.

    Returns the number of seeds and the number of their pixels.
    """
    seeds, end = 0, 0
    for y in range(SIDE):
        row, some = steps[at(y) : at(y + 1)], np.int16(0)
        for x in range(STRIDE):
            some |= row[x]
        if some == 0:
            continue
        for first in range(at(y) + MARGIN, at(y) + MARGIN + SIDE):
            if steps[first] == 0:
                continue
            seeds += 1
            begin = end
            label[first], steps[first], queue[end] = seeds, 0, first
            end += 1
            while begin < end:
                place = int(queue[begin])
                begin += 1
                for dy in range(-STRIDE, STRIDE + 1, STRIDE):
                    for dx in range(-1, 2):
                        near = np.uint32(
                            place + dy + dx
                        )  # unsigned, so that Numba does not check the sign of the index
                        if label[near] == 0 and roof[near] == roof[first]:
                            label[near], steps[near], queue[end] = seeds, 0, near
                            end += 1
    return seeds, end


@device
def flood(end: int, roof: Any, label: Any, queue: Any, steps: Any) -> int:
    """Step 6: spread from the seeds in waves, never upward.

    A pixel that two waves reach in the same step is on a line, and so are pixels that can only be
    reached through it.
    """
    begin = 0
    while begin < end:
        place = int(queue[begin])
        begin += 1
        own, level, next_step = label[place], roof[place], steps[place] + 1
        for dy in range(-STRIDE, STRIDE + 1, STRIDE):
            for dx in range(-1, 2):
                near = np.uint32(place + dy + dx)
                found = label[near]
                if found == own or roof[near] > level:
                    continue
                if found == 0:
                    label[near], steps[near], queue[end] = own, next_step, near
                    end += 1
                elif found != OUTSIDE and steps[near] == next_step:
                    label[near] = LINE
    return end


@device
def enclose(seeds: int, end: int, label: Any, queue: Any, boxes: Any, numbers: Any) -> int:
    """Compute the bounding box of each seed's pixels, and number the nuclei.

    Objects that are large enough get a number from 1, the others 0. Returns the number of nuclei.
    """
    for k in range(seeds * BOX_SIZE):
        boxes[k] = 0
    for k in range(end):
        place = int(queue[k])
        if label[place] == LINE:
            continue
        box = boxes[(label[place] - 1) * BOX_SIZE : label[place] * BOX_SIZE]
        y, x = place // STRIDE - 1, place % STRIDE - MARGIN
        if box[PIXELS] == 0:
            box[TOP], box[BOTTOM], box[LEFT], box[RIGHT] = y, y, x, x
        box[PIXELS] += 1
        box[TOP], box[BOTTOM] = min(box[TOP], y), max(box[BOTTOM], y)
        box[LEFT], box[RIGHT] = min(box[LEFT], x), max(box[RIGHT], x)
    nuclei = 0
    for k in range(seeds):
        numbers[k + 1] = 0
        if boxes[k * BOX_SIZE + PIXELS] >= LEAST:
            for entry in range(BOX_SIZE):
                boxes[nuclei * BOX_SIZE + entry] = boxes[k * BOX_SIZE + entry]
            nuclei += 1
            numbers[k + 1] = nuclei
    return nuclei


@device
def segment(planes: Any, height_of: Any, ints: Any, work: Any, out: Any) -> None:
    """Run all six steps: `work[LABEL]` numbers the nuclei from 1, `work[BOXES]` has their boxes."""
    control = ints[0]
    clear(work[HEIGHT])
    clear(work[ROOF])
    find_levels(planes[HEMATOXYLIN], ints, work, out)
    find_mask(control, work[LEVELS], work[TEMP], work[HEIGHT])
    fill_holes(control, work)
    find_heights(height_of, control, work)
    label, queue, steps = work[LABEL], work[QUEUE], work[STEPS]
    if lane() == 0:
        seeds, end = plant(work[ROOF], label, queue, steps)
        end = flood(end, work[ROOF], label, queue, steps)
        control[COUNT] = enclose(seeds, end, label, queue, work[BOXES], steps)
    barrier()
    for y in range(lane(), SIDE, lanes()):
        row = label[at(y) :]
        for x in range(MARGIN, MARGIN + SIDE):
            row[x] = steps[row[x]] if row[x] > 0 else LINE if row[x] == LINE else 0
    barrier()
