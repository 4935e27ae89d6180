"""Where the nuclei are: segmented on the hematoxylin plane, and split where they touch.

1. Levels: `hematoxylin`, smoothed by a 3×3 binomial.
2. Threshold: Otsu's over the tissue (levels of at least TISSUE), pulled a part of the way to the
   mean of the BOX×BOX pixels around, so that pale nuclei far from dark ones are found; at least FAINT.
3. Holes: enclosed background in which no 3×3 square fits is filled.
4. Height: Euclidean distance to the background (at most REACH), smoothed by a 3×3 binomial.
5. Seeds: maxima of the height that rise more than RISE above every pass to a higher one (h-maxima),
   at least PEAK high.
6. Each pixel goes to the nearest seed, in steps to the 8 neighbors that never climb (watershed);
   one as near to two seeds goes to neither. Pieces under LEAST pixels are dropped.

Every step is a fixed point or a set that values alone decide, whatever the order of the scan, so
flips and quarter turns give the same nuclei, if numbered otherwise.

Sources: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9, 1979;
L. Vincent, "Morphological grayscale reconstruction in image analysis", IEEE Trans. Image Process. 2,
1993; N. Malpica et al., "Applying watershed algorithms to the segmentation of clustered nuclei",
Cytometry 28, 1997.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.lanes import LANES, add, barrier, device, lane, lanes
from ..engine.planes import PLANES
from ..engine.regions import CENTER, PATCH_SIZE

TISSUE, FAINT = 12, 24  # levels: the least of tissue, the least of a nucleus
NEVER = 4 * 255  # a threshold that no pull brings within reach, where Otsu finds none
BOX, PULL = 25, 3  # the surroundings, and their weight in the threshold, in quarters
REACH = 8  # pixels: distances stop here
UNIT = 16  # of height, a pixel
RISE, PEAK = 11, 24  # in units; heights are even and RISE is odd, so no rise equals it
LEAST = 18  # pixels: a nucleus has at least as many, so there are at most MOST

SIDE = PATCH_SIZE
START, STOP = CENTER
MARGIN = 12
STRIDE = SIDE + 2 * MARGIN  # of an image's rows; one more row above and below
CELLS = STRIDE * (SIDE + 2)
MOST = SIDE * SIDE // LEAST
MOST_SEEDS = (SIDE // 2) ** 2  # no two components of seeds meet in a block of 2×2
LINE, OUTSIDE = -1, -2  # labels: as near to two seeds; background
HEMATOXYLIN = PLANES.index("hematoxylin")

# Images, and what they hold in turn.
LEVELS, QUEUE = 0, 0
MASK, STEPS = 1, 1
HEIGHT, ROOF, LABEL, TEMP, BOXES = 2, 3, 4, 5, 6
N_IMAGES = 7
# A seed's entry among the boxes.
PIXELS, TOP, BOTTOM, LEFT, RIGHT = range(5)
BOX_SIZE = 5
assert max(REACH, BOX // 2) <= MARGIN
assert MOST_SEEDS * BOX_SIZE <= CELLS
assert LANES * 3 <= SIDE + 2  # each lane has three rows of TEMP for an outline

# Whole-patch integers, in the first row of `ints`; the histogram takes the next sixteen rows.
CHANGED, COUNT, LEVEL, MASKED, MASKED_CENTER, TISSUED, TISSUED_CENTER, DARK = range(8)


def heights() -> np.ndarray:
    """The height of each squared distance."""
    return (2 * np.rint(np.sqrt(np.arange(REACH**2 + 1)) * UNIT / 2)).astype(np.int32)


@device
def at(y: int) -> int:
    """Where row `y` begins in an image."""
    return (y + 1) * STRIDE


@device
def extend(row: Any) -> None:
    """Repeat a row's first and last pixel into its margins."""
    for k in range(MARGIN):
        row[k] = row[MARGIN]
        row[MARGIN + SIDE + k] = row[MARGIN + SIDE - 1]


@device
def clear(image: Any) -> None:
    for y in range(lane(), SIDE + 2, lanes()):
        row = image[at(y - 1) :]
        for x in range(STRIDE):
            row[x] = 0


@device
def binomial(source: Any, temp: Any, target: Any, half: int, shift: int) -> None:
    """Smooth by (1, 2, 1)² with repeated edges, and round by a shift. `source` is extended."""
    for y in range(lane(), SIDE, lanes()):
        above, middle = source[at(max(y - 1, 0)) :], source[at(y) :]
        below, sums = source[at(min(y + 1, SIDE - 1)) :], temp[at(y) :]
        for x in range(STRIDE):
            sums[x] = np.int32(above[x]) + 2 * np.int32(middle[x]) + np.int32(below[x])
        row = target[at(y) + MARGIN :]
        before, here = sums[MARGIN - 1 : MARGIN - 1 + SIDE], sums[MARGIN : MARGIN + SIDE]
        after = sums[MARGIN + 1 : MARGIN + 1 + SIDE]
        for x in range(SIDE):
            total = np.int32(before[x]) + 2 * np.int32(here[x]) + np.int32(after[x])
            row[x] = np.int32(total + half) >> np.int32(shift)


