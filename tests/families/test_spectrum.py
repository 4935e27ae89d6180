"""Spectra equal the definition of the Fourier transform, SciPy's, and what is known of gratings."""

from __future__ import annotations

import itertools
from math import cos, pi, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of

from pcam_features.diagnostics.reference.spectrum import features
from pcam_features.families.planes import PLANES
from pcam_features.families.spectrum import (
    BITS,
    FAMILY,
    LOWEST,
    MEASURED,
    PAIR,
    PLACES,
    RINGS,
    SIZES,
    TABLE,
    WAVES,
    _pairs,
    fold,
    frequency,
    square,
    transform,
    window,
)


def coefficients(plane: np.ndarray, mean: int, region: int) -> np.ndarray:
    """What the kernel's steps make of a plane, run as ordinary Python."""
    size = SIZES[region]
    first, second = np.empty((2, size, size))
    source, start, level = plane, (96 - size) // 2, float(mean)
    for _ in range(2):
        fold(source, start, size, level, first)
        transform(first, size, TABLE[PLACES[region][WAVES] :], second)
        window(second, size, first)
        source, start, level = first.copy(), 0, 0.0
    return first


def waves_by_hand(size: int, whole: bool) -> np.ndarray:
    """Windowed cosines, then sines, of each frequency about the middle: [coefficient, place]."""
    place = np.arange(size) - (size - 1) / 2
    rows = np.empty((size, size), object if whole else float)
    for k in range(size):
        u = frequency(k % (size // 2), size)
        for n in range(size):
            total = 0
            for times, shifted in ((2, u), (1, u - 1), (1, u + 1)):
                wave = (cos if k < size // 2 else sin)(2 * pi * shifted * place[n] / size)
                total += times * (round(wave * 2**BITS) if whole else wave)
            rows[k, n] = total
    return rows


@pytest.mark.parametrize("region", [0, 1])
@pytest.mark.parametrize("content", ["noise", "stripes", "extreme"])
def test_oracle_coefficients_are_exact(region: int, content: str) -> None:
    size = SIZES[region]
    rng = np.random.default_rng(region)
    plane = rng.integers(0, 256, (96, 96)).astype(np.uint8)
    if content == "stripes":
        plane[:] = np.arange(96)[:, None] % 2 * 255
    if content == "extreme":  # as large as a coefficient gets
        plane[:] = 255
    mean = 0 if content == "extreme" else round(float(plane.mean()))
    cut = (96 - size) // 2
    pixels = plane[cut : 96 - cut, cut : 96 - cut].astype(int).astype(object) - mean
    waves = waves_by_hand(size, whole=True)
    expected = waves.dot(pixels).dot(waves.T)  # Python's integers: nothing is rounded
    assert max(abs(value) for value in expected.ravel()) < 2**53
    found = coefficients(plane, mean, region)
    # Our rows became columns twice: [of y, of x] again.
    np.testing.assert_array_equal(found, expected.astype(float))


@pytest.mark.parametrize("size", SIZES)
def test_oracle_window_is_hann(size: int) -> None:
    place = np.arange(size) - (size - 1) / 2
    hann = 2 + 2 * np.cos(2 * np.pi * place / size)
    for k, row in enumerate(waves_by_hand(size, whole=False)):
        angle = 2 * np.pi * frequency(k % (size // 2), size) * place / size
        wave = np.cos(angle) if k < size // 2 else np.sin(angle)
        np.testing.assert_allclose(row, hann * wave, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_oracle_pairs_hold_every_frequency_once(size: int) -> None:
    pairs, begins, counts = _pairs(size)
    signed = np.fft.fftfreq(size, 1 / size)
    radius = np.rint(np.hypot(signed[:, None], signed[None])).astype(int)
    np.testing.assert_array_equal(counts[LOWEST:], np.bincount(radius.ravel())[LOWEST : size // 2])
    assert pairs.shape[1] == PAIR
    places = {(int(i), int(j)) for i, j in pairs[:, :2]}
    assert len(places) == len(pairs) == begins[-1]
    assert begins[LOWEST] == 0
    for r in range(LOWEST, size // 2):
        for i, j, *_ in pairs[int(begins[r]) : int(begins[r + 1])]:
            u, v = frequency(int(i), size), frequency(int(j), size)
            assert u <= v
            assert radius[u, v] == r


@given(st.lists(st.integers(-1000, 1000), min_size=64, max_size=64))
def test_oracle_square_is_the_power_of_both_signs(values: list[int]) -> None:
    waves, power = np.reshape(values, (8, 8)).astype(float), np.empty((8, 8))
    square(waves, 8, power)
    cc, cs, sc, ss = waves[:4, :4], waves[:4, 4:], waves[4:, :4], waves[4:, 4:]
    plus = np.abs((cc - 1j * sc) + -1j * (cs - 1j * ss)) ** 2  # (cos u - i sin u)(cos v - i sin v)
    minus = np.abs((cc - 1j * sc) + 1j * (cs - 1j * ss)) ** 2
    np.testing.assert_allclose(power[:4, :4], (plus + minus) / 2, rtol=1e-12)
    np.testing.assert_allclose(power[4:, :4], (plus - minus) / 4, atol=1e-6)


def test_oracle_scipy_gives_every_column(real_batch: np.ndarray) -> None:
    # tests/test_families.py compares the values; none may be left out there.
    planes = planes_of(real_batch[:1])[0]
    named = {name: planes[PLANES.index(name)] for name in MEASURED}
    assert features(named).keys() == set(FAMILY.columns)


def grating(u: float, v: float) -> np.ndarray:
    """A patch with so many cycles down and across."""
    y, x = np.mgrid[0:96, 0:96]
    plane = np.rint(128 + 100 * np.cos(2 * np.pi * (u * y + v * x) / 96 + 0.3))
    return np.repeat(plane.astype(np.uint8)[None, ..., None], 3, axis=3)


@pytest.mark.parametrize(("u", "v"), [(0, 14), (14, 0), (10, 10), (10, -10), (13, 5)])
def test_oracle_gratings_are_one_frequency_and_direction(u: int, v: int) -> None:
    mine = features_of(grating(u, v), "spectrum")
    assert mine["spectrum__share__patch_gray_cycles12to16"][0] > 0.97  # (11, 11) is outside
    assert mine["spectrum__anisotropy__patch_gray_cycles12to16"][0] > 0.98
    assert mine["spectrum__centroid__patch_gray"][0] == pytest.approx(14 / 96, abs=0.003)
    assert mine["spectrum__centroid__center_gray"][0] == pytest.approx(14 / 96, abs=0.004)
    # A wave of amplitude a has the variance a² / 2.
    assert mine["spectrum__power__patch_gray"][0] == pytest.approx(100**2 / 2, rel=0.01)


def test_oracle_crossed_gratings_have_no_direction() -> None:
    crossed = (grating(0, 14) // 2 + grating(14, 0) // 2).astype(np.uint8)
    mine = features_of(crossed, "spectrum")
    assert mine["spectrum__share__patch_gray_cycles12to16"][0] > 0.98
    assert mine["spectrum__anisotropy__patch_gray_cycles12to16"][0] < 0.02


def test_oracle_white_noise_is_flat_and_has_its_variance() -> None:
    noise = np.random.default_rng(2).normal(128, 20, (16, 96, 96))
    batch = np.repeat(np.rint(noise).clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)
    mine = {column: values.mean() for column, values in features_of(batch, "spectrum").items()}
    for region, size, edges in (("patch", 96, RINGS[0]), ("center", 64, RINGS[1])):
        held = _pairs(size)[2].sum() / size**2  # of all frequencies
        assert mine[f"spectrum__power__{region}_gray"] == pytest.approx(held * 20**2, rel=0.05)
        assert abs(mine[f"spectrum__slope__{region}_gray"]) < 0.1
        assert mine[f"spectrum__flatness__{region}_gray"] > 0.95
        last = f"{region}_gray_cycles{edges[-2]}to{edges[-1]}"
        assert mine[f"spectrum__anisotropy__{last}"] < 0.1


def test_oracle_constant_patch_is_as_white_noise() -> None:
    mine = features_of(np.full((1, 96, 96, 3), 77, np.uint8), "spectrum")
    for region, size, edges in (("patch", 96, RINGS[0]), ("center", 64, RINGS[1])):
        counts = _pairs(size)[2]
        assert mine[f"spectrum__power__{region}_gray"][0] == 0
        assert mine[f"spectrum__flatness__{region}_gray"][0] == pytest.approx(1)
        assert mine[f"spectrum__slope__{region}_gray"][0] == pytest.approx(0, abs=1e-9)
        for a, b in itertools.pairwise(edges):
            ring = f"{region}_gray_cycles{a}to{b}"
            assert mine[f"spectrum__anisotropy__{ring}"][0] == 0
            assert mine[f"spectrum__share__{ring}"][0] == pytest.approx(
                counts[a:b].sum() / counts.sum(), rel=1e-6
            )
