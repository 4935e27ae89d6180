"""NumPy's arrays, as people save them, and files of arrays that are damaged or hostile."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import IDS, LABELS, PIXELS, ROWS, SLIDES, opened, refused
from test_folders import labels_by_id, lay_out, read, unread

SPLITS = {"train": (0, 6), "val": (6, 9), "test": (9, 12)}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, in which compressed arrays are unpacked."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PCAM_CACHE_DIR", str(folder))
    return folder


def medmnist(path: Path, save: Any = np.savez) -> Path:
    """Three splits in one file, with labels (n, 1)."""
    arrays = {}
    for split, (start, stop) in SPLITS.items():
        arrays[f"{split}_images"] = PIXELS[start:stop]
        arrays[f"{split}_labels"] = LABELS[start:stop, None].astype(np.uint8)
    save(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_oracle_splits_in_one_file(save: Any, tmp_path: Path) -> None:
    path = medmnist(tmp_path / "pathmnist_96.npz", save)
    for source in (opened(path), opened(tmp_path), opened(path)):
        assert source.kind == "arrays"
        assert list(source.splits) == ["train", "valid", "test"]
        for split, (start, stop) in SPLITS.items():
            part = source.splits["valid" if split == "val" else split]
            assert part.labels is not None
            np.testing.assert_array_equal(part.labels, LABELS[start:stop])
            np.testing.assert_array_equal(part.read(0, len(part)), PIXELS[start:stop])
            np.testing.assert_array_equal(part.image(1, None), PIXELS[start + 1])
    assert sorted(os.listdir(tmp_path)) == ["pathmnist_96.npz"]  # nothing is unpacked beside it


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        ("X.npy", "Y.npy"),
        ("images.npy", "labels.npy"),
        ("x_train.npy", "y_train.npy"),
        ("train/X.npy", "train/y.npy"),
        ("train.npy", "train_labels.npy"),
        ("TrainImages.NPY", "TrainTargets.NPY"),
    ],
)
def test_mechanics_files_of_pixels_and_labels(pixels: str, labels: str, tmp_path: Path) -> None:
    for name, values in ((pixels, PIXELS), (labels, LABELS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            np.save(file, values)
    source = opened(tmp_path)
    assert list(source.splits) == ["train"]
    assert list(labels_by_id(source).values()) == LABELS.tolist()
    np.testing.assert_array_equal(source.splits["train"].read(3, 7), PIXELS[3:7])
    alone = opened(tmp_path / pixels)
    assert list(labels_by_id(alone).values()) == LABELS.tolist()


@pytest.mark.parametrize(
    "values",
    [
        LABELS.astype(bool),
        LABELS.astype(np.float64)[:, None],
        np.eye(2, dtype=np.float32)[LABELS],
        np.where(LABELS == 1, "tumor", "normal"),
        np.where(LABELS == 1, b"positive", b"negative"),
        np.asfortranarray(LABELS[:, None].astype(">i4")),
    ],
)
def test_mechanics_kinds_of_labels(values: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=PIXELS, y=values)
    assert list(labels_by_id(opened(tmp_path)).values()) == LABELS.tolist()


def test_mechanics_arrays_without_names_ids_and_slides(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", PIXELS, LABELS)
    assert list(labels_by_id(opened(tmp_path / "a.npz")).values()) == LABELS.tolist()
    np.savez(tmp_path / "b.npz", images=PIXELS, labels=LABELS, ids=IDS, patient_ids=SLIDES)
    source = opened(tmp_path / "b.npz")
    assert labels_by_id(source) == dict(zip(IDS, LABELS.tolist(), strict=True))
    assert source.slides == SLIDES


def test_mechanics_channels_first_and_other_sizes(tmp_path: Path) -> None:
    np.savez(tmp_path / "first.npz", x=np.moveaxis(PIXELS, -1, 1).copy(), y=LABELS)
    source = opened(tmp_path / "first.npz")
    assert any("channels first" in note for note in source.notes)
    np.testing.assert_array_equal(source.splits["train"].read(0, ROWS), PIXELS)
    np.savez(tmp_path / "small.npz", x=PIXELS[:, :50, :50], y=LABELS)
    assert "50×50" in refused(tmp_path / "small.npz", "--fit")
    from pcam_features.sources.detect import open_source

    fitted = open_source(str(tmp_path / "small.npz"), fit="resize")[0]
    assert fitted.splits["train"].read(0, 2).shape == (2, 96, 96, 3)


def test_mechanics_classes_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "nine.npz", train_images=PIXELS, train_labels=np.arange(ROWS) % 9)
    assert "--positive CLASS" in refused(tmp_path, "the label is '2'")
    told = read(tmp_path, positive="8", exclude=("0",))
    assert sum(labels_by_id(told).values()) == 1
    assert unread(told) == {"excluded": ["train_patch0000000", "train_patch0000009"]}
    signs = np.where(LABELS == 1, 1, -1)
    np.savez(tmp_path / "nine.npz", train_images=PIXELS, train_labels=signs)
    refused(tmp_path, "the label is '-1'")  # it is not taken for a label that is withheld
    assert list(labels_by_id(read(tmp_path, positive="1")).values()) == LABELS.tolist()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (PIXELS.astype(np.float32) / 255, "multiply them by 255"),
        (PIXELS.astype(np.uint16) * 257, "uint16"),
        (np.asfortranarray(PIXELS), "ascontiguousarray"),
        (PIXELS[..., 0], "no clear array of color images"),
        (PIXELS.astype(object), "Python objects"),
    ],
)
def test_mechanics_pixels_that_are_not_read_say_why(
    pixels: np.ndarray, reason: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "train.npz", x=pixels, y=LABELS)
    refused(tmp_path / "train.npz", reason)


def test_mechanics_a_lack_of_labels_is_said_or_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", x=PIXELS, y=LABELS[:-1])
    refused(tmp_path, "for 12 patches")
    np.savez(tmp_path / "train.npz", x=PIXELS)
    source = opened(tmp_path)
    assert source.labels is None
    assert any("no labels of split train" in note for note in source.notes)


def test_mechanics_images_in_classes_come_before_a_stray_array(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/tumor/t.png", "train/normal/n.png")
    np.save(tmp_path / "images.npy", PIXELS)
    source = opened(tmp_path)
    assert source.kind == "images"
    assert unread(source) == {"file of another format": ["images.npy"]}


class Bad:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


def test_invariant_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "train.npz", x=PIXELS, y=np.array([Bad()] * ROWS, object), allow_pickle=True)
    refused(tmp_path / "train.npz", "Python objects")
    np.save(tmp_path / "x.npy", np.array([Bad()], object), allow_pickle=True)
    refused(tmp_path / "x.npy", "Python objects")
    assert not (tmp_path / "unpickled").exists()


def declaring(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """An .npy that declares a shape, with few bytes."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)
    return stream.getvalue() + b"\0" * 1000


@pytest.mark.parametrize(
    "data",
    [
        declaring((1 << 40, 96, 96, 3)),
        declaring((-1, 96, 96, 3)),
        declaring((10, 96, 96, 3))[:60],
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70000,
        b"not an array",
        b"",
    ],
)
def test_invariant_a_damaged_or_hostile_array_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    refused(tmp_path / "x.npy", "x.npy")
    with zipfile.ZipFile(tmp_path / "train.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.npy", data)
    refused(tmp_path / "train.npz", "train.npz")


def test_invariant_a_bomb_is_not_unpacked(tmp_path: Path, cache: Path) -> None:
    pixels = np.zeros((2000, 96, 96, 3), np.uint8)
    np.savez_compressed(tmp_path / "train.npz", x=pixels)
    refused(tmp_path / "train.npz", "times its size")
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_invariant_a_flipped_bit_is_found_where_there_is_a_sum(tmp_path: Path) -> None:
    path = medmnist(tmp_path / "m.npz", np.savez_compressed)
    data = bytearray(path.read_bytes())
    data[len(data) // 5] ^= 16
    path.write_bytes(bytes(data))
    refused(path, "m.npz")
