"""Every layout gives the pixels, labels and slides that were put into it, and nothing but that."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import layouts
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result
from layouts import IDS, LABELS, LAYOUTS, PIXELS, ROWS, SLIDES, opened, refused
from PIL import Image

from pcam_features.sources import hf_parquet, kaggle
from pcam_features.sources.detect import detect, open_source

KINDS = {"kaggle_zip": "kaggle"}
NUMBERED = ("hdf5", "parquet")  # layouts without ids


@pytest.mark.parametrize("name", LAYOUTS)
def test_oracle_a_layout_gives_what_its_library_wrote(name: str, tmp_path: Path) -> None:
    path = LAYOUTS[name](tmp_path / "data")
    assert detect(str(path)) == KINDS.get(name, name)
    train = opened(path).splits["train"]
    order = np.argsort([*train.ids]) if name == "wilds" else np.arange(ROWS)
    if name not in NUMBERED and name != "wilds":
        assert train.ids == IDS
    if name in NUMBERED:
        assert train.ids[3] == "train_patch0000003"
    assert train.labels is not None
    found = train.read(0, ROWS)
    if name == "wilds":
        assert sorted(one.tobytes() for one in found) == sorted(one.tobytes() for one in PIXELS)
        assert len(order) == ROWS
        assert train.ids[0] == "patch_patient_000_node_0_x_0_y_0"
        assert train.slides[:2] == ["patient_000_node_0", "patient_000_node_1"]
        return
    np.testing.assert_array_equal(found, PIXELS)
    np.testing.assert_array_equal(train.labels, LABELS)
    if name in ("hdf5", "manifest"):
        assert train.slides == SLIDES
    np.testing.assert_array_equal(train.read(5, 9), PIXELS[5:9])


@pytest.mark.parametrize("name", LAYOUTS)
def test_mechanics_layouts_are_read_by_many_threads(name: str, tmp_path: Path) -> None:
    train = opened(LAYOUTS[name](tmp_path / "data")).splits["train"]
    whole = train.read(0, ROWS)
    spans = [(k % ROWS, k % ROWS + 1) for k in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for span, batch in zip(spans, pool.map(lambda one: train.read(*one), spans), strict=True):
            np.testing.assert_array_equal(batch, whole[slice(*span)])
            assert batch.flags.c_contiguous
            assert batch.flags.writeable  # else compiled kernels refuse it


@pytest.mark.parametrize("name", LAYOUTS)
def test_mechanics_features_are_the_same_from_every_layout(
    name: str, tmp_path: Path, pcam: Callable[..., Result]
) -> None:
    path = LAYOUTS[name](tmp_path / "data")
    result = pcam("extract", path, tmp_path / "features", "--families", "color", "--split", "train")
    assert result.code == 0, result.err
    found = pd.read_parquet(tmp_path / "features" / "train" / "color").drop(columns="id")
    red = found["color__mean__patch_red"].to_numpy()
    expected = PIXELS[..., 0].mean(axis=(1, 2))
    np.testing.assert_allclose(red, expected if name != "wilds" else red, rtol=1e-5)
    np.testing.assert_allclose(np.sort(red), np.sort(expected), rtol=1e-5)


def test_mechanics_a_kaggle_zip_goes_on_where_its_folder_was(tmp_path: Path) -> None:
    packed = opened(layouts.kaggle_zip(tmp_path))
    folder = opened(tmp_path / "unpacked")
    for name in ("train", "test"):
        assert packed.splits[name].fingerprint() == folder.splits[name].fingerprint()
        assert packed.splits[name].content(0, ROWS) == folder.splits[name].content(0, ROWS)
    assert opened(tmp_path).path.endswith(".zip")  # the folder that `fetch` puts it into


@pytest.mark.parametrize("prefix", ["", "competition/", "a/b/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_oracle_zips_as_people_pack_them(prefix: str, method: int, tmp_path: Path) -> None:
    folder = layouts.kaggle_folder(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "k.zip", "w", method) as archive:
        archive.comment = b"packed by somebody"
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, prefix + str(file.relative_to(folder)))
    np.testing.assert_array_equal(opened(tmp_path / "k.zip").splits["test"].read(0, ROWS), PIXELS)


def test_regression_what_macos_adds_to_zips_is_not_counted(tmp_path: Path) -> None:
    folder = layouts.kaggle_folder(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "k.zip", "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            name = str(file.relative_to(folder))
            for member in (name, f"__MACOSX/{name}", f"__MACOSX/{file.parent.name}/._{file.name}"):
                archive.write(file, member)
    source = opened(tmp_path / "k.zip")
    assert (source.unread, source.problems) == ([], [])
    np.testing.assert_array_equal(source.splits["test"].read(0, ROWS), PIXELS)


@pytest.mark.parametrize(
    "how",
    [
        {"chunks": (1, 96, 96, 3)},
        {"chunks": (5, 96, 96, 3), "compression": "gzip"},
        {"chunks": (5, 40, 96, 2), "compression": "gzip", "shuffle": True},
        {"chunks": True, "shuffle": True},
    ],
)
def test_oracle_chunks_are_what_h5py_reads(how: dict[str, Any], tmp_path: Path) -> None:
    train = opened(layouts.hdf5(tmp_path / "data", **how)).splits["train"]
    np.testing.assert_array_equal(train.read(0, ROWS), PIXELS)
    np.testing.assert_array_equal(train.read(3, 8), PIXELS[3:8])


def test_mechanics_packed_hdf5_is_unpacked_once(tmp_path: Path) -> None:
    path = layouts.hdf5(tmp_path / "data")
    for file in list(path.glob("*.h5")):
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    np.testing.assert_array_equal(opened(path).splits["train"].read(0, ROWS), PIXELS)
    times = {file: file.stat().st_mtime_ns for file in path.glob("*.h5")}
    assert len(times) == 2
    opened(path)
    assert times == {file: file.stat().st_mtime_ns for file in path.glob("*.h5")}
    one = path / "camelyonpatch_level_2_split_train_x.h5"
    np.testing.assert_array_equal(opened(one).splits["train"].read(0, ROWS), PIXELS)


def test_mechanics_a_manifest_says_what_it_knows(tmp_path: Path) -> None:
    path = layouts.manifest(tmp_path)
    table = pd.read_csv(path)
    table["split"] = ["train"] * 8 + ["valid"] * 4
    table["id"] = [f"own_{k}" for k in range(ROWS)]
    table["label"] = table["label"].astype("Int64").where(table["split"] == "train")
    table["slide"] = table["slide"].where(table["split"] == "train")
    table.to_csv(path, index=False)
    source = opened(path)
    assert list(source.splits) == ["train", "valid"]
    assert source.splits["valid"].labels is None
    assert source.splits["valid"].slides == [None] * 4
    assert source.splits["valid"].ids == [f"own_{k}" for k in range(8, ROWS)]
    table.loc[8, "label"] = 1
    table.to_csv(path, index=False)
    again = opened(path)
    assert again.splits["valid"].ids == ["own_8"]
    assert [(one.kind, one.count, one.serious) for one in again.unread] == [("no label", 3, True)]


def test_mechanics_real_patches_by_their_table(pcam_folder: Path) -> None:
    by_table = opened(pcam_folder / "labels.csv")
    by_folder = opened(pcam_folder)
    for name, split in by_folder.splits.items():
        assert sorted(by_table.splits[name].ids) == split.ids
    table = by_table.splits["valid"]
    place = by_folder.splits["valid"].ids.index(table.ids[7])
    expected = by_folder.splits["valid"].read(place, place + 1)
    np.testing.assert_array_equal(table.read(7, 8), expected)


def test_mechanics_withheld_labels_are_no_labels(tmp_path: Path) -> None:
    path = layouts.parquet(tmp_path)
    table = pq.read_table(path / "train-00000-of-00001.parquet")
    withheld = pa.array([-1] * ROWS, pa.int64())
    pq.write_table(table.set_column(1, "label", withheld), path / "test-00000-of-00001.parquet")
    source = opened(path)
    assert source.splits["test"].labels is None
    assert source.splits["train"].labels is not None


def test_mechanics_labels_and_tables_fit_the_pixels(tmp_path: Path) -> None:
    path = layouts.hdf5(tmp_path)
    stem = path / "camelyonpatch_level_2_split_train"
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file["y"] = np.zeros((ROWS - 1, 1, 1, 1), np.uint8)
    refused(path, "11 labels for 12 patches")
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file["y"] = np.full((ROWS, 1, 1, 1), 7, np.uint8)
    refused(path, "not 0 or 1")
    Path(f"{stem}_y.h5").unlink()
    assert opened(path).splits["train"].labels is None
    pd.DataFrame({"wsi": SLIDES[1:]}).to_csv(f"{stem}_meta.csv")
    refused(path, "11 rows for 12 patches")


def test_mechanics_a_folder_is_given_not_a_part_of_it(tmp_path: Path) -> None:
    layouts.hdf5(tmp_path / "pcam")
    refused(tmp_path, "not a source itself but contains one .hdf5.; give")
    refused(tmp_path / "pcam", "no patches of layout images", kind="images")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "none of the known layouts: Kaggle's folder")
    refused("a\0b", "no folder or file")


def test_mechanics_names_of_parquet_files() -> None:
    names = {
        "train.parquet": "train",
        "train-00000-of-00013.parquet": "train",
        "validation-00000-of-00002-0123456789abcdef.parquet": "validation",
        "test-3.parquet": "test",
    }
    for name, split in names.items():
        match = hf_parquet.NAME.fullmatch(name)
        assert match is not None
        assert match["split"] == split


def test_oracle_transparent_images_are_composited_over_white(tmp_path: Path) -> None:
    path = layouts.wilds(tmp_path)
    for file in path.rglob("*.png"):
        with Image.open(file) as image:
            image.putalpha(200)
            image.save(file)
    found = opened(path).splits["train"].read(0, ROWS)
    expected = np.rint(PIXELS * (200 / 255) + 255 * (55 / 255)).astype(np.uint8)
    assert sorted(one.tobytes() for one in found) == sorted(one.tobytes() for one in expected)


def test_mechanics_kaggle_problems_are_listed_without_strict(tmp_path: Path) -> None:
    path = layouts.kaggle_folder(tmp_path)
    (path / "train" / f"{IDS[0]}.tif").unlink()
    (path / "train" / "more.tif").write_bytes(b"x")
    text = (path / kaggle.LABELS).read_text().replace(f"{IDS[5]},1", f"{IDS[5]},maybe")
    (path / kaggle.LABELS).write_text(text)
    refused(path, "'maybe', not 0 or 1")
    source, _ = open_source(str(path), strict=False)
    faults = (*source.problems, *(one for one in source.unread if one.serious))
    kinds = {one.kind: (one.count, list(one.examples)) for one in faults}
    assert kinds == {
        "bad label": (1, [IDS[5]]),
        "missing file": (1, [IDS[0]]),
        "no label": (1, ["more"]),
    }
    assert source.splits["train"].ids == [i for i in IDS if i not in (IDS[0], IDS[5])]


def test_mechanics_wilds_hospitals_are_held_out_whatever_the_table_says(tmp_path: Path) -> None:
    """As WILDS' own loader has it: center 1 is val, center 2 is test."""
    path = layouts.wilds(tmp_path)
    table = pd.read_csv(path / "metadata.csv", index_col=0, dtype={"patient": str})
    table["center"] = [k % 3 for k in range(ROWS)]
    table.to_csv(path / "metadata.csv")
    assert {name: len(split) for name, split in opened(path).splits.items()} == {
        "train": 4,
        "test": 4,
        "val": 4,
    }
