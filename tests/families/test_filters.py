"""Gabor and Laplacian features equal their printed formulas to the bit, and the libraries' kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import degenerate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from planes_of import features_of, planes_of
from scipy.ndimage import gaussian_laplace

from pcam_features.diagnostics.reference import filters as reference
from pcam_features.families import filters
from pcam_features.families.filters import BLOB, FAMILY, MEASURED, RADIUS, SCALES, TAPS
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS

UNIT = 16


def kernels() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Cosine and sine 9 × 9 kernels of the orientations (times 2^20) and the Laplacian's."""
    gauss, cosine, sine, cosine45, sine45, bend = TAPS.astype(np.int64)
    along = np.outer(gauss, cosine), np.outer(gauss, sine)
    wave = np.outer(cosine45, cosine45), np.outer(sine45, sine45)
    cross = np.outer(cosine45, sine45), np.outer(sine45, cosine45)
    even = [along[0], wave[0] - wave[1], along[0].T, wave[0] + wave[1]]
    odd = [along[1], cross[0] + cross[1], along[1].T, cross[1] - cross[0]]
    laplacian = np.outer(gauss, bend) + np.outer(bend, gauss)
    return even, np.array(odd), laplacian


def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each pixel's weighted sum, with the image reflected at its edges."""
    padded = np.pad(image, RADIUS, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
    return np.asarray((windows * kernel).sum(axis=(2, 3)))


def nearest(amount: np.ndarray, bits: int) -> np.ndarray:
    return np.floor(amount / 2**bits + 0.5).astype(np.int64)


def responses(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Magnitudes [orientation, y, x] and Laplacian in 16ths of a level, from quarters of a level."""
    even, odd, laplacian = kernels()
    gauss = correlate(image, np.outer(TAPS[0], TAPS[0]).astype(np.int64))
    total = int(TAPS[3].sum())
    dc = (gauss // 1024 * total // 1024) * total
    magnitudes = []
    for k in range(4):
        a = correlate(image, even[k]) - (dc if k % 2 == 1 else 0)
        a, b = nearest(np.abs(a), 17), nearest(np.abs(correlate(image, odd[k])), 17)
        magnitudes.append(np.rint(np.sqrt(a**2 + b**2)).astype(np.int64))
    return np.array(magnitudes), nearest(correlate(image, laplacian), 18)


def scales_of(plane: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The plane in quarters of a level, and its means."""
    image = 4 * plane.astype(np.int64)
    for scale in SCALES:
        yield scale, image
        n = len(image) // 2
        image = (image.reshape(n, 2, n, 2).sum(axis=(1, 3)) + 2) // 4


def by_formula(magnitude: np.ndarray, laplacian: np.ndarray) -> dict[str, float]:
    """A region's columns from its responses in levels: [orientation, pixel] and [pixel]."""
    energy = (magnitude**2).mean(axis=1)
    most, least = magnitude.max(axis=0), magnitude.min(axis=0)
    away, deviation = laplacian - laplacian.mean(), laplacian.std()
    flat = np.ptp(laplacian) == 0
    return {
        "gabor_energy": energy.mean(),
        "gabor_amplitude": magnitude.mean(),
        "gabor_deviation": magnitude.std(axis=1).mean(),
        "gabor_anisotropy": np.ptp(energy) / (energy.max() + energy.min()) if energy.any() else 0,
        "gabor_selectivity": (most - least).sum() / (most + least).sum() if most.any() else 0,
        "log_absolute": np.abs(laplacian).mean(),
        "log_deviation": deviation,
        "log_skewness": 0 if flat else (away**3).mean() / deviation**3,
        "log_kurtosis": 0 if flat else (away**4).mean() / deviation**4 - 3,
        "log_bright": (laplacian > BLOB).mean(),
        "log_dark": (laplacian < -BLOB).mean(),
    }


def column_of(name: str, where: str) -> str:
    over = name in ("gabor_energy", "gabor_amplitude", "gabor_deviation")
    return f"filters__{name}__{where}" + ("_mean" if over else "")


def expected_of(pixels: np.ndarray, plane: str) -> dict[str, float]:
    """Every column of one plane."""
    found: dict[str, float] = {}
    energies: dict[str, dict[str, float]] = {region: {} for region in REGIONS}
    for scale, image in scales_of(pixels):
        magnitudes, laplacian = responses(image)
        cut = slice(*(edge * len(image) // PATCH_SIZE for edge in CENTER))
        inside = np.zeros(image.shape, bool)
        inside[cut, cut] = True
        here: dict[str, dict[str, float]] = {}
        for region, mask in (("patch", inside | True), ("center", inside), ("ring", ~inside)):
            here[region] = by_formula(magnitudes[:, mask] / UNIT, laplacian[mask] / UNIT)
            energies[region][scale] = here[region]["gabor_energy"]
            for name, value in here[region].items():
                found[column_of(name, f"{region}_{plane}_{scale}")] = value
        for name in ("gabor_amplitude", "log_absolute"):
            difference = here["center"][name] - here["ring"][name]
            found[column_of(name, f"center_minus_ring_{plane}_{scale}")] = difference
    for region, each in energies.items():
        for scale, energy in each.items():
            share = energy / max(sum(each.values()), 1e-30)
            found[f"filters__gabor_share__{region}_{plane}_{scale}"] = share
    return found


@pytest.mark.parametrize("source", ["real_batch", "synthetic_batch", "degenerate_batch"])
def test_oracle_every_column_by_brute_force(source: str, request: pytest.FixtureRequest) -> None:
    batch = request.getfixturevalue(source)[:8]
    mine = features_of(batch, "filters")
    for k, planes in enumerate(planes_of(batch)):
        expected = {}
        for plane in MEASURED:
            expected |= expected_of(planes[PLANES.index(plane)], plane)
        assert expected.keys() == set(FAMILY.columns)
        for column, value in expected.items():
            np.testing.assert_allclose(mine[column][k], value, rtol=2e-6, atol=2e-6, err_msg=column)


def test_oracle_library_kernels_on_real_patches(real_batch: np.ndarray) -> None:
    """Nearer than the reference's tolerance, which must do for one dot and for noise as well."""
    near = {"log_bright": 1 / 40, "log_dark": 1 / 40, "log_skewness": 0.01, "log_kurtosis": 0.03}
    mine = features_of(real_batch, "filters")
    checked = set()
    for k, planes in enumerate(planes_of(real_batch)):
        named = {name: planes[PLANES.index(name)] for name in reference.PLANES}
        for column, value in reference.features(named).items():
            atol = near.get(column.split("__")[1], 0.008)
            np.testing.assert_allclose(mine[column][k], value, rtol=0.01, atol=atol, err_msg=column)
            checked.add(column)
    assert checked == set(FAMILY.columns)


def test_oracle_kernels_are_the_libraries() -> None:
    """To a half percent of their norm: what ten bits a tap leave."""
    even, odd, laplacian = kernels()
    dc = (TAPS[3].sum() / 1024) ** 2 * np.outer(TAPS[0], TAPS[0])
    for k, theirs in enumerate(reference.GABORS):
        ours = even[k] - (dc if k % 2 == 1 else 0) + 1j * odd[k]
        assert np.linalg.norm(ours / 2**19 - theirs) <= 0.005 * np.linalg.norm(theirs)
    error = np.linalg.norm(laplacian / 2**20 - reference.LAPLACE)
    assert error <= 0.005 * np.linalg.norm(reference.LAPLACE)


def test_oracle_a_wave_has_its_amplitude_and_orientation() -> None:
    """A wave along x, 40 levels high, answers with 40 at its own scale and orientation."""
    levels = np.rint(128 + 40 * np.cos(2 * np.pi * np.arange(PATCH_SIZE) / 8))
    patch = np.zeros((1, 96, 96, 3), np.uint8) + levels[:, None].astype(np.uint8)
    found = {name: values[0] for name, values in features_of(patch, "filters").items()}
    # 2 × 2 means weaken a wave of 8 pixels to cos(pi / 8), the removed DC by 0.978.
    across = 40 * np.cos(np.pi / 8) * 0.978
    assert found["filters__gabor_energy__center_gray_s2_mean"] > across**2 / 4
    assert found["filters__gabor_anisotropy__center_gray_s2"] > 0.9
    shares = [found[f"filters__gabor_share__center_gray_{scale}"] for scale in SCALES]
    assert np.argmax(shares) == 1
    (magnitudes, _) = responses(
        4 * patch[0, ..., 0].astype(np.int64).reshape(48, 2, 48, 2).mean((1, 3))
    )
    assert abs(np.median(magnitudes[0][:, 8:40]) / UNIT - across) < 0.5


def test_oracle_a_disc_that_fits_has_074_of_its_contrast() -> None:
    y, x = np.mgrid[:PATCH_SIZE, :PATCH_SIZE] - 45.5  # amid 4 × 4 pixels
    disc = np.where(np.hypot(y, x) <= 5 * np.sqrt(2), 100, 0)
    (_, image) = list(scales_of(disc))[-1]
    _, laplacian = responses(image)
    assert abs(laplacian.max() / UNIT - 100 * 2 / np.e) < 4
    scipys = -25 * gaussian_laplace(disc.astype(float), 5)
    assert abs(laplacian.max() / UNIT - scipys.max()) < 4


def test_invariant_constant_planes_answer_with_nothing() -> None:
    for level in (0, 1, 77, 128, 254, 255):
        found = features_of(np.full((1, 96, 96, 3), level, np.uint8), "filters")
        assert not any(values.any() for values in found.values())


def test_invariant_sums_fit_their_bits() -> None:
    """No plane can bring a sum beyond 31 bits, a row's squares beyond 31 or fourth powers beyond 53."""
    even, odd, laplacian = kernels()
    top = 4 * 255
    products = [np.abs(np.outer(a, b)).sum() * top for a in TAPS for b in TAPS]
    assert max(products) < 2**30  # a difference of two
    dc = (TAPS[3].sum() / 1024) ** 2 * np.outer(TAPS[0], TAPS[0])
    assert np.abs(laplacian).sum() * top + 2**17 < 2**31
    assert (np.abs(even[1]) + dc).sum() * top < 2**31
    largest = 0.0
    for k in range(4):
        filter_k = even[k] - (dc if k % 2 == 1 else 0) + 1j * odd[k]
        for phase in np.linspace(0, np.pi, 180):
            wave = (filter_k * np.exp(1j * phase)).real
            largest = max(largest, np.abs(wave).sum() / 2 * top / 2**17)
    assert 96 * (largest + 1) ** 2 < 2**31
    strongest = np.abs(laplacian).sum() / 2 * top / 2**18
    assert 96 * (strongest + 1) ** 4 < 2**53
    limits = {feature.name: feature.high for feature in FAMILY.features}
    assert (largest + 1) / UNIT <= limits["gabor_amplitude"]
    assert (strongest + 1) / UNIT <= limits["log_absolute"]


@given(
    arrays(np.int32, 40, elements=st.integers(-(2**29), 2**29)),
    st.integers(12, 26),
    st.sampled_from([1, 2, 3]),
)
@settings(deadline=None)
def test_oracle_weigh_is_numpy_correlate(image: np.ndarray, first: int, step: int) -> None:
    taps, out = TAPS[filters.C0], np.zeros(2, np.int32)
    small = image >> 12
    filters.weigh(small, first, step, 2, taps, out)
    for i in range(2):
        at = first + i
        assert out[i] == np.correlate(small[at - 4 * step : at + 4 * step + 1 : step], taps)[0]


@given(st.integers(-(2**28), 2**28), st.integers(-(2**28), 2**28))
def test_oracle_magnitude_is_the_hypotenuse_whatever_the_signs(even: int, odd: int) -> None:
    found = set()
    for a, b in ((even, odd), (-even, odd), (even, -odd), (odd, even)):
        real, imaginary = np.array([a], np.int32), np.array([b], np.int32)
        filters.magnitude(real, imaginary, 1)
        found.add(int(real[0]))
    assert len(found) == 1
    assert abs(found.pop() - np.hypot(even, odd) / 2**17) <= 1.25


def test_mechanics_reflection_is_numpys() -> None:
    row = np.arange(6)
    expected = np.pad(row, RADIUS, mode="symmetric")
    found = [row[filters.reflected(k, 6)] for k in range(-RADIUS, 6 + RADIUS)]
    np.testing.assert_array_equal(found, expected)


def test_invariant_selectivity_needs_no_direction_of_the_whole() -> None:
    """Noise has no direction as a whole, but every pixel prefers one."""
    patch = degenerate()["noise"][None]
    found = features_of(patch, "filters")
    assert found["filters__gabor_anisotropy__patch_gray_s1"][0] < 0.1
    assert found["filters__gabor_selectivity__patch_gray_s1"][0] > 0.3
