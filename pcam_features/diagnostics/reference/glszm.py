"""Size zones with the connected components of scikit-image."""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from ...families.glszm import LEVEL_BITS, MEASURED
from ...geometry import CENTER, PATCH_SIZE

LIBRARY = "scikit-image, NumPy"
TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
PLANES = MEASURED


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    outside = np.ones((PATCH_SIZE, PATCH_SIZE), bool)
    outside[slice(*CENTER), slice(*CENTER)] = False
    for name, plane in planes.items():
        levels = (plane >> (8 - LEVEL_BITS)) + np.uint8(1)  # 0 marks pixels outside the region
        center = levels[slice(*CENTER), slice(*CENTER)]
        for region, image in (("patch", levels), ("center", center), ("ring", levels * outside)):
            for feature, value in described(image).items():
                result[f"glszm__{feature}__{region}_{name}"] = value
    return result


def described(image: np.ndarray) -> dict[str, float]:
    labels = label(image, background=0, connectivity=2).ravel()
    sizes = np.bincount(labels)
    level_of = np.zeros(len(sizes), image.dtype)
    level_of[labels] = image.ravel()
    i, s = level_of[1:].astype(float), sizes[1:].astype(float)
    zones = len(s)
    cells = np.unique(i * image.size + s, return_counts=True)[1] / zones
    of_level = np.unique(i, return_counts=True)[1] / zones
    of_size = np.unique(s, return_counts=True)[1] / zones
    return {
        "small_zones": (1 / s**2).mean(),
        "large_zones": (s**2).mean(),
        "level_nonuniformity": (of_level**2).sum(),
        "size_nonuniformity": (of_size**2).sum(),
        "zone_share": zones / s.sum(),
        "low_levels": (1 / i**2).mean(),
        "high_levels": (i**2).mean(),
        "small_low": (1 / (i * s) ** 2).mean(),
        "small_high": ((i / s) ** 2).mean(),
        "large_low": ((s / i) ** 2).mean(),
        "large_high": ((i * s) ** 2).mean(),
        "level_variance": i.var(),
        "size_variance": s.var(),
        "entropy": -(cells * np.log2(cells)).sum(),
    }
