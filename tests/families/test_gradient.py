"""Gradient features equal their printed definitions pixel by pixel, and OpenCV's structure tensor."""

from __future__ import annotations

from math import atan2, hypot, log2, pi

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planes_of import features_of, planes_of

from pcam_features.families.color import PERCENTILES
from pcam_features.families.gradient import (
    BETWEEN,
    COLUMNS,
    MEASURED,
    MEASURES,
    NEAR,
    STEEPEST,
    THRESHOLDS,
    WINDOWS,
    bits,
    orientation_entropy,
    sum_orientations,
)
from pcam_features.families.planes import PLANES
from pcam_features.geometry import CENTER, PATCH_SIZE, REGIONS


def sobel(p: np.ndarray) -> tuple[int, int]:
    """Sobel's differences of nine pixels."""
    across, down = p[:, 2] - p[:, 0], p[2] - p[0]
    return int(across @ [1, 2, 1]), int(down @ [1, 2, 1])


def bin_of(gx: int, gy: int) -> int:
    return round(atan2(gy, gx) / (pi / 8)) % 8


def pixels_by_hand(plane: np.ndarray) -> dict[str, np.ndarray]:
    """What each pixel brings along, one after another."""
    size = len(plane)
    wide = np.pad(plane.astype(int), 1, mode="edge")
    found = {name: np.zeros((size, size)) for name in ("g", "bin", "laplacian", "variation")}
    tensor = np.zeros((size, size, 3))
    for y in range(size):
        for x in range(size):
            p = wide[y : y + 3, x : x + 3]
            gx, gy = sobel(p)
            cross = [p[0, 1] - p[1, 1], p[2, 1] - p[1, 1], p[1, 0] - p[1, 1], p[1, 2] - p[1, 1]]
            found["g"][y, x] = hypot(gx, gy) / 8
            found["bin"][y, x] = bin_of(gx, gy)
            found["laplacian"][y, x] = sum(cross)
            found["variation"][y, x] = sum(abs(d) for d in cross) / 2
            tensor[y, x] = gx * gx, gy * gy, gx * gy
    for k, name in enumerate(("xx", "yy", "xy")):
        found[name] = tensor[..., k]
        for window in WINDOWS:
            reach = window // 2
            around = np.pad(tensor[..., k], reach, mode="edge")
            views = np.lib.stride_tricks.sliding_window_view(around, (window, window))
            found[f"{name}{window}"] = views.sum(axis=(2, 3))
    return found


