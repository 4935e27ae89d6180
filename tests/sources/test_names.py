"""What names of folders and files say of patches: classes, slides, splits."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import (
    csv,
    kaggle_folder,
    opened,
    refused,
)
from test_folders import labels_by_id, lay_out, read, unread

from pcam_features.errors import InputError


@pytest.mark.parametrize(
    "names",
    [
        ("train/normal", "train/tumor", "test/normal_tissue", "test/tumor_tissue"),
        ("train/benign", "train/malignant", "test/benign", "test/malignant_tumor"),
        ("train/0", "train/1", "test/normal", "test/tumor"),
        ("train/normal", "train/tumor", "test/Normal", "test/Tumor"),
        ("train/normal", "train/tumor", "test/normal ", "test/tumour"),
    ],
)
def test_regression_classes_may_be_called_otherwise_in_another_split(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    lay_out(tmp_path, *(f"{name}/{name.replace('/', '_')}{k}.png" for name in names for k in range(3)))
    source = opened(tmp_path)
    for split in ("train", "test"):
        assert sorted(labels_by_id(source, split).values()) == [0, 0, 0, 1, 1, 1]


def test_regression_a_named_class_of_tumor_is_meant_in_any_case(tmp_path: Path) -> None:
    lay_out(tmp_path, "a/TUM/p.png", "a/STR/q.png", "b/tum/r.png", "b/str/s.png")
    labels = labels_by_id(read(tmp_path, positive="TUM"))
    assert labels == {"p": 1, "q": 0, "r": 1, "s": 0}


def test_regression_names_that_differ_in_a_number_alone_are_asked_about(tmp_path: Path) -> None:
    lay_out(tmp_path, "tumor_0/a.png", "tumor_1/b.png", "normal/c.png")
    refused(tmp_path, "--positive")
    table = csv(
        tmp_path / "t.csv", path=["tumor_0/a.png", "tumor_1/b.png"], label=["tumor_0", "tumor_1"]
    )
    refused(table, "the label is 'tumor_0'")


def test_regression_a_class_lies_above_slides_that_are_called_like_classes(tmp_path: Path) -> None:
    names = ("normal/normal_1", "normal/tumor_1", "tumor/tumor_1", "tumor/tumor_2")
    lay_out(tmp_path, *(f"{name}/{name.replace('/', '_')}.png" for name in names))
    source = opened(tmp_path)
    assert list(labels_by_id(source).values()) == [0, 0, 1, 1]
    assert source.splits["train"].slides == ["normal_1", "tumor_1", "tumor_1", "tumor_2"]


def test_regression_folders_of_masks_are_no_patches(tmp_path: Path) -> None:
    folders = ("tumor/images", "tumor/masks", "normal/images", "normal/masks")
    lay_out(tmp_path, *(f"{name}/{name[0]}.png" for name in folders))
    source = opened(tmp_path)
    assert labels_by_id(source) == {"t": 1, "n": 0}
    assert len(unread(source)["image in a folder of masks"]) == 2


def test_regression_splits_unpacked_twice_are_no_slides(tmp_path: Path) -> None:
    names = (
        "train_data/train/tumor",
        "train_data/train/normal",
        "test_data/test/tumor",
        "test_data/test/normal",
    )
    lay_out(tmp_path, *(f"{name}/{k}.png" for k, name in enumerate(names)))
    source = opened(tmp_path)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 2, "test": 2}
    assert source.splits["train"].slides == [None, None]


def test_regression_stray_files_beside_classes_do_not_hide_them(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a.png", "tumor/b.png")
    pq.write_table(pa.table({"id": ["a", "b"], "e0": [0.1, 0.2]}), tmp_path / "embeddings.parquet")
    with h5py.File(tmp_path / "resnet_train.h5", "w") as file:
        file["weights"] = np.zeros(3)
    source = opened(tmp_path)
    assert labels_by_id(source) == {"a": 0, "b": 1}
    assert sorted(unread(source)["file of another format"]) == ["embeddings.parquet", "resnet_train.h5"]


def test_regression_classes_in_kaggles_test_folder_are_its_labels(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    test = folder / "test"
    files = sorted(test.iterdir())
    for k, file in enumerate(files):
        (test / str(k % 2)).mkdir(exist_ok=True)
        file.rename(test / str(k % 2) / file.name)
    source = opened(folder)
    assert labels_by_id(source, "test") == {file.stem: k % 2 for k, file in enumerate(files)}


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("tumor-", "tumor+"),
        ("cancer (-)", "cancer (+)"),
        ("IDC(-)", "IDC(+)"),
        ("metastasis −", "met +"),
    ],
)
def test_regression_a_sign_after_a_class_says_its_label(
    negative: str, positive: str, tmp_path: Path
) -> None:
    lay_out(tmp_path / "a", f"{negative}/a.png", f"{positive}/b.png")
    if positive != "met +":  # no word for tumor
        assert labels_by_id(opened(tmp_path / "a")) == {"a": 0, "b": 1}
        table = csv(tmp_path / "a" / "t.csv", path=[f"{negative}/a.png"], label=[negative])
        assert labels_by_id(opened(table)) == {"a": 0}
    else:
        refused(tmp_path / "a", "--positive")
    lay_out(tmp_path / "b", "tumor?/a.png", "normal/b.png", "tumor/c.png")
    refused(tmp_path / "b", "tumor?")


@pytest.mark.parametrize("name", ["no_label", "without class", "unknown"])
def test_regression_names_that_deny_a_label_are_no_class(name: str, tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a.png", "tumor/b.png", f"{name}/c.png")
    source = opened(tmp_path)
    assert labels_by_id(source) == {"a": 0, "b": 1}
    assert unread(source) == {"no label": [f"{name}/c.png"]}
    table = csv(tmp_path / "t.csv", path=["normal/a.png", "tumor/b.png"], label=["tumor", name])
    assert labels_by_id(opened(table)) == {"a": 1}
    assert labels_by_id(read(table, positive="tumor")) == {"a": 1}


def test_regression_names_that_deny_a_patch_are_asked_about(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a.png", "tumor/b.png", "no_tissue/c.png")
    refused(tmp_path, "--positive")


@pytest.mark.parametrize(
    "names",
    [
        ("pcam_train", "pcam_test"),
        ("train_224", "test_224"),
        ("train_96x96", "test_96x96"),
        ("X_train", "X_test"),
        ("train_resized", "test_resized"),
        ("train2018", "test2018"),
        ("my_train", "test_all"),
    ],
)
def test_regression_folders_beside_each_other_name_splits_with_other_words(
    names: tuple[str, str], tmp_path: Path
) -> None:
    lay_out(
        tmp_path, *(f"{name}/{c}/{c}{k}.png" for name in names for c in ("no", "yes") for k in "ab")
    )
    source = opened(tmp_path)
    assert {name: len(one) for name, one in source.splits.items()} == {"train": 4, "test": 4}
    assert source.splits["train"].slides == [None] * 4


@pytest.mark.parametrize(
    "names",
    [
        ("train_a", "train_b", "test_a"),  # which of the first two is meant?
        ("Val_dOr", "Dr_Dev"),
        ("fold0_train", "fold0_test", "fold1_train"),
    ],
)
def test_invariant_folders_that_name_splits_by_chance_are_slides(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    lay_out(tmp_path, *(f"{name}/{c}/{name}{c}.png" for name in names for c in "01"))
    source = opened(tmp_path)
    assert list(source.splits) == ["train"]
    assert set(source.splits["train"].slides) == set(names)


def test_invariant_slides_in_a_class_are_no_splits(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a_train/a.png", "normal/b_test/b.png", "tumor/c/c.png")
    assert labels_by_id(opened(tmp_path)) == {"a": 0, "b": 0, "c": 1}


def test_regression_slides_of_camelyon_are_no_splits(tmp_path: Path) -> None:
    names = ("test_001", "tumor_001", "normal_002")
    lay_out(tmp_path, *(f"{name}/{c}/{name}_{c}.png" for name in names for c in "01"))
    source = opened(tmp_path)
    assert list(source.splits) == ["train"]
    assert sorted(set(map(str, source.splits["train"].slides))) == sorted(names)


def test_regression_masks_are_no_patches_wherever_their_folder_is(tmp_path: Path) -> None:
    names = ("images/{}/{}.png", "masks/{}/{}_mask.png", "train_masks/{}/{}_m.png")
    lay_out(tmp_path, *(name.format(c, c) for name in names for c in ("normal", "tumor")))
    source = opened(tmp_path)
    assert labels_by_id(source) == {"normal": 0, "tumor": 1}
    assert len(unread(source)["image in a folder of masks"]) == 4


def test_regression_folders_0_and_1_in_slides_called_like_classes_are_the_classes(
    tmp_path: Path,
) -> None:
    files = ("tumor_1/0/a.png", "tumor_1/1/b.png", "normal_1/0/c.png")
    source = opened(lay_out(tmp_path / "a", *files))
    assert labels_by_id(source) == {"a": 0, "b": 1, "c": 0}
    assert source.splits["train"].slides == ["tumor_1", "tumor_1", "normal_1"]
    plain = lay_out(tmp_path / "b", "Tumor/0/a.png", "Tumor/1/b.png", "Normal/0/c.png")
    refused(plain, "--positive 1")
    assert labels_by_id(read(plain, positive="1")) == {"a": 0, "b": 1, "c": 0}
    assert labels_by_id(read(plain, positive="Tumor")) == {"a": 1, "b": 1, "c": 0}
    numbered = lay_out(
        tmp_path / "d", *(f"{c}/{k}/{k}{c}.png" for c in ("0_no", "1_yes") for k in "01")
    )
    assert list(labels_by_id(opened(numbered)).values()) == [0, 1, 0, 1]
    both = lay_out(tmp_path / "c", *(f"{c}/{k}/{c}{k}.png" for c in ("tumor", "normal") for k in "01"))
    assert list(labels_by_id(opened(both)).values()) == [0, 0, 1, 1]
    assert list(labels_by_id(read(both, positive="1")).values()) == [0, 1, 0, 1]


def test_regression_a_copy_of_the_data_in_a_folder_below_is_read_whole(tmp_path: Path) -> None:
    """Kaggle's Breast Histopathology Images holds itself once more."""
    names = [f"{patient}/{c}/{patient}_{c}.png" for patient in ("8863", "8864") for c in "01"]
    lay_out(tmp_path, *names, *(f"IDC_regular_ps50_idx5/{name}" for name in names))
    source = opened(tmp_path)
    assert len(source.splits["train"]) == 8
    assert source.splits["train"].labels is not None
    assert source.splits["train"].labels.sum() == 4


