"""Wavelet features equal their definition: differences of the means of parts of squares."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of

from pcam_features.diagnostics.reference.wavelet import features
from pcam_features.families.planes import PLANES
from pcam_features.families.wavelet import (
    ABSOLUTE,
    BASIS_LOGS,
    BASIS_SQUARES,
    FAMILY,
    FOURTH_HIGH,
    FOURTH_LOW,
    LARGEST,
    LEVELS,
    LOG_BITS,
    N_SUMS,
    SHIFTS,
    SQUARES,
    UNITS,
    WIDTH,
    WORD,
    add_band,
    add_basis,
    magnitudes,
)
from pcam_features.geometry import PATCH_SIZE


def squares_by_hand(plane: np.ndarray, level: int, every: int) -> dict[str, list[tuple[float, ...]]]:
    """|details| of every square, one by one, by region: across, along, diagonal."""
    size, half = 2**level, 2 ** (level - 1)
    found: dict[str, list[tuple[float, ...]]] = {"patch": [], "center": [], "ring": []}
    for y in range(0, PATCH_SIZE - size + 1, every):
        for x in range(0, PATCH_SIZE - size + 1, every):
            square = plane[y : y + size, x : x + size].astype(float)
            q = square.reshape(2, half, 2, half).mean(axis=(1, 3))
            three = (
                abs(q[0, 0] + q[1, 0] - q[0, 1] - q[1, 1]) / 2,
                abs(q[0, 0] + q[0, 1] - q[1, 0] - q[1, 1]) / 2,
                abs(q[0, 0] + q[1, 1] - q[0, 1] - q[1, 0]) / 2,
            )
            three = tuple(floor(8 * d + 0.5) / 8 if level > 1 else d for d in three)
            inside = 32 < y + half < 64 and 32 < x + half < 64
            found["patch"].append(three)
            found["center" if inside else "ring"].append(three)
    return found


@pytest.mark.parametrize("level", range(1, LEVELS + 1))
def test_oracle_levels_by_brute_force(
    level: int, real_batch: np.ndarray, degenerate_batch: np.ndarray
) -> None:
    batch = np.concatenate([real_batch[:1], degenerate_batch[[3, 4, 5, 6]]])
    mine = features_of(batch, "wavelet")
    for k, plane in enumerate(planes_of(batch)[:, PLANES.index("hematoxylin")]):
        dense, sparse = squares_by_hand(plane, level, 1), squares_by_hand(plane, level, 2**level)
        for region in dense:
            d, b = np.array(dense[region]), np.array(sparse[region])
            e = (d**2).mean(axis=0)
            pooled = {"straight": (d[:, :2].ravel(), b[:, :2].ravel()), "diagonal": (d[:, 2], b[:, 2])}
            expected = {
                "energy_straight_mean": e[:2].mean(),
                "energy_straight_range": np.ptp(e[:2]),
                "energy_diagonal": e[2],
            }
            for kind, (values, basis) in pooled.items():
                m2 = (values**2).mean()
                p = basis[basis > 0] ** 2 / max((basis**2).sum(), 1)
                p = p / max(p.sum(), 1e-300)
                expected[f"magnitude_{kind}"] = values.mean()
                expected[f"kurtosis_{kind}"] = (values**4).mean() / m2**2 - 3 if m2 > 0 else 0
                expected[f"entropy_{kind}"] = -(p * np.log2(p)).sum() / np.log2(len(basis))
            for name, value in expected.items():
                feature, kind = name.split("_", 1)
                column = f"wavelet__{feature}__{region}_hematoxylin_level{level}_{kind}"
                np.testing.assert_allclose(
                    mine[column][k], value, rtol=2e-5, atol=2e-6, err_msg=f"{k} {column}"
                )


def test_oracle_pywavelets_gives_every_column(real_batch: np.ndarray) -> None:
    # tests/test_families.py compares the values; none may be left out there.
    gray, hematoxylin = planes_of(real_batch[:1])[
        0, [PLANES.index("gray"), PLANES.index("hematoxylin")]
    ]
    assert features({"gray": gray, "hematoxylin": hematoxylin}).keys() == set(FAMILY.columns)


def test_oracle_white_noise_has_its_known_energies() -> None:
    # The mean of 2^(2k - 1) independent pixels has their variance divided by as much.
    noise = np.random.default_rng(1).normal(128, 20, (8, PATCH_SIZE, PATCH_SIZE))
    batch = np.repeat(np.rint(noise).clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)
    mine = features_of(batch, "wavelet")
    for level in range(1, LEVELS + 1):
        for kind in ("straight_mean", "diagonal"):
            energy = mine[f"wavelet__energy__patch_gray_level{level}_{kind}"].mean()
            assert energy == pytest.approx(2 * 20**2 / 2 ** (2 * level - 1), rel=0.1)
    assert mine["wavelet__slope__patch_gray"].mean() == pytest.approx(-2, abs=0.1)
    for kind in ("straight", "diagonal"):
        assert abs(mine[f"wavelet__kurtosis__patch_gray_level1_{kind}"].mean()) < 0.1


def test_oracle_stripes_are_directed_and_single() -> None:
    stripes = np.zeros((1, PATCH_SIZE, PATCH_SIZE, 3), np.uint8)
    stripes[:, ::2] = 255
    mine = features_of(stripes, "wavelet")
    assert mine["wavelet__energy__center_gray_level1_straight_mean"][0] == 255**2 / 2
    assert mine["wavelet__energy__center_gray_level1_straight_range"][0] == 255**2
    assert mine["wavelet__share__ring_gray_level1"][0] == 1
    assert mine["wavelet__scale_entropy__ring_gray"][0] == 0
    assert mine["wavelet__kurtosis__patch_gray_level1_straight"][0] == -1  # half are 255, half 0
    assert mine["wavelet__entropy__patch_gray_level1_straight"][0] == pytest.approx(
        np.log2(48 * 48) / np.log2(2 * 48 * 48)
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", range(1, LEVELS + 1))
def test_oracle_magnitudes_round_halves_up(level: int, seed: int) -> None:
    most = 255 * 4**level // 4  # of a sum over half a square, or the difference of two quarters
    row = np.random.default_rng(seed).integers(-most, most + 1, WIDTH).astype(np.int16)
    row[: 4 * level] = [most, -most] * (2 * level)
    work = np.zeros((3, WIDTH), np.int16)
    work[0], work[1, :80] = row, -1
    step = 2 ** (level - 1)
    for sign in (-1, 1):
        magnitudes(work, 0, step, sign, SHIFTS[level - 1], 1, 2)
        for x in range(PATCH_SIZE):
            detail = Fraction(int(row[x + step]) + sign * int(row[x]), 2 ** (2 * level - 1))
            unit = UNITS[level - 1]
            assert work[2, x] == (floor(abs(detail) * unit + Fraction(1, 2)) if x < 80 else 0)


@given(st.lists(st.integers(0, LARGEST), min_size=1, max_size=PATCH_SIZE))
def test_oracle_sums_of_powers_are_exact(row: list[int]) -> None:
    sums = np.zeros((1, N_SUMS))
    table = FAMILY.kernel.table
    for _ in range(PATCH_SIZE):
        add_band(np.array(row, np.int16), len(row), 0, sums)
    add_basis(np.array(row, np.int16), 0, len(row), 2, table, 0, sums)
    assert sums[0, ABSOLUTE] == PATCH_SIZE * sum(row)
    assert sums[0, SQUARES] == PATCH_SIZE * sum(q**2 for q in row)
    fourth = (int(sums[0, FOURTH_HIGH]) << WORD) + int(sums[0, FOURTH_LOW])
    assert fourth == PATCH_SIZE * sum(q**4 for q in row)
    assert sums[0, BASIS_SQUARES] == sum(q**2 for q in row[::2])
    logs = sum(q**2 * np.log2(q**2) for q in row[::2] if q)
    assert sums[0, BASIS_LOGS] / 2**LOG_BITS == pytest.approx(logs, abs=len(row) * 2**-LOG_BITS)
    assert PATCH_SIZE * PATCH_SIZE * int(table.max()) < 4 * 2**53  # a quarter of all squares at most
