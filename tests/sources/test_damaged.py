"""Sources that are damaged, or mean harm: read as they are, or refused in a sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import layouts
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import IDS, LABELS, LAYOUTS, PIXELS, ROWS, opened, refused, sentence

from pcam_features.errors import InputError
from pcam_features.sources import hdf5, kaggle
from pcam_features.sources.blocks import Blocks
from pcam_features.sources.reading import Reading
from pcam_features.storage.files import read_json

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "a/../../x.png", "", "a\0b", "."])
def test_mechanics_paths_of_a_manifest_stay_inside(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.png").write_bytes(layouts.encoded(PIXELS[0], format="PNG"))
    path = tmp_path / "data" / "m.csv"
    path.write_bytes(f'path,label\n"{name}",1\n'.encode())
    # pandas 2.2 ends a cell at a NUL, so there the file is missing.
    refused(path, "leads out of|not the path of a file|cannot be read|no patches|missing file")


@pytest.mark.parametrize("name", ["ü/ß.png", "漢字.png", "x" * 300 + ".png", "con.png", "a b.png"])
def test_mechanics_strange_names_are_read_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"path,label\n{name},1\n", encoding="utf-8")
    if len(name) > 200:
        refused(path, "missing file|too long")
        return
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(layouts.encoded(PIXELS[0], format="PNG"))
    np.testing.assert_array_equal(opened(path).splits["train"].read(0, 1), PIXELS[:1])


@pytest.mark.parametrize("split", ["../x", "/x", "a/b", "x" * 65, "manifest.json", "..", "a\tb"])
def test_mechanics_splits_are_no_paths(split: str, tmp_path: Path) -> None:
    path = layouts.manifest(tmp_path)
    table = pd.read_csv(path)
    table["split"] = split
    table.to_csv(path, index=False)
    refused(path, "has a split")


def test_mechanics_ids_are_words(tmp_path: Path) -> None:
    path = layouts.manifest(tmp_path)
    for bad in ("a\x1b[31m", "x" * 1001):
        pd.read_csv(path).assign(id=[bad, *IDS[1:]]).to_csv(tmp_path / "b.csv", index=False)
        refused(tmp_path / "b.csv", "id or slide")


def test_mechanics_hostile_hdf5_is_not_followed(tmp_path: Path) -> None:
    stem = "camelyonpatch_level_2_split_train_x.h5"
    target = layouts.hdf5(tmp_path / "good") / stem
    outside = tmp_path / "secret.bin"
    outside.write_bytes(PIXELS.tobytes())

    def made(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name / stem

    with h5py.File(made("link"), "w") as file:
        file["x"] = h5py.ExternalLink(str(target), "x")
    with h5py.File(made("soft"), "w") as file:
        file["x"] = h5py.SoftLink("/other")
        file["other"] = PIXELS
    with h5py.File(made("external"), "w") as file:
        external = [(str(outside), 0, PIXELS.nbytes)]
        file.create_dataset("x", PIXELS.shape, np.uint8, external=external)
    with h5py.File(made("virtual"), "w") as file:
        virtual = h5py.VirtualLayout(PIXELS.shape, np.uint8)
        virtual[...] = h5py.VirtualSource(str(target), "x", PIXELS.shape)
        file.create_virtual_dataset("x", virtual)
    with h5py.File(made("group"), "w") as file:
        file.create_group("x")
    with h5py.File(made("endless"), "w") as file:
        file.create_dataset("x", (1 << 40, 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3))
    with h5py.File(made("empty"), "w") as file:
        file.create_dataset("x", PIXELS.shape, np.uint8)
    with h5py.File(made("floats"), "w") as file:
        file["x"] = PIXELS.astype(np.float32)
    with h5py.File(made("small"), "w") as file:
        file["x"] = PIXELS[:, :64]
    with h5py.File(made("filter"), "w") as file:
        file.create_dataset("x", data=PIXELS, compression="lzf")
    for name in ("link", "soft", "external", "virtual", "group", "endless", "empty", "floats", "small",
                 "filter"):  # fmt: skip
        refused(tmp_path / name, "cannot be read as HDF5|x is|filters")


def test_mechanics_missing_chunks_are_not_zeros(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    name = tmp_path / "data" / "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(name, "w") as file:
        made = file.create_dataset("x", PIXELS.shape, np.uint8, chunks=(4, 96, 96, 3))
        made[:4] = PIXELS[:4]
    refused(tmp_path / "data", "has no pixels for rows 4")


def test_mechanics_bombs_are_refused(tmp_path: Path) -> None:
    path = layouts.hdf5(tmp_path / "gz")
    name = path / "camelyonpatch_level_2_split_train_x.h5"
    name.unlink()
    name.with_name(name.name + ".gz").write_bytes(gzip.compress(bytes(200 << 20), 9))
    refused(path, "unpacks to more than 200 times")
    assert [file.name for file in path.iterdir() if "_x" in file.name] == [name.name + ".gz"]

    folder = layouts.kaggle_folder(tmp_path / "zip")
    png = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + png
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "train" / f"{IDS[0]}.tif").write_bytes(bomb + b"\0" * 50)
    refused(folder, "cannot be read|pixels")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name_, content in (("a", bytes(1 << 25)), ("b", bytes(100))):
            archive.writestr(f"test/{name_}.tif", content)
    refused(tmp_path / "b.zip", "larger than 16 MiB")


def test_mechanics_a_zip_that_lies_is_damaged(tmp_path: Path) -> None:
    good = layouts.kaggle_zip(tmp_path).read_bytes()
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        info = archive.getinfo(f"test/{IDS[0]}.tif")
    where = good.rindex(b"PK\1\2", 0, good.rindex(info.filename.encode()))
    for place, words in ((16, "CRC-32"), (24, "damaged|cannot be read"), (42, "cannot be read")):
        lying = bytearray(good)
        struct.pack_into("<I", lying, where + place, 5000)  # its sum, its size, its place
        (tmp_path / "lie.zip").write_bytes(lying)
        refused(tmp_path / "lie.zip", words)
    lying = bytearray(good)
    struct.pack_into("<H", lying, where + 8, 1)
    (tmp_path / "lie.zip").write_bytes(lying)
    refused(tmp_path / "lie.zip", "encrypted")


def test_mechanics_parquet_that_is_none_of_images(tmp_path: Path) -> None:
    cases = {
        "no": pa.table({"label": [1]}),
        "text": pa.table({"image": ["a"], "label": [1]}),
        "null": pa.table({"image": pa.array([None], pa.binary()), "label": [1]}),
        "label": pa.table({"image": [b"x"], "label": [2]}),
        "mixed": pa.table({"image": [b"x", b"y"], "label": [1, None]}),
        "words": pa.table({"image": [b"x"], "label": ["tumor"]}),
    }
    for name, table in cases.items():
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "train.parquet")
        refused(tmp_path / name, "no column image|no bytes|cannot be read|label")
    many = pa.table(
        {"image": pa.array([b"x" * 1000] * 300_000).dictionary_encode(), "label": [1] * 300_000}
    )
    (tmp_path / "many").mkdir()
    pq.write_table(many, tmp_path / "many" / "train.parquet", row_group_size=300_000)
    refused(tmp_path / "many", "cannot be read|not a TIFF")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
@pytest.mark.parametrize(
    "name",
    ["camelyonpatch_level_2_split_train_x.h5", "camelyonpatch_level_2_split_train_x.h5.gz",
     "train.parquet", "train/tumor/a.png", "manifest.csv", kaggle.ZIP, "train_labels.csv"],
)  # fmt: skip
def test_mechanics_pipes_are_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / "data" / name)
    refused(tmp_path / "data", "none of the known layouts: Kaggle's folder|no patches|not there")
    refused(tmp_path / "data" / name, "neither a file nor a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_mechanics_packed_files_need_a_place(tmp_path: Path) -> None:
    path = layouts.hdf5(tmp_path / "data")
    file = path / "camelyonpatch_level_2_split_train_x.h5"
    file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    refused(path, "cannot be unpacked")


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """A file with some bytes changed, mostly where it says what it is, and perhaps cut off."""
    changed = bytearray(content)
    ends = st.one_of(st.integers(0, min(2000, len(content) - 1)), st.integers(0, len(content) - 1),
                     st.integers(max(0, len(content) - 2000), len(content) - 1))  # fmt: skip
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(ends)] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 3)) == 0:
        return bytes(changed[: data.draw(ends)])
    return bytes(changed)


def survives(path: Path) -> None:
    """A damaged source is read, or refused in a sentence."""
    try:
        source = opened(path)
        for split in source.splits.values():
            assert split.read(0, len(split)).shape == (len(split), 96, 96, 3)
    except InputError as error:
        sentence(error)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    made = {name: make(root / name) for name, make in LAYOUTS.items()}
    layouts.hdf5(root / "gzip", chunks=(5, 96, 96, 3), compression="gzip")
    return made | {"gzip": root / "gzip"}


@FUZZ
@given(st.data())
def test_invariant_damaged_zips_are_read_or_refused(
    whole: dict[str, Path], data: st.DataObject
) -> None:
    path = whole["kaggle_zip"]
    bad = path.with_name("bad.zip")
    bad.write_bytes(damaged(path.read_bytes(), data))
    survives(bad)


@FUZZ
@given(st.data())
def test_invariant_damaged_parquet_is_read_or_refused(
    whole: dict[str, Path], data: st.DataObject
) -> None:
    good = whole["parquet"] / "train-00000-of-00001.parquet"
    bad = whole["parquet"].with_name("bad-00000-of-00001.parquet")
    bad.write_bytes(damaged(good.read_bytes(), data))
    survives(bad)


@settings(FUZZ, max_examples=12)
@given(st.data())
def test_invariant_damaged_hdf5_is_read_or_refused(whole: dict[str, Path], data: st.DataObject) -> None:
    folder = whole[data.draw(st.sampled_from(["hdf5", "gzip"]))]
    name = "camelyonpatch_level_2_split_train_x.h5"
    bad = folder.with_name("bad")
    bad.mkdir(exist_ok=True)
    (bad / name).write_bytes(damaged((folder / name).read_bytes(), data))
    survives(bad)


@FUZZ
@given(st.data())
def test_invariant_damaged_manifests_are_read_or_refused(
    whole: dict[str, Path], data: st.DataObject
) -> None:
    path = whole["manifest"]
    bad = path.with_name("bad.csv")
    bad.write_bytes(damaged(path.read_bytes(), data))
    survives(bad)


def test_mechanics_hdf5_that_breaks_its_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = layouts.hdf5(tmp_path)
    monkeypatch.setattr(hdf5, "SECONDS", 0.01)
    refused(path, "within 0.01 s")
    monkeypatch.undo()
    monkeypatch.setattr(hdf5.sys, "executable", "/bin/false")
    refused(path, "library crashes on it")


def test_mechanics_nothing_beside_the_data_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.hdf5(tmp_path)
    (tmp_path / "h5py.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(opened(Path()).splits["train"].read(0, ROWS), PIXELS)
    assert not (tmp_path / "ran").exists()


def test_mechanics_tables_of_many_columns_are_refused_at_once(tmp_path: Path) -> None:
    folder = layouts.kaggle_folder(tmp_path / "data")
    wide = b"id,label" + b"," * 3_000_000
    (tmp_path / "wide.csv").write_bytes(wide + b"\n")
    refused(tmp_path / "wide.csv", "is too long, or has too many columns")
    (folder / kaggle.LABELS).write_bytes(wide + b"\n")
    with zipfile.ZipFile(tmp_path / "wide.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / kaggle.LABELS, kaggle.LABELS)
        archive.writestr("train/a.tif", b"x")
    refused(tmp_path / "wide.zip", "is too long, or has too many columns")


def test_mechanics_a_block_that_cannot_be_made_is_not_made_again() -> None:
    tried = []

    def make(key: int) -> int:
        tried.append(key)
        raise InputError("damaged.")

    blocks = Blocks(make, 2)
    for _ in range(3):
        with pytest.raises(InputError, match="damaged"):
            blocks[0]
    assert tried == [0]


def test_mechanics_shards_are_all_there_and_of_one_set(tmp_path: Path) -> None:
    path = layouts.parquet(tmp_path)
    file = path / "train-00000-of-00001.parquet"
    file.rename(path / "train-00000-of-00003.parquet")
    refused(path, "add the missing files")
    layouts.parquet(path)
    refused(path, "another data set")


def test_mechanics_names_of_labels_say_which_is_tumor(tmp_path: Path) -> None:
    path = layouts.parquet(tmp_path)
    file = path / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    for names, expected in ((["tumor", "normal"], 1 - LABELS), (["normal", "tumor"], LABELS)):
        features = {"label": {"_type": "ClassLabel", "names": names}}
        said = json.dumps({"info": {"features": features}})
        pq.write_table(table.replace_schema_metadata({"huggingface": said}), file)
        np.testing.assert_array_equal(opened(path).splits["train"].labels, expected)


def test_mechanics_unlabeled_is_not_normal(tmp_path: Path) -> None:
    path = layouts.images(tmp_path)
    (path / "train" / "normal").rename(path / "train" / "unlabeled")
    unlabeled = sorted(file.stem for file in (path / "train" / "unlabeled").iterdir())
    source = opened(path)
    assert not set(source.splits["train"].ids) & set(unlabeled)
    (left_out,) = source.unread
    assert (left_out.kind, left_out.count, left_out.serious) == ("no label", len(unlabeled), True)


def test_mechanics_zips_name_files_twice_or_from_here(tmp_path: Path) -> None:
    folder = layouts.kaggle_folder(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "dot.zip", "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
            archive.filelist[-1].filename = f"./{file.relative_to(folder)}"
    np.testing.assert_array_equal(opened(tmp_path / "dot.zip").splits["train"].read(0, ROWS), PIXELS)
    with zipfile.ZipFile(tmp_path / "dot.zip", "a") as archive:
        archive.writestr("train/patch_00.tif", b"x")
    refused(tmp_path / "dot.zip", "have the same id patch_00")


def test_mechanics_options_that_say_nothing_are_refused(tmp_path: Path) -> None:
    refused(
        layouts.hdf5(tmp_path / "h"),
        "--positive is for folders of images",
        reading=Reading(positive="x"),
    )
    table = layouts.manifest(tmp_path / "m")
    pd.read_csv(table).assign(id=[" ", *IDS[1:]]).to_csv(table, index=False)
    refused(table, "id or slide ' '")


def test_mechanics_an_empty_split_is_left_out(tmp_path: Path) -> None:
    path = layouts.kaggle_folder(tmp_path)
    for file in (path / "test").iterdir():
        file.unlink()
    assert [split.name for split in opened(path).only(None)] == ["train"]
    with pytest.raises(InputError, match="no patches"):
        opened(path).only("test")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_mechanics_a_pipe_is_no_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_json(tmp_path / "a.json", "record")
