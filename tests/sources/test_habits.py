"""HDF5 files of other names and shapes; patches left out by id or as unreadable; hints."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from layouts import (
    IDS,
    LABELS,
    PIXELS,
    ROWS,
    SLIDES,
    encoded,
    hdf5,
    kaggle_folder,
    opened,
    refused,
    wilds,
)
from test_folders import lay_out, read, unread

from pcam_features.errors import InputError
from pcam_features.sources import hdf5 as hdf5_layout
from pcam_features.sources import hdf5_layout as hdf5_layout_process
from pcam_features.sources.reading import Reading, recorded
from pcam_features.sources.source import Source

STEM = "camelyonpatch_level_2_split_"


def write(path: Path, **datasets: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def assert_whole(source: Source, split: str = "train") -> None:
    found = source.splits[split]
    np.testing.assert_array_equal(found.read(0, ROWS), PIXELS)
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, LABELS)


def test_regression_a_mirror_with_labels_and_slides_in_folders_beside(tmp_path: Path) -> None:
    for name, short in (("training", "train"), ("validation", "valid")):
        write(tmp_path / "pcam" / f"{name}_split.h5", x=PIXELS)
        write(tmp_path / "Labels" / "Labels" / f"{STEM}{short}_y.h5", y=LABELS.reshape(-1, 1, 1, 1))
        table = tmp_path / "Metadata" / f"{STEM}{short}_meta.csv"
        table.parent.mkdir(exist_ok=True)
        pd.DataFrame({"tumor_patch": LABELS, "wsi": SLIDES}).to_csv(table)
    source = opened(tmp_path)
    assert list(source.splits) == ["train", "valid"]
    assert_whole(source, "train")
    assert source.splits["valid"].slides == SLIDES


@pytest.mark.parametrize(("pixels", "labels"), [("images", "labels"), ("X", "Y")])
def test_regression_one_file_may_hold_both(pixels: str, labels: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train.h5", **{pixels: PIXELS, labels: LABELS})
    assert_whole(opened(tmp_path))
    assert_whole(opened(path))


def test_regression_one_file_may_hold_all_splits(tmp_path: Path) -> None:
    path = tmp_path / "all.hdf5"
    write(path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:3], y_test=LABELS[:3])
    source = opened(path)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": ROWS, "test": 3}
    assert_whole(source)


def test_regression_splits_may_be_groups_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pcam.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            file[f"data/{split}/images"] = PIXELS
            file[f"data/{split}/labels"] = LABELS
    for split in ("train", "valid"):
        assert_whole(opened(path), split)
    assert "pcam.h5 does not say in its name" in refused(tmp_path, "give the file itself")


def test_invariant_a_group_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside.h5", x=PIXELS, y=LABELS)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["train"] = h5py.ExternalLink(str(tmp_path / "outside.h5"), "/")
        file["own"] = h5py.SoftLink("/own")
    refused(tmp_path / "train.h5", "its datasets are: none")
    assert hdf5_layout_process.datasets(str(tmp_path / "outside.h5")) == {
        "x": list(PIXELS.shape),
        "y": [ROWS],
    }
    with pytest.raises(ValueError, match="no dataset 'train/x' of its own"):
        hdf5_layout_process.layout(str(tmp_path / "train.h5"), "train/x", values=False)


@pytest.mark.parametrize("name", ["data.zip", "data.7z", "sub/data.tar.gz"])
def test_mechanics_archives_are_to_be_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert name in refused(tmp_path, "is an archive; unpack it and give the folder")


@pytest.mark.parametrize("how", [{}, {"chunks": (4, 3, 96, 96), "compression": "gzip"}])
def test_regression_channels_may_come_first(how: dict[str, Any], tmp_path: Path) -> None:
    hdf5(tmp_path)
    with h5py.File(tmp_path / f"{STEM}train_x.h5", "w") as file:
        file.create_dataset("x", data=np.moveaxis(PIXELS, -1, 1), **how)
    source = opened(tmp_path)
    assert_whole(source)
    np.testing.assert_array_equal(source.splits["train"].image(3, None), PIXELS[3])
    assert any("channels first" in note for note in source.notes)


def test_regression_pixels_from_zero_to_one_are_refused_by_name(tmp_path: Path) -> None:
    hdf5(tmp_path)
    write(tmp_path / f"{STEM}train_x.h5", x=(PIXELS / 255).astype(np.float32))
    assert "multiply them by 255" in refused(tmp_path, "float32 with values from 0 to 1")


@pytest.mark.parametrize(
    "labels", [LABELS.astype(np.float32), np.eye(2)[LABELS], LABELS[:, None] == 1], ids=str
)
def test_regression_labels_of_other_types_and_shapes(labels: np.ndarray, tmp_path: Path) -> None:
    hdf5(tmp_path)
    write(tmp_path / f"{STEM}train_y.h5", y=labels)
    assert_whole(opened(tmp_path))


def test_regression_labels_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    hdf5(tmp_path)
    (tmp_path / f"{STEM}train_y.h5").unlink()
    source = opened(tmp_path)
    assert source.labels is None
    assert any("no labels of split train" in note for note in source.notes)


def test_regression_broken_downloads_are_named(tmp_path: Path) -> None:
    packed = tmp_path / "page" / f"{STEM}train_x.h5.gz"
    packed.parent.mkdir()
    packed.write_bytes(b"<!DOCTYPE html><title>Virus scan warning</title>")
    refused(packed.parent, "it is a web page")
    cut = hdf5(tmp_path / "cut") / f"{STEM}train_x.h5"
    cut.write_bytes(cut.read_bytes()[:-5000])
    refused(cut.parent, "cut off")


def test_mechanics_weights_of_a_network_are_no_patches(tmp_path: Path) -> None:
    write(tmp_path / "train_weights.h5", x=PIXELS)
    lay_out(tmp_path, "normal/n.png", "tumor/t.png")
    assert opened(tmp_path).kind == "images"


def test_regression_packed_files_of_a_folder_that_cannot_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Permissions do not bind root, so the answer of the system is replaced."""
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    path = hdf5(tmp_path / "data")
    for file in list(path.glob("*.h5")):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    before = sorted(path.iterdir())
    access = os.access
    monkeypatch.setattr(
        hdf5_layout.os, "access", lambda at, mode: Path(at) != path and access(at, mode)
    )
    assert_whole(opened(path))
    assert sorted(path.iterdir()) == before
    assert len(list((tmp_path / "cache" / "unpacked").rglob("*.h5"))) == 2


