"""Nuclei with SciPy and scikit-image: threshold, segmentation and table of nuclei.

Only columns that do not depend on where touching nuclei are split are compared here, but the whole
pipeline is timed. The tests compare the measurements of each nucleus on the same label image.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops_table
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import clear_border, watershed

from ...families.segmentation import BOX, FAINT, LEAST, PEAK, PULL, RISE, TISSUE, UNIT
from ...geometry import CENTER
from .planes import regions_of

LIBRARY = "SciPy, scikit-image (tables of nuclei)"
TOLERANCE = {"rtol": 2e-6, "atol": 1e-6}
PLANES = ("hematoxylin", "eosin", "gray", "red")
PROPERTIES = (
    "label",
    "area",
    "centroid",
    "perimeter_crofton",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "solidity",
    "intensity_mean",
    "intensity_std",
)
EIGHT = np.ones((3, 3), bool)


def smooth(image: np.ndarray) -> np.ndarray:
    rows = ndimage.correlate1d(image, [1, 2, 1], axis=0, mode="nearest")
    return np.asarray(ndimage.correlate1d(rows, [1, 2, 1], axis=1, mode="nearest"))


def levels_of(hematoxylin: np.ndarray) -> np.ndarray:
    return np.asarray((smooth(hematoxylin.astype(np.int32)) + 8) // 16)


def threshold_of(levels: np.ndarray) -> int | None:
    """Otsu's threshold of the tissue, or None if the tissue is empty or constant."""
    tissue = levels[levels >= TISSUE]
    flat = tissue.size == 0 or tissue.min() == tissue.max()
    return None if flat else int(threshold_otsu(tissue))


def mask_of(levels: np.ndarray, threshold: int | None) -> np.ndarray:
    if threshold is None:
        return np.zeros(levels.shape, bool)
    around = ndimage.uniform_filter(levels.astype(np.float64), BOX, mode="nearest")
    wanted = ((4 - PULL) * threshold + PULL * around) / 4
    background = levels <= np.maximum(np.round(wanted * 4 * BOX**2) / (4 * BOX**2), FAINT)
    edge = np.pad(np.zeros(np.array(levels.shape) - 2, bool), 1, constant_values=True)
    core = ndimage.binary_erosion(background, EIGHT) | (edge & background)
    return ~np.asarray(ndimage.binary_propagation(core, EIGHT, mask=background))


def split(mask: np.ndarray) -> np.ndarray:
    """Label nuclei: the watershed of the smoothed distance transform, seeded at its h-maxima."""
    if not mask.any():
        return mask.astype(np.int32)
    distance = ndimage.distance_transform_edt(mask)
    height = np.where(mask, smooth(np.rint(distance * UNIT).astype(np.int32)) // 16, 0)
    domes = reconstruction(np.maximum(height - RISE, 0), height, footprint=EIGHT)
    seeds = label(local_maxima(domes) & (domes >= PEAK - RISE), connectivity=2)
    nuclei = watershed(-height, seeds, connectivity=2, mask=mask)
    small = np.bincount(nuclei.ravel()) < LEAST
    return np.where(small[nuclei], 0, nuclei)


def table_of(nuclei: np.ndarray, planes: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and percentiles of each measurement, for each region."""
    stack = np.stack([planes[name] for name in PLANES], axis=-1)
    table = regionprops_table(nuclei, stack, PROPERTIES)
    place = np.stack([table.pop("centroid-0"), table.pop("centroid-1")], axis=1)
    whole = np.isin(table["label"], clear_border(nuclei))
    table["neighbor"] = (
        cKDTree(place).query(place, k=2)[0][:, 1] if len(place) > 1 else np.zeros(len(place))
    )
    low, high = CENTER
    central = ((place >= low - 0.5) & (place <= high - 0.5)).all(axis=1)
    result = {}
    for region, inside in (("patch", whole), ("center", whole & central), ("ring", whole & ~central)):
        result[region] = {"count": float(inside.sum())}
        if inside.any():
            for name, values in table.items():
                result[region][f"{name}_mean"] = values[inside].mean()
                result[region][f"{name}_deviation"] = values[inside].std()
                result[region][f"{name}_p10"], result[region][f"{name}_p90"] = np.percentile(
                    values[inside], (10, 90)
                )
    return result


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    levels = levels_of(planes["hematoxylin"])
    threshold = threshold_of(levels)
    mask = mask_of(levels, threshold)
    table_of(split(mask), planes)
    result = {"nuclei__threshold__patch": float(threshold or 0)}
    tissue = regions_of(levels >= TISSUE)
    for region, pixels in regions_of(mask).items():
        result[f"nuclei__share__{region}"] = pixels.mean()
        result[f"nuclei__cellularity__{region}"] = pixels.sum() / max(tissue[region].sum(), 1)
    for name in ("share", "cellularity"):
        center, ring = result[f"nuclei__{name}__center"], result[f"nuclei__{name}__ring"]
        result[f"nuclei__{name}__center_minus_ring"] = center - ring
    return result
