"""The color planes as scikit-image and OpenCV compute them, rounded to the same 256 levels."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from skimage.color import rgb2gray, rgb2hed

from ...families.planes import LEVELS_PER_OD, SIGNED_ZERO
from ...geometry import CENTER, PATCH_SIZE

STAINS = ("hematoxylin", "eosin", "residual")


def planes_of(patch: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named planes, each uint8 (96, 96), of one patch, uint8 (96, 96, 3)."""
    wanted, result = set(names), {}
    for k, name in enumerate(("red", "green", "blue")):
        result[name] = patch[..., k]
    if "gray" in wanted:
        result["gray"] = to_levels(rgb2gray(patch) * 255)
    if wanted & {"hue", "saturation", "value"}:
        hsv = cv2.cvtColor(patch, cv2.COLOR_RGB2HSV_FULL)
        result |= {"hue": hsv[..., 0] + np.uint8(SIGNED_ZERO), "saturation": hsv[..., 1]}
        result["value"] = hsv[..., 2]
    if wanted & {"lab_l", "lab_a", "lab_b"}:
        lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)
        result |= {f"lab_{name}": lab[..., k] for k, name in enumerate("lab")}
    if wanted & set(STAINS):
        density = rgb2hed(np.maximum(patch, 1)) * 6 * LEVELS_PER_OD
        for k, name in enumerate(STAINS):
            result[name] = to_levels(density[..., k] + (SIGNED_ZERO if name == "residual" else 0))
    return {name: result[name] for name in names}


def to_levels(plane: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(plane), 0, 255), np.uint8)


def regions_of(plane: np.ndarray, border: int = 0) -> dict[str, np.ndarray]:
    """The pixels of a plane in each region, flattened, without `border` pixels at each side.

    The plane may have any resolution.
    """
    size = len(plane)
    inside = slice(CENTER[0] * size // PATCH_SIZE, CENTER[1] * size // PATCH_SIZE)
    whole, center = np.zeros(plane.shape, bool), np.zeros(plane.shape, bool)
    whole[border : size - border, border : size - border] = True
    center[inside, inside] = True
    return {"patch": plane[whole], "center": plane[center], "ring": plane[whole & ~center]}
