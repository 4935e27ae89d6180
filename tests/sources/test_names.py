"""What names say of patches: classes, slides, splits, arrays, keys, and the ends of paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import IDS, LABELS, PIXELS, PNGS, ROWS, kaggle_folder, opened, refused, shard
from test_folders import labels_by_id, lay_out, read, unread

from pcam_features.errors import InputError
from pcam_features.sources.detect import open_source


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def parquet(path: Path, metadata: dict[str, Any] | None = None, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": PNGS, **columns})
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return path.parent


def csv(file: Path, /, **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


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


def test_regression_a_table_of_slides_beside_classes_is_said_not_to_be_read(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a.png", "tumor/b.png")
    csv(tmp_path / "patients.csv", path=["normal/a.png", "tumor/b.png"], slide=["s1", "s2"])
    (found,) = unread(opened(tmp_path)).values()
    assert found == ["patients.csv: path, slide"]


def test_regression_cells_of_splits_and_slides_are_read_as_folders_are(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"p{k}.png" for k in range(6)))
    splits = ["train", "train ", "Training", "Test set", "test", "NaN"]
    slides = ["s0", "s0 ", "s1", " s2", "s2", "s1"]
    names = [f"p{k}.png" for k in range(6)]
    table = csv(tmp_path / "t.csv", path=names, label=[0, 1] * 3, split=splits, slide=slides)
    source = opened(table)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 4, "test": 2}
    assert source.splits["train"].slides == ["s0", "s0", "s1", "s1"]
    assert source.splits["test"].slides == ["s2", "s2"]


@pytest.mark.parametrize("flat", [False, True])
def test_regression_one_image_is_never_that_of_several_rows(flat: bool, tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"{'' if flat else 'pat0/'}{k}.png" for k in range(3)))
    paths = [f"/home/a/data/pat{p}/{k}.png" for p in range(2) for k in range(3)]
    ids = [f"pat{p}_{k}" for p in range(2) for k in range(3)]
    table = csv(tmp_path / "t.csv", id=ids, path=paths, label=[0, 1, 0, 1, 0, 1])
    if flat:
        refused(table, "missing file")
        return
    source = read(table, labeled_only=True)
    assert labels_by_id(source) == {"pat0_0": 0, "pat0_1": 1, "pat0_2": 0}


def test_regression_files_whose_names_repeat_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/0.png", "train/1.png", "test/0.png", "test/1.png")
    columns = {
        "filename": ["0.png", "1.png"] * 2,
        "label": [0, 1, 1, 0],
        "split": ["train"] * 2 + ["test"] * 2,
    }
    source = opened(csv(tmp_path / "t.csv", **columns))
    assert [split.labels.tolist() for split in source.splits.values()] == [[0, 1], [1, 0]]  # type: ignore[union-attr]
    paths = [f"/mnt/d/{split}/{k}.png" for split in ("train", "test") for k in (0, 1)]
    table = csv(tmp_path / "paths.csv", path=paths, label=[0, 1, 1, 0])
    assert sum(len(split) for split in opened(table).splits.values()) == 4


def test_regression_paths_of_windows_may_have_both_slashes(tmp_path: Path) -> None:
    lay_out(tmp_path, "img/a.png", "img/b.png")
    table = csv(tmp_path / "t.csv", path=["C:/data\\img\\a.png", "C:/data\\img\\b.png"], label=[0, 1])
    assert labels_by_id(opened(table)) == {"a": 0, "b": 1}


def test_regression_a_relative_path_does_not_count_images_as_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, *(f"case/images/{split}{k}.png" for split in ("train", "test") for k in range(2)))
    for split in ("train", "test"):
        csv(tmp_path / "case" / f"{split}.csv", image=[f"{split}0.png", f"{split}1.png"], target=[0, 1])
    monkeypatch.chdir(tmp_path)
    source = opened(Path("case"))
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 2, "test": 2}
    assert not source.unread


def test_regression_places_are_no_labels(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.png", "b.png")
    source = opened(csv(tmp_path / "t.csv", path=["a.png", "b.png"], x=[0, 96], y=[0, 1]))
    assert source.splits["train"].labels is None
    labels = opened(csv(tmp_path / "u.csv", path=["a.png", "b.png"], y=[0, 1])).splits["train"].labels
    assert labels is not None


def test_regression_a_table_called_metadata_is_not_always_that_of_wilds(tmp_path: Path) -> None:
    lay_out(tmp_path, "patches/a.png", "patches/b.png")
    csv(tmp_path / "metadata.csv", file_name=["patches/a.png", "patches/b.png"], label=[0, 1])
    assert labels_by_id(opened(tmp_path)) == {"a": 0, "b": 1}


def test_regression_tables_called_as_those_of_kaggle_may_be_of_images_elsewhere(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"images/{split}{k}.png" for split in ("t", "v") for k in range(2)))
    csv(tmp_path / "train_labels.csv", id=["t0", "t1"], label=[0, 1])
    csv(tmp_path / "val_labels.csv", id=["v0", "v1"], label=[1, 0])
    source = opened(tmp_path)
    assert source.kind == "manifest"
    assert sorted(len(split) for split in source.splits.values()) == [2, 2]


def test_regression_a_sample_of_a_submission_alone_is_not_the_competition(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/normal/a.png", "train/tumor/b.png")
    csv(tmp_path / "sample_submission.csv", id=["x"], label=[0])
    assert labels_by_id(opened(tmp_path)) == {"a": 0, "b": 1}


def test_regression_what_lies_beside_the_competition_is_counted(tmp_path: Path) -> None:
    kaggle_folder(tmp_path)
    lay_out(tmp_path, "val/v0.png", "val/v1.png", "stray.png")
    csv(tmp_path / "val_labels.csv", id=["v0", "v1"], label=[0, 1])
    found = unread(opened(tmp_path))
    assert found["image outside of train and test"] == ["stray.png", "val/v0.png", "val/v1.png"]
    assert found["table that may hold labels, slides or splits"] == ["val_labels.csv"]


def test_regression_the_competitions_table_may_name_slides_and_splits(tmp_path: Path) -> None:
    kaggle_folder(tmp_path)
    splits = ["train"] * 8 + ["val"] * 4
    slides = [f"s{k // 4}" for k in range(ROWS)]
    csv(tmp_path / "train_labels.csv", id=IDS, label=LABELS, wsi=slides, split=splits)
    source = opened(tmp_path)
    assert {name: len(one) for name, one in source.splits.items()} == {
        "train": 8,
        "val": 4,
        "test": ROWS,
    }
    assert source.splits["train"].slides == slides[:8]
    assert labels_by_id(source, "val") == dict(zip(IDS[8:], LABELS[8:].tolist(), strict=True))
    np.testing.assert_array_equal(source.splits["val"].read(0, 4), PIXELS[8:])


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
        path = parquet(tmp_path / "data.parquet", label=LABELS.tolist(), split=splits)
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


def test_regression_a_column_that_names_no_splits_is_said_not_to_be_read(tmp_path: Path) -> None:
    source = opened(parquet(tmp_path / "train.parquet", label=LABELS.tolist(), set=["A", "B"] * 6))
    assert len(source.splits["train"]) == ROWS
    assert any("column of splits is not read" in note for note in source.notes)


def test_regression_names_of_labels_that_are_not_understood_are_asked_about(tmp_path: Path) -> None:
    names = {"info": {"features": {"label": {"names": ["epithelium", "stroma"]}}}}
    path = parquet(tmp_path / "train.parquet", names, label=LABELS.tolist())
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
        parquet(tmp_path / f"{name}.parquet", label=LABELS.tolist())
    assert list(opened(tmp_path).splits) == expected


def test_regression_columns_of_other_types_are_refused_by_name(tmp_path: Path) -> None:
    table = pa.table({"image": [list(PNGS[0])] * 3, "label": [0, 1, 0]})
    pq.write_table(table, tmp_path / "train.parquet")
    refused(tmp_path, "column image holds list")


def test_regression_stray_files_beside_classes_do_not_hide_them(tmp_path: Path) -> None:
    lay_out(tmp_path, "normal/a.png", "tumor/b.png")
    pq.write_table(pa.table({"id": ["a", "b"], "e0": [0.1, 0.2]}), tmp_path / "embeddings.parquet")
    with h5py.File(tmp_path / "resnet_train.h5", "w") as file:
        file["weights"] = np.zeros(3)
    source = opened(tmp_path)
    assert labels_by_id(source) == {"a": 0, "b": 1}
    assert sorted(unread(source)["file of another format"]) == ["embeddings.parquet", "resnet_train.h5"]


def test_regression_tables_may_lie_in_a_folder_of_their_own_beside_images(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"images/{name}.png" for name in "abcd"))
    tables = tmp_path / "labels"
    tables.mkdir()
    csv(tables / "train.csv", path=["images/a.png", "images/b.png"], label=[0, 1])
    csv(tables / "test.csv", path=["../images/c.png", "../images/d.png"], label=[1, 0])
    for path in (tmp_path, tables):
        source = opened(path)
        assert labels_by_id(source) == {"a": 0, "b": 1}
        assert labels_by_id(source, "test") == {"c": 1, "d": 0}
    (tables / "test.csv").unlink()
    (tables / "train.csv").rename(tables / "grades.csv")
    for path in (tmp_path, tables / "grades.csv"):
        assert labels_by_id(opened(path)) == {"a": 0, "b": 1}
    csv(tables / "grades.csv", id=["a", "b"], label=[1, 0])
    assert labels_by_id(opened(tmp_path)) == {"a": 1, "b": 0}


def test_regression_a_data_set_called_like_a_folder_of_tables_has_no_images_of_others(
    tmp_path: Path,
) -> None:
    lay_out(tmp_path, "list/images/b.png", "other/x/a.png")
    table = csv(tmp_path / "list" / "t.csv", path=["images/a.png", "images/b.png"], label=[0, 1])
    assert labels_by_id(opened(table)) == {"b": 1}
    assert list(unread(opened(table))) == ["missing file"]


def test_regression_a_table_elsewhere_still_stays_in_its_folder(tmp_path: Path) -> None:
    lay_out(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "other").mkdir()
    table = csv(tmp_path / "other" / "t.csv", path=["../images/a.png"], label=[0])
    refused(table, "leads out of")
    (tmp_path / "set" / "labels").mkdir(parents=True)
    lay_out(tmp_path, "set/images/a.png")
    refused(csv(tmp_path / "set" / "labels" / "t.csv", path=["../../images/b.png"], label=[0]), "b.png")


def test_regression_the_table_of_a_split_is_of_its_folder_where_names_repeat(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"images/{split}/{k}.png" for split in ("train", "val") for k in range(2)))
    (tmp_path / "labels").mkdir()
    csv(tmp_path / "labels" / "train.csv", id=["0", "1"], label=[0, 1])
    csv(tmp_path / "labels" / "val.csv", id=["0", "1"], label=[1, 0])
    source = opened(tmp_path)
    assert list(source.splits) == ["train", "val"]
    assert labels_by_id(source) == {"0": 0, "1": 1}
    assert labels_by_id(source, "val") == {"0": 1, "1": 0}


def test_regression_a_split_without_a_table_is_read_without_labels(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/a.png", "train/b.png", "val/c.png", "test/d.png", "test/e.png")
    csv(tmp_path / "train.csv", id=["a", "b"], label=[0, 1])
    csv(tmp_path / "val.csv", id=["c"], label=[1])
    source = opened(tmp_path)
    assert source.splits["test"].ids == ["d", "e"]
    assert source.splits["test"].labels is None
    assert not unread(source)


def test_regression_slides_are_found_by_paths_where_names_repeat(tmp_path: Path) -> None:
    names = [f"{split}/{label}/{k}.png" for split in ("train", "test") for label in "01" for k in "ab"]
    lay_out(tmp_path, *names)
    csv(tmp_path / "slides.csv", path=names, slide=[f"s{k}" for k in range(len(names))])
    source = opened(tmp_path)
    assert source.splits["train"].ids == ["0_a", "0_b", "1_a", "1_b"]
    assert source.splits["train"].slides == ["s0", "s1", "s2", "s3"]
    assert source.splits["test"].slides == ["s4", "s5", "s6", "s7"]


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


def test_regression_classes_in_kaggles_test_folder_are_its_labels(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    test = folder / "test"
    files = sorted(test.iterdir())
    for k, file in enumerate(files):
        (test / str(k % 2)).mkdir(exist_ok=True)
        file.rename(test / str(k % 2) / file.name)
    source = opened(folder)
    assert labels_by_id(source, "test") == {file.stem: k % 2 for k, file in enumerate(files)}


def test_regression_a_column_that_names_no_splits_is_noted(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    table = pd.read_csv(folder / "train_labels.csv")
    table.assign(set="A").to_csv(folder / "train_labels.csv", index=False)
    source = opened(folder)
    assert any("column of splits is not read" in note for note in source.notes)


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


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("is_valid", ["False", "False", "True", "True"]),
        ("isTest", ["0", "0", "1", "1"]),
        ("is_train", ["yes", "yes", "no", "no"]),
        ("Dataset", ["train", "train", "test", "test"]),
        ("fold", ["Training", "Training", "val", "val"]),
    ],
)
def test_regression_a_column_of_splits_is_found_by_its_cells(
    column: str, cells: list[str], tmp_path: Path
) -> None:
    lay_out(tmp_path, *(f"images/{name}.png" for name in "abcd"))
    names, labels = [f"images/{name}.png" for name in "abcd"], [0, 1, 0, 1]
    table = csv(tmp_path / "t.csv", name=names, label=labels, **{column: cells})
    source = opened(table)
    assert source.splits["train"].ids == ["a", "b"]
    assert len(source.splits) == 2
    folder = kaggle_folder(tmp_path / "k")
    labels_csv = folder / "train_labels.csv"
    known = pd.read_csv(labels_csv)
    shutil.rmtree(folder / "test")
    most = [cells[0]] * (len(known) - 2) + [cells[2]] * 2
    known.assign(**{column: most}).to_csv(labels_csv, index=False)
    assert len(opened(folder).splits["train"]) == len(known) - 2


@pytest.mark.parametrize("column", ["PatientID", "slideId", "slide.id", "SubjectID", "wsi_file"])
def test_regression_a_column_of_slides_is_found_however_it_is_written(
    column: str, tmp_path: Path
) -> None:
    lay_out(tmp_path, "a.png", "b.png")
    table = csv(tmp_path / "t.csv", path=["a.png", "b.png"], label=[0, 1], **{column: ["s", "t"]})
    assert opened(table).splits["train"].slides == ["s", "t"]


def test_regression_columns_of_labels_that_differ_are_asked_about(tmp_path: Path) -> None:
    """Numbers in the order of the alphabet: cancer is 0."""
    lay_out(tmp_path, "a.png", "b.png")
    table = tmp_path / "t.csv"
    columns = {"path": ["a.png", "b.png"], "class": ["cancer", "normal"]}
    refused(csv(table, **columns, label=[0, 1]), "label and class say the opposite")
    both = {"path": ["a.png", "b.png"], "class": ["tumor", "normal"]}  # of the slide
    assert labels_by_id(opened(csv(table, **both, label=[0, 0]))) == {"a": 0, "b": 0}
    assert labels_by_id(read(table, label_column="class")) == {"a": 1, "b": 0}
    assert labels_by_id(opened(csv(table, **columns, label=[1, 0]))) == {"a": 1, "b": 0}
    folder = kaggle_folder(tmp_path / "k")
    known = pd.read_csv(folder / "train_labels.csv")
    wrong = known.assign(label_name=known["label"].map({0: "tumor", 1: "normal"}))
    wrong.to_csv(folder / "train_labels.csv", index=False)
    refused(folder, "--label-column")


def test_regression_tables_and_lists_of_splits_beside_classes_are_named(tmp_path: Path) -> None:
    names = [f"{c}/{k}.png" for c in ("normal", "tumor") for k in range(3)]
    lay_out(tmp_path, *names)
    csv(tmp_path / "train.csv", path=names[::2])
    (tmp_path / "test.txt").write_text("normal/1.png\n")
    source = opened(tmp_path)
    assert len(source.splits["train"]) == 6
    (found,) = unread(source).values()
    assert [name.partition(":")[0] for name in found] == ["test.txt", "train.csv"]


def test_regression_blank_rows_spaces_and_lost_zeros_of_spreadsheets_are_read(tmp_path: Path) -> None:
    lay_out(tmp_path, "images/0001.png", "images/0002.png")
    table = tmp_path / "t.csv"
    table.write_text("path,label\n images/0001.png ,0\nimages/0002.png,1\n,\n,\n")
    assert labels_by_id(opened(table)) == {"0001": 0, "0002": 1}
    csv(table, id=["1", "2"], label=[0, 1])
    assert labels_by_id(opened(table)) == {"0001": 0, "0002": 1}
    table.write_text("path;label\nimages/0001.png;0,0\nimages/0002.png;1,0\n")
    assert labels_by_id(opened(table)) == {"0001": 0, "0002": 1}
    folder = kaggle_folder(tmp_path / "k")
    known = opened(folder)
    with (folder / "train_labels.csv").open("a") as file:
        file.write(",\n,\n")
    assert labels_by_id(opened(folder)) == labels_by_id(known)


def test_regression_images_in_no_row_are_counted_where_paths_are_right(tmp_path: Path) -> None:
    lay_out(tmp_path, *(f"images/{name}.png" for name in "abc"))
    table = csv(tmp_path / "t.csv", path=["images/a.png", "images/b.png"], label=[0, 1])
    csv(tmp_path / "patients.csv", id=["a", "b"], patient=["s", "t"])
    assert unread(opened(table)) == {
        "image not in the table": ["images/c.png"],
        "table that may hold labels, slides or splits": ["patients.csv"],
    }


def test_regression_folders_like_those_of_other_competitions_are_read_by_their_table(
    tmp_path: Path,
) -> None:
    lay_out(tmp_path, "train_images/a.png", "train_images/b.png", "test_images/c.png")
    csv(tmp_path / "train.csv", image_id=["a.png", "b.png"], label=[0, 1])
    csv(tmp_path / "sample_submission.csv", image_id=["c.png"], label=[0])
    source = opened(tmp_path)
    assert labels_by_id(source) == {"a": 0, "b": 1}
    assert source.splits["test"].ids == ["c"]
    assert source.splits["test"].labels is None


def test_regression_patches_to_exclude_are_meant_by_path(tmp_path: Path) -> None:
    classes = ("normal", "tumor")
    names = [f"{split}/{c}/{c[0]}{k}.png" for split in ("train", "test") for c in classes for k in "12"]
    lay_out(tmp_path / "d", *names)
    table = tmp_path / "odd.csv"
    csv(table, path=["train/normal/n1.png", " test\\tumor\\t2.png ", "train/tumor/t9.png"])
    source = read(tmp_path / "d", exclude=(str(table),))
    assert source.splits["train"].ids == ["n2", "t1", "t2"]
    assert source.splits["test"].ids == ["n1", "n2", "t1"]
    (record,) = source.unread
    assert record.count == 2
    assert "of which 1 id is not there: 'train/tumor/t9.png'" in record.says


def test_regression_datasets_beside_pixels_are_named_if_they_are_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["x"], file["y"], file["wsi"] = PIXELS, LABELS, np.arange(ROWS)
    assert "datasets not read: wsi" in opened(tmp_path / "train.h5").notes


def test_regression_a_data_set_beside_its_validation_set_is_train(tmp_path: Path) -> None:
    sets = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
    lay_out(tmp_path, *(f"{one}/{c}/{c}-{one}.png" for one in sets for c in ("NORM", "STR", "TUM")))
    source = read(tmp_path, positive="TUM")
    assert {name: len(one) for name, one in source.splits.items()} == {"train": 3, "val": 3}
    assert sorted(labels_by_id(source, "val").values()) == [0, 0, 1]


def test_regression_labels_in_several_columns_of_hdf5_are_asked_about(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["x"], file["y"] = PIXELS, np.eye(3, dtype=np.uint8)[np.arange(ROWS) % 3]
    refused(tmp_path / "train.h5", "3 columns")


def test_regression_parquet_files_of_a_split_name_labels_alike(tmp_path: Path) -> None:
    named = {"info": {"features": {"label": {"names": ["tumor", "normal"]}}}}
    parquet(tmp_path / "train-00000-of-00002.parquet", named, label=LABELS.tolist())
    parquet(tmp_path / "train-00001-of-00002.parquet", label=LABELS.tolist())
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


def test_regression_a_list_of_ids_may_be_excluded(tmp_path: Path) -> None:
    lay_out(tmp_path / "d", "normal/a.png", "normal/b.png", "tumor/c.png")
    odd = tmp_path / "odd.txt"
    odd.write_text("b\n")
    assert labels_by_id(read(tmp_path / "d", exclude=(str(odd),))) == {"a": 0, "c": 1}


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


def test_regression_two_flags_say_three_splits(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.png", "b.png", "c.png", "d.png")
    names = ["a.png", "b.png", "c.png", "d.png"]
    table, columns = tmp_path / "t.csv", {"path": names, "label": [0, 1, 0, 1]}
    csv(table, **columns, is_val=[0, 1, 0, 0], is_test=[0, 0, 1, 0])
    source = opened(table)
    assert {name: one.ids for name, one in source.splits.items()} == {
        "train": ["a", "d"],
        "valid": ["b"],
        "test": ["c"],
    }
    assert any("splits are in is_val, is_test" in note for note in source.notes)
    refused(csv(table, **columns, is_val=[0, 1, 0, 0], is_test=[0, 1, 1, 0]), "several splits")
    quality = opened(csv(table, **columns, is_valid=[1, 1, 1, 0]))
    assert len(quality.splits["train"]) == 4
    assert any("is_valid is not read" in note for note in quality.notes)
    splits = ["train", "test", "test", "train"]
    refused(csv(table, **columns, split_a=splits, split_b=splits[::-1]), "several columns")


def test_invariant_folders_say_the_splits_before_columns(tmp_path: Path) -> None:
    names = ["train/a.png", "train/b.png", "test/c.png"]
    lay_out(tmp_path, *names)
    table = csv(tmp_path / "t.csv", path=names, label=[0, 1, 0], fold1=["train", "val", "val"])
    assert {n: len(one) for n, one in opened(table).splits.items()} == {"train": 2, "test": 1}


def test_regression_paths_to_exclude_need_not_name_the_split(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    known = pd.read_csv(folder / "train_labels.csv")
    shutil.rmtree(folder / "test")
    known.assign(split=["train"] * 4 + ["valid"] * (ROWS - 4)).to_csv(
        folder / "train_labels.csv", index=False
    )
    odd = csv(tmp_path / "odd.csv", path=[f"train/{IDS[0]}.tif", f"train/{IDS[-1]}.tif", "/", "."])
    source = read(folder, exclude=(str(odd),))
    assert source.ids == IDS[1:-1]
    slides = csv(tmp_path / "s.csv", path=[f"train/{i}.tif" for i in IDS], slide=list(IDS))
    assert open_source(str(folder), slides=str(slides))[0].slides == IDS


def test_invariant_texts_of_patches_are_no_names_of_classes(tmp_path: Path) -> None:
    texts = np.array(["normal", "tumor"])[LABELS]
    path = saved(tmp_path / "a.npz", x=PIXELS, y=LABELS, classes=texts)
    assert np.array_equal(opened(path).splits["train"].labels, LABELS)
    path = saved(tmp_path / "b.npz", x=PIXELS, y=LABELS.astype(float), class_names=["tumor", "normal"])
    assert np.array_equal(opened(path).splits["train"].labels, 1 - LABELS)


def test_regression_the_exact_name_of_a_column_goes_first(tmp_path: Path) -> None:
    lay_out(tmp_path, "a.png", "b.png")
    table = csv(
        tmp_path / "t.csv",
        path=["a.png", "b.png"],
        label=[0, 1],
        slide_id=["s", "t"],
        SlideID=["x", "x"],
    )
    assert opened(table).splits["train"].slides == ["s", "t"]
    table = csv(tmp_path / "t.csv", id=["a", "b"], label=[0, 1], patch_name=["n", "o"])
    assert labels_by_id(opened(table)) == {"a": 0, "b": 1}


def test_invariant_signs_after_other_words_say_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path / "a", "lung-/a.png", "colon+/b.png")
    refused(tmp_path / "a", "--positive")
    lay_out(tmp_path / "b", "Negative (-)/a.png", "Positive (+)/b.png")
    assert labels_by_id(opened(tmp_path / "b")) == {"a": 0, "b": 1}


def test_invariant_classes_that_say_nothing_may_be_named(tmp_path: Path) -> None:
    lay_out(tmp_path, "level_0/a.png", "level_1/b.png")
    assert labels_by_id(read(tmp_path, positive="level_1")) == {"a": 0, "b": 1}
