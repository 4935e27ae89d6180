"""What names of arrays, datasets, keys and shards say of patches."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import (
    LABELS,
    PIXELS,
    PNGS,
    ROWS,
    csv,
    opened,
    parquet_of,
    refused,
    saved,
    shard,
)
from test_folders import labels_by_id, lay_out, read


def test_regression_a_file_of_labels_with_several_datasets_is_not_guessed_at(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train_x.h5", "w") as file:
        file["x"] = PIXELS
    for names, labels in (
        (("center", "y"), LABELS),
        (("center", "tumor"), LABELS),
        (("center", "stain"), None),
    ):
        with h5py.File(tmp_path / "train_y.h5", "w") as file:
            file[names[0]] = 1 - LABELS
            file[names[1]] = LABELS
        if labels is None:
            refused(tmp_path, "several datasets that may be labels")
        else:
            assert list(labels_by_id(opened(tmp_path)).values()) == labels.tolist()


@pytest.mark.parametrize("names", [("y", "y_onehot"), ("label", "label_name"), ("tumor", "size")])
def test_regression_labels_are_found_beside_arrays_of_like_names(
    names: tuple[str, str], tmp_path: Path
) -> None:
    arrays = {"image": PIXELS, names[0]: LABELS, names[1]: np.eye(2)[LABELS]}
    source = opened(saved(tmp_path / "train.npz", **arrays))
    assert list(labels_by_id(source).values()) == LABELS.tolist()
    assert any(names[1] in note for note in source.notes)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    assert list(labels_by_id(opened(tmp_path / "train.h5")).values()) == LABELS.tolist()


def test_regression_several_arrays_of_labels_are_asked_about(tmp_path: Path) -> None:
    file = saved(tmp_path / "train.npz", x=PIXELS, arr_1=LABELS, arr_2=1 - LABELS)
    refused(file, "several arrays that may be labels")
    file = saved(tmp_path / "train.npz", x=PIXELS, y=LABELS, slides=np.array(["s"] * 5))
    refused(file, "one slide for each")


def test_regression_a_mask_is_not_the_image_of_a_key(tmp_path: Path) -> None:
    files = {}
    for k, png in enumerate(PNGS):
        files |= {f"{k:03}.mask.png": PNGS[0], f"{k:03}.png": png, f"{k:03}.cls": str(k % 2).encode()}
    source = opened(shard(tmp_path / "train-0.tar", files))
    np.testing.assert_array_equal(source.splits["train"].read(0, ROWS), PIXELS)
    assert source.unread[0].count == ROWS


def test_regression_keys_may_have_dots(tmp_path: Path) -> None:
    files = {}
    for k, png in enumerate(PNGS):
        files |= {f"TCGA-DX{k % 3}.a{k}.png": png, f"TCGA-DX{k % 3}.a{k}.cls": str(k % 2).encode()}
    source = opened(shard(tmp_path / "train-0.tar", files))
    np.testing.assert_array_equal(source.splits["train"].read(0, ROWS), PIXELS)
    assert list(labels_by_id(source).values()) == LABELS.tolist()


def test_regression_keys_may_begin_anew_in_each_shard(tmp_path: Path) -> None:
    for part in range(2):
        files = {f"{k}.png": PNGS[6 * part + k] for k in range(6)}
        files |= {f"{k}.cls": str(k % 2).encode() for k in range(6)}
        shard(tmp_path / f"train-{part}.tar", files)
    found = opened(tmp_path).splits["train"]
    assert len(set(found.ids)) == ROWS
    np.testing.assert_array_equal(found.read(0, ROWS), PIXELS)


@pytest.mark.parametrize("layout", ["parquet", "npz", "tar"])
def test_regression_a_column_of_splits_is_read_in_every_layout(layout: str, tmp_path: Path) -> None:
    splits = ["Train"] * 8 + ["test"] * 4
    if layout == "parquet":
        path = parquet_of(tmp_path / "data.parquet", label=LABELS.tolist(), split=splits)
    elif layout == "npz":
        path = saved(tmp_path / "all.npz", x=PIXELS, y=LABELS, split=np.array(splits))
    else:
        files = {f"{k:02}.png": png for k, png in enumerate(PNGS)}
        for k, split in enumerate(splits):
            files[f"{k:02}.json"] = json.dumps({"label": k % 2, "split": split}).encode()
        path = shard(tmp_path / "all.tar", files)
    source = opened(path)
    assert {name: len(one) for name, one in source.splits.items()} == {"train": 8, "test": 4}
    np.testing.assert_array_equal(source.splits["test"].read(0, 4), PIXELS[8:])
    assert list(labels_by_id(source, "test").values()) == LABELS[8:].tolist()


def test_regression_names_of_labels_that_are_not_understood_are_asked_about(tmp_path: Path) -> None:
    names = {"info": {"features": {"label": {"names": ["epithelium", "stroma"]}}}}
    path = parquet_of(tmp_path / "train.parquet", names, label=LABELS.tolist())
    refused(path, "--positive")
    assert list(labels_by_id(read(path, positive="epithelium")).values()) == (1 - LABELS).tolist()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("pcam_train", "pcam_test"), ["train", "test"]),
        (("Train", "Test"), ["train", "test"]),
        (("train_part0", "train_part1"), ["train"]),
        (("validation-00000-of-00001",), ["validation"]),
        (("train", "other_train"), ["train", "other_train"]),
    ],
)
def test_regression_names_of_parquet_files_are_read_as_those_of_folders(
    files: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    for name in files:
        parquet_of(tmp_path / f"{name}.parquet", label=LABELS.tolist())
    assert list(opened(tmp_path).splits) == expected


def test_regression_columns_of_other_types_are_refused_by_name(tmp_path: Path) -> None:
    table = pa.table({"image": [list(PNGS[0])] * 3, "label": [0, 1, 0]})
    pq.write_table(table, tmp_path / "train.parquet")
    refused(tmp_path, "column image holds list")


@pytest.mark.parametrize("classes", [["normal", "tumor"], ["tumor", "normal"]])
@pytest.mark.parametrize("one_hot", [False, True])
def test_regression_numbers_of_classes_are_read_by_their_names(
    classes: list[str], one_hot: bool, tmp_path: Path
) -> None:
    numbers = LABELS if classes[1] == "tumor" else 1 - LABELS
    labels = np.eye(2)[numbers] if one_hot else numbers
    path = saved(tmp_path / "a.npz", x=PIXELS, y=labels, class_names=np.array(classes))
    assert np.array_equal(opened(path).splits["train"].labels, LABELS)


def test_regression_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    names = np.array(["normal", "tumor"])
    refused(saved(tmp_path / "a.npz", x=PIXELS, y=LABELS + 1, classes=names), "2 classes are named")


def test_regression_datasets_beside_pixels_are_named_if_they_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["x"], file["y"], file["wsi"] = PIXELS, LABELS, np.arange(ROWS)
    assert "datasets not read: wsi" in opened(tmp_path / "train.h5").notes


def test_regression_labels_in_several_columns_of_hdf5_are_asked_about(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["x"], file["y"] = PIXELS, np.eye(3, dtype=np.uint8)[np.arange(ROWS) % 3]
    refused(tmp_path / "train.h5", "3 columns")


def test_regression_parquet_files_of_a_split_name_labels_alike(tmp_path: Path) -> None:
    named = {"info": {"features": {"label": {"names": ["tumor", "normal"]}}}}
    parquet_of(tmp_path / "train-00000-of-00002.parquet", named, label=LABELS.tolist())
    parquet_of(tmp_path / "train-00001-of-00002.parquet", label=LABELS.tolist())
    refused(tmp_path, "name the labels in different ways")


def test_regression_a_column_for_each_class_says_the_label(tmp_path: Path) -> None:
    """As Roboflow exports them."""
    lay_out(tmp_path, "a.png", "b.png")
    table = tmp_path / "_classes.csv"
    csv(table, filename=["a.png", "b.png"], IDC_negative=[1, 0], IDC_positive=[0, 1])
    assert labels_by_id(opened(table)) == {"a": 0, "b": 1}
    csv(table, filename=["a.png", "b.png"], stroma=[1, 0], gland=[0, 1])
    refused(table, "--positive CLASS")
    assert labels_by_id(read(table, positive="stroma")) == {"a": 1, "b": 0}


def test_invariant_texts_of_patches_are_no_names_of_classes(tmp_path: Path) -> None:
    texts = np.array(["normal", "tumor"])[LABELS]
    path = saved(tmp_path / "a.npz", x=PIXELS, y=LABELS, classes=texts)
    assert np.array_equal(opened(path).splits["train"].labels, LABELS)
    path = saved(tmp_path / "b.npz", x=PIXELS, y=LABELS.astype(float), class_names=["tumor", "normal"])
    assert np.array_equal(opened(path).splits["train"].labels, 1 - LABELS)


def test_regression_a_file_of_labels_alone_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train_y.h5", "w") as file:
        file["y"] = LABELS
    refused(tmp_path / "train_y.h5", "holds labels, as its name says, and no patches; give the file of")
