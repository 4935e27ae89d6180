"""Local binary patterns with scikit-image."""

from __future__ import annotations

import numpy as np
from skimage.feature import local_binary_pattern

from ...families.lbp import CIRCLES, MEASURED, pattern_name
from ...geometry import CENTER, PATCH_SIZE
from .planes import regions_of

LIBRARY = "scikit-image"
TOLERANCE = {"rtol": 1e-2, "atol": 0.05}  # for shares; the tests of this family explain the ties
PLANES = MEASURED


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for name, plane in planes.items():
        for points, radius in CIRCLES:
            inner = slice(radius, PATCH_SIZE - radius)
            codes = local_binary_pattern(plane, points, radius, method="uniform").astype(np.uint8)
            whole = np.bincount(codes[inner, inner].ravel(), minlength=points + 2)
            center = np.bincount(codes[slice(*CENTER), slice(*CENTER)].ravel(), minlength=points + 2)
            for region, counts in (("patch", whole), ("center", center), ("ring", whole - center)):
                for pattern, share in enumerate(counts / counts.sum()):
                    column = f"{pattern_name(pattern, points)}__{region}_{name}_p{points}_r{radius}"
                    result[f"lbp__{column}"] = share
            # scikit-image returns NaN where all points of a circle are equal
            variance = np.nan_to_num(local_binary_pattern(plane, points, radius, method="var"))
            for region, values in regions_of(variance, radius).items():
                where = f"{region}_{name}_p{points}_r{radius}"
                result[f"lbp__variance__{where}"] = values.mean()
                result[f"lbp__deviation_spread__{where}"] = np.sqrt(values).std()
    return result
