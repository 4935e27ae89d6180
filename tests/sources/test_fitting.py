"""Patches of other sizes are brought to 96 pixels as stated, and refused where that is not possible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import layouts
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result
from layouts import IDS, LABELS, refused
from PIL import Image
from scipy.stats import spearmanr

from pcam_features.constants import Fitting
from pcam_features.errors import InputError
from pcam_features.extraction.transformer import measure
from pcam_features.sources.detect import open_source
from pcam_features.sources.fitting import Fit, tile_starts
from pcam_features.sources.synthetic import open_source as synthetic

Run = Callable[..., Result]
RANDOM = np.random.default_rng(11)


def images(side: int, other: int | None = None) -> np.ndarray:
    return RANDOM.integers(0, 256, (len(IDS), other or side, side, 3), np.uint8)


def folder(path: Path, pixels: np.ndarray) -> Path:
    for name, patch, label in zip(IDS, pixels, LABELS, strict=False):
        target = path / "train" / ("tumor" if label else "normal")
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(patch).save(target / f"{name}.png")
    return path


def kaggle(path: Path, pixels: np.ndarray) -> Path:
    (path / "train").mkdir(parents=True)
    for name, patch in zip(IDS, pixels, strict=True):
        Image.fromarray(patch).save(path / "train" / f"{name}.tif")
    pd.DataFrame({"id": IDS, "label": LABELS}).to_csv(path / "train_labels.csv", index=False)
    return path


def table(path: Path, pixels: np.ndarray) -> Path:
    folder(path, pixels)
    files = sorted((path / "train").rglob("*.png"), key=lambda file: file.stem)
    rows = {"path": [file.relative_to(path) for file in files], "label": LABELS}
    pd.DataFrame(rows).to_csv(path / "patches.csv", index=False)
    return path / "patches.csv"


def parquet(path: Path, pixels: np.ndarray) -> Path:
    path.mkdir()
    rows = [{"bytes": layouts.encoded(patch, format="PNG"), "path": None} for patch in pixels]
    pq.write_table(pa.table({"image": rows, "label": LABELS}), path / "train-00000-of-00001.parquet")
    return path


def hdf5(path: Path, pixels: np.ndarray) -> Path:
    path.mkdir()
    stem = path / "camelyonpatch_level_2_split_train"
    with h5py.File(f"{stem}_x.h5", "w") as file:
        file["x"] = pixels
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file["y"] = LABELS.reshape(-1, 1, 1, 1)
    return path


def hdf5_in_chunks(path: Path, pixels: np.ndarray) -> Path:
    hdf5(path, pixels)
    with h5py.File(path / "camelyonpatch_level_2_split_train_x.h5", "w") as file:
        file.create_dataset("x", data=pixels, chunks=(5, 40, 48, 2), compression="gzip")
    return path


def wilds(path: Path, pixels: np.ndarray) -> Path:
    layouts.wilds(path)
    for file, patch in zip(sorted(path.rglob("*.png")), pixels, strict=True):
        Image.fromarray(patch).save(file)
    return path


WRITTEN = {
    "images": folder,
    "kaggle": kaggle,
    "manifest": table,
    "parquet": parquet,
    "hdf5": hdf5,
    "hdf5 in chunks": hdf5_in_chunks,
}


def small(patch: np.ndarray, side: int = 96) -> np.ndarray:
    shrinks = patch.shape[0] > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(patch, (side, side), interpolation=how)


@pytest.mark.parametrize("side", [50, 150, 224, 256])
@pytest.mark.parametrize("name", WRITTEN)
def test_oracle_resize_is_opencvs(name: str, side: int, tmp_path: Path) -> None:
    pixels = images(side)
    path = WRITTEN[name](tmp_path / "data", pixels)
    source, sentence = open_source(str(path), fit="resize")
    expected = np.stack([small(patch) for patch in pixels])
    np.testing.assert_array_equal(source.splits["train"].read(0, len(IDS)), expected)
    np.testing.assert_array_equal(source.splits["train"].read(3, 5), expected[3:5])
    assert source.fit == Fit(Fitting.resize, None, side, side)
    assert sentence.endswith(f"patches of {side}×{side} pixels are resized to 96×96")
    assert "--fit" in refused(path, f"{side}×{side} pixels, and features are measured on 96×96")


def test_oracle_wilds_of_another_size_is_read(tmp_path: Path) -> None:
    pixels = images(150)
    source, _ = open_source(str(wilds(tmp_path / "data", pixels)), fit="resize")
    found = source.splits["train"].read(0, len(IDS))
    assert sorted(patch.tobytes() for patch in found) == sorted(small(p).tobytes() for p in pixels)


def test_oracle_a_zip_of_another_size_is_read(tmp_path: Path) -> None:
    pixels = images(150)
    kaggle(tmp_path / "data", pixels)
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "data")
    source, _ = open_source(path, fit="crop")
    found = source.splits["train"].read(0, len(IDS))
    np.testing.assert_array_equal(found, pixels[:, 27:123, 27:123])


def test_oracle_crop_is_the_center(tmp_path: Path) -> None:
    pixels = images(224)
    path = folder(tmp_path / "data", pixels)
    source, _ = open_source(str(path), fit="crop")
    np.testing.assert_array_equal(source.splits["train"].read(0, len(IDS)), pixels[:, 64:160, 64:160])


@pytest.mark.parametrize("how", ["resize", "crop"])
def test_oracle_with_mpp_the_center_is_kept_at_pcams_scale(how: str, tmp_path: Path) -> None:
    pixels = images(256)
    path = folder(tmp_path / "data", pixels)
    source, sentence = open_source(str(path), fit=how, mpp=0.486)
    expected = np.stack([small(patch, 128)[16:112, 16:112] for patch in pixels])
    np.testing.assert_array_equal(source.splits["train"].read(0, len(IDS)), expected)
    assert "scaled from 0.486 to 0.972 µm per pixel (128×128)" in sentence


def test_oracle_tiles_cover_the_patch(tmp_path: Path) -> None:
    pixels = images(224)
    source, _ = open_source(str(folder(tmp_path / "data", pixels)), fit="tile")
    split = source.splits["train"]
    assert split.tiles is not None
    tiles = split.tiles(2, 4)
    assert tiles.shape == (2, 9, 96, 96, 3)
    covered = np.zeros((224, 224), bool)
    for k, (y, x) in enumerate((y, x) for y in (0, 64, 128) for x in (0, 64, 128)):
        np.testing.assert_array_equal(tiles[:, k], pixels[2:4, y : y + 96, x : x + 96])
        covered[y : y + 96, x : x + 96] = True
    assert covered.all()
    np.testing.assert_array_equal(split.read(2, 4), [small(patch) for patch in pixels[2:4]])


@pytest.mark.parametrize("side", range(96, 700, 7))
def test_invariant_tiles_stay_inside_and_cover(side: int) -> None:
    starts = np.array(tile_starts(side))
    assert starts[0] == 0
    assert starts[-1] == side - 96
    gaps = np.diff(starts)
    assert len(starts) == -(-side // 96)
    assert ((gaps > 0) & (gaps <= 96)).all()
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_mechanics_patches_that_are_not_square(tmp_path: Path) -> None:
    pixels = images(200, 150)
    path = folder(tmp_path / "data", pixels)
    refused(path, "not square", fit="resize")
    source, _ = open_source(str(path), fit="tile")
    split = source.splits["train"]
    assert split.tile_count == 6
    np.testing.assert_array_equal(split.read(0, 1)[0], small(pixels[0][:, 25:175]))
    source, _ = open_source(str(path), fit="crop")
    np.testing.assert_array_equal(source.splits["train"].read(0, 1)[0], pixels[0][27:123, 52:148])


def test_mechanics_patches_of_one_source_have_one_size(tmp_path: Path) -> None:
    pixels = images(150)
    path = folder(tmp_path / "data", pixels)
    odd = path / "train" / "tumor" / f"{IDS[5]}.png"
    Image.fromarray(images(151)[0]).save(odd)
    for how in Fitting:
        said = refused(path, "151×151 pixels and the first patch is 150×150", fit=how)
        assert odd.name in said


@pytest.mark.parametrize(
    ("fit", "mpp", "words"),
    [
        ("crop", None, "smaller than 96×96; use --fit resize"),
        ("tile", None, "smaller than 96×96; use --fit resize"),
        ("resize", 0.972, "less tissue than the 93.3 µm"),
        ("resize", 50.0, "correct --mpp"),
        ("resize", float("nan"), "--mpp is nan"),
        ("resize", -1.0, "--mpp is -1.0"),
        ("squeeze", None, "give one of: resize, crop, tile"),
        (None, 0.5, "--mpp 0.5 needs --fit"),
    ],
)
def test_mechanics_what_cannot_be_fitted_is_refused(
    fit: str | None, mpp: float | None, words: str, tmp_path: Path
) -> None:
    refused(folder(tmp_path / "data", images(50)), words, fit=fit, mpp=mpp)


def test_mechanics_patches_of_96_pixels_stay_as_they_are(tmp_path: Path) -> None:
    pixels = images(96)
    for how in Fitting:
        source, _ = open_source(str(folder(tmp_path / how, pixels)), fit=how, mpp=0.972)
        assert source.fit is None
        split = source.splits["train"]
        assert split.tiles is None
        np.testing.assert_array_equal(split.read(0, len(IDS)), pixels)
    source, _ = open_source("synthetic:8:4:0", fit="resize")
    assert source.fit is None
    source, _ = open_source("synthetic:8:4:0", fit="crop", mpp=1.944)
    expected = cv2.resize(
        synthetic("synthetic:8:4:0").splits["train"].read(0, 1)[0],
        (192, 192),
        interpolation=cv2.INTER_CUBIC,
    )
    np.testing.assert_array_equal(source.splits["train"].read(0, 1)[0], expected[48:144, 48:144])


def test_mechanics_a_first_patch_that_is_damaged_does_not_tell_the_size(tmp_path: Path) -> None:
    path = folder(tmp_path / "data", images(150))
    (path / "train" / "normal" / f"{IDS[0]}.png").write_bytes(b"")
    source, _ = open_source(str(path), fit="resize", strict=False)
    assert source.fit is not None
    assert source.fit.size == (150, 150)
    with pytest.raises(InputError, match="0 bytes"):
        source.splits["train"].read(0, 1)


def test_mechanics_the_record_is_plain_json() -> None:
    record = Fit(Fitting.tile, 0.5, 224, 200).to_dict()
    assert json.loads(json.dumps(record)) == record
    assert record == {"how": "tile", "mpp": 0.5, "width": 224, "height": 200}
    assert Fit.from_dict(record) == Fit(Fitting.tile, 0.5, 224, 200)
    for damage in ({"how": 3}, {"how": "x"}, {"mpp": "1"}, {"width": None}, {"height": 1 << 40}):
        with pytest.raises(InputError):
            Fit.from_dict(record | damage)


def real(kaggle_folder: Path, count: int = 24) -> np.ndarray:
    source, _ = open_source(str(kaggle_folder))
    return source.splits["train"].read(0, count)


def test_oracle_features_of_tiles_are_their_mean(kaggle_folder: Path, tmp_path: Path) -> None:
    patches = real(kaggle_folder, 27)
    # Three patches of 288 pixels, each of nine real ones side by side.
    large = patches.reshape(3, 3, 3, 96, 96, 3).transpose(0, 1, 3, 2, 4, 5).reshape(3, 288, 288, 3)
    source, _ = open_source(str(folder(tmp_path / "data", large)), fit="tile")
    found, _ = measure(source.splits["train"], "color,lbp", threads=2, device="cpu")
    single, _ = measure(patches, "color,lbp", threads=2, device="cpu")
    expected = single.astype(np.float64).reshape(3, 9, -1).mean(axis=1)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


# Spearman's correlation over patches: the median column, and the column at the tenth percentile.
# Color hardly depends on resampling; local binary patterns look at single pixels.
AGREEMENT = {"color": (0.99, 0.94), "glcm": (0.97, 0.85), "lbp": (0.87, 0.6)}


@pytest.mark.parametrize("family", AGREEMENT)
def test_oracle_a_patch_enlarged_twice_has_nearly_the_features_of_the_original(
    family: str, kaggle_folder: Path, tmp_path: Path
) -> None:
    patches = real(kaggle_folder, len(IDS))
    large = [cv2.resize(patch, (192, 192), interpolation=cv2.INTER_CUBIC) for patch in patches]
    source, _ = open_source(str(folder(tmp_path / "data", np.stack(large))), fit="resize")
    assert source.fit is not None
    found, columns = measure(source.splits["train"], family, threads=2, device="cpu")
    expected, _ = measure(patches, family, threads=2, device="cpu")
    varying = np.flatnonzero(expected.std(axis=0) > 1e-6)
    ranks = [spearmanr(found[:, k], expected[:, k])[0] for k in varying]
    median, tenth = AGREEMENT[family]
    assert np.median(ranks) > median
    assert np.percentile(ranks, 10) > tenth
    if family == "color":
        means = [k for k, name in enumerate(columns) if "__mean__patch_" in name][:3]
        np.testing.assert_allclose(found[:, means], expected[:, means], rtol=0.004)


def test_mechanics_extract_fit_and_predict_run_on_patches_of_224_pixels(
    synthetic_folder: Path, store_folder: Path, tmp_path: Path, pcam: Run
) -> None:
    """Enlarged synthetic patches, saved as RGBA images."""
    source, _ = open_source(str(synthetic_folder))
    for name, split in source.splits.items():
        rows = min(len(split), 120)
        for patch_id, patch, k in zip(split.ids, split.read(0, rows), range(rows), strict=False):
            label = "unlabeled" if split.labels is None else ("normal", "tumor")[split.labels[k]]
            target = tmp_path / "data" / name / label / f"{patch_id}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            large = cv2.resize(patch, (224, 224), interpolation=cv2.INTER_CUBIC)
            Image.fromarray(large).convert("RGBA").save(target)
    options = ("--families", "color", "--fit", "resize", "--threads", 2)
    slides = ("--slides", synthetic_folder / "slides.csv")
    without = pcam("extract", tmp_path / "data", tmp_path / "store", "--families", "color")
    assert without.code == 2
    assert "--fit" in without.err
    assert not (tmp_path / "store").exists()
    result = pcam("extract", tmp_path / "data", tmp_path / "store", *options, *slides)
    assert result.code == 0, result.err
    assert "patches of 224×224 pixels are resized to 96×96" in result.err
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    record = {"how": "resize", "mpp": None, "width": 224, "height": 224}
    assert manifest["source"]["fit"] == record
    other = ("--families", "color", "--fit", "crop")
    result = pcam("extract", tmp_path / "data", tmp_path / "store", *other, *slides)
    assert result.code == 2
    assert "resize" in result.err
    result = pcam("fit", tmp_path / "store", tmp_path / "model", "--folds", 3)
    assert result.code == 0, result.err
    out = tmp_path / "test.csv"
    result = pcam("predict", tmp_path / "model", tmp_path / "store", out, "--split", "test")
    assert result.code == 0, result.err
    assert pd.read_csv(out)["label"].between(0, 1).all()
    assert "scale of these patches" not in result.err
    result = pcam("predict", tmp_path / "model", store_folder, out, "--split", "test")
    assert result.code == 0, result.err
    assert "scale of these patches may differ from the model's" in result.err
