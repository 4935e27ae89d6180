"""Gradients with OpenCV's Sobel, Laplacian and structure tensor."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.stats import entropy

from ...families.color import PERCENTILES
from ...families.gradient import COMPARED, MEASURED, MEASURES, SOBEL, THRESHOLDS, WINDOWS
from ...geometry import REGIONS
from .planes import regions_of

LIBRARY = "OpenCV, NumPy, SciPy"
TOLERANCE = {"rtol": 1e-4, "atol": 1e-3}
PLANES = MEASURED
EDGE = cv2.BORDER_REPLICATE


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result: dict[str, float] = {}
    for plane, pixels in planes.items():
        images = images_of(pixels)
        cut = {name: regions_of(image) for name, image in images.items()}
        for region in REGIONS:
            values = describe({name: parts[region] for name, parts in cut.items()})
            for (name, end), value in zip(MEASURES, values, strict=True):
                result[f"gradient__{name}__{region}_{plane}{end}"] = value
        for name, end in (MEASURES[k] for k in COMPARED):
            inner, outer = (result[f"gradient__{name}__{r}_{plane}{end}"] for r in ("center", "ring"))
            result[f"gradient__{name}__center_minus_ring_{plane}{end}"] = inner - outer
    return result


def images_of(plane: np.ndarray) -> dict[str, np.ndarray]:
    """The images whose pixels are then summarized by region."""
    gx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, borderType=EDGE)
    gy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, borderType=EDGE)
    images = {
        "magnitude": cv2.magnitude(gx, gy),
        # The orientation of a line: half a turn has eight bins, and the first is centered on 0.
        "bin": np.rint(np.arctan2(gy, gx) * (8 / np.pi)).astype(np.int64) % 8,
        "along": gx * gx - gy * gy,
        "across": 2 * gx * gy,
        "power": gx * gx + gy * gy,
        "variation": variation_of(plane.astype(np.float32)),
        "laplacian": cv2.Laplacian(plane, cv2.CV_64F, borderType=EDGE),
    }
    for w in WINDOWS:  # cv2.cornerEigenValsAndVecs returns rounding noise on constant regions
        along, across, power = (
            cv2.boxFilter(images[name], cv2.CV_64F, (w, w), normalize=False, borderType=EDGE)
            for name in ("along", "across", "power")
        )
        images[f"difference{w}"], images[f"whole{w}"] = cv2.magnitude(along, across), power
    return images


def variation_of(plane: np.ndarray) -> np.ndarray:
    """Half of the sum of each pixel's absolute differences from its four neighbors."""
    result = np.zeros_like(plane)
    down, right = np.abs(np.diff(plane, axis=0)) / 2, np.abs(np.diff(plane, axis=1)) / 2
    result[1:] += down
    result[:-1] += down
    result[:, 1:] += right
    result[:, :-1] += right
    return result


def describe(values: dict[str, np.ndarray]) -> list[float]:
    """The features of one region's pixels, in the order of `MEASURES`."""
    magnitude = values["magnitude"].astype(np.float64)
    eighths = np.rint(magnitude)
    weights = np.bincount(values["bin"], magnitude, minlength=8)
    line = np.hypot(values["along"].sum(dtype=float), values["across"].sum(dtype=float))
    power = values["power"].sum(dtype=float)
    result = [magnitude.mean() / SOBEL, magnitude.std() / SOBEL]
    result += list(np.percentile(eighths, PERCENTILES) / SOBEL)
    result += [(eighths >= threshold * SOBEL).mean() for threshold in THRESHOLDS]
    result += [entropy(weights, base=2) if power > 0 else 0.0, line / power if power > 0 else 0.0]
    result.append(values["variation"].mean(dtype=float))
    result += [np.abs(values["laplacian"]).mean(), values["laplacian"].std()]
    for window in WINDOWS:
        difference, whole = values[f"difference{window}"], values[f"whole{window}"]
        coherence = np.divide(difference, whole, out=np.zeros_like(whole), where=whole > 0)
        share = difference.sum(dtype=float) / whole.sum(dtype=float) if power > 0 else 0.0
        result += [coherence.mean(dtype=float), coherence.std(dtype=float), share]
    return result
