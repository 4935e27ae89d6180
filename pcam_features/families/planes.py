"""The color planes of a patch: thirteen uint8 images, computed once and shared by the families.

All arithmetic uses integers and tables, so every target gives the same bytes.

| plane | level | source |
| --- | --- | --- |
| `red`, `green`, `blue` | 0–255 as read | |
| `gray` | 0–255, Rec. 709 luma | `skimage.color.rgb2gray` × 255 |
| `hue` | a full turn is 256 levels, 128 is red | `cv2.COLOR_RGB2HSV_FULL`, shifted by half a turn |
| `saturation`, `value` | 0–255 | `cv2.COLOR_RGB2HSV` |
| `lab_l` | L* × 255 / 100 | `cv2.COLOR_RGB2LAB` (sRGB, D65) |
| `lab_a`, `lab_b` | a* + 128, b* + 128 | `cv2.COLOR_RGB2LAB` |
| `hematoxylin`, `eosin` | optical density × 200, from 0 | Ruifrok & Johnston 2001 |
| `residual` | optical density × 200 + 128 | Ruifrok & Johnston 2001 |

Hue is shifted so that it wraps around at cyan, because pink and purple lie on both sides of red. The
stains come from the matrix of `skimage.color.hed_from_rgb`, applied to decimal optical density
(scikit-image's `rgb2hed` gives the same values divided by 6). A channel value of 0 counts as 1,
negative hematoxylin and eosin count as 0, and one level is 0.005 of optical density. Every plane lies
within one level of the function in the last column.

Source: A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by color
deconvolution", Anal. Quant. Cytol. Histol. 23, 2001.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.kernel import LANES, Kernel, barrier, device, lane, lanes
from ..geometry import PATCH_SIZE

PLANES = (
    "red",
    "green",
    "blue",
    "gray",
    "hue",
    "saturation",
    "value",
    "lab_l",
    "lab_a",
    "lab_b",
    "hematoxylin",
    "eosin",
    "residual",
)
LEVELS_PER_OD = 200
SIGNED_ZERO = 128  # the level that represents 0 in signed planes

# Fixed point: the number of fractional bits of each quantity.
GRAY_BITS, OD_BITS, STAIN_BITS, LIGHT_BITS, XYZ_BITS, ROOT_BITS = 16, 6, 13, 16, 13, 14

RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
XYZ_FROM_RGB = np.array(  # sRGB, IEC 61966-2-1; each row is divided by its white point below
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)


def _fixed(matrix: np.ndarray, bits: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(v) for v in row) for row in np.rint(matrix * 2**bits))


def _table() -> np.ndarray:
    """The look-up table: optical density and linear light of each channel value, then cube roots.

    Density and light share one number, so that one look-up gives both. The cube roots are for CIELAB.
    """
    value = np.arange(256) / 255
    density = -np.log10(np.maximum(value, 1 / 255)) * LEVELS_PER_OD * 2**OD_BITS
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    t = np.arange(2**XYZ_BITS + 1) / 2**XYZ_BITS
    root = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    both = np.rint(density) * 2**DENSITY + np.rint(light * 2**LIGHT_BITS)
    return np.concatenate([both, np.rint(root * 2**ROOT_BITS)]).astype(np.uint32).view(np.int32)


DENSITY = 17  # the bit at which density begins, above light
LIGHT_MASK, DENSITY_MASK = (1 << DENSITY) - 1, (1 << (32 - DENSITY)) - 1
ROOT = 256  # the index at which the cube roots begin
GRAY = tuple(int(v) for v in np.rint(np.array([0.2125, 0.7154, 0.0721]) * 2**GRAY_BITS))
STAIN = _fixed(np.linalg.inv(RGB_FROM_HED), STAIN_BITS)  # [channel][stain]
XYZ = _fixed(XYZ_FROM_RGB / XYZ_FROM_RGB.sum(axis=1, keepdims=True), 14)


@device
def clip(level: Any) -> Any:
    return min(max(level, 0), 255)


@device
def scaled(amount: Any, bits: int) -> Any:
    """Round `amount` to an integer by removing its `bits` fractional bits."""
    return (amount + (1 << (bits - 1))) >> bits


# Loops run over a whole row, whose length LLVM knows, in 32 bits. Look-ups have separate loops, so that
# all other loops are SIMD.


@device
def channels_and_gray(rgb: Any, y: int, out: Any) -> None:
    assert rgb.shape[2] == 3  # LLVM then knows the distance between pixels, and vectorizes
    for x in range(PATCH_SIZE):
        red, green, blue = np.int32(rgb[y, x, 0]), np.int32(rgb[y, x, 1]), np.int32(rgb[y, x, 2])
        out[0, y, x], out[1, y, x], out[2, y, x] = red, green, blue
        gray = np.int32(GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue)
        out[3, y, x] = scaled(gray, GRAY_BITS)


@device
def quotient(n: Any, d: Any) -> Any:
    """n // d by a 32-bit float division, which is exact for n + d < 2**24."""
    return np.int32(np.float32(np.int32(n)) / np.float32(np.int32(d)))