def test_regression_a_folder_of_images_in_an_unlabeled_split_is_no_class(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/normal/a.png", "train/tumor/b.png", "test/all_images/c.png")
    for source in (opened(tmp_path), read(tmp_path, positive="tumor")):
        assert source.splits["test"].labels is None
        assert labels_by_id(source) == {"a": 0, "b": 1}


def test_regression_a_data_set_beside_its_validation_set_is_train(tmp_path: Path) -> None:
    sets = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
    lay_out(tmp_path, *(f"{one}/{c}/{c}-{one}.png" for one in sets for c in ("NORM", "STR", "TUM")))
    source = read(tmp_path, positive="TUM")
    assert {name: len(one) for name, one in source.splits.items()} == {"train": 3, "val": 3}
    assert sorted(labels_by_id(source, "val").values()) == [0, 0, 1]


@pytest.mark.parametrize(
    "more", ["overview.png", "figures/d.png", "extra/0/d.png", "test/x.png", "train/x.png"]
)
@pytest.mark.parametrize(
    "classes", ["train/0 train/1", "0 1", "p1/0 p1/1", "train/class0 train/class1"]
)
def test_regression_an_image_beside_numbered_classes_is_no_error(
    classes: str, more: str, tmp_path: Path
) -> None:
    lay_out(tmp_path, *(f"{name}/{k}.png" for k, name in zip("ab", classes.split(), strict=True)), more)
    try:
        source = opened(tmp_path)
    except InputError:
        return
    for split in source.splits.values():
        if split.labels is not None:
            assert (
                dict(zip(split.ids, split.labels, strict=True)).items()
                <= {"a": 0, "b": 1, "d": 0}.items()
            )


def test_invariant_signs_after_other_words_say_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path / "a", "lung-/a.png", "colon+/b.png")
    refused(tmp_path / "a", "--positive")
    lay_out(tmp_path / "b", "Negative (-)/a.png", "Positive (+)/b.png")
    assert labels_by_id(opened(tmp_path / "b")) == {"a": 0, "b": 1}


def test_invariant_classes_that_say_nothing_may_be_named(tmp_path: Path) -> None:
    lay_out(tmp_path, "level_0/a.png", "level_1/b.png")
    assert labels_by_id(read(tmp_path, positive="level_1")) == {"a": 0, "b": 1}


def test_mechanics_classes_that_are_not_clear_are_looked_for_in_folders_below(tmp_path: Path) -> None:
    """LC25000 has lung_image_sets/lung_aca, lung_image_sets/lung_n, colon_image_sets/colon_aca …"""
    inside = [f"{organ}_image_sets/{organ}_{kind}" for organ in ("lung", "colon") for kind in "an"]
    lay_out(tmp_path, *(f"{name}/{name.replace('/', '_')}{k}.png" for name in inside for k in range(3)))
    refused(
        tmp_path, r"\(colon_image_sets, lung_image_sets; or colon_a, colon_n, lung_a, lung_n\); name"
    )
    source = read(tmp_path, positive="lung_a")
    assert sum(labels_by_id(source, "train").values()) == 3
