"""Gabor and Laplacian filters with scikit-image's and SciPy's kernels, run by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_laplace
from skimage.filters import gabor_kernel

from ...families.filters import BLOB, MEASURED, RADIUS, SCALES, SIGMA, WAVELENGTH
from ...geometry import REGIONS
from .planes import regions_of

LIBRARY = "OpenCV, scikit-image, SciPy"
# Ours are rounded to 16ths of a level, with 10-bit taps; a share jumps where a response is near
# the threshold. tests/test_filters.py holds real patches to less, and every column to the bit.
TOLERANCE = {"rtol": 0.02, "atol": 1 / 16}
PLANES = MEASURED
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def _gabor(angle: float) -> np.ndarray:
    kernel = gabor_kernel(1 / WAVELENGTH, angle, sigma_x=SIGMA, sigma_y=SIGMA, n_stds=8)
    cut = slice(kernel.shape[0] // 2 - RADIUS, kernel.shape[0] // 2 + RADIUS + 1)
    kernel = kernel[cut, cut]
    gauss = np.abs(kernel)
    return np.asarray(2 * (kernel / gauss.sum() - gauss * kernel.sum() / gauss.sum() ** 2))


def _laplace() -> np.ndarray:
    dot = np.zeros((2 * RADIUS + 1,) * 2)
    dot[RADIUS, RADIUS] = 1
    kernel = gaussian_laplace(dot, SIGMA, mode="constant", radius=RADIUS)
    gauss = gaussian_filter(dot, SIGMA, mode="constant", radius=RADIUS)
    return np.asarray(-(SIGMA**2) * (kernel - kernel.sum() * gauss))


LITTLE = 1.0  # levels: in 16ths, ratios of weaker responses are imprecise, and left out here
GABORS, LAPLACE = [_gabor(angle) for angle in ANGLES], _laplace()


def _filtered(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)


def _magnitude(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.magnitude(_filtered(plane, kernel.real), _filtered(plane, kernel.imag))


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, plane in planes.items():
        pixels: np.ndarray = plane.astype(np.float32)
        energies: dict[tuple[str, str], float] = {}
        for scale in SCALES:
            where = f"{name}_{scale}"
            magnitudes = [regions_of(_magnitude(pixels, gabor)) for gabor in GABORS]
            laplacians = regions_of(_filtered(pixels, LAPLACE))
            for region in REGIONS:
                amplitude = np.array([each[region] for each in magnitudes])
                energies[region, scale] = _gabor_columns(amplitude, f"{region}_{where}", found)
                _laplace_columns(laplacians[region], f"{region}_{where}", found)
            for feature, end in (("gabor_amplitude", "_mean"), ("log_absolute", "")):
                center = found[f"filters__{feature}__center_{where}{end}"]
                ring = found[f"filters__{feature}__ring_{where}{end}"]
                found[f"filters__{feature}__center_minus_ring_{where}{end}"] = center - ring
            pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for (region, scale), energy in energies.items():
            every = sum(energies[region, other] for other in SCALES)
            if every > LITTLE:
                found[f"filters__gabor_share__{region}_{name}_{scale}"] = energy / every
    return found


def _gabor_columns(amplitude: np.ndarray, where: str, found: dict[str, float]) -> float:
    """The columns of one region's magnitudes, [orientation, pixel]; returns its energy."""
    energy, mean = (amplitude**2).mean(axis=1), amplitude.mean()
    found[f"filters__gabor_energy__{where}_mean"] = energy.mean()
    found[f"filters__gabor_amplitude__{where}_mean"] = mean
    found[f"filters__gabor_deviation__{where}_mean"] = amplitude.std(axis=1).mean()
    if mean > LITTLE:
        high, low = amplitude.max(axis=0), amplitude.min(axis=0)
        anisotropy = np.ptp(energy) / (energy.max() + energy.min())
        found[f"filters__gabor_anisotropy__{where}"] = anisotropy
        found[f"filters__gabor_selectivity__{where}"] = (high - low).sum() / (high + low).sum()
    return float(energy.mean())


def _laplace_columns(response: np.ndarray, where: str, found: dict[str, float]) -> None:
    deviation = response.std()
    found[f"filters__log_absolute__{where}"] = np.abs(response).mean()
    found[f"filters__log_deviation__{where}"] = deviation
    if deviation > LITTLE:
        standard = (response - response.mean()) / deviation
        square = standard * standard
        found[f"filters__log_skewness__{where}"] = (square * standard).mean()
        found[f"filters__log_kurtosis__{where}"] = (square * square).mean() - 3
    found[f"filters__log_bright__{where}"] = (response > BLOB).mean()
    found[f"filters__log_dark__{where}"] = (response < -BLOB).mean()
