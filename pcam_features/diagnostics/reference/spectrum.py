"""Power spectra with SciPy's fast Fourier transform."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.fft import fft2, fftfreq
from scipy.stats import gmean

from ...families.spectrum import FLOOR, LOWEST, MEASURED, RINGS, SIZES, WINDOWED
from ...geometry import PATCH_SIZE

LIBRARY = "SciPy, NumPy"
TOLERANCE = {"rtol": 5e-4, "atol": 1e-4}
PLANES = MEASURED


def _grid(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Hann window, and for each frequency its rounded radius and its doubled direction."""
    hann = (1 - np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)) / 2
    v, u = np.meshgrid(fftfreq(size, 1 / size), fftfreq(size, 1 / size))
    return np.outer(hann, hann), np.rint(np.hypot(u, v)).astype(int), np.exp(2j * np.arctan2(u, v))


GRIDS = tuple(_grid(size) for size in SIZES)


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for name, plane in planes.items():
        for region, size, edges, grid in zip(WINDOWED, SIZES, RINGS, GRIDS, strict=True):
            (window, radius, turn), half = grid, size // 2
            cut = slice((PATCH_SIZE - size) // 2, (PATCH_SIZE + size) // 2)
            pixels = plane[cut, cut].astype(np.float64)
            pixels -= np.floor(pixels.mean() + 0.5)
            power = np.abs(fft2(window * pixels)) ** 2 / (window**2).sum()
            flat = radius.ravel()
            n = np.bincount(flat)[LOWEST:half]
            energy = np.bincount(flat, power.ravel())[LOWEST:half]
            along = np.bincount(flat, (power * turn.real).ravel())[LOWEST:half]
            across = np.bincount(flat, (power * turn.imag).ravel())[LOWEST:half]
            r, total = np.arange(LOWEST, half), energy + n * FLOOR
            p, curve = total / total.sum(), total / n
            middles, levels = [], []
            for a, b in pairwise(edges):
                ring = slice(a - LOWEST, b - LOWEST)
                where = f"{region}_{name}_cycles{a}to{b}"
                result[f"spectrum__share__{where}"] = p[ring].sum()
                directed = np.hypot(along[ring].sum(), across[ring].sum())
                result[f"spectrum__anisotropy__{where}"] = directed / total[ring].sum()
                middles.append(np.log2(np.average(r[ring], weights=n[ring])))
                levels.append(np.log2(total[ring].sum() / n[ring].sum()))
            mean = (r * p).sum()
            result[f"spectrum__power__{region}_{name}"] = energy.sum() / size**2
            result[f"spectrum__slope__{region}_{name}"] = np.polyfit(middles, levels, 1)[0]
            result[f"spectrum__centroid__{region}_{name}"] = mean / size
            result[f"spectrum__bandwidth__{region}_{name}"] = (
                np.sqrt(((r - mean) ** 2 * p).sum()) / size
            )
            result[f"spectrum__entropy__{region}_{name}"] = -(p * np.log2(p)).sum()
            result[f"spectrum__flatness__{region}_{name}"] = gmean(curve) / curve.mean()
    return result
