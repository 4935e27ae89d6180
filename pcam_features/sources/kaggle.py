"""Kaggle's *Histopathologic Cancer Detection*, as a folder or as the downloaded zip.

train/<id>.tif   test/<id>.tif   train_labels.csv (id,label)   sample_submission.csv
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import parse_table, read_table
from .archive import Archive
from .fitting import Size
from .images import LARGEST_FILE, SUFFIXES, by_id, list_images, patch_of, patches, read_patch
from .source import Problem, Source, Split, digest, problem

LABELS = "train_labels.csv"
SAMPLE = "sample_submission.csv"
TRAIN, TEST = "train", "test"
LARGEST_ZIPPED = 1 << 26  # bytes of a table in a zip; Kaggle's table has nine million
ZIP = "histopathologic-cancer-detection.zip"
PROTOCOL = (
    "A patch is positive if its center 32x32 contains tumor. Patches of one slide must stay in one "
    "fold. The competition does not name slides, and its test patches come from other slides."
)


class Files(Protocol):
    """The files of the competition, in a folder or a zip.

    `images` gives a file for each id, which `size` and `image` accept.
    """

    def has(self, name: str) -> bool: ...
    def table(self, name: str) -> pd.DataFrame: ...
    def images(self, folder: str) -> tuple[Mapping[str, Any], list[Problem]]: ...
    def size(self, file: Any) -> int: ...
    def image(self, file: Any, size: Size | None) -> np.ndarray: ...


class Folder:
    """The unpacked competition."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def table(self, name: str) -> pd.DataFrame:
        return read_table(self.path / name, ("id", "label"), "label table")

    def images(self, folder: str) -> tuple[Mapping[str, Path], list[Problem]]:
        return list_images(self.path / folder)

    def size(self, file: Path) -> int:
        return file.stat().st_size

    def image(self, file: Path, size: Size | None) -> np.ndarray:
        return read_patch(file, size)


class Zip:
    """The competition's zip, read without unpacking. Its files may be in a folder of the zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = Archive(path)
        self.folders: dict[PurePosixPath, list[str]] = {}
        for name in self.archive.names:
            self.folders.setdefault(PurePosixPath(name).parent, []).append(name)
        self.root = min(
            (PurePosixPath(n).parent for n in self.archive.members if n.split("/")[-1] == LABELS),
            key=lambda folder: len(folder.parts),
            default=PurePosixPath(),
        )

    def has(self, name: str) -> bool:
        return str(self.root / name) in self.archive.members or self.root / name in self.folders

    def table(self, name: str) -> pd.DataFrame:
        content = self.archive.read(str(self.root / name), LARGEST_ZIPPED)
        return parse_table(io.BytesIO(content), ("id", "label"), f"label table {self.path}: {name}")

    def images(self, folder: str) -> tuple[Mapping[str, str], list[Problem]]:
        names = sorted(self.folders.get(self.root / folder, ()))
        paths = [(PurePosixPath(name), name) for name in names]
        return by_id((p.stem, n) for p, n in paths if p.suffix.lower() in SUFFIXES and p.name[0] != ".")

    def size(self, file: str) -> int:
        return self.archive.members[file].file_size

    def image(self, file: str, size: Size | None) -> np.ndarray:
        return patch_of(self.archive.read(file, LARGEST_FILE), self.path / file, size)


def recognize(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".zip"
    if (path / LABELS).is_file() or (path / SAMPLE).is_file() or (path / ZIP).is_file():
        return True
    folders = [path / TRAIN, path / TEST]
    return any(f.suffix == ".tif" for folder in folders if folder.is_dir() for f in folder.iterdir())


def read_labels(files: Files, path: Path) -> tuple[dict[str, int | None], list[Problem]]:
    """The labels by id, in the table's order, and problems.

    A label other than 0 and 1 becomes None and is a problem.
    """
    table = files.table(LABELS)
    told = {"0": 0, "1": 1}
    pairs = list(zip(table["id"], table["label"], strict=True))
    bad = [k for k, (_, label) in enumerate(pairs) if label not in told]
    problems: list[Problem] = []
    if bad:
        patch_id, label = pairs[bad[0]]
        says = (
            f"{path / LABELS}, line {bad[0] + 2}: the label of {patch_id} is {label!r}, not 0 or 1; "
            "correct it."
        )
        problems = problem("bad label", [pairs[k][0] for k in bad], says)
    return {i: told.get(label) for i, label in pairs}, problems


def _train(files: Files, path: Path) -> tuple[Split, list[Problem]]:
    if not files.has(LABELS):
        raise InputError(
            f"{path} has a train folder but no {LABELS}; copy the competition's table there."
        )
    labels, bad = read_labels(files, path)
    images, twice = files.images(TRAIN)
    without_file = [i for i in labels if i not in images]
    without_label = [i for i in images if i not in labels]
    missing = problem(
        "missing file",
        without_file,
        f"{path / LABELS} lists {len(without_file)} id(s) with no file in {path / TRAIN}, "
        f"the first {without_file[0] if without_file else ''}; add the files or remove the rows.",
    )
    unlabeled = problem(
        "no label",
        without_label,
        f"{path / TRAIN} has {len(without_label)} file(s) with no label in {LABELS}, the first "
        f"{without_label[0] if without_label else ''}; add the labels or remove the files.",
    )
    ids = [i for i in labels if i in images and labels[i] is not None]
    values = np.array([labels[i] for i in ids], np.int8)
    return _split(TRAIN, ids, values, files, images), bad + twice + missing + unlabeled


def _split(
    name: str, ids: list[str], labels: np.ndarray | None, files: Files, images: Mapping[str, Any]
) -> Split:
    found = [images[i] for i in ids]

    def content(start: int, stop: int) -> str:
        return digest(str(files.size(one)) for one in found[start:stop])

    def original(row: int, size: Size | None) -> np.ndarray:
        return files.image(found[row], size)

    return Split(name, ids, labels, [None] * len(ids), content, patches(original), original)


def open_source(path: Path) -> Source:
    """Open the folder, the zip, or a folder that contains the zip.

    If labels and files do not match, the source has problems. Raises InputError for a damaged zip, and
    if the labels or the training folder are missing.
    """
    if path.is_dir() and (path / ZIP).is_file() and not (path / TRAIN).is_dir():
        path = path / ZIP
    files: Files = Zip(path) if path.is_file() else Folder(path)
    splits: dict[str, Split] = {}
    problems: list[Problem] = []
    if files.has(LABELS) and not files.has(TRAIN):
        raise InputError(
            f"{path} has {LABELS} but no train folder; unpack the competition's train folder there."
        )
    if files.has(TRAIN):
        splits[TRAIN], problems = _train(files, path)
    if files.has(TEST):
        images, twice = files.images(TEST)
        splits[TEST] = _split(TEST, list(images), None, files, images)
        problems += twice
    return Source(Kind.kaggle, str(path), PROTOCOL, splits, problems)
