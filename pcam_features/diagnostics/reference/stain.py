"""Macenko's stain vectors and concentrations with NumPy, as stain normalizers compute them."""

from __future__ import annotations

import numpy as np
from skimage.color import rgb_from_hed

from ...families.stain import HIGHEST, LEAST_SCALE, LOWEST, PERCENTILES, STAINS
from .planes import regions_of

LIBRARY = "NumPy (no vector's tilt)"
# Our angles are binned to 0.02 degrees and our concentrations to 1/256. The smaller the angle between
# the stain vectors, the more the rounding of the angles is amplified.
TOLERANCE = {"rtol": 5e-3, "atol": 1.5e-2}
PLANES = ("red", "green", "blue")


def vectors_of(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The two stain vectors as rows, hematoxylin first, and the eigenvalues in ascending order."""
    if len(tissue) < 288:
        return None
    eigenvalues, axes = np.linalg.eigh(np.cov(tissue.T))
    plane = axes[:, [2, 1]]
    if eigenvalues[1] < 1e-4 or eigenvalues[0] > 0.9 * eigenvalues[1]:
        return None
    x, y = (tissue @ plane).T
    mean = np.mean(x + 1j * y)
    if abs(mean) < 0.5 * np.linalg.norm(tissue.mean(axis=0)):
        return None
    # Measure angles from the mean direction, far from the branch cut of arctan2.
    angles = np.clip(np.angle((x + 1j * y) / mean), -np.pi / 2, np.pi / 2)
    ends = np.percentile(angles, [1, 99]) + np.angle(mean)
    if not 5 <= np.degrees(ends[1] - ends[0]) <= 90:
        return None
    vectors = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T
    return vectors[np.argsort(-vectors[:, 0])], eigenvalues


def of_one(stain: str, amounts: dict[str, np.ndarray]) -> tuple[dict[str, float], float]:
    """Statistics of one stain's concentration in each region, and its 99th percentile on the patch."""
    result, top = {}, 0.0
    names = ["mean", "deviation", *(f"p{percent:02d}" for percent in PERCENTILES)]
    for region, values in amounts.items():
        statistics = [values.mean(), values.std(), *np.percentile(values, PERCENTILES)]
        if region == "patch":
            top = max(statistics[-1], LEAST_SCALE)
        for name, value in zip(names, statistics, strict=True):
            result[f"stain__{name}__{region}_{stain}"] = value
            if name != "p99":
                result[f"stain__relative_{name}__{region}_{stain}"] = value / top
        result[f"stain__dense__{region}_{stain}"] = (values > top / 2).mean()
    return result, top


def share(pair: np.ndarray) -> float:
    return float(pair[0] / pair.sum()) if pair.sum() else 0.5


def features(planes: dict[str, np.ndarray]) -> dict[str, float]:
    levels = np.stack([planes[name].ravel() for name in PLANES])
    density = -np.log(np.maximum(levels, 1) / 255)
    is_tissue = (density >= 0.15).all(axis=0)
    patch_vectors = vectors_of(density[:, is_tissue].T)
    if patch_vectors is None:
        vectors, eigenvalues = rgb_from_hed[:2].astype(float), np.zeros(3)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    else:
        vectors, eigenvalues = patch_vectors
    total = eigenvalues.sum() or 1
    result = {
        "stain__separation__patch": np.degrees(np.arccos(vectors[0] @ vectors[1])),
        "stain__second_share__patch": eigenvalues[1] / total,
        "stain__off_plane__patch": eigenvalues[0] / total,
        "stain__fallback__patch": float(patch_vectors is None),
    }
    for stain, vector in zip(STAINS, vectors, strict=True):
        for name, value in zip(PLANES, vector, strict=True):
            result[f"stain__{name}__patch_{stain}"] = value
    solved = np.linalg.lstsq(vectors.T, density)[0]
    away = np.linalg.norm(density - vectors.T @ solved, axis=0)
    shape = planes["red"].shape
    h, e, tissue, residual = (
        regions_of(each.reshape(shape)) for each in (*np.clip(solved, LOWEST, HIGHEST), is_tissue, away)
    )
    of_h, h_top = of_one("hematoxylin", h)
    of_e, e_top = of_one("eosin", e)
    result |= of_h | of_e
    for region in h:
        flat = min(np.ptp(h[region]), np.ptp(e[region])) == 0
        above = np.array([np.maximum(h[region], 0).mean(), np.maximum(e[region], 0).mean()])
        result[f"stain__correlation__{region}"] = 0 if flat else np.corrcoef(h[region], e[region])[0, 1]
        result[f"stain__coverage__{region}"] = tissue[region].mean()
        result[f"stain__residual__{region}"] = residual[region].mean()
        result[f"stain__balance__{region}"] = share(above)
        result[f"stain__relative_balance__{region}"] = share(above / [h_top, e_top])
    for name in ("mean", "relative_mean", "balance", "relative_balance"):
        for stain in ("_hematoxylin", "_eosin") if name.endswith("mean") else ("",):
            difference = result[f"stain__{name}__center{stain}"] - result[f"stain__{name}__ring{stain}"]
            result[f"stain__{name}__center_minus_ring{stain}"] = difference
    return result
