"""Local binary patterns equal scikit-image's wherever the comparison is not a tie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of
from scipy.ndimage import map_coordinates
from skimage.feature import local_binary_pattern

from pcam_features.diagnostics.reference.planes import regions_of
from pcam_features.families.lbp import (
    CIRCLES,
    FAMILY,
    MEASURED,
    STRENGTHS,
    ones,
    pattern_name,
    pattern_of,
)
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS


def circle_values(plane: np.ndarray, points: int, radius: int) -> np.ndarray:
    """The plane around every inner pixel, by SciPy's bilinear interpolation."""
    inner = np.arange(radius, PATCH_SIZE - radius)
    angles = 2 * np.pi * np.arange(points) / points
    y = inner[None, :, None] - radius * np.sin(angles)[:, None, None]
    x = inner[None, None, :] + radius * np.cos(angles)[:, None, None]
    shape = (points, len(inner), len(inner))
    at = [np.broadcast_to(y, shape), np.broadcast_to(x, shape)]
    return map_coordinates(plane.astype(float), at, order=1, mode="nearest")


def shares(codes: np.ndarray, radius: int, points: int) -> dict[str, np.ndarray]:
    inside = np.zeros((PATCH_SIZE, PATCH_SIZE), bool)
    inside[slice(*CENTER), slice(*CENTER)] = True
    inside = inside[radius : PATCH_SIZE - radius, radius : PATCH_SIZE - radius]
    masks = {"patch": np.ones_like(inside), "center": inside, "ring": ~inside}
    counts = {r: np.bincount(codes[m], minlength=points + 2) for r, m in masks.items()}
    return {region: count / count.sum() for region, count in counts.items()}


@pytest.mark.parametrize("source", ["real_batch", "synthetic_batch"])
def test_oracle_every_column_is_scikit_image(source: str, request: pytest.FixtureRequest) -> None:
    batch = request.getfixturevalue(source)[:8]
    mine = features_of(batch, "lbp")
    planes = planes_of(batch)
    checked = set()
    for plane in MEASURED:
        for k in range(len(batch)):
            pixels = planes[k, PLANES.index(plane)]
            for points, radius in CIRCLES:
                cut = slice(radius, PATCH_SIZE - radius)
                codes = local_binary_pattern(pixels, points, radius, "uniform").astype(int)[cut, cut]
                gaps = circle_values(pixels, points, radius) - pixels[cut, cut].astype(float)
                # Interpolation in floating point decides ties by chance, and scikit-image rounds
                # the circle to five digits: such pixels may have any pattern.
                unsure = (np.abs(gaps) < 0.05).any(axis=0)
                for region, share in shares(codes, radius, points).items():
                    leeway = shares(unsure.astype(int), radius, 0)[region][1]
                    for pattern in range(points + 2):
                        name = pattern_name(pattern, points)
                        column = f"lbp__{name}__{region}_{plane}_p{points}_r{radius}"
                        assert abs(mine[column][k] - share[pattern]) <= leeway + 1e-6, column
                        checked.add(column)
    strengths = {column for column in FAMILY.columns if column.split("__")[1] in STRENGTHS}
    assert checked | strengths == set(FAMILY.columns)


def test_oracle_variance_is_that_of_scipys_points(batch: np.ndarray) -> None:
    mine = features_of(batch, "lbp")
    planes = planes_of(batch)
    for plane in MEASURED:
        for k in range(len(batch)):
            pixels = planes[k, PLANES.index(plane)]
            for points, radius in CIRCLES:
                deviation = np.zeros(pixels.shape)
                inner = slice(radius, PATCH_SIZE - radius)
                deviation[inner, inner] = circle_values(pixels, points, radius).std(axis=0)
                for region, values in regions_of(deviation, radius).items():
                    where = f"{region}_{plane}_p{points}_r{radius}"
                    # Points are rounded to halves of a level, deviations to sixteenths.
                    np.testing.assert_allclose(
                        mine[f"lbp__variance__{where}"][k], (values**2).mean(), rtol=1e-2, atol=0.03
                    )
                    np.testing.assert_allclose(
                        mine[f"lbp__deviation_spread__{where}"][k], values.std(), rtol=1e-2, atol=0.03
                    )


def codes_by_hand(pixels: np.ndarray, points: int, radius: int) -> np.ndarray:
    """Patterns from SciPy's interpolation, ties (to within 1e-9) counting as at least as bright."""
    cut = slice(radius, PATCH_SIZE - radius)
    gaps = circle_values(pixels, points, radius) - pixels[cut, cut].astype(float)
    bits = (gaps >= -1e-9).astype(int)
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    return np.where(changes <= 2, bits.sum(axis=0), points + 1)


def test_oracle_every_column_by_brute_force(batch: np.ndarray) -> None:
    mine = features_of(batch, "lbp")
    planes = planes_of(batch)
    for plane in MEASURED:
        for k in range(len(batch)):
            pixels = planes[k, PLANES.index(plane)]
            for points, radius in CIRCLES:
                expected = shares(codes_by_hand(pixels, points, radius), radius, points)
                for region in REGIONS:
                    names = [pattern_name(p, points) for p in range(points + 2)]
                    columns = [f"lbp__{n}__{region}_{plane}_p{points}_r{radius}" for n in names]
                    found = np.array([mine[column][k] for column in columns])
                    # Positions are rounded to 1/1024 pixel: a few near-ties may fall elsewhere.
                    assert np.abs(found - expected[region]).sum() <= 0.02, columns[0]


def test_oracle_constant_patch_is_all_ones() -> None:
    mine = features_of(np.full((1, 96, 96, 3), 77, np.uint8), "lbp")
    for points, radius in CIRCLES:
        assert mine[f"lbp__ones{points:02d}__center_hematoxylin_p{points}_r{radius}"][0] == 1


@given(st.integers(0, 2**24 - 1))
def test_oracle_ones_and_patterns_are_python_strings(bits: int) -> None:
    text = f"{bits:024b}"
    assert ones(bits) == text.count("1")
    changes = sum(a != b for a, b in zip(text, text[1:] + text[0], strict=True))
    assert pattern_of(bits, 24) == (text.count("1") if changes <= 2 else 25)
