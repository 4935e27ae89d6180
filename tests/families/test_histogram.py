"""Histograms are those of NumPy and OpenCV, to the pixel, and every column's name says which pixels."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from planes_of import features_of, planes_of

from pcam_features.diagnostics.reference.planes import regions_of
from pcam_features.engine import cpu
from pcam_features.families.histogram import (
    BINS,
    COLUMNS,
    FAMILY,
    JOINT,
    JOINT_BINS,
    bin_name,
)
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS

N_CENTER = (CENTER[1] - CENTER[0]) ** 2
PIXELS = {"patch": PATCH_SIZE**2, "center": N_CENTER, "ring": PATCH_SIZE**2 - N_CENTER}
NAME = re.compile(
    rf"histogram__(share|joint_share)__({'|'.join(REGIONS)})_((?:{'|'.join(PLANES)})"
    rf"(?:_(?:{'|'.join(PLANES)}))?)_(\d{{3}}to\d{{3}}(?:_\d{{3}}to\d{{3}})?)"
)
HISTOGRAMS = [((plane,), BINS) for plane in PLANES] + [(pair, JOINT_BINS) for pair in JOINT]


def columns_of(planes: tuple[str, ...], bins: int, region: str) -> list[str]:
    """The columns of one histogram of a region, in the order of `numpy.histogramdd`'s counts."""
    names = [bin_name(k, 256 // bins) for k in range(bins)]
    where = f"{region}_{'_'.join(planes)}"
    if len(planes) == 1:
        return [f"histogram__share__{where}_{name}" for name in names]
    return [f"histogram__joint_share__{where}_{first}_{second}" for first in names for second in names]


def counts_of(columns: list[str], shares: dict[str, np.ndarray], region: str) -> np.ndarray:
    """Numbers of pixels from shares, (patches, columns)."""
    return np.rint(np.stack([shares[name] for name in columns], axis=1).astype(float) * PIXELS[region])


@pytest.fixture(scope="module")
def any_planes() -> np.ndarray:
    """Planes of all pairs of levels, in which no plane follows from another."""
    shape = (3, len(PLANES), PATCH_SIZE, PATCH_SIZE)
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def shares_of(planes: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(COLUMNS, cpu.prepare(FAMILY.kernel)(planes).T, strict=True))


def check_histogramdd(planes: np.ndarray, shares: dict[str, np.ndarray]) -> None:
    checked: list[str] = []
    for k, levels in enumerate(planes):
        for names, bins in HISTOGRAMS:
            parts = [regions_of(levels[PLANES.index(name)]) for name in names]
            for region in REGIONS:
                sample = np.stack([part[region] for part in parts], axis=1)
                counts, _ = np.histogramdd(sample, bins=bins, range=[(0, 256)] * len(names))
                columns = columns_of(names, bins, region)
                found = np.array([shares[column][k] for column in columns])
                # The nearest float32 to the exact share: not one pixel more or less.
                expected = (counts.ravel() / len(sample)).astype(np.float32)
                np.testing.assert_array_equal(found, expected, err_msg=f"{k}: {names} {region}")
                checked += columns
    assert set(checked) == set(COLUMNS)


def test_oracle_every_column_is_numpys_histogramdd(batch: np.ndarray) -> None:
    check_histogramdd(planes_of(batch), features_of(batch, "histogram"))


def test_oracle_any_levels_are_numpys_histogramdd(any_planes: np.ndarray) -> None:
    check_histogramdd(any_planes, shares_of(any_planes))


def test_oracle_counts_are_opencvs_with_a_mask_of_each_region(any_planes: np.ndarray) -> None:
    shares = shares_of(any_planes)
    center = np.zeros((PATCH_SIZE, PATCH_SIZE), np.uint8)
    center[slice(*CENTER), slice(*CENTER)] = 255
    masks = {"patch": None, "center": center, "ring": 255 - center}
    for names, bins in HISTOGRAMS:
        size, ranges = [bins] * len(names), [0, 256] * len(names)
        for k, levels in enumerate(any_planes):
            images = [levels[PLANES.index(name)] for name in names]
            for region, mask in masks.items():
                counts = cv2.calcHist(images, list(range(len(names))), mask, size, ranges)
                found = counts_of(columns_of(names, bins, region), shares, region)[k]
                np.testing.assert_array_equal(found, counts.ravel(), err_msg=f"{names} {region}")


def test_mechanics_a_columns_name_says_which_pixels_it_counts(any_planes: np.ndarray) -> None:
    """Every column, computed from nothing but its name."""
    shares = shares_of(any_planes)
    for column, values in shares.items():
        found = NAME.fullmatch(column)
        assert found, column
        feature, region, planes, bins = found.groups()
        named = (
            [planes] if feature == "share" else list(next(p for p in JOINT if "_".join(p) == planes))
        )
        limits = [tuple(map(int, levels.split("to"))) for levels in bins.split("_")]
        assert len(limits) == len(named)
        for k, levels in enumerate(any_planes):
            inside = np.ones(PIXELS[region], bool)
            for plane, (first, last) in zip(named, limits, strict=True):
                own = regions_of(levels[PLANES.index(plane)])[region]
                inside &= (first <= own) & (own <= last)
            assert values[k] == np.float32(inside.mean()), column


def test_invariant_every_pixel_is_counted_once(batch: np.ndarray) -> None:
    shares = features_of(batch, "histogram")
    for planes, bins in HISTOGRAMS:
        for region in REGIONS:
            columns = columns_of(planes, bins, region)
            np.testing.assert_array_equal(
                counts_of(columns, shares, region).sum(axis=1), PIXELS[region]
            )
            total = sum(shares[name].astype(float) for name in columns)
            np.testing.assert_allclose(total, 1, atol=1e-6)


def test_invariant_the_patch_is_its_center_and_its_ring(batch: np.ndarray) -> None:
    shares = features_of(batch, "histogram")
    for planes, bins in HISTOGRAMS:
        patch, center, ring = (
            counts_of(columns_of(planes, bins, region), shares, region) for region in REGIONS
        )
        np.testing.assert_array_equal(patch, center + ring)


def test_invariant_joint_bins_add_up_to_the_bins_of_each_plane(batch: np.ndarray) -> None:
    shares = features_of(batch, "histogram")
    for pair in JOINT:
        for region in REGIONS:
            joint = counts_of(columns_of(pair, JOINT_BINS, region), shares, region)
            joint = joint.reshape(-1, JOINT_BINS, JOINT_BINS)
            for plane, axis in zip(pair, (2, 1), strict=True):
                single = counts_of(columns_of((plane,), BINS, region), shares, region)
                both = single.reshape(-1, JOINT_BINS, BINS // JOINT_BINS).sum(axis=2)
                np.testing.assert_array_equal(joint.sum(axis=axis), both, err_msg=f"{plane} {region}")


def test_oracle_a_constant_patch_has_one_bin_per_plane() -> None:
    """The two sides of the limit between two bins, and the ends of the range."""
    for level in (0, 15, 16, 255):
        shares = features_of(np.full((1, 96, 96, 3), level, np.uint8), "histogram")
        full = {bin_name(level // 16, 16)}
        for region in REGIONS:
            columns = columns_of(("green",), BINS, region)
            assert {name[-8:] for name in columns if shares[name][0] == 1} == full
            assert sum(shares[name][0] != 0 for name in columns) == 1
