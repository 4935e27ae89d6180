"""Color histograms with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from ...families.histogram import BINS, JOINT, JOINT_BINS, JOINT_WIDTH, WIDTH, bin_name
from ...families.planes import PLANES as ALL_PLANES
from ...geometry import CENTER

LIBRARY = "OpenCV"
TOLERANCE = {"rtol": 1e-7, "atol": 0.0}  # counts are the same: only the rounding to float32 remains
PLANES = ALL_PLANES


def shares(planes: list[np.ndarray], bins: int) -> dict[str, np.ndarray]:
    """The share of the pixels in each bin of one or of two planes jointly, by region."""
    size, ranges = [bins] * len(planes), [0, 256] * len(planes)
    channels = list(range(len(planes)))
    centers = [plane[slice(*CENTER), slice(*CENTER)] for plane in planes]
    whole = cv2.calcHist(planes, channels, None, size, ranges)
    center = cv2.calcHist(centers, channels, None, size, ranges)
    counts = {"patch": whole, "center": center, "ring": whole - center}
    return {region: (count / count.sum(dtype=float)).ravel() for region, count in counts.items()}


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    names = [bin_name(k, WIDTH) for k in range(BINS)]
    joint_names = [bin_name(k, JOINT_WIDTH) for k in range(JOINT_BINS)]
    pairs = [f"{first}_{second}" for first in joint_names for second in joint_names]
    result = {}
    for name, plane in planes.items():
        for region, share in shares([plane], BINS).items():
            for levels, value in zip(names, share.tolist(), strict=True):
                result[f"histogram__share__{region}_{name}_{levels}"] = value
    for first, second in JOINT:
        for region, share in shares([planes[first], planes[second]], JOINT_BINS).items():
            for levels, value in zip(pairs, share.tolist(), strict=True):
                result[f"histogram__joint_share__{region}_{first}_{second}_{levels}"] = value
    return result
