"""Views through other laboratories do what their recipes say, and the same each time."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hed
from skimage.exposure import adjust_gamma

import pcam_features
from pcam_features.api.data import Extraction
from pcam_features.encoders.options import EncoderOptions
from pcam_features.extraction import shifts
from pcam_features.extraction.selection import families_named
from pcam_features.extraction.shifts import SHIFTS, STRENGTHS, seen, views
from pcam_features.sources.detect import open_source


@pytest.fixture(scope="module")
def patches(synthetic_batch: np.ndarray) -> np.ndarray:
    return synthetic_batch[:6]


def test_oracle_stain_amounts_change_by_their_factors_in_scikit_image(patches: np.ndarray) -> None:
    recipe = {"log_factors": [0.2, -0.3, 0.0]}
    changed = shifts.amounts(patches, recipe, None)
    inside = ((changed > 20) & (changed < 240) & (patches > 20) & (patches < 240)).all(axis=-1)
    before, after = rgb2hed(patches)[inside], rgb2hed(changed)[inside]
    strong = np.abs(before) > 0.05
    for stain, factor in enumerate(np.exp(recipe["log_factors"][:2])):
        of_stain = strong[:, stain] & (before[:, stain] > 0)
        ratio = after[of_stain, stain] / before[of_stain, stain]
        assert abs(np.median(ratio) - factor) < 0.02


def test_oracle_gamma_and_gain_are_those_of_scikit_image(patches: np.ndarray) -> None:
    changed = shifts.brightness(patches, {"log_gain": [-0.1], "log_gamma": [0.25]}, None)
    expected = adjust_gamma(patches / 255, np.exp(0.25), np.exp(-0.1)) * 255
    np.testing.assert_allclose(changed, expected, atol=0.5 + 1e-6)


def test_oracle_channel_gains_multiply(patches: np.ndarray) -> None:
    changed = shifts.white_balance(patches, {"log_gains": [0.1, 0.0, -0.1]}, None)
    expected = np.minimum(patches * np.exp([0.1, 0.0, -0.1]), 255)
    np.testing.assert_allclose(changed, expected, atol=0.5 + 1e-3)


def test_oracle_blur_is_scipys_gaussian(patches: np.ndarray) -> None:
    changed = shifts.blur(patches, {"sigma": [1.1]}, None)
    for patch, found in zip(patches, changed, strict=True):
        expected = gaussian_filter(patch.astype(float), (1.1, 1.1, 0), mode="mirror", truncate=4)
        assert np.abs(found - expected).mean() < 0.6
        assert np.abs(found - expected).max() < 4


def test_oracle_jpeg_is_as_far_from_the_patch_as_pillows(patches: np.ndarray) -> None:
    changed = shifts.jpeg(patches, {"quality": [40.0]}, None)
    for patch, found in zip(patches, changed, strict=True):
        stream = io.BytesIO()
        Image.fromarray(patch).save(stream, format="JPEG", quality=40, subsampling="4:2:0")
        by_pillow = np.asarray(Image.open(stream)).astype(float)
        ours, theirs = np.abs(found - patch.astype(float)).mean(), np.abs(by_pillow - patch).mean()
        assert 0.8 < ours / theirs < 1.25


def test_oracle_noise_has_its_deviation() -> None:
    gray = np.full((4, 96, 96, 3), 128, np.uint8)
    changed = shifts.noise(gray, {"sigma": [5.0]}, np.random.default_rng(0))
    assert abs(changed.std() - np.sqrt(5.0**2 + 1 / 12)) < 0.05
    assert abs(changed.mean() - 128) < 0.05


def test_oracle_stain_vectors_turn_by_their_angle() -> None:
    vector = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
    for around in (0.0, 77.0, 260.0):
        moved = shifts.turned(vector, 8.0, around)
        assert np.linalg.norm(moved) == pytest.approx(1)
        assert np.degrees(np.arccos(moved @ vector)) == pytest.approx(8.0)


def test_invariant_a_recipe_of_no_change_changes_nothing(patches: np.ndarray) -> None:
    same = {
        "amounts": {"log_factors": [0.0, 0.0, 0.0]},
        "vectors": {"degrees": [0.0, 0.0], "around": [0.0, 0.0]},
        "brightness": {"log_gain": [0.0], "log_gamma": [0.0]},
        "white_balance": {"log_gains": [0.0, 0.0, 0.0]},
        "noise": {"sigma": [0.0]},
    }
    for kind, recipe in same.items():
        changed = SHIFTS[kind].change(patches, recipe, np.random.default_rng(0))
        np.testing.assert_allclose(changed, np.maximum(patches, 1), atol=1)


def test_invariant_a_patch_looks_the_same_alone_and_among_others(patches: np.ndarray) -> None:
    for view in views().values():
        together = view.of(patches, 40)
        alone = np.concatenate([view.of(patch[None], 40 + k) for k, patch in enumerate(patches)])
        np.testing.assert_array_equal(together, alone)
        assert (together.dtype, together.shape) == (np.uint8, patches.shape)


def test_mechanics_views_are_drawn_by_seed_and_can_be_written_down() -> None:
    known = views(3)
    assert known == views(3) != views(4)
    assert list(known) == [f"{kind}-{strength}" for kind in SHIFTS for strength in STRENGTHS]
    for view in known.values():
        assert list(view.recipes) == json.loads(json.dumps(view.recipes))


def test_mechanics_stronger_views_are_further_from_the_patches(patches: np.ndarray) -> None:
    for kind in ("amounts", "brightness", "white_balance", "blur", "jpeg", "noise"):
        away = [
            np.abs(views()[f"{kind}-{strength}"].of(patches).astype(float) - patches).mean()
            for strength in STRENGTHS
        ]
        assert 0 < away[0] < away[1] < away[2], kind


def test_mechanics_a_split_seen_in_a_view_keeps_ids_and_labels() -> None:
    split = open_source("synthetic:40:4:0")[0].splits["train"]
    view = views()["jpeg-strong"]
    other = seen(split, view)
    assert other.name == "train-jpeg-strong"
    assert (other.ids, other.slides) == (split.ids, split.slides)
    np.testing.assert_array_equal(other.read(8, 12), view.of(split.read(8, 12), 8))
    assert other.content(0, 4) != split.content(0, 4)


def test_mechanics_a_third_of_the_training_patches_is_copied_unless_a_number_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shifts, "LEAST_COPIES", 2)
    color = families_named("color", EncoderOptions())

    def made(patches: int, folder: str = "new", **given: Any) -> dict[str, int]:
        source = pcam_features.open_source(f"synthetic:{patches}")
        splits = Extraction(tmp_path / folder, source, color, **given).splits
        return {split.name: len(split) for split in splits}

    assert made(60) == {"train": 60, "test": 15, "train~copies": 20}
    assert made(60, copies=0) == {"train": 60, "test": 15}
    assert made(60, split="test") == {"test": 15}
    assert "train~copies" not in made(40)
    # What a store holds stays as it is, unless everything is made anew.
    pcam_features.extract("synthetic:60", tmp_path / "old", families="color", copies=0)
    assert "train~copies" not in made(60, "old")
    assert made(60, "old", overwrite=True)["train~copies"] == 20
    pcam_features.extract("synthetic:60", tmp_path / "old", families="color", copies=18)
    assert made(60, "old")["train~copies"] == 18