def coherent(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference and sum of the eigenvalues of each tensor, by NumPy."""
    tensors = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -1)
    b, a = np.moveaxis(np.linalg.eigvalsh(tensors), -1, 0)
    return a - b, a + b


def by_formula(pixels: dict[str, np.ndarray], inside: np.ndarray) -> list[float]:
    v = {name: image[inside] for name, image in pixels.items()}
    eighths = np.rint(v["g"] * 8) / 8
    weights = np.array([v["g"][v["bin"] == k].sum() for k in range(8)])
    p = weights[weights > 0] / weights.sum() if weights.any() else np.ones(1)
    entropy = sum(-share * log2(share) for share in p)
    difference, whole = coherent(*(v[name].sum() for name in ("xx", "yy", "xy")))
    found = [v["g"].mean(), v["g"].std(), *np.percentile(eighths, PERCENTILES)]
    found += [(eighths >= t).mean() for t in THRESHOLDS]
    found += [entropy, difference / whole if whole > 0 else 0.0, v["variation"].mean()]
    found += [np.abs(v["laplacian"]).mean(), v["laplacian"].std()]
    for window in WINDOWS:
        difference, whole = coherent(*(v[f"{name}{window}"] for name in ("xx", "yy", "xy")))
        c = np.where(whole > 0, difference / np.maximum(whole, 1), 0)
        share = difference.sum() / whole.sum() if whole.any() else 0.0
        found += [c.mean(), c.std(), share]
    return [float(value) for value in found]


@pytest.mark.parametrize("source", ["real_batch", "degenerate_batch"])
def test_oracle_every_column_by_brute_force(source: str, request: pytest.FixtureRequest) -> None:
    batch = request.getfixturevalue(source)
    batch = np.ascontiguousarray(batch[[1, 2]] if source == "real_batch" else batch[[2, 3, 4, 6, 7]])
    mine = features_of(batch, "gradient")
    center = np.zeros((PATCH_SIZE, PATCH_SIZE), bool)
    center[slice(*CENTER), slice(*CENTER)] = True
    regions = {"patch": np.ones_like(center), "center": center, "ring": ~center}
    checked = set()
    for plane in MEASURED:
        for k, image in enumerate(planes_of(batch)[:, PLANES.index(plane)]):
            pixels = pixels_by_hand(image)
            each = {region: by_formula(pixels, regions[region]) for region in REGIONS}
            expected = {
                f"gradient__{name}__{region}_{plane}{end}": value
                for region in REGIONS
                for (name, end), value in zip(MEASURES, each[region], strict=True)
            }
            for n, (name, end) in enumerate(MEASURES):
                if name in BETWEEN:
                    column = f"gradient__{name}__center_minus_ring_{plane}{end}"
                    expected[column] = each["center"][n] - each["ring"][n]
            for column, value in expected.items():
                # Magnitudes are rounded to 1/128 level and coherence to 1/4096.
                np.testing.assert_allclose(mine[column][k], value, rtol=1e-4, atol=1e-3, err_msg=column)
            checked |= set(expected)
    assert checked == set(COLUMNS)


def test_oracle_opencv_structure_tensor(real_batch: np.ndarray) -> None:
    mine = features_of(real_batch, "gradient")
    for plane in MEASURED:
        for k, image in enumerate(planes_of(real_batch)[:, PLANES.index(plane)]):
            for window in WINDOWS:
                values = cv2.cornerEigenValsAndVecs(image, window, 3, borderType=cv2.BORDER_REPLICATE)
                a, b = values[CENTER[0] : CENTER[1], CENTER[0] : CENTER[1], :2].transpose(2, 0, 1)
                found = mine[f"gradient__coherence_weighted__center_{plane}_w{window:02d}"][k]
                expected = np.abs(a - b).sum() / (a + b).sum()
                np.testing.assert_allclose(found, expected, atol=1e-4)


def test_oracle_no_nine_pixels_are_steeper() -> None:
    """gx² + gy² is convex, so it is largest where every pixel is black or white."""
    largest = max(
        hypot(*sobel(255 * np.array([n >> k & 1 for k in range(9)]).reshape(3, 3))) for n in range(512)
    )
    assert STEEPEST - 1 < largest < STEEPEST


def test_oracle_a_ramp_has_one_magnitude_and_one_orientation() -> None:
    ramp = np.arange(PATCH_SIZE, dtype=np.uint8) * 2
    for batch in (
        np.broadcast_to(ramp[:, None], (PATCH_SIZE, PATCH_SIZE, 3)),
        np.broadcast_to(ramp[:, None, None], (PATCH_SIZE, PATCH_SIZE, 3)),
    ):
        mine = features_of(np.ascontiguousarray(batch)[None], "gradient")
        assert mine["gradient__magnitude_mean__center_gray"][0] == 2
        assert mine["gradient__magnitude_deviation__center_gray"][0] == 0
        assert mine["gradient__orientation_entropy__patch_gray"][0] == 0
        assert mine["gradient__anisotropy__patch_gray"][0] == 1
        for window in WINDOWS:
            assert mine[f"gradient__coherence__patch_gray_w{window:02d}"][0] == 1


@given(st.lists(st.tuples(st.integers(-1020, 1020), st.integers(-1020, 1020)), min_size=1, max_size=30))
def test_oracle_orientation_bins_are_those_of_the_arctangent(slopes: list[tuple[int, int]]) -> None:
    gx, gy = np.array(slopes, np.int32).T
    weights = np.arange(1, len(slopes) + 1, dtype=np.int32)
    sums = np.zeros(32)
    sum_orientations(len(slopes), gx * gx - gy * gy, 2 * gx * gy, weights, sums)
    expected = [0] * 8
    for (x, y), weight in zip(slopes, weights, strict=True):
        if x or y:
            expected[bin_of(x, y)] += int(weight)
    found = sums[6:14]
    # Kept by sign: along an axis, across it; the diagonals; then 22.5°, 67.5°, 157.5° and 112.5°.
    flat = sum(int(w) for (x, y), w in zip(slopes, weights, strict=True) if not (x or y))
    np.testing.assert_array_equal(
        found,
        [expected[k] for k in (0, 4, 2, 6)]
        + [expected[1] + flat, expected[3], expected[7], expected[5]],
    )


@given(st.lists(st.integers(0, 10**6), min_size=8, max_size=8).filter(any))
def test_oracle_orientation_entropy(weights: list[int]) -> None:
    whole = float(sum(weights))
    expected = sum(-w / whole * log2(w / whole) for w in weights if w)
    found = orientation_entropy(np.array(weights, float), whole)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert bits(0.0, whole) == 0
    a, b, c, d, e, f, g, h = weights
    for turned in ((b, a, d, c, h, g, f, e), (a, b, d, c, g, h, e, f), (b, a, c, d, f, e, h, g)):
        assert orientation_entropy(np.array(turned, float), whole) == found


def test_invariant_far_windows_are_nine_near_ones() -> None:
    assert WINDOWS == (NEAR, 3 * NEAR)
