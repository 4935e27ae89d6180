"""Co-occurrence features equal scikit-image, mahotas and the printed formulas."""

from __future__ import annotations

import mahotas
import numpy as np
import pytest
from planes_of import features_of, planes_of

from pcam_features.families.glcm import DIRECTIONS, DISTANCES, FAMILY, LEVELS, MEASURED, PROPERTIES
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, REGIONS


def levels_of(batch: np.ndarray, plane: str) -> np.ndarray:
    return np.asarray(planes_of(batch)[:, PLANES.index(plane)] >> 3)


def counts_by_hand(levels: np.ndarray, region: str, dy: int, dx: int) -> np.ndarray:
    """Pairs with both pixels in the region, both ways round, one by one."""
    inside = np.zeros(levels.shape, bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    allowed = {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}[region]
    counts = np.zeros((LEVELS, LEVELS))
    for y, x in np.argwhere(allowed):
        y2, x2 = y + dy, x + dx
        if 0 <= y2 < levels.shape[0] and 0 <= x2 < levels.shape[1] and allowed[y2, x2]:
            counts[levels[y, x], levels[y2, x2]] += 1
            counts[levels[y2, x2], levels[y, x]] += 1
    return counts


def bits(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


def by_formula(counts: np.ndarray) -> dict[str, float]:
    """Every property as its formula is printed, summed over i and j."""
    p = counts / counts.sum()
    i, j = np.mgrid[0:LEVELS, 0:LEVELS].astype(float)
    marginal = p.sum(axis=1)
    mu = (i * p).sum()
    var = ((i - mu) ** 2 * p).sum()
    sums = np.bincount((i + j).astype(int).ravel(), p.ravel())
    differences = np.bincount(np.abs(i - j).astype(int).ravel(), p.ravel())
    s, d = np.arange(len(sums)), np.arange(len(differences))
    average = (s * sums).sum()
    outer = np.outer(marginal, marginal)
    hxy1 = -(p * np.log2(np.where(outer > 0, outer, 1))).sum()
    flat = var < 1e-12
    return {
        "asm": (p**2).sum(),
        "contrast": ((i - j) ** 2 * p).sum(),
        "correlation": 1 if flat else ((i * j * p).sum() - mu**2) / var,
        "variance": var,
        "homogeneity": (p / (1 + (i - j) ** 2)).sum(),
        "sum_average": average,
        "sum_variance": ((s - average) ** 2 * sums).sum(),
        "sum_entropy": bits(sums),
        "entropy": bits(p),
        "difference_variance": ((d - (d * differences).sum()) ** 2 * differences).sum(),
        "difference_entropy": bits(differences),
        "imc1": 0 if flat else (bits(p) - hxy1) / bits(marginal),
        "imc2": np.sqrt(max(1 - np.exp(-2 * (bits(outer) - bits(p))), 0)),
        "dissimilarity": (np.abs(i - j) * p).sum(),
        "max_probability": p.max(),
        "cluster_shade": ((i + j - 2 * mu) ** 3 * p).sum(),
        "cluster_prominence": ((i + j - 2 * mu) ** 4 * p).sum(),
    }


@pytest.mark.parametrize("source", ["real_batch", "degenerate_batch"])
def test_oracle_every_column_by_brute_force(source: str, request: pytest.FixtureRequest) -> None:
    batch = request.getfixturevalue(source)
    batch = batch[:2] if source == "real_batch" else batch[[0, 2, 3, 4, 6]]
    mine = features_of(batch, "glcm")
    checked = set()
    for plane in MEASURED:
        for k, levels in enumerate(levels_of(batch, plane)):
            for distance in DISTANCES:
                for region in REGIONS:
                    each = [
                        by_formula(counts_by_hand(levels, region, distance * dy, distance * dx))
                        for dy, dx in DIRECTIONS
                    ]
                    for name in PROPERTIES:
                        values = np.array([one[name] for one in each])
                        column = f"glcm__{name}__{region}_{plane}_d{distance}"
                        found = mine[f"{column}_mean"][k], mine[f"{column}_range"][k]
                        expected = values.mean(), np.ptp(values)
                        np.testing.assert_allclose(
                            found, expected, rtol=1e-5, atol=2e-6, err_msg=column
                        )
                        checked |= {f"{column}_mean", f"{column}_range"}
    assert checked == set(FAMILY.columns)


def test_oracle_mahotas_haralick(real_batch: np.ndarray, synthetic_batch: np.ndarray) -> None:
    haralick = PROPERTIES[:13]
    batch = np.concatenate([real_batch, synthetic_batch])
    mine = features_of(batch, "glcm")
    for plane in MEASURED:
        for k, levels in enumerate(levels_of(batch, plane)):
            for distance in DISTANCES:
                expected = mahotas.features.haralick(
                    levels, distance=distance, use_x_minus_y_variance=True
                ).mean(axis=0)
                for name, value in zip(haralick, expected, strict=True):
                    column = f"glcm__{name}__patch_{plane}_d{distance}_mean"
                    np.testing.assert_allclose(mine[column][k], value, rtol=1e-5, err_msg=column)
