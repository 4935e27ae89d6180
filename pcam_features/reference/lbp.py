"""Local binary patterns with scikit-image."""

from __future__ import annotations

import numpy as np
from skimage.feature import local_binary_pattern

from ..engine.regions import CENTER, PATCH_SIZE
from ..families.lbp import CIRCLES, MEASURED, pattern_name

LIBRARY = "scikit-image"
TOLERANCE = {"rtol": 0.0, "atol": 0.05}
PLANES = MEASURED


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    found = {}
    for name, plane in planes.items():
        for points, radius in CIRCLES:
            inner = slice(radius, PATCH_SIZE - radius)
            codes = local_binary_pattern(plane, points, radius, method="uniform").astype(np.uint8)
            whole = np.bincount(codes[inner, inner].ravel(), minlength=points + 2)
            center = np.bincount(codes[slice(*CENTER), slice(*CENTER)].ravel(), minlength=points + 2)
            for region, counts in (("patch", whole), ("center", center), ("ring", whole - center)):
                for pattern, share in enumerate(counts / counts.sum()):
                    column = f"{pattern_name(pattern, points)}__{region}_{name}_p{points}_r{radius}"
                    found[f"lbp__{column}"] = share
    return found
