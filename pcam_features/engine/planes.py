"""The planes of a patch: thirteen uint8 images that the families share, computed once.

Everything is integer arithmetic on tables made here, so every target gives the same bytes.

| plane | level | source |
| --- | --- | --- |
| `red`, `green`, `blue` | 0–255 as read | |
| `gray` | 0–255, Rec. 709 luma | `skimage.color.rgb2gray` × 255 |
| `hue` | a full turn is 256 levels, 128 is red | `cv2.COLOR_RGB2HSV_FULL`, turned by half |
| `saturation`, `value` | 0–255 | `cv2.COLOR_RGB2HSV` |
| `lab_l` | L* × 255 / 100 | `cv2.COLOR_RGB2LAB` (sRGB, D65) |
| `lab_a`, `lab_b` | a* + 128, b* + 128 | `cv2.COLOR_RGB2LAB` |
| `hematoxylin`, `eosin` | optical density × 200, from 0 | Ruifrok & Johnston 2001 |
| `residual` | optical density × 200 + 128 | Ruifrok & Johnston 2001 |

Hue is turned so that its cut lies at cyan: pink and purple straddle red. The stains come from
the matrix of `skimage.color.hed_from_rgb`, applied to decimal optical density (scikit-image's
`rgb2hed` gives the same values divided by 6); a channel of 0 counts as 1, negative hematoxylin
and eosin as 0, and one level is 0.005 of optical density. Every plane lies within one level of
the function it names.

Source: A. C. Ruifrok and D. A. Johnston, "Quantification of histochemical staining by color
deconvolution", Anal. Quant. Cytol. Histol. 23, 2001.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .lanes import Kernel, barrier, device, lane, lanes
from .regions import PATCH_SIZE

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
SIGNED_ZERO = 128  # the level of 0 in planes that have a sign

# Fixed point: how many bits stand behind the point in each quantity.
GRAY_BITS, OD_BITS, STAIN_BITS, LIGHT_BITS, XYZ_BITS, ROOT_BITS = 16, 6, 13, 16, 13, 14

RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
XYZ_FROM_RGB = np.array(  # sRGB, IEC 61966-2-1; each row is divided by its white below
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)


def _fixed(matrix: np.ndarray, bits: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(v) for v in row) for row in np.rint(matrix * 2**bits))


def _table() -> np.ndarray:
    """Optical density and linear light of each channel value, then the cube root of CIELAB."""
    value = np.arange(256) / 255
    density = -np.log10(np.maximum(value, 1 / 255)) * LEVELS_PER_OD * 2**OD_BITS
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    t = np.arange(2**XYZ_BITS + 1) / 2**XYZ_BITS
    root = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    parts = (density, light * 2**LIGHT_BITS, root * 2**ROOT_BITS)
    return np.concatenate([np.rint(part) for part in parts]).astype(np.int32)


LIGHT, ROOT = 256, 512  # where the second and third part of the table begin
GRAY = tuple(int(v) for v in np.rint(np.array([0.2125, 0.7154, 0.0721]) * 2**GRAY_BITS))
STAIN = _fixed(np.linalg.inv(RGB_FROM_HED), STAIN_BITS)  # [channel][stain]
XYZ = _fixed(XYZ_FROM_RGB / XYZ_FROM_RGB.sum(axis=1, keepdims=True), 14)


@device
def clip(level: Any) -> Any:
    return min(max(level, 0), 255)


@device
def scaled(amount: Any, bits: int) -> Any:
    """`amount` without its `bits` behind the point, rounded."""
    return (amount + (1 << (bits - 1))) >> bits


@device
def measure(rgb: Any, table: Any, ints: Any, floats: Any, work: Any, out: Any) -> None:
    height, width = rgb.shape[0], rgb.shape[1]
    for y in range(lane(), height, lanes()):
        for x in range(width):
            red, green, blue = np.int32(rgb[y, x, 0]), np.int32(rgb[y, x, 1]), np.int32(rgb[y, x, 2])
            out[0, y, x], out[1, y, x], out[2, y, x] = red, green, blue
            gray = GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue
            out[3, y, x] = scaled(gray, GRAY_BITS)

        for x in range(width):
            red, green, blue = np.int32(rgb[y, x, 0]), np.int32(rgb[y, x, 1]), np.int32(rgb[y, x, 2])
            top: Any = max(red, green, blue)
            bottom: Any = min(red, green, blue)
            spread = max(top - bottom, 1)
            if top == red:
                turn = green - blue + 6 * spread
            elif top == green:
                turn = blue - red + 2 * spread
            else:
                turn = red - green + 4 * spread
            out[4, y, x] = ((256 * turn + 3 * spread) // (6 * spread) + SIGNED_ZERO) & 255
            out[5, y, x] = (510 * (top - bottom) + top) // max(2 * top, 1)
            out[6, y, x] = top

        for x in range(width):
            red = table[LIGHT + np.int32(rgb[y, x, 0])]
            green = table[LIGHT + np.int32(rgb[y, x, 1])]
            blue = table[LIGHT + np.int32(rgb[y, x, 2])]
            shift = 14 + LIGHT_BITS - XYZ_BITS
            fx = table[ROOT + scaled(XYZ[0][0] * red + XYZ[0][1] * green + XYZ[0][2] * blue, shift)]
            fy = table[ROOT + scaled(XYZ[1][0] * red + XYZ[1][1] * green + XYZ[1][2] * blue, shift)]
            fz = table[ROOT + scaled(XYZ[2][0] * red + XYZ[2][1] * green + XYZ[2][2] * blue, shift)]
            lightness = (116 * fy - (16 << ROOT_BITS)) * 255
            out[7, y, x] = clip((lightness + (50 << ROOT_BITS)) // (100 << ROOT_BITS))
            out[8, y, x] = clip(scaled(500 * (fx - fy), ROOT_BITS) + SIGNED_ZERO)
            out[9, y, x] = clip(scaled(200 * (fy - fz), ROOT_BITS) + SIGNED_ZERO)

        for x in range(width):
            red, green, blue = table[rgb[y, x, 0]], table[rgb[y, x, 1]], table[rgb[y, x, 2]]
            hematoxylin = STAIN[0][0] * red + STAIN[1][0] * green + STAIN[2][0] * blue
            eosin = STAIN[0][1] * red + STAIN[1][1] * green + STAIN[2][1] * blue
            residual = STAIN[0][2] * red + STAIN[1][2] * green + STAIN[2][2] * blue
            out[10, y, x] = clip(scaled(hematoxylin, STAIN_BITS + OD_BITS))
            out[11, y, x] = clip(scaled(eosin, STAIN_BITS + OD_BITS))
            out[12, y, x] = clip(scaled(residual, STAIN_BITS + OD_BITS) + SIGNED_ZERO)
    barrier()


KERNEL = Kernel(
    name="planes",
    measure=measure,
    shape=(len(PLANES), PATCH_SIZE, PATCH_SIZE),
    dtype=np.uint8,
    table=_table(),
)
