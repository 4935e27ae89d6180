"""Layouts are told apart, and pixels arrive as they are."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pcam_features.errors import InputError
from pcam_features.sources import detect, synthetic
from pcam_features.sources.images import decode, plain_tiff, read_patch
from pcam_features.sources.reading import Reading
from pcam_features.sources.slides import read_slides

PIXELS = np.random.default_rng(2).integers(0, 256, (96, 96, 3), np.uint8)


def encoded(pixels: np.ndarray, **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_oracle_kaggle_pixels_are_their_sha1_and_pillows(kaggle_folder: Path) -> None:
    source, _ = detect.open_source(str(kaggle_folder))
    train = source.splits["train"]
    assert (len(train), len(source.splits["test"])) == (2738, 501)
    batch = train.read(0, 200)
    for k, patch_id in enumerate(train.ids[:200]):
        assert hashlib.sha1(batch[k].tobytes()).hexdigest() == patch_id
        with Image.open(kaggle_folder / "train" / f"{patch_id}.tif") as image:
            np.testing.assert_array_equal(batch[k], np.asarray(image))
    assert sum(slide is not None for slide in train.slides) == 597


def test_oracle_the_direct_path_reads_kaggles_files(kaggle_folder: Path) -> None:
    for path in sorted((kaggle_folder / "test").iterdir())[:50]:
        pixels = plain_tiff(path.read_bytes())
        assert pixels is not None
        assert hashlib.sha1(pixels.tobytes()).hexdigest() == path.stem


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_oracle_other_tiffs_go_to_the_decoder(compression: str, tmp_path: Path) -> None:
    data = encoded(PIXELS, format="TIFF", compression=compression)
    assert plain_tiff(data) is None
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_patch(tmp_path / "a.tif"), PIXELS)


def test_oracle_direct_path_equals_decoder() -> None:
    data = encoded(PIXELS, format="TIFF", compression=None)
    direct = plain_tiff(data)
    assert direct is not None
    np.testing.assert_array_equal(direct, decode(data, Path("a.tif")))


ALPHA = np.random.default_rng(5).integers(0, 256, (96, 96), np.uint8)


def saved(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def with_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(PIXELS).convert(mode.removesuffix("A"))
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == mode
    return image


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_oracle_gray_and_palettes_are_pillows_rgb(mode: str, kind: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    pixels = decode(saved(image, format=kind), Path("a"))
    np.testing.assert_array_equal(pixels, expected)
    if mode != "P":
        assert (pixels == pixels[..., :1]).all()


def test_oracle_gray_jpeg_is_pillows() -> None:
    data = saved(Image.fromarray(PIXELS).convert("L"), format="JPEG")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data, Path("a")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_oracle_alpha_is_composited_over_white(mode: str, kind: str) -> None:
    image = with_alpha(mode)
    pixels = decode(saved(image, format=kind), Path("a"))
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    np.testing.assert_array_equal(pixels, np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)))
    white = Image.new("RGBA", image.size, "white")
    pillow = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    np.testing.assert_allclose(pixels, np.asarray(pillow), rtol=0, atol=1)


def test_oracle_transparent_palettes_and_colors_are_white() -> None:
    palette = Image.fromarray(PIXELS).quantize(200)
    pixels = decode(saved(palette, format="PNG", transparency=3), Path("a"))
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[np.asarray(palette) == 3] = 255
    assert (np.asarray(palette) == 3).any()
    np.testing.assert_array_equal(pixels, expected)
    color = tuple(int(value) for value in PIXELS[5, 6])
    pixels = decode(saved(Image.fromarray(PIXELS), format="PNG", transparency=color), Path("a"))
    expected = np.where((color == PIXELS).all(axis=-1, keepdims=True), 255, PIXELS)
    np.testing.assert_array_equal(pixels, expected)


def test_mechanics_pages_of_gray_are_not_taken_for_a_gray_image() -> None:
    channels = [Image.fromarray(PIXELS[..., k]) for k in range(3)]
    data = saved(channels[0], format="TIFF", save_all=True, append_images=channels[1:])
    with pytest.raises(InputError, match="several pages of gray values"):
        decode(data, Path("a.tif"))
    colored = Image.fromarray(PIXELS)
    data = saved(colored, format="TIFF", save_all=True, append_images=[colored.resize((48, 48))])
    np.testing.assert_array_equal(decode(data, Path("a.tif")), PIXELS)


def test_mechanics_an_image_too_large_is_refused_before_it_is_decoded() -> None:
    data = saved(Image.new("RGB", (2049, 4)), format="PNG")
    with pytest.raises(InputError, match="2049×4 pixels; the largest"):
        decode(data[:60], Path("a.png"), None)  # the header alone: there are no pixels to decode


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_invariant_damaged_files_are_read_right_or_refused(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["TIFF", "PNG", "JPEG"]))
    content = bytearray(encoded(PIXELS, format=kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(600, len(content) - 1)))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(1, len(content)))])
    direct = plain_tiff(cut)
    try:
        pixels = decode(cut, Path("x")) if direct is None else direct
    except InputError as error:
        said = str(error)
    else:
        said = f"{pixels.shape} {pixels.dtype}"
    assert said == "(96, 96, 3) uint8" or (said.endswith(".") and "\n" not in said), said


def test_mechanics_image_folder_with_splits_and_without(tmp_path: Path) -> None:
    for folder in ("two/train/tumor", "two/train/normal", "two/valid/tumor", "two/valid/normal"):
        (tmp_path / folder).mkdir(parents=True)
        name = folder.replace("/", "_")
        (tmp_path / folder / f"{name}.png").write_bytes(encoded(PIXELS, format="PNG"))
        (tmp_path / folder / ".DS_Store").touch()
    (tmp_path / "one").symlink_to(tmp_path / "two" / "train")
    two, _ = detect.open_source(str(tmp_path / "two"))
    assert list(two.splits) == ["train", "valid"]
    assert two.splits["train"].ids == ["two_train_normal", "two_train_tumor"]
    assert two.splits["train"].labels is not None
    assert two.splits["train"].labels.tolist() == [0, 1]
    one, _ = detect.open_source(str(tmp_path / "one"))
    assert list(one.splits) == ["train"]
    np.testing.assert_array_equal(one.splits["train"].read(1, 2)[0], PIXELS)


def test_mechanics_the_positive_class_is_given_or_told(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").write_bytes(encoded(PIXELS, format="PNG"))
    with pytest.raises(InputError, match="--positive"):
        detect.open_source(str(tmp_path))
    source, _ = detect.open_source(str(tmp_path), reading=Reading(positive="alpha"))
    assert source.splits["train"].labels is not None
    assert source.splits["train"].labels.tolist() == [1, 0]


def test_mechanics_real_image_folder(pcam_folder: Path) -> None:
    source, said = detect.open_source(
        str(pcam_folder), slides=f"{pcam_folder / 'labels.csv'}:dup_group"
    )
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 20000,
        "valid": 3000,
    }
    labels = source.splits["valid"].labels
    assert labels is not None
    assert labels.sum() == 1500
    assert "23,000 of 23,000" in said


def test_mechanics_slide_tables(tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    table.write_text("id,wsi,lab\na,w1,x\nb,,y\n")
    assert read_slides(str(table)) == {"a": "w1"}
    assert read_slides(f"{table}:lab") == {"a": "x", "b": "y"}
    with pytest.raises(InputError, match="no column nope"):
        read_slides(f"{table}:nope")


def test_mechanics_synthetic_is_the_same_for_a_seed() -> None:
    once, twice = (synthetic.open_source("synthetic:12:4:3") for _ in range(2))
    np.testing.assert_array_equal(once.splits["train"].read(0, 12), twice.splits["train"].read(0, 12))
    other = synthetic.open_source("synthetic:12:4:4").splits["train"].read(0, 12)
    assert (once.splits["train"].read(0, 12) != other).any()
    assert not set(once.splits["train"].slides) & set(once.splits["test"].slides)


def test_invariant_a_nest_in_the_ring_alone_stays_out_of_the_center() -> None:
    fields = synthetic.noise_fields(0)
    seen = 0
    for k in range(200):
        mask = synthetic.nest_mask(np.random.default_rng(k), fields, center=False)
        assert not mask[32:64, 32:64].any()
        seen += mask.any()
    assert seen > 150


def test_mechanics_synthetic_on_disk_is_kaggles_layout(synthetic_folder: Path) -> None:
    source, _ = detect.open_source(str(synthetic_folder))
    assert source.kind == "kaggle"
    train = source.splits["train"]
    assert (len(train), len(source.splits["test"])) == (240, 60)
    assert None not in train.slides
    assert (synthetic_folder / "train" / f"{train.ids[0]}.tif").stat().st_size < 30000
    assert train.labels is not None
    assert 0.1 < train.labels.mean() < 0.8
    direct = synthetic.open_source("synthetic:240:12:1").splits["train"]
    np.testing.assert_array_equal(direct.read(0, 20), train.read(0, 20))
    assert direct.labels is not None
    np.testing.assert_array_equal(direct.labels, train.labels)
    with Image.open(synthetic_folder / "contact_sheet.png") as sheet:
        assert sheet.size[0] > 1000