@device
def otsu(histogram: Any, out: Any) -> int:
    """The first level with the largest variance between those up to it and those above."""
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
    """Steps 1 and the first half of 2; the threshold and its quality go out."""
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
    """The other half of step 2: `background` is 1 where a pixel is not above its threshold."""
    half = BOX // 2
    for y in range(lane(), SIDE, lanes()):
        sums = temp[at(y) :]
        for x in range(STRIDE):
            sums[x] = 0
        for k in range(y - half, y + half + 1):
            row = levels[at(min(max(k, 0), SIDE - 1)) :]
            for x in range(STRIDE):
                sums[x] += row[x]
        around = 0
        for x in range(MARGIN - half, MARGIN + half):
            around += int(sums[x])
        row, dark = levels[at(y) :], background[at(y) :]
        fixed = (4 - PULL) * BOX * BOX * int(control[LEVEL])
        for x in range(MARGIN, MARGIN + SIDE):
            around += int(sums[x + half])
            needed = max(fixed + PULL * around, 4 * BOX * BOX * FAINT)
            dark[x] = 1 if 4 * BOX * BOX * int(row[x]) <= needed else 0
            around -= int(sums[x - half])
    barrier()


@device
def grow(image: Any, limit: Any, temp: Any, control: Any) -> None:
    """Morphological reconstruction: raise `image` to its 8 neighbors, up to `limit`, until nothing
    changes. The end is the same in whatever order pixels are raised."""
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
    """Step 3: keep the background that hangs together with a 3×3 square of it, or with the border."""
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
    """Squared distance to the nearest background of the patch, at most REACH²."""
    for y in range(lane(), SIDE, lanes()):
        column, row = temp[at(y) :], square[at(y) + MARGIN :]
        for x in range(STRIDE):
            column[x] = REACH * REACH
        inner = column[MARGIN : MARGIN + SIDE]
        for k in range(REACH - 1, -1, -1):
            above = mask[at(max(y - k, 0)) + MARGIN :]
            below = mask[at(min(y + k, SIDE - 1)) + MARGIN :]
            apart = np.int16(k * k)
            for x in range(SIDE):
                inner[x] = apart if above[x] & below[x] == 0 else inner[x]
        for x in range(SIDE):
            row[x] = REACH * REACH
        for dx in range(-REACH + 1, REACH):
            moved = column[MARGIN + dx : MARGIN + dx + SIDE]
            for x in range(SIDE):
                row[x] = min(row[x], np.int16(moved[x] + np.int16(dx * dx)))
    barrier()


@device
def find_heights(height_of: Any, control: Any, work: Any) -> None:
    """Step 4, and the first of 5: the heights, and their reconstruction from RISE below (`ROOF`)."""
    find_distance(work[MASK], work[TEMP], work[LABEL])
    for y in range(lane(), SIDE, lanes()):
        row = work[LABEL][at(y) :]
        for x in range(MARGIN, MARGIN + SIDE):
            row[x] = height_of[row[x]]
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
        for x in range(STRIDE):
            label[x] = OUTSIDE if height[x] == 0 else 0
    barrier()


@device
def plant(height: Any, roof: Any, label: Any, queue: Any, steps: Any) -> tuple[int, int]:
    """Step 5: label the plateaus of `roof` under the seeds. How many there are, and their pixels."""
    seeds, end = 0, 0
    for y in range(SIDE):
        for first in range((y + 1) * STRIDE + MARGIN, (y + 1) * STRIDE + MARGIN + SIDE):
            if height[first] < PEAK or roof[first] != height[first] - RISE or label[first] != 0:
                continue
            seeds += 1
            begin = end
            label[first], steps[first], queue[end] = seeds, 0, first
            end += 1
            while begin < end:
                place = int(queue[begin])
                begin += 1
                for dy in range(-STRIDE, STRIDE + 1, STRIDE):
                    for near in range(place + dy - 1, place + dy + 2):
                        if label[near] == 0 and roof[near] == roof[first]:
                            label[near], steps[near], queue[end] = seeds, 0, near
                            end += 1
    return seeds, end


@device
def flood(end: int, roof: Any, label: Any, queue: Any, steps: Any) -> int:
    """Step 6: wave after wave from the seeds, never upward. A pixel that two waves reach in the
    same step is on a line, and so is what can only be reached through it."""
    begin = 0
    while begin < end:
        place = int(queue[begin])
        begin += 1
        own, level, next_step = label[place], roof[place], steps[place] + 1
        for dy in range(-STRIDE, STRIDE + 1, STRIDE):
            for near in range(place + dy - 1, place + dy + 2):
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
    """Box the pixels of each seed, keep the boxes of those large enough for a nucleus and give those
    a number from 1, the others 0. How many nuclei there are."""
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
    """All six steps: `work[LABEL]` numbers the nuclei from 1, and their boxes are in `work[BOXES]`."""
    control = ints[0]
    clear(work[HEIGHT])
    clear(work[ROOF])
    find_levels(planes[HEMATOXYLIN], ints, work, out)
    find_mask(control, work[LEVELS], work[TEMP], work[HEIGHT])
    fill_holes(control, work)
    find_heights(height_of, control, work)
    label, queue, steps = work[LABEL], work[QUEUE], work[STEPS]
    if lane() == 0:
        seeds, end = plant(work[HEIGHT], work[ROOF], label, queue, steps)
        end = flood(end, work[ROOF], label, queue, steps)
        control[COUNT] = enclose(seeds, end, label, queue, work[BOXES], steps)
    barrier()
    for y in range(lane(), SIDE, lanes()):
        row = label[at(y) :]
        for x in range(MARGIN, MARGIN + SIDE):
            row[x] = steps[row[x]] if row[x] > 0 else LINE if row[x] == LINE else 0
    barrier()
