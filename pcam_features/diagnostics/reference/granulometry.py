"""Granulometry with openings and closings of OpenCV by octagons of scikit-image."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import entropy
from skimage.morphology import octagon

from ...families.granulometry import COMPARED, MEASURED, RADII, SQUARE, STEPS
from ...geometry import CENTER, REGIONS

LIBRARY = "OpenCV, scikit-image, SciPy"
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}
PLANES = MEASURED
SQUARES = [STEPS[:radius].count(SQUARE) for radius in RADII]
DISCS = [octagon(2 * squares + 1, r - squares) for r, squares in zip(RADII, SQUARES, strict=True)]
SIDES = {"opening": cv2.MORPH_OPEN, "closing": cv2.MORPH_CLOSE}


def volumes_of(image: np.ndarray) -> np.ndarray:
    """The sum and the number of pixels of patch, center and ring, as rows."""
    center = image[slice(*CENTER), slice(*CENTER)]
    whole, middle = (np.array([cv2.sumElems(part)[0], part.size]) for part in (image, center))
    return np.stack([whole, middle, whole - middle])


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result: dict[str, float] = {}
    for plane, pixels in planes.items():
        for side, operation in SIDES.items():
            images = [pixels, *(cv2.morphologyEx(pixels, operation, disc) for disc in DISCS)]
            volumes = np.stack([volumes_of(image) for image in images])
            for k, region in enumerate(REGIONS):
                where = f"{region}_{plane}"
                spectrum = np.abs(np.diff(volumes[:, k, 0]))
                result |= describe(spectrum, volumes[0, k, 1], side, where)
            for name in COMPARED:
                at = [result[f"granulometry__{side}_{name}__{r}_{plane}"] for r in ("center", "ring")]
                result[f"granulometry__{side}_{name}__center_minus_ring_{plane}"] = at[0] - at[1]
    return result


def describe(spectrum: np.ndarray, pixels: float, side: str, where: str) -> dict[str, float]:
    lost = spectrum.sum()
    shares = spectrum / max(lost, 1)
    radii = np.array(RADII)
    size = (radii * shares).sum()
    summaries = {
        "loss": lost / pixels,
        "size": size,
        "deviation": np.sqrt(((radii - size) ** 2 * shares).sum()),
        "entropy": entropy(shares, base=2) if lost > 0 else 0.0,
    }
    result = {f"granulometry__{side}_{name}__{where}": value for name, value in summaries.items()}
    for radius, share in zip(radii, shares, strict=True):
        result[f"granulometry__{side}_share__{where}_r{radius}"] = share
    return result
