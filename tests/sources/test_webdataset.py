"""WebDataset's shards: what is read at its place, and what is refused."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from layouts import IDS, LABELS, PIXELS, PNGS, ROWS, SLIDES, opened, refused, shard
from test_folders import labels_by_id, read, unread


def samples(start: int = 0, stop: int = ROWS, label: str = "cls") -> dict[str, bytes]:
    files = {}
    for k in range(start, stop):
        files[f"{IDS[k]}.png"] = PNGS[k]
        files[f"{IDS[k]}.{label}"] = f"{LABELS[k]}\n".encode()
    return files


@pytest.mark.parametrize(
    "names", [("train-000000.tar", "train-000001.tar"), ("train/0.tar", "train/1.tar")]
)
def test_oracle_patches_are_read_at_their_places(names: tuple[str, str], tmp_path: Path) -> None:
    shard(tmp_path / names[0], samples(0, 5))
    shard(tmp_path / names[1], samples(5, 9))
    shard(tmp_path / names[0].replace("train", "val"), samples(9))
    source = opened(tmp_path)
    assert source.kind == "webdataset"
    assert list(source.splits) == ["train", "valid"]
    assert labels_by_id(source) == dict(zip(IDS[:9], LABELS[:9].tolist(), strict=True))
    np.testing.assert_array_equal(source.splits["train"].read(0, 9), PIXELS[:9])
    np.testing.assert_array_equal(source.splits["valid"].read(0, 3), PIXELS[9:])


@pytest.mark.parametrize("label", ["cls", "label", "cls.txt", "CLS"])
def test_mechanics_names_of_labels(label: str, tmp_path: Path) -> None:
    path = shard(tmp_path / "pcam.tar", samples(label=label))
    assert list(labels_by_id(opened(path)).values()) == LABELS.tolist()


def test_mechanics_records_name_labels_and_slides(tmp_path: Path) -> None:
    files = {}
    for k, png in enumerate(PNGS):
        files[f"a/{IDS[k]}.png"] = png
        record = {"label": "tumor" if LABELS[k] else "normal", "wsi": SLIDES[k]}
        files[f"a/{IDS[k]}.json"] = json.dumps(record).encode()
    files["a/._x.png"] = b"\0"
    source = opened(shard(tmp_path / "train-0.tar", files))
    assert list(labels_by_id(source).values()) == LABELS.tolist()
    assert source.slides == SLIDES
    assert source.ids == IDS


def test_mechanics_equal_keys_in_folders_are_kept_apart(tmp_path: Path) -> None:
    files = {f"{folder}/1.png": PNGS[k] for k, folder in enumerate("xy")}
    files |= {f"{folder}/1.cls": str(k).encode() for k, folder in enumerate("xy")}
    assert labels_by_id(opened(shard(tmp_path / "train.tar", files))) == {"x/1": 0, "y/1": 1}


def test_mechanics_what_is_not_complete_is_counted(tmp_path: Path) -> None:
    files = samples()
    del files[f"{IDS[0]}.png"], files[f"{IDS[1]}.cls"]
    files["notes.npy"] = b"x"
    source = opened(shard(tmp_path / "train.tar", files))
    assert len(source) == ROWS - 2
    assert unread(source) == {
        "no label": [IDS[1]],
        "missing file": [IDS[0]],
        "file of another format": ["train.tar: notes.npy"],
    }
    assert read(tmp_path, exclude=("1",)).labels is not None


def test_mechanics_folders_in_a_tar_are_to_be_unpacked(tmp_path: Path) -> None:
    files = {f"train/{c}/{k}.png": PNGS[k] for k, c in enumerate(("normal", "tumor"))}
    refused(shard(tmp_path / "data.tar", files), "unpack it and give the folder")
    refused(shard(tmp_path / "text.tar", {"a.csv": b"x"}), "holds no images")


def test_mechanics_a_split_without_labels(tmp_path: Path) -> None:
    shard(tmp_path / "test.tar", {name: data for name, data in samples().items() if "png" in name})
    source = opened(tmp_path)
    assert source.labels is None
    assert any("no labels in split test" in note for note in source.notes)


def test_invariant_damaged_shards_are_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "train.tar", samples())
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(whole))
    refused(path, "without compression")
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "train.tar")
    path.write_bytes(b"")
    refused(path, "train.tar")
    files = samples()
    files[f"{IDS[3]}.cls"] = b"\xff\xfe\x00"
    refused(shard(path, files), "cannot be read")


def test_invariant_links_out_of_a_shard_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNGS[0])
    path = tmp_path / "data" / "train.tar"
    shard(path, samples(1))
    with tarfile.open(path, "a") as more:
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        more.addfile(info)
    assert opened(path).ids == IDS[1:]