def test_regression_patches_are_left_out_by_id_in_every_layout(tmp_path: Path) -> None:
    table = tmp_path / "odd.csv"
    table.write_text("id\n" + "\n".join(f"{i}.tif" for i in IDS[2:4]) + "\nnot_there\n")
    folder = kaggle_folder(tmp_path / "kaggle")
    source = read(folder, exclude=(str(table),))
    kept = [k for k in range(ROWS) if k not in (2, 3)]
    assert source.splits["train"].ids == [IDS[k] for k in kept]
    np.testing.assert_array_equal(source.splits["train"].read(0, len(kept)), PIXELS[kept])
    assert unread(source) == {"excluded": IDS[2:4] * 2}  # of train and test
    table.write_text("\n".join(IDS[:3]) + "\n")  # a list without a header
    assert read(folder, exclude=(str(table),)).splits["test"].ids == IDS[3:]
    table.write_text("id\nnobody\n")
    with pytest.raises(InputError, match="none of the ids"):
        read(folder, exclude=(str(table),))


def test_regression_patches_that_cannot_be_read_are_skipped_if_asked(tmp_path: Path) -> None:
    folder = kaggle_folder(tmp_path)
    (folder / "train" / f"{IDS[0]}.tif").write_bytes(b"II*\0cut")
    (folder / "train" / f"{IDS[5]}.tif").write_bytes(encoded(PIXELS[0][:90], format="TIFF"))
    source = read(folder, skip_unreadable=True)
    kept = [k for k in range(ROWS) if k not in (0, 5)]
    assert source.splits["train"].ids == [IDS[k] for k in kept]
    np.testing.assert_array_equal(source.splits["train"].read(0, len(kept)), PIXELS[kept])
    assert unread(source) == {"unreadable": [f"train/{IDS[0]}", f"train/{IDS[5]}"]}
    assert all(one.serious for one in source.unread)
    for split in ("train", "test"):
        for file in (folder / split).iterdir():
            file.write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        read(folder, skip_unreadable=True)


@pytest.mark.parametrize(
    "name",
    [
        "patch_camelyon-train.tfrecord-00000-of-00001",
        "data.pt",
        "X.MAT",
        "train/data-00000-of-00001.arrow",
        "train/tumor/p.npy",
    ],
)
def test_mechanics_what_is_not_read_is_told_how_to_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\0" * 100)
    paths = [tmp_path] if name.endswith(".npy") else [tmp_path, tmp_path / name]
    for path in paths:
        assert "numpy.savez" in refused(path, "holds no patches in a form that is read")


def test_mechanics_zips_in_other_forms_are_told_what_to_unpack(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.tif", encoded(PIXELS[0], format="TIFF"))
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("train.zip", inner.getvalue())
        archive.writestr("train_labels.csv", "id,label\na,1\n")
    refused(tmp_path / "inner.zip", "unpack its train.zip")
    with zipfile.ZipFile(tmp_path / "classes.zip", "w") as archive:
        archive.writestr("train/tumor/a.tif", encoded(PIXELS[0], format="TIFF"))
    assert "unpack it" in refused(tmp_path / "classes.zip", "holds images in train/tumor")


def test_regression_wilds_without_labels(tmp_path: Path) -> None:
    path = wilds(tmp_path)
    table = pd.read_csv(path / "metadata.csv", index_col=0, dtype=str).drop(columns="tumor")
    table.to_csv(path / "metadata.csv")
    source = opened(path)
    assert source.labels is None
    assert len(source) == ROWS


def test_mechanics_a_store_knows_what_was_read_of_its_source(
    pcam: Callable[..., Any], tmp_path: Path
) -> None:
    from pcam_features.store.pictures import open_pictures
    from pcam_features.store.store import open_store

    lay_out(tmp_path / "data", "alpha/a.png", "beta/b.png", "gamma/c.png")
    options = ("--positive", "alpha", "--exclude", "gamma")
    done = pcam("extract", tmp_path / "data", tmp_path / "f", "--families", "color", *options)
    assert done.code == 0, done.err
    store = open_store(tmp_path / "f")
    assert store.manifest.source.reading == {"positive": "alpha", "exclude": ("gamma",)}
    assert open_pictures(store, "train", None)(1).shape == (96, 96, 3)


def test_mechanics_records_of_reading_are_checked() -> None:
    reading = Reading(positive="a", exclude=("b",), labeled_only=True)
    assert recorded(reading.given()) == reading
    for wrong in ({"positive": 1}, {"exclude": "b"}, {"labeled_only": "x"}, {"more": "x"}):
        with pytest.raises(InputError, match="record of how"):
            recorded(wrong)
