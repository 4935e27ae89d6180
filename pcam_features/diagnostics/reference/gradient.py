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
    found: dict[str, float] = {}
    for plane, pixels in planes.items():
        images = images_of(pixels)
        cut = {name: regions_of(image) for name, image in images.items()}
        for region in REGIONS:
            values = describe({name: parts[region] for name, parts in cut.items()})
            for (name, end), value in zip(MEASURES, values, strict=True):
                found[f"gradient__{name}__{region}_{plane}{end}"] = value
        for name, end in (MEASURES[k] for k in COMPARED):
            inner, outer = (found[f"gradient__{name}__{r}_{plane}{end}"] for r in ("center", "ring"))
            found[f"gradient__{name}__center_minus_ring_{plane}{end}"] = inner - outer
    return found


def images_of(plane: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that is then averaged over regions."""
    gx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, borderType=EDGE)
    gy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, borderType=EDGE)
    images = {
        "magnitude": cv2.magnitude(gx, gy),
        # A line's orientation, so that half a turn is eight bins, the first one around 0.
        "bin": np.rint(np.arctan2(gy, gx) * (8 / np.pi)).astype(np.int64) % 8,
        "along": gx * gx - gy * gy,
        "across": 2 * gx * gy,
        "power": gx * gx + gy * gy,
        "variation": variation_of(plane.astype(np.float32)),
        "laplacian": cv2.Laplacian(plane, cv2.CV_64F, borderType=EDGE),
    }
    for w in WINDOWS:  # cv2.cornerEigenValsAndVecs leaves rounding noise where nothing is
        along, across, power = (
            cv2.boxFilter(images[name], cv2.CV_64F, (w, w), normalize=False, borderType=EDGE)
            for name in ("along", "across", "power")
        )
        images[f"difference{w}"], images[f"whole{w}"] = cv2.magnitude(along, across), power
    return images


def variation_of(plane: np.ndarray) -> np.ndarray:
    """Each pixel's half of its differences from its neighbors."""
    found = np.zeros_like(plane)
    down, right = np.abs(np.diff(plane, axis=0)) / 2, np.abs(np.diff(plane, axis=1)) / 2
    found[1:] += down
    found[:-1] += down
    found[:, 1:] += right
    found[:, :-1] += right
    return found


def describe(values: dict[str, np.ndarray]) -> list[float]:
    """The features of one region's pixels, in the order of `MEASURES`."""
    magnitude = values["magnitude"].astype(np.float64)
    eighths = np.rint(magnitude)
    weights = np.bincount(values["bin"], magnitude, minlength=8)
    line = np.hypot(values["along"].sum(dtype=float), values["across"].sum(dtype=float))
    power = values["power"].sum(dtype=float)
    found = [magnitude.mean() / SOBEL, magnitude.std() / SOBEL]
    found += list(np.percentile(eighths, PERCENTILES) / SOBEL)
    found += [(eighths >= threshold * SOBEL).mean() for threshold in THRESHOLDS]
    found += [entropy(weights, base=2) if power > 0 else 0.0, line / power if power > 0 else 0.0]
    found.append(values["variation"].mean(dtype=float))
    found += [np.abs(values["laplacian"]).mean(), values["laplacian"].std()]
    for window in WINDOWS:
        difference, whole = values[f"difference{window}"], values[f"whole{window}"]
        coherence = np.divide(difference, whole, out=np.zeros_like(whole), where=whole > 0)
        share = difference.sum(dtype=float) / whole.sum(dtype=float) if power > 0 else 0.0
        found += [coherence.mean(dtype=float), coherence.std(dtype=float), share]
    return found
