"""What names of tables and their columns say of patches: labels, slides, splits, paths."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from layouts import (
    IDS,
    LABELS,
    PIXELS,
    ROWS,
    csv,
    kaggle_folder,
    opened,
    parquet_of,
    refused,
)
from test_folders import labels_by_id, lay_out, read, unread

from pcam_features.sources.detect import open_source


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


def test_regression_a_column_that_names_no_splits_is_said_not_to_be_read(tmp_path: Path) -> None:
    source = opened(parquet_of(tmp_path / "train.parquet", label=LABELS.tolist(), set=["A", "B"] * 6))
    assert len(source.splits["train"]) == ROWS
    assert any("column of splits is not read" in note for note in source.notes)


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


def test_regression_a_column_that_names_no_splits_is_noted(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path / "k")
    table = pd.read_csv(folder / "train_labels.csv")
    table.assign(set="A").to_csv(folder / "train_labels.csv", index=False)
    source = opened(folder)
    assert any("column of splits is not read" in note for note in source.notes)


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


def test_regression_a_list_of_ids_may_be_excluded(tmp_path: Path) -> None:
    lay_out(tmp_path / "d", "normal/a.png", "normal/b.png", "tumor/c.png")
    odd = tmp_path / "odd.txt"
    odd.write_text("b\n")
    assert labels_by_id(read(tmp_path / "d", exclude=(str(odd),))) == {"a": 0, "c": 1}


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
