"""Granulometry: volume removed by openings and closings of increasing size.

An opening removes bright details that are smaller than its disc (in `hematoxylin`: nuclei and their
parts). A closing fills dark details (the gaps between them). Columns are named
`granulometry__<opening|closing>_<feature>__<region>_<plane>[_r<radius>]`, and
`granulometry__<…>_<loss|size>__center_minus_ring_<plane>`.

The disc of radius r is an octagon of r steps, each a dilation by a 3×3 cross or square (`STEPS`). Each
disc is open with respect to the previous one, so the openings of a plane decrease with the radius. V(r)
is the sum over the pixels of a region of the plane opened by r, V(0) that of the plane itself, and v(r)
the volume removed at r: V at the previous radius minus V(r). Pixels outside the patch are ignored. A
closing is the opening of 255 - plane. An opening by r depends on pixels up to 2 r away, so 8 is the
largest radius at which the center depends only on itself and the 16 pixels around it.

Sources: G. Matheron, "Random sets and integral geometry", Wiley 1975; P. Maragos, "Pattern spectrum
and multiscale shape representation", IEEE TPAMI 11, 1989 (the spectrum, its mean and its entropy);
`cv2.morphologyEx` with `skimage.morphology.octagon`.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import Any

import numpy as np

from ..engine.kernel import Kernel, add, barrier, device, lane, lanes
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from .family import Family, Feature
from .planes import PLANES

MEASURED = ("gray", "hematoxylin", "eosin")
SIDES = ("opening", "closing")
CROSS, SQUARE = 0, 1
STEPS = (CROSS, SQUARE, CROSS, SQUARE, CROSS, CROSS, SQUARE, CROSS)  # closest to regular octagons
RADII = (1, 2, 3, 4, 6, 8)
LARGEST, N_RADII = len(STEPS), len(RADII)

PLANE_INDEX = tuple(PLANES.index(plane) for plane in MEASURED)
N_PLANES, N_SIDES, N_REGIONS = len(MEASURED), len(SIDES), len(REGIONS)
START, STOP = CENTER

# An image is one run of bytes, so that a neighbor is a fixed offset and loops are long: rows of margin,
# then rows that are each followed by a gap, then rows of margin. Each step moves outside values inward
# by one pixel, so a gap is as wide as the number of steps. The outermost rows of the run are never
# written, and the left neighbor of a row's first byte is in the row above, which needs one more row of
# margin.
STRIDE = PATCH_SIZE + LARGEST
MARGIN = LARGEST + 1
SIZE = (PATCH_SIZE + 2 * MARGIN) * STRIDE


def _outside() -> np.ndarray:
    """255 in the margins and gaps of a run, 0 at its pixels."""
    inside = np.zeros((PATCH_SIZE + 2 * MARGIN, STRIDE), bool)
    inside[MARGIN:-MARGIN, :PATCH_SIZE] = True
    return np.where(inside, 0, 255).astype(np.uint8).ravel()


@device
def erode_by_cross(image: Any, out: Any) -> None:
    n = SIZE - 2 * STRIDE
    up, down = image[:n], image[2 * STRIDE : 2 * STRIDE + n]
    left, right = image[STRIDE - 1 : STRIDE - 1 + n], image[STRIDE + 1 : STRIDE + 1 + n]
    middle, found = image[STRIDE : STRIDE + n], out[STRIDE : STRIDE + n]
    for i in range(lane(), n, lanes()):
        found[i] = min(up[i], down[i], middle[i], left[i], right[i])
    barrier()


@device
def erode_by_square(image: Any, between: Any) -> None:
    """Erode in place, first along columns, then along rows."""
    n = SIZE - 2 * STRIDE
    up, down = image[:n], image[2 * STRIDE : 2 * STRIDE + n]
    middle, column = image[STRIDE : STRIDE + n], between[STRIDE : STRIDE + n]
    left, right = between[STRIDE - 1 : STRIDE - 1 + n], between[STRIDE + 1 : STRIDE + 1 + n]
    for i in range(lane(), n, lanes()):
        column[i] = min(middle[i], up[i], down[i])
    barrier()
    for i in range(lane(), n, lanes()):
        middle[i] = min(column[i], left[i], right[i])
    barrier()


@device
def erode(images: Any, now: int, steps: int, first: int) -> int:
    """Erode image `now` of the two images by some of `STEPS`; returns the index of the result."""
    for k in range(first, steps):
        if STEPS[k] == SQUARE:
            erode_by_square(images[now], images[1 - now])
        else:
            erode_by_cross(images[now], images[1 - now])
            now = 1 - now
    return now


@device
def load(plane: Any, side: int, outside: Any, image: Any) -> None:
    """Load the plane, or its complement for a closing, with 255 outside."""
    height, width = plane.shape
    for i in range(lane(), SIZE, lanes()):
        image[i] = outside[i]
    barrier()
    turn = np.uint8(255 * side)
    for y in range(lane(), height, lanes()):
        row = image[(MARGIN + y) * STRIDE : (MARGIN + y) * STRIDE + width]
        for x in range(width):
            row[x] = plane[y, x] ^ turn
    barrier()


@device
def complement(image: Any, outside: Any, out: Any) -> None:
    """255 minus the image, with 255 outside. Eroding the complement dilates the image."""
    for i in range(lane(), SIZE, lanes()):
        out[i] = (image[i] ^ np.uint8(255)) | outside[i]
    barrier()


@device
def total(pixels: Any) -> Any:
    found = np.int32(0)
    for x in range(pixels.shape[0]):
        found = np.int32(found + np.int32(pixels[x]))
    return found


@device
def add_volume(image: Any, volumes: Any) -> None:
    """Sum the image over the patch and over its center."""
    for y in range(lane(), PATCH_SIZE, lanes()):
        at = (MARGIN + y) * STRIDE
        add(volumes, 0, total(image[at : at + PATCH_SIZE]))
        if START <= y < STOP:
            add(volumes, 1, total(image[at + START : at + STOP]))


@device
def sieve(images: Any, outside: Any, volumes: Any) -> None:
    """Volumes of the complements of the openings of the first image by every radius, from 0."""
    eroded, dilated = images[:2], images[2:]
    complement(eroded[0], outside, dilated[0])
    add_volume(dilated[0], volumes[0])
    barrier()
    now, steps = 0, 0
    for k in range(N_RADII):
        now = erode(eroded, now, RADII[k], steps)
        steps = RADII[k]
        complement(eroded[now], outside, dilated[0])
        found = erode(dilated, 0, steps, 0)
        add_volume(dilated[found], volumes[k + 1])
        barrier()


@device
def volume(volumes: Any, k: int, region: int) -> float:
    whole, center = float(volumes[k, 0]), float(volumes[k, 1])
    return whole if region == 0 else center if region == 1 else whole - center


@device
def describe(volumes: Any, region: int, pixels: int, out: Any) -> None:
    """The features of one region, in the order of `FEATURES`, shares last."""
    before = volume(volumes, 0, region)
    lost = volume(volumes, N_RADII, region) - before
    first, second, entropy = 0.0, 0.0, 0.0  # the sums stay integers
    for k in range(N_RADII):
        share = 0.0
        after = volume(volumes, k + 1, region)
        if after > before:
            share = (after - before) / lost
            entropy -= share * log2(share)
        first += RADII[k] * (after - before)
        second += RADII[k] * RADII[k] * (after - before)
        out[N_SUMMARIES + k] = share
        before = after
    out[0] = lost / pixels
    out[1], out[2], out[3] = 0, 0, entropy
    if lost > 0:
        out[1] = first / lost
        out[2] = sqrt(second * lost - first * first) / lost


@device
def measure(planes: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    for side in range(lane(), N_PLANES * N_SIDES, lanes()):
        for k in range(N_RADII + 1):
            ints[side, k, 0], ints[side, k, 1] = 0, 0
    barrier()
    for plane in range(N_PLANES):
        for side in range(N_SIDES):
            load(planes[PLANE_INDEX[plane]], side, table, work[0])
            sieve(work, table, ints[N_SIDES * plane + side])
    each = N_SUMMARIES + N_RADII
    center = (STOP - START) ** 2
    for k in range(lane(), N_PLANES * N_SIDES, lanes()):
        at = k * (N_REGIONS * each + N_COMPARED)
        for region in range(N_REGIONS):
            pixels = PATCH_SIZE**2 if region == 0 else center if region == 1 else PATCH_SIZE**2 - center
            describe(ints[k], region, pixels, out[at + region * each : at + (region + 1) * each])
        end = at + N_REGIONS * each
        for f in range(N_COMPARED):
            out[end + f] = out[at + each + f] - out[at + 2 * each + f]
    barrier()


MARAGOS, OPENCV = "Maragos 1989", "cv2.morphologyEx"
SUMMARIES = ("loss", "size", "deviation", "entropy")
COMPARED = SUMMARIES[:2]  # those with center minus ring
N_SUMMARIES, N_COMPARED = len(SUMMARIES), len(COMPARED)
FEATURES = tuple(
    feature
    for side in SIDES
    for feature in (
        Feature(
            f"{side}_loss", f"(V(0) - V({LARGEST})) / pixels, by {side}", "levels", 0, 255, "0", OPENCV
        ),
        Feature(f"{side}_size", "mean of r, weighted by v(r)", "pixels", 0, LARGEST, "0", MARAGOS),
        Feature(
            f"{side}_deviation",
            "standard deviation of r, weighted by v(r)",
            "pixels",
            0,
            (LARGEST - 1) / 2,
            "0",
            MARAGOS,
        ),
        Feature(f"{side}_entropy", "entropy of v(r) / sum v", "bits", 0, log2(N_RADII), "0", MARAGOS),
        Feature(f"{side}_share", "v(r) / sum v: the pattern spectrum", "share", 0, 1, "0", MARAGOS),
    )
)
COLUMNS = tuple(
    column
    for plane in MEASURED
    for side in SIDES
    for column in (
        *(
            name
            for region in REGIONS
            for name in (
                *(f"granulometry__{side}_{name}__{region}_{plane}" for name in SUMMARIES),
                *(f"granulometry__{side}_share__{region}_{plane}_r{radius}" for radius in RADII),
            )
        ),
        *(f"granulometry__{side}_{name}__center_minus_ring_{plane}" for name in COMPARED),
    )
)

FAMILY = Family(
    version=1,
    columns=COLUMNS,
    features=FEATURES,
    kernel=Kernel(
        name="granulometry",
        measure=measure,
        shape=(len(COLUMNS),),
        dtype=np.float32,
        table=_outside(),
        ints=(N_PLANES * N_SIDES, N_RADII + 1, 2),
        work=(4, SIZE),
        work_dtype=np.uint8,
    ),
)
