"""Gabor and Laplacian-of-Gaussian filters: kernels of scikit-image and SciPy, applied by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_laplace
from skimage.filters import gabor_kernel

from ...families.filters import BLOB, MEASURED, RADIUS, SCALES, SIGMA, WAVELENGTH
from ...geometry import REGIONS
from .planes import regions_of

LIBRARY = "OpenCV, scikit-image, SciPy"
# Our responses are rounded to 1/16 of a gray level, with 10-bit taps. A share of pixels jumps where a
# response is near the threshold. The tests of this family use smaller bounds on real patches and
# compare every column bit by bit with an exact reference.
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


LITTLE = 1.0  # gray levels: rounded to 1/16, ratios of weaker responses are imprecise and left out
GABORS, LAPLACE = [_gabor(angle) for angle in ANGLES], _laplace()


def _filtered(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)


def _magnitude(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.magnitude(_filtered(plane, kernel.real), _filtered(plane, kernel.imag))


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result: dict[str, float] = {}
    for name, plane in planes.items():
        pixels: np.ndarray = plane.astype(np.float32)
        energies: dict[tuple[str, str], float] = {}
        for scale in SCALES:
            where = f"{name}_{scale}"
            magnitudes = [regions_of(_magnitude(pixels, gabor)) for gabor in GABORS]
            laplacians = regions_of(_filtered(pixels, LAPLACE))
            for region in REGIONS:
                amplitude = np.array([each[region] for each in magnitudes])
                energies[region, scale] = _gabor_columns(amplitude, f"{region}_{where}", result)
                _laplace_columns(laplacians[region], f"{region}_{where}", result)
            for feature, end in (("gabor_amplitude", "_mean"), ("log_absolute", "")):
                center = result[f"filters__{feature}__center_{where}{end}"]
                ring = result[f"filters__{feature}__ring_{where}{end}"]
                result[f"filters__{feature}__center_minus_ring_{where}{end}"] = center - ring
            pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for (region, scale), energy in energies.items():
            every = sum(energies[region, other] for other in SCALES)
            if every > LITTLE:
                result[f"filters__gabor_share__{region}_{name}_{scale}"] = energy / every
    return result


def _gabor_columns(amplitude: np.ndarray, where: str, result: dict[str, float]) -> float:
    """The columns of one region's magnitudes, [orientation, pixel]; returns its energy."""
    energy, mean = (amplitude**2).mean(axis=1), amplitude.mean()
    result[f"filters__gabor_energy__{where}_mean"] = energy.mean()
    result[f"filters__gabor_amplitude__{where}_mean"] = mean
    result[f"filters__gabor_deviation__{where}_mean"] = amplitude.std(axis=1).mean()
    if mean > LITTLE:
        high, low = amplitude.max(axis=0), amplitude.min(axis=0)
        anisotropy = np.ptp(energy) / (energy.max() + energy.min())
        result[f"filters__gabor_anisotropy__{where}"] = anisotropy
        result[f"filters__gabor_selectivity__{where}"] = (high - low).sum() / (high + low).sum()
    return float(energy.mean())


def _laplace_columns(response: np.ndarray, where: str, result: dict[str, float]) -> None:
    deviation = response.std()
    result[f"filters__log_absolute__{where}"] = np.abs(response).mean()
    result[f"filters__log_deviation__{where}"] = deviation
    if deviation > LITTLE:
        standard = (response - response.mean()) / deviation
        square = standard * standard
        result[f"filters__log_skewness__{where}"] = (square * standard).mean()
        result[f"filters__log_kurtosis__{where}"] = (square * square).mean() - 3
    result[f"filters__log_bright__{where}"] = (response > BLOB).mean()
    result[f"filters__log_dark__{where}"] = (response < -BLOB).mean()
