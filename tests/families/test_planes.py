"""The planes are what the named library functions give, to within a level."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from planes_of import planes_of
from skimage.color import rgb2gray, rgb2hed, rgb2lab

from pcam_features.families.planes import LEVELS_PER_OD, PLANES, SIGNED_ZERO

ROUNDED = 0.6  # half a level for rounding, and what fixed point costs


def every_color() -> np.ndarray:
    """All combinations of 48 values a channel, which include 0, 1, 254 and 255."""
    steps = np.unique(np.r_[0, 1, 2, 254, 255, np.linspace(3, 253, 43).astype(int)]).astype(np.uint8)
    assert len(steps) == 48
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return grid.reshape(12, 96, 96, 3)


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(mine.astype(float) - np.clip(theirs, 0, 255)).max())


@pytest.fixture(scope="module")
def colors() -> np.ndarray:
    return every_color()


@pytest.fixture(scope="module")
def planes(colors: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PLANES, planes_of(colors).transpose(1, 0, 2, 3), strict=True))


def test_oracle_rgb(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    for k, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(planes[name], colors[..., k])


def test_oracle_gray_is_scikit_image(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    assert apart(planes["gray"], rgb2gray(colors) * 255) <= 0.51


def test_oracle_hsv_is_opencv(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    hsv = cv2.cvtColor(colors.reshape(-1, 96, 3), cv2.COLOR_RGB2HSV_FULL).reshape(colors.shape)
    np.testing.assert_array_equal(planes["value"], hsv[..., 2])
    assert apart(planes["saturation"], hsv[..., 1]) <= 1
    turn = planes["hue"].astype(int) - SIGNED_ZERO - hsv[..., 0]
    assert np.abs((turn + 128) % 256 - 128).max() <= 1


def test_oracle_hue_and_saturation_of_every_color() -> None:
    """To the level, as division of whole numbers gives them: the kernel divides in 32-bit floats."""
    rest = np.stack(np.meshgrid(range(256), range(256), indexing="ij"), -1).reshape(-1, 2)
    colors = np.zeros((8 * 96 * 96, 3), np.uint8)
    colors[: len(rest), 1:] = rest
    for first in range(256):
        colors[:, 0] = first
        red, green, blue = colors.T.astype(np.int32)
        top = colors.max(axis=1).astype(np.int32)
        spread = np.maximum(top - colors.min(axis=1), 1)
        turn = np.where(top == green, blue - red + 2 * spread, red - green + 4 * spread)
        turn = np.where(top == red, green - blue + 6 * spread, turn)
        hue = ((256 * turn + 3 * spread) // (6 * spread) + SIGNED_ZERO) & 255
        saturation = (510 * (top - colors.min(axis=1)) + top) // np.maximum(2 * top, 1)
        mine = planes_of(colors.reshape(8, 96, 96, 3))
        np.testing.assert_array_equal(mine[:, PLANES.index("hue")].ravel(), hue)
        np.testing.assert_array_equal(mine[:, PLANES.index("saturation")].ravel(), saturation)


def test_oracle_lab_is_scikit_image(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    lab = rgb2lab(colors)
    assert apart(planes["lab_l"], lab[..., 0] * 2.55) <= 1
    assert apart(planes["lab_a"], lab[..., 1] + SIGNED_ZERO) <= 1
    assert apart(planes["lab_b"], lab[..., 2] + SIGNED_ZERO) <= 1


def test_oracle_lab_is_opencv(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    lab = cv2.cvtColor(colors.reshape(-1, 96, 3), cv2.COLOR_RGB2LAB).reshape(colors.shape)
    for k, name in enumerate(("lab_l", "lab_a", "lab_b")):
        assert apart(planes[name], lab[..., k]) <= 2  # both round


def test_oracle_stains_are_scikit_image(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    # rgb2hed divides by log(1e-6), which is 6 decades, and cuts negative values.
    density = rgb2hed(np.maximum(colors, 1)) * 6 * LEVELS_PER_OD
    assert apart(planes["hematoxylin"], density[..., 0]) <= ROUNDED
    assert apart(planes["eosin"], density[..., 1]) <= ROUNDED
    positive = density[..., 2] > 0
    residual = (planes["residual"] - float(SIGNED_ZERO))[positive]
    assert apart(residual + SIGNED_ZERO, density[..., 2][positive] + SIGNED_ZERO) <= ROUNDED


def test_oracle_residual_by_its_formula(planes: dict[str, np.ndarray], colors: np.ndarray) -> None:
    matrix = np.linalg.inv([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    density = -np.log10(np.maximum(colors, 1) / 255) @ matrix
    assert apart(planes["residual"], density[..., 2] * LEVELS_PER_OD + SIGNED_ZERO) <= ROUNDED


def test_oracle_on_real_patches(real_batch: np.ndarray) -> None:
    mine = dict(zip(PLANES, planes_of(real_batch).transpose(1, 0, 2, 3), strict=True))
    density = rgb2hed(np.maximum(real_batch, 1)) * 6 * LEVELS_PER_OD
    assert apart(mine["hematoxylin"], density[..., 0]) <= ROUNDED
    assert apart(mine["lab_b"], rgb2lab(real_batch)[..., 2] + SIGNED_ZERO) <= 1
