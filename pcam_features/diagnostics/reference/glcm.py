"""Co-occurrence with scikit-image: six of the seventeen properties, on patch and center.

The variance is worked out from the matrix, because `graycoprops` has it only from scikit-image 0.25 on.
"""

from __future__ import annotations

import numpy as np
from skimage.feature import graycomatrix, graycoprops

from ...families.glcm import DISTANCES, LEVEL_BITS, LEVELS, MEASURED
from ...geometry import CENTER

LIBRARY = "scikit-image (6 of 17 properties, no ring)"
TOLERANCE = {"rtol": 1e-5, "atol": 2e-6}
PLANES = MEASURED
STRAIGHT, DIAGONAL = [0, np.pi / 2], [np.pi / 4, 3 * np.pi / 4]
LEVEL = np.arange(LEVELS)
PROPERTIES = {
    "contrast": "contrast",
    "dissimilarity": "dissimilarity",
    "homogeneity": "homogeneity",
    "asm": "ASM",
    "correlation": "correlation",
}


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for name, plane in planes.items():
        levels = plane >> (8 - LEVEL_BITS)
        for region, cut in (("patch", slice(None)), ("center", slice(*CENTER))):
            for distance in DISTANCES:
                # scikit-image's distance is Euclidean: ours along a diagonal is longer.
                pairs = [
                    graycomatrix(levels[cut, cut], [step], angles, LEVELS, symmetric=True, normed=True)
                    for step, angles in ((distance, STRAIGHT), (distance * np.sqrt(2), DIAGONAL))
                ]
                found = {
                    ours: np.concatenate([graycoprops(each, theirs)[0] for each in pairs])
                    for ours, theirs in PROPERTIES.items()
                }
                found["variance"] = np.concatenate([variances(each) for each in pairs])
                for ours, values in found.items():
                    column = f"glcm__{ours}__{region}_{name}_d{distance}"
                    result[f"{column}_mean"] = values.mean()
                    result[f"{column}_range"] = np.ptp(values)
    return result


def variances(pairs: np.ndarray) -> np.ndarray:
    """The variance of the gray level for each angle, of matrices (levels, levels, 1, angles)."""
    shares = pairs[:, :, 0].sum(axis=1)
    mean = LEVEL @ shares
    variance: np.ndarray = (np.subtract.outer(LEVEL, mean) ** 2 * shares).sum(axis=0)
    return variance
