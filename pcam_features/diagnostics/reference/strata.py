"""Strata with SciPy: pixel ranks, and statistics by stratum."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from ...families.strata import CUTS, DESCRIBED, MAPS, RANKED
from ...geometry import CENTER, REGIONS
from .planes import STAINS

LIBRARY = "SciPy"
TOLERANCE = {"rtol": 1e-6, "atol": 2e-5}
PLANES = (*DESCRIBED, "gray")
TAPS = np.array([1, 4, 6, 4, 1])
WIDE = np.array([1, 0, 4, 0, 6, 0, 4, 0, 1])


def smooth(image: np.ndarray, taps: np.ndarray, divisor: int) -> np.ndarray:
    """Apply a binomial filter along both axes in integers, and round once."""
    both = ndimage.correlate1d(image, taps, axis=0, mode="nearest")
    total: np.ndarray = ndimage.correlate1d(both, taps, axis=1, mode="nearest")
    return (total + divisor // 2) // divisor


def details(plane: np.ndarray) -> dict[str, np.ndarray]:
    """The smoothed plane in 1/16 gray level, and the detail removed by each of two smoothing steps."""
    one = smooth(plane.astype(np.int64), TAPS, 16)
    two = smooth(one, TAPS, 256)
    three = smooth(two, WIDE, 256)
    four = smooth(three, WIDE, 256)
    result = {"smooth": one}
    for name, finer, coarser in (("fine_", one, two), ("coarse_", three, four)):
        result[name] = np.minimum((np.abs(finer - coarser) + 1) // 2, 255) / 8
    return result


def masks() -> dict[str, np.ndarray]:
    center = np.zeros((96, 96), bool)
    center[slice(*CENTER), slice(*CENTER)] = True
    return dict(zip(REGIONS, (np.ones_like(center), center, ~center), strict=True))


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    detail = {plane: details(planes[plane]) for plane in RANKED}
    shares = np.array(CUTS[1:-1]) / 100
    for ranked in RANKED:
        level = detail[ranked]["smooth"] // 4
        dark_first = -level if ranked in STAINS else level
        for region, mask in masks().items():
            share = (rankdata(dark_first[mask], method="average") - 0.5) / mask.sum()
            present, strata = np.unique(np.digitize(share, shares), return_inverse=True)
            labels = np.arange(len(present))
            for prefix, plane in MAPS:
                image = detail[plane][prefix] if prefix else planes[plane].astype(float)
                values = image[mask]
                means = np.full(len(CUTS) - 1, values.mean())
                deviations = np.full(len(CUTS) - 1, values.std())
                means[present] = ndimage.mean(values, strata, labels)
                deviations[present] = ndimage.standard_deviation(values, strata, labels)
                for k in range(len(CUTS) - 1):
                    where = f"{region}_{plane}_by_{ranked}_p{CUTS[k]:02d}to{CUTS[k + 1]:02d}"
                    result[f"strata__{prefix}mean__{where}"] = means[k]
                    result[f"strata__{prefix}deviation__{where}"] = deviations[k]
    return result
