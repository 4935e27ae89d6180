"""Wavelets with PyWavelets: undecimated for energies and moments, decimated for entropy."""

from __future__ import annotations

import numpy as np
import pywt

from ...families.wavelet import FLOOR, LEVELS, MEASURED
from ...geometry import CENTER, PATCH_SIZE, REGIONS

LIBRARY = "PyWavelets, NumPy"
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}
PLANES = MEASURED
START, STOP = CENTER


def details(coefficients: np.ndarray, level: int) -> np.ndarray:
    """Convert orthonormal coefficients to differences of means, rounded to 1/8."""
    sums = np.rint(np.abs(coefficients) * 2**level)  # Haar coefficients are sums of integers
    return np.asarray(np.floor(sums * (16 / 4**level) + 0.5) / 8 if level > 2 else sums * 2 / 4**level)


def cut(coefficients: np.ndarray, region: str, first: int, last: int) -> np.ndarray:
    """The coefficients of a region, flattened; the center spans `first` to `last` on both axes."""
    inside = np.zeros(coefficients.shape[-2:], bool)
    inside[first:last, first:last] = True
    where = {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}[region]
    return coefficients[..., where]


def entropy(energies: np.ndarray) -> float:
    """The entropy, in bits, of energies as shares of their sum."""
    p = energies[energies > 0] / max(energies.sum(), 1e-300)
    return float(-(p * np.log2(p)).sum())


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for name, plane in planes.items():
        pixels = plane.astype(np.float64)
        frames = pywt.swt2(pixels, "haar", LEVELS, trim_approx=True, norm=False)[:0:-1]
        bases = pywt.wavedec2(pixels, "haar", level=LEVELS)[:0:-1]
        for region in REGIONS:
            energies = []
            for level, (frame, basis) in enumerate(zip(frames, bases, strict=True), start=1):
                step, n = 2 ** (level - 1), PATCH_SIZE - 2**level + 1
                d = details(np.stack(frame), level)[:, :n, :n]
                d = cut(d, region, START + 1 - step, STOP - step)
                b = cut(details(np.stack(basis), level), region, START >> level, STOP >> level)
                mean = (d**2).mean(axis=1)
                energies += [mean[0] + mean[1], mean[2]]
                where = f"{region}_{name}_level{level}"
                result[f"wavelet__energy__{where}_straight_mean"] = mean[:2].mean()
                result[f"wavelet__energy__{where}_straight_range"] = np.ptp(mean[:2])
                result[f"wavelet__energy__{where}_diagonal"] = mean[2]
                for kind, bands in (("straight", slice(0, 2)), ("diagonal", slice(2, 3))):
                    values, squares = d[bands], d[bands] ** 2
                    square = squares.mean()
                    peak = (squares**2).mean() / square**2 - 3 if square > 0 else 0
                    result[f"wavelet__magnitude__{where}_{kind}"] = values.mean()
                    result[f"wavelet__kurtosis__{where}_{kind}"] = peak
                    spread = entropy(b[bands] ** 2) / np.log2(b[bands].size)
                    result[f"wavelet__entropy__{where}_{kind}"] = spread
            by_level = np.reshape(energies, (LEVELS, 2)).sum(axis=1)
            shares = by_level / by_level.sum() if by_level.any() else by_level
            for level, share in enumerate(shares, start=1):
                result[f"wavelet__share__{region}_{name}_level{level}"] = share
            result[f"wavelet__scale_entropy__{region}_{name}"] = entropy(np.array(energies))
            slope = np.polyfit(np.arange(LEVELS), np.log2(by_level + FLOOR), 1)[0]
            result[f"wavelet__slope__{region}_{name}"] = slope
    return result