@device
def hue_saturation_value(y: int, out: Any) -> None:
    for x in range(PATCH_SIZE):
        red, green, blue = np.int32(out[0, y, x]), np.int32(out[1, y, x]), np.int32(out[2, y, x])
        top: Any = max(red, green, blue)
        spread = np.int32(top - min(red, green, blue))
        divisor = max(spread, np.int32(1))
        turn = np.int32(red - green + 4 * divisor)
        if top == green:
            turn = np.int32(blue - red + 2 * divisor)
        if top == red:
            turn = np.int32(green - blue + 6 * divisor)
        out[4, y, x] = (quotient(256 * turn + 3 * divisor, 6 * divisor) + SIGNED_ZERO) & 255
        out[5, y, x] = quotient(510 * spread + top, max(2 * top, 1))
        out[6, y, x] = top


@device
def stains(red: Any, green: Any, blue: Any, y: int, out: Any) -> None:
    """Hematoxylin, eosin and residual of a row, from the table's entries for its channels."""
    for x in range(PATCH_SIZE):
        r = (red[x] >> DENSITY) & DENSITY_MASK
        g = (green[x] >> DENSITY) & DENSITY_MASK
        b = (blue[x] >> DENSITY) & DENSITY_MASK
        hematoxylin = np.int32(STAIN[0][0] * r + STAIN[1][0] * g + STAIN[2][0] * b)
        eosin = np.int32(STAIN[0][1] * r + STAIN[1][1] * g + STAIN[2][1] * b)
        residual = np.int32(STAIN[0][2] * r + STAIN[1][2] * g + STAIN[2][2] * b)
        out[10, y, x] = clip(scaled(hematoxylin, STAIN_BITS + OD_BITS))
        out[11, y, x] = clip(scaled(eosin, STAIN_BITS + OD_BITS))
        out[12, y, x] = clip(scaled(residual, STAIN_BITS + OD_BITS) + SIGNED_ZERO)


@device
def lab(first: Any, second: Any, third: Any, table: Any, y: int, out: Any) -> None:
    """CIELAB of a row, from the table's entries for red, green and blue, which are overwritten."""
    shift = 14 + LIGHT_BITS - XYZ_BITS
    for x in range(PATCH_SIZE):
        r, g, b = first[x] & LIGHT_MASK, second[x] & LIGHT_MASK, third[x] & LIGHT_MASK
        first[x] = scaled(np.int32(XYZ[0][0] * r + XYZ[0][1] * g + XYZ[0][2] * b), shift)
        second[x] = scaled(np.int32(XYZ[1][0] * r + XYZ[1][1] * g + XYZ[1][2] * b), shift)
        third[x] = scaled(np.int32(XYZ[2][0] * r + XYZ[2][1] * g + XYZ[2][2] * b), shift)
    for x in range(PATCH_SIZE):
        first[x] = table[np.uint32(ROOT + first[x])]
        second[x] = table[np.uint32(ROOT + second[x])]
        third[x] = table[np.uint32(ROOT + third[x])]
    for x in range(PATCH_SIZE):
        fx, fy, fz = first[x], second[x], third[x]
        lightness = np.uint32((116 * fy - (16 << ROOT_BITS)) * 255 + (50 << ROOT_BITS))
        out[7, y, x] = min(np.uint32(lightness >> ROOT_BITS) // np.uint32(100), np.uint32(255))
        out[8, y, x] = clip(scaled(np.int32(500 * (fx - fy)), ROOT_BITS) + SIGNED_ZERO)
        out[9, y, x] = clip(scaled(np.int32(200 * (fy - fz)), ROOT_BITS) + SIGNED_ZERO)


@device
def measure(rgb: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    first, second, third = work[lane(), 0], work[lane(), 1], work[lane(), 2]
    for y in range(lane(), PATCH_SIZE, lanes()):
        channels_and_gray(rgb, y, out)
        hue_saturation_value(y, out)
        for x in range(PATCH_SIZE):
            first[x] = table[np.uint32(out[0, y, x])]
            second[x] = table[np.uint32(out[1, y, x])]
            third[x] = table[np.uint32(out[2, y, x])]
        stains(first, second, third, y, out)
        lab(first, second, third, table, y, out)
    barrier()


KERNEL = Kernel(
    name="planes",
    measure=measure,
    shape=(len(PLANES), PATCH_SIZE, PATCH_SIZE),
    dtype=np.uint8,
    table=_table(),
    work=(LANES, 3, PATCH_SIZE),
)
