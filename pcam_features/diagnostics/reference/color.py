"""Color statistics with NumPy and SciPy."""

from __future__ import annotations

import numpy as np
from scipy.stats import kurtosis, skew

from ...families.color import PERCENTILES
from ...families.planes import PLANES as ALL_PLANES
from .planes import regions_of

LIBRARY = "OpenCV, scikit-image, NumPy, SciPy"
TOLERANCE = {"rtol": 2e-6, "atol": 5e-5}
PLANES = ALL_PLANES


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for name, plane in planes.items():
        for region, values in regions_of(plane.astype(np.float64)).items():
            where = f"{region}_{name}"
            flat = values.min() == values.max()
            result[f"color__mean__{where}"] = values.mean()
            result[f"color__deviation__{where}"] = values.std()
            result[f"color__skewness__{where}"] = 0 if flat else skew(values)
            result[f"color__kurtosis__{where}"] = 0 if flat else kurtosis(values)
            percentiles = np.percentile(values, PERCENTILES)
            for percent, value in zip(PERCENTILES, percentiles, strict=True):
                result[f"color__p{percent:02d}__{where}"] = value
        difference = result[f"color__mean__center_{name}"] - result[f"color__mean__ring_{name}"]
        result[f"color__mean__center_minus_ring_{name}"] = difference
    return result
