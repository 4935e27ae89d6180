"""Folders of images as people lay them out: what is read, as what, and what is reported as not read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import PIXELS, encoded, opened, refused
from PIL import Image

from pcam_features.errors import InputError
from pcam_features.sources.detect import open_source
from pcam_features.sources.images import FORMATS, SUFFIXES, decode
from pcam_features.sources.reading import Reading
from pcam_features.sources.source import Source
from pcam_features.sources.vocabulary import class_of, split_name

PNG = encoded(PIXELS[0], format="PNG")


def lay_out(root: Path, *names: str) -> Path:
    """Write an image, each another, at each of these names."""
    for k, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.roll(PIXELS[k % len(PIXELS)], k, axis=0)
        file.write_bytes(encoded(pixels, format="PNG"))
    return root


def read(root: Path, **options: Any) -> Source:
    return open_source(str(root), reading=Reading(**options))[0]


def labels_by_id(source: Source, split: str = "train") -> dict[str, int]:
    found = source.splits[split]
    assert found.labels is not None
    return dict(zip(found.ids, found.labels.tolist(), strict=True))


def unread(source: Source) -> dict[str, list[str]]:
    return {one.kind: list(one.examples) for one in source.unread}


@pytest.mark.parametrize("names", [("trn", "vld", "tst"), ("Training", "Validation", "Holdout")])
def test_mechanics_more_names_of_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    files = [f"{name}/{c}/{name}{c}.png" for name in names for c in ("normal", "tumor")]
    source = opened(lay_out(tmp_path, *files))
    assert len(source.splits) == 3
    assert "train" in source.splits


def test_mechanics_folds_are_no_slides(tmp_path: Path) -> None:
    files = [f"fold_{k}/{c}/{c}{k}.png" for k in range(3) for c in ("normal", "tumor")]
    source = opened(lay_out(tmp_path, *files))
    assert len(source) == 6
    assert not any(source.slides)


@pytest.mark.parametrize(
    ("normal", "tumor"),
    [
        ("gutartig", "bösartig"),
        ("sano", "maligno"),
        ("正常", "肿瘤"),
        ("Норма", "Опухоль"),
        ("sain", "Tumeur"),
    ],
)
def test_mechanics_classes_in_other_languages(normal: str, tumor: str, tmp_path: Path) -> None:
    assert labels_by_id(opened(lay_out(tmp_path, f"{normal}/n.png", f"{tumor}/t.png"))) == {
        "n": 0,
        "t": 1,
    }


CLASSES = ("train/normal/n.png", "train/tumor/t.png", "valid/normal/vn.png", "valid/tumor/vt.png")


@pytest.mark.parametrize(
    ("stray", "reason"),
    [
        ("samples.png", "outside of the splits"),
        ("train/samples.png", "beside the folders of classes"),
        ("figures/a.png", "outside of the splits"),
        ("figures/deep/er/a.png", "outside of the splits"),
        ("tumor/left_over.png", "outside of the splits"),
    ],
)
def test_regression_an_image_at_another_level_does_not_change_the_reading(
    stray: str, reason: str, tmp_path: Path
) -> None:
    source = opened(lay_out(tmp_path, *CLASSES, stray))
    assert {name: split.ids for name, split in source.splits.items()} == {
        "train": ["n", "t"],
        "valid": ["vn", "vt"],
    }
    assert labels_by_id(source) == {"n": 0, "t": 1}
    ((kind, names),) = unread(source).items()
    assert reason in kind
    assert names == [stray]


def test_regression_images_without_classes_are_an_unlabeled_split(tmp_path: Path) -> None:
    source = opened(lay_out(tmp_path / "a", *CLASSES[:2], "test/1.png", "test/2.png"))
    assert source.splits["test"].labels is None
    assert source.splits["test"].ids == ["1", "2"]
    assert labels_by_id(source) == {"n": 0, "t": 1}
    alone = opened(lay_out(tmp_path / "new_patches", "x.png", "y.png"))
    assert [(name, split.labels) for name, split in alone.splits.items()] == [("train", None)]
    named = opened(lay_out(tmp_path / "test", "x.png", "y.png"))
    assert list(named.splits) == ["test"]


def test_regression_a_lone_folder_is_no_class(tmp_path: Path) -> None:
    source = opened(lay_out(tmp_path, "images/x.png", "images/y.png"))
    assert source.labels is None
    assert not source.unread


def test_mechanics_a_lone_class_of_a_known_name_is_one(tmp_path: Path) -> None:
    assert labels_by_id(opened(lay_out(tmp_path / "a", "train/tumor/x.png"))) == {"x": 1}
    assert labels_by_id(opened(lay_out(tmp_path / "b", "0/x.png"))) == {"x": 0}


@pytest.mark.parametrize(
    ("names", "slides"),
    [
        (("{c}/{s}/{s}_{c}.png",), ("s1", "s2")),
        (("{s}/{c}/{s}_{c}.png",), ("s1", "s2")),
        (("data/{c}/kind/{s}/40X/{s}_{c}.png",), ("s1", "s2")),
        (("{c}/images/{s}/{s}_{c}.png",), ("s1", "s2")),
    ],
)
def test_oracle_folders_above_and_below_the_classes_are_slides(
    names: tuple[str], slides: tuple[str, str], tmp_path: Path
) -> None:
    files = [names[0].format(c=c, s=s) for c in ("benign", "malignant") for s in slides]
    source = opened(lay_out(tmp_path, *files))
    (split,) = source.splits.values()
    assert split.name == "train"
    labels = {f"{s}_{c}": k for s in slides for k, c in enumerate(("benign", "malignant"))}
    assert labels_by_id(source) == labels
    assert split.slides == [patch_id.split("_")[0] for patch_id in split.ids]
    assert any("slides are folders" in note for note in source.notes)


def test_oracle_patients_of_one_digit_are_not_classes(tmp_path: Path) -> None:
    files = [f"{p}/{c}/{p}_{c}.png" for p in range(4) for c in (0, 1)]
    source = opened(lay_out(tmp_path / "above", *files))
    assert labels_by_id(source) == {f"{p}_{c}": c for p in range(4) for c in (0, 1)}
    assert source.splits["train"].slides == [str(p) for p in range(4) for _ in (0, 1)]
    files = [f"{c}/{p}/{p}_{c}.png" for p in range(4) for c in (0, 1)]
    below = opened(lay_out(tmp_path / "below", *files))
    assert labels_by_id(below) == labels_by_id(source)
    files = [f"{c}/{s}/{c}{s}.png" for c in ("normal", "tumor") for s in (0, 1)]
    words = opened(lay_out(tmp_path / "words", *files))
    assert labels_by_id(words) == {"normal0": 0, "normal1": 0, "tumor0": 1, "tumor1": 1}


def test_regression_a_class_with_folders_is_read_whole(tmp_path: Path) -> None:
    nested = ("tumor/a/t1.png", "tumor/b/t2.png", "tumor/t3.png")
    source = opened(lay_out(tmp_path, "normal/n.png", *nested))
    assert labels_by_id(source) == {"n": 0, "t1": 1, "t2": 1, "t3": 1}
    assert source.splits["train"].slides == [None, "a", "b", None]


def test_regression_a_split_may_be_deeper_than_another(tmp_path: Path) -> None:
    source = opened(lay_out(tmp_path, *CLASSES[:2], "valid/normal/s1/a.png", "valid/tumor/s2/b.png"))
    assert labels_by_id(source, "valid") == {"a": 0, "b": 1}
    assert source.splits["valid"].slides == ["s1", "s2"]


def test_mechanics_equal_names_in_several_folders_get_ids_of_their_own(tmp_path: Path) -> None:
    source = opened(lay_out(tmp_path, "normal/001.png", "tumor/001.png", "tumor/002.png"))
    assert labels_by_id(source) == {"normal_001": 0, "tumor_001": 1, "tumor_002": 1}
    assert any("file names repeat" in note for note in source.notes)
    (tmp_path / "tumor" / "002.jpg").write_bytes(encoded(PIXELS[1], format="JPEG"))
    assert "002.jpg" in refused(tmp_path, "have the same id")


def test_mechanics_a_third_class_is_asked_for_and_then_said(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/n.png", "tumor/t.png", "unsure/u.png")
    said = refused(tmp_path, "not clear which folders")
    assert "unsure" in said
    assert "--exclude" in said
    source = read(tmp_path, positive="tumor")
    assert "tumor: tumor; negative: normal, unsure" in source.notes
    without = read(tmp_path, exclude=("unsure",))
    assert labels_by_id(without) == {"n": 0, "t": 1}
    assert unread(without) == {"excluded": ["unsure/u.png"]}
    only = read(tmp_path, classes=("normal", "tumor"))
    assert labels_by_id(only) == {"n": 0, "t": 1}
    assert unread(only) == {"class not asked for": ["unsure/u.png"]}
    with pytest.raises(InputError, match="no folder of that name"):
        read(tmp_path, exclude=("unsur",))
    with pytest.raises(InputError, match="no such class"):
        read(tmp_path, positive="Tumor")


def test_mechanics_a_number_alone_does_not_make_a_class_of_three(tmp_path: Path) -> None:
    lay_out(tmp_path, "class1/a.png", "class2/b.png")
    refused(tmp_path, "not clear which folders")


def test_mechanics_names_of_a_split_and_a_class_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, "train_tumor/a.png", "train_normal/b.png", "test_tumor/c.png")
    refused(tmp_path, "names a split and a class")


NAMES = {
    1: (
        *("Tumor", "b_has_tumor_tissue", "IDC_positive", "1_tumor", "cancerTissue"),
        *("tumorous", "tumor_present", "malign", "neoplasm"),
    ),
    0: (
        *("no_tumor", "non-cancer", "nontumor", "tumor_free", "0_normal"),
        *("nontumorous", "tumorfree", "tumor_absent", "非癌"),
    ),
    None: (
        *("tumor_001", "not_normal", "false_negative", "tumor_stroma", "normal_tumor"),
        *("present", "tumor_not_absent", "freetumor"),
    ),
}


@pytest.mark.parametrize("label", NAMES)
def test_oracle_names_of_classes(label: int | None) -> None:
    for name in NAMES[label]:
        known = class_of(name)
        assert (known.label if known else None) == label, name


def test_oracle_names_that_are_no_splits() -> None:
    names = ("test_001", "tumor", "training_normal", "figures", "patient_1", "contest")
    assert [split_name(name) for name in names] == [None] * len(names)


def save_qoi(image: Image.Image, path: Path) -> None:
    """Write QOI by its specification, every pixel in full; Pillow writes it only from 11.3 on."""
    header = b"qoif" + image.width.to_bytes(4) + image.height.to_bytes(4) + b"\3\0"
    pixels = np.asarray(image).reshape(-1, 3)
    body = np.insert(pixels, 0, 0xFE, axis=1).tobytes()
    path.write_bytes(header + body + bytes(7) + b"\1")


def lossless(name: str) -> Callable[[Image.Image, Path], None]:
    if name == "QOI":
        return save_qoi
    how: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG2000": {"irreversible": False}}
    return lambda image, path: image.save(path, format=name, **how.get(name, {}))


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("JPEG", "GIF")])
def test_oracle_a_lossless_format_gives_the_pixels_saved(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name][0]}"
    lossless(name)(Image.fromarray(PIXELS[0]), path)
    np.testing.assert_array_equal(decode(path.read_bytes(), path), PIXELS[0])


def test_oracle_a_gif_is_its_palette_and_an_animation_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS[0]).quantize(256)
    image.save(tmp_path / "a.gif")
    expected = np.asarray(image.convert("RGB"))
    found = decode((tmp_path / "a.gif").read_bytes(), tmp_path / "a.gif")
    np.testing.assert_array_equal(found, expected)
    for suffix in (".gif", ".webp", ".png"):
        path = tmp_path / f"b{suffix}"
        frames = [Image.fromarray(pixels) for pixels in PIXELS[:3]]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(InputError, match="several frames"):
            decode(path.read_bytes(), path)


def test_mechanics_more_than_eight_bits_are_refused_in_every_format(tmp_path: Path) -> None:
    ppm = b"P6 96 96 65535\n" + bytes(96 * 96 * 6)
    with pytest.raises(InputError, match="more than 8 bits"):
        decode(ppm, tmp_path / "a.ppm")
    deep = bytearray(encoded(PIXELS[0], format="JPEG2000"))
    deep[deep.find(b"\xff\x4f\xff\x51") + 42] = 15  # the depth of the first channel less one
    with pytest.raises(InputError, match="more than 8 bits"):
        decode(bytes(deep), tmp_path / "a.jp2")


def test_regression_every_suffix_is_found_whatever_its_case(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"tumor/t{k}{suffix}" for k, suffix in enumerate(SUFFIXES)), "tumor/UPPER.PNG")
    assert len(opened(tmp_path).splits["train"]) == len(SUFFIXES) + 1


def test_regression_what_is_not_read_is_counted_by_reason(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/n.png", "tumor/t.png")
    for name in ("tumor/a.heic", "tumor/b.dcm", "tumor/no_suffix"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "tumor" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "tumor" / "loop").symlink_to(tmp_path)
    for litter in (
        "tumor/.DS_Store",
        "tumor/._t.png",
        "tumor/Thumbs.db",
        "README.md",
        "tumor/a.txt",
    ):
        (tmp_path / litter).write_bytes(b"x")
    source, sentence = open_source(str(tmp_path))
    assert source.splits["train"].ids == ["n", "t"]
    assert unread(source) == {
        "broken link": ["tumor/gone.png"],
        "file of another format": ["tumor/a.heic", "tumor/b.dcm", "tumor/no_suffix"],
        "link to a folder read already": ["tumor/loop"],
    }
    assert "NOT READ: 3 × file of another format (tumor/a.heic, tumor/b.dcm, …)" in sentence


def test_mechanics_classes_may_be_links(tmp_path: Path) -> None:
    lay_out(tmp_path / "real", "normal/n.png", "tumor/t.png")
    (tmp_path / "data" / "train").mkdir(parents=True)
    for name in ("normal", "tumor"):
        (tmp_path / "data" / "train" / name).symlink_to(tmp_path / "real" / name)
    assert labels_by_id(opened(tmp_path / "data")) == {"n": 0, "t": 1}


def test_regression_names_that_cannot_be_shown_get_ids_that_can(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/n.png", "tumor/a\nb.png", "tumor/tab\t.png")
    (tmp_path / "tumor").joinpath("x.png").write_bytes(PNG)
    Path(str(tmp_path / "tumor" / "x.png")).rename(str(tmp_path / "tumor") + "/\udce9.png")
    assert opened(tmp_path).splits["train"].ids == ["\\udce9", "a\\nb", "n", "tab\\t"]


def test_mechanics_a_source_further_down_is_named(tmp_path: Path) -> None:
    (tmp_path / "down" / "loads" / "kaggle" / "train").mkdir(parents=True)
    (tmp_path / "down" / "loads" / "kaggle" / "train_labels.csv").write_text("id,label\na,1\n")
    (tmp_path / "down" / "loads" / "kaggle" / "train" / "a.png").write_bytes(PNG)
    assert "loads/kaggle" in refused(tmp_path, "contains one .kaggle.")
    (tmp_path / "other").symlink_to(tmp_path / "down" / "loads" / "kaggle")
    said = refused(tmp_path, "contains 2; give one of them")
    assert "loads/kaggle (kaggle)" in said
    assert "other (kaggle)" in said


def test_mechanics_check_and_extract_say_what_is_not_read(
    pcam: Callable[..., Any], tmp_path: Path
) -> None:
    lay_out(tmp_path / "data", "train/normal/n.png", "train/tumor/t.png", "train/sheet.png")
    (tmp_path / "data" / "train" / "tumor" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    checked = pcam("check", tmp_path / "data")
    assert checked.code == 0
    assert "train/sheet.png" in checked.out + checked.err
    assert "2 fault(s)" not in checked.out + checked.err
    assert "broken link" in checked.out + checked.err
    strict = pcam("check", tmp_path / "data", "--strict")
    assert strict.code == 1
    planned = pcam("extract", tmp_path / "data", tmp_path / "f", "--families", "color", "--dry-run")
    assert planned.code == 0
    assert "NOT READ: 1 × broken link (train/tumor/gone.png)" in planned.err
