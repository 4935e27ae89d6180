"""How fast each family is, beside the same features computed with the libraries people use.

One thread, per image, interleaved run by run so that a noisy machine is noisy for both; medians.
The library route is written as people write it: scikit-image's and SciPy's functions on one
patch at a time, converted to the plane they need. It is also the tests' independent source.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from .engine import cpu, planes
from .engine.regions import CENTER
from .families.catalog import FAMILIES, measurer
from .families.color import PERCENTILES
from .families.family import Family
from .families.glcm import DISTANCES
from .families.lbp import CIRCLES
from .sources.detect import open_source

Patch = np.ndarray
PROPERTIES = (
    "contrast",
    "dissimilarity",
    "homogeneity",
    "ASM",
    "correlation",
    "variance",
    "entropy",
)


def regions_of(plane: np.ndarray) -> dict[str, np.ndarray]:
    """The pixels of a plane in each region, flat."""
    inside = np.zeros(plane.shape, bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    return {"patch": plane.ravel(), "center": plane[inside], "ring": plane[~inside]}


def library_planes(patch: Patch) -> dict[str, np.ndarray]:
    """The planes as scikit-image and OpenCV convert them, at full precision, on our scales."""
    import cv2
    from skimage.color import rgb2gray, rgb2hed

    hsv = cv2.cvtColor(patch, cv2.COLOR_RGB2HSV_FULL)
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)
    density = rgb2hed(np.maximum(patch, 1)) * 6 * planes.LEVELS_PER_OD
    named = {name: patch[..., k] for k, name in enumerate(("red", "green", "blue"))}
    named["gray"] = rgb2gray(patch) * 255
    named |= {"hue": hsv[..., 0] + np.uint8(planes.SIGNED_ZERO)}
    named |= {"saturation": hsv[..., 1], "value": hsv[..., 2]}
    named |= {f"lab_{name}": lab[..., k] for k, name in enumerate("lab")}
    named |= {name: density[..., k] for k, name in enumerate(("hematoxylin", "eosin"))}
    return named | {"residual": density[..., 2] + planes.SIGNED_ZERO}


def library_color(patch: Patch) -> None:
    from scipy.stats import kurtosis, skew

    for plane in library_planes(patch).values():
        for values in regions_of(np.asarray(plane, np.float64)).values():
            values.mean(), values.std(), skew(values), kurtosis(values)
            np.percentile(values, PERCENTILES)


def _two_planes(patch: Patch) -> list[np.ndarray]:
    from skimage.color import rgb2gray, rgb2hed

    hematoxylin = rgb2hed(patch)[..., 0] * 6 * planes.LEVELS_PER_OD
    both = (rgb2gray(patch) * 255, hematoxylin)
    return [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in both]


def library_glcm(patch: Patch) -> None:
    """Seven of our seventeen properties, on patch and center (a ring is beyond scikit-image)."""
    from skimage.feature import graycomatrix, graycoprops

    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    for plane in _two_planes(patch):
        for region in (plane >> 3, plane[slice(*CENTER), slice(*CENTER)] >> 3):
            counts = graycomatrix(region, DISTANCES, angles, 32, symmetric=True, normed=True)
            for name in PROPERTIES:
                graycoprops(counts, name)


def library_lbp(patch: Patch) -> None:
    from skimage.feature import local_binary_pattern

    for plane in _two_planes(patch):
        for points, radius in CIRCLES:
            codes = local_binary_pattern(plane, points, radius, method="uniform").astype(np.uint8)
            for values in regions_of(codes).values():
                np.bincount(values, minlength=points + 2)


LIBRARIES: dict[str, tuple[Callable[[Patch], None], str]] = {
    "color": (library_color, "OpenCV, scikit-image, SciPy"),
    "glcm": (library_glcm, "scikit-image (7 of 17 properties, no ring)"),
    "lbp": (library_lbp, "scikit-image"),
}


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _interleaved(
    family: Family, library: Callable[[Patch], None], batch: np.ndarray, repeats: int
) -> tuple[float, float]:
    """Seconds a patch of ours and of the library's, medians of runs taken in turn."""
    measure = measurer([family], cpu)
    sample = batch[: max(8, len(batch) // 4)]

    def each(patches: np.ndarray) -> None:
        for patch in patches:
            library(patch)

    runs = [
        (_seconds(measure, batch, [family.name]) / len(batch), _seconds(each, sample) / len(sample))
        for _ in range(repeats + 1)
    ][1:]  # the first warms up
    return median(run[0] for run in runs), median(run[1] for run in runs)


def run(
    source: str, patches: int, repeats: int, say: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """Time every family and its library route on the first patches of a source.

    Our time for a family includes making the planes, as the library's includes its conversion;
    in the total we make them once. Raises InputError if the source cannot be read.
    """
    opened, _ = open_source(source)
    split = next(iter(opened.splits.values()))
    batch = split.read(0, min(patches, len(split)))
    say(f"bench: {len(batch)} patches of {source}, one thread, median of {repeats}")
    rows = []
    for family in FAMILIES.values():
        library, title = LIBRARIES[family.name]
        ours, theirs = _interleaved(family, library, batch, repeats)
        rows.append(_row(family.name, len(family.columns), ours, theirs, title))
        say(f"bench: {family.name} done")
    together = measurer(list(FAMILIES.values()), cpu)
    runs = [_seconds(together, batch, list(FAMILIES)) for _ in range(repeats + 1)][1:]
    ours_total = median(runs) / len(batch)
    theirs_total = sum(row["library_ms_per_patch"] for row in rows) / 1000
    columns = sum(row["columns"] for row in rows)
    return {
        "source": source,
        "patches": len(batch),
        "repeats": repeats,
        "total": _row("total", columns, ours_total, theirs_total, "sum of the above"),
        "families": rows,
    }


def _row(name: str, columns: int, ours: float, theirs: float, library: str) -> dict[str, Any]:
    return {
        "family": name,
        "columns": columns,
        "ratio": theirs / ours,
        "ms_per_patch": ours * 1000,
        "library_ms_per_patch": theirs * 1000,
        "library": library,
    }
