"""Kaggle's *Histopathologic Cancer Detection*, as a folder or as the downloaded zip.

train/<id>.tif   test/<id>.tif   train_labels.csv (id,label)   sample_submission.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.ids import examples, stem
from ..storage.tables import check_ids, parse_table, read_table
from ..words import counted
from . import tree
from .archive import Archive
from .class_labels import meaning, not_read
from .columns import IDS, PATHS, find, label_column, shown, tables_in
from .fitting import Size
from .images import LARGEST_FILE, by_id, patch_of, patches, read_patch
from .reading import EVERYTHING, Reading
from .source import Part, Problem, Source, Split, digest, problem, source_of

LABELS = "train_labels.csv"
PACKED = f"{LABELS}.gz"
SAMPLE = "sample_submission.csv"
TRAIN, TEST = "train", "test"
LARGEST_ZIPPED = 1 << 26  # bytes of a table in a zip; Kaggle's table has nine million
ZIP = "histopathologic-cancer-detection.zip"
PROTOCOL = (
    "A patch is positive if its center 32x32 contains tumor. Patches of one slide must stay in one "
    "fold. The competition does not name slides, and its test patches come from other slides."
)


@dataclass(frozen=True)
class Listing:
    """The images of a folder by id, ids that occur twice, and what is not read."""

    files: Mapping[str, Any]
    problems: Sequence[Problem]
    unread: Sequence[Problem] = ()


class Files(Protocol):
    """The files of the competition, in a folder or a zip.

    `images` gives a file for each id, which `size` and `image` accept.
    """

    def has(self, name: str) -> bool: ...
    def table(self, name: str) -> pd.DataFrame: ...
    def images(self, folder: str) -> Listing: ...
    def size(self, file: Any) -> int: ...
    def image(self, file: Any, size: Size | None) -> np.ndarray: ...


class Folder:
    """The unpacked competition."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / name).exists() or (name == LABELS and (self.path / PACKED).is_file())

    def table(self, name: str) -> pd.DataFrame:
        there = (self.path / name).exists()
        return read_table(self.path / (name if there else PACKED), (), "label table")

    def images(self, folder: str) -> Listing:
        found = tree.walk(self.path / folder)
        paths = [path for paths in found.folders.values() for path in paths]
        if len(found.folders) > 1:  # each folder is in order already
            paths.sort()
        files, twice = by_id((path.stem, path) for path in paths)
        return Listing(files, twice, found.problems())

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

    def other_folders(self) -> list[str]:
        """The folders of images other than `test`."""
        return sorted(
            str(folder)
            for folder, names in self.folders.items()
            if folder.name != TEST
            and any(map(tree.is_image, names))
            and not any(map(tree.is_litter, folder.parts))
        )

    def has(self, name: str) -> bool:
        inside = self.root / name
        return str(inside) in self.archive.members or any(
            folder == inside or inside in folder.parents for folder in self.folders
        )

    def table(self, name: str) -> pd.DataFrame:
        content = self.archive.read(str(self.root / name), LARGEST_ZIPPED)
        return parse_table(content, (), f"label table {self.path}: {name}")

    def images(self, folder: str) -> Listing:
        inside = self.root / folder
        names = sorted(
            name
            for parent, own in self.folders.items()
            if parent == inside or inside in parent.parents
            for name in own
            if not any(map(tree.is_litter, PurePosixPath(name).parts))
        )
        files, twice = by_id((PurePosixPath(n).stem, n) for n in names if tree.is_image(n))
        other = [name for name in names if tree.is_foreign(name)]
        where = f"{self.path}: {folder}"
        return Listing(files, twice, [tree.left_out(tree.OTHER, other, where)] if other else [])

    def size(self, file: str) -> int:
        return self.archive.members[file].file_size

    def image(self, file: str, size: Size | None) -> np.ndarray:
        return patch_of(self.archive.read(file, LARGEST_FILE), self.path / file, size)


def recognize(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".zip"
    if any((path / name).is_file() for name in (LABELS, PACKED, SAMPLE, ZIP)):
        return True
    if tables_in(path):
        return False  # images with labels in another table
    folders = [path / TRAIN, path / TEST]
    return any(f.suffix == ".tif" for folder in folders if folder.is_dir() for f in folder.iterdir())


def read_labels(
    files: Files, path: Path, reading: Reading
) -> tuple[dict[str, int | None], list[Problem]]:
    """The labels by id, in the table's order, and problems.

    A label that says neither 0 nor 1 becomes None and is a problem. Rows without a label are left out.
    """
    table, where = files.table(LABELS), f"label table {path / LABELS}"
    columns = list(table.columns)
    ids = find(columns, (*IDS, *PATHS), reading.id_column, "--id-column")
    told_by = label_column(columns, reading.label_column, where)
    missing = [name for name, found in (("id", ids), ("label", told_by)) if found is None]
    if ids is None or told_by is None:
        raise InputError(
            f"{where} has no column {' or '.join(missing)}; its columns are: {shown(columns)}; name it "
            f"with --{missing[0]}-column."
        )
    check_ids(table[ids].tolist(), where)
    told = meaning(table[told_by].unique().tolist())
    pairs = [
        (i, label)
        for i, label in zip(table[ids].tolist(), table[told_by].tolist(), strict=True)
        if told.get(label, 0) is not None
    ]
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


def padded(labels: dict[str, int | None], images: Mapping[str, Any]) -> dict[str, int | None]:
    """The labels by id, where a spreadsheet took the zeros off ids that are numbers.

    Only if no id is an image, and each number is one image's.
    """
    numbers = {int(i): i for i in images if i.isdecimal()}
    clear = len(numbers) == len(images) and all(i.isdecimal() for i in labels)
    if not clear or any(i in images for i in labels):
        return labels
    named = {i: numbers.get(int(i), i) for i in labels}
    return (
        {named[i]: label for i, label in labels.items()}
        if len(set(named.values())) == len(named)
        else labels
    )


def without_suffix(labels: dict[str, int | None], images: Mapping[str, Any]) -> dict[str, int | None]:
    """The labels by id, where ids are file names such as `ID.tif` and only `ID` is an image."""
    named = {i: stem(i) if i not in images and tree.is_image(i) else i for i in labels}
    if len(set(named.values())) < len(named):
        return labels
    return {named[i]: label for i, label in labels.items()}


def _train(files: Files, path: Path, reading: Reading) -> Part:
    if not files.has(LABELS):
        raise InputError(
            f"{path} has a train folder but no {LABELS}; copy the competition's table there."
        )
    told, bad = read_labels(files, path, reading)
    listing = files.images(TRAIN)
    images = listing.files
    whole = without_suffix(told, images)
    notes = [f"ids of {LABELS} are file names; ids are these without their suffix"] * (whole != told)
    labels = padded(whole, images)
    notes += [f"ids of {LABELS} lack zeros at their start; files were found by number"] * (
        labels != whole
    )
    without_file = [i for i in labels if i not in images]
    without_label = [i for i in images if i not in labels]
    unread = list(listing.unread)
    if without_file:
        where = f"{path / LABELS} (no file in {path / TRAIN})"
        unread.append(not_read(tree.NO_FILE, without_file, where, reading))
    if without_label:
        where = f"{path / TRAIN} (not in {LABELS})"
        unread.append(not_read(tree.NO_LABEL, without_label, where, reading))
    ids = [i for i in labels if i in images and labels[i] is not None]
    if not ids and not bad:
        raise InputError(
            f"{path / LABELS} has a label for none of the {counted(len(images), 'image')} in "
            f"{path / TRAIN}; copy the table of these images there (its ids are such as "
            f"{examples(labels)}, the images' {examples(images)})."
        )
    values = np.array([labels[i] for i in ids], np.int8)
    split = _split(TRAIN, ids, values, files, images)
    return Part(split, [*bad, *listing.problems], unread, notes)


def _split(
    name: str, ids: list[str], labels: np.ndarray | None, files: Files, images: Mapping[str, Any]
) -> Split:
    found = [images[i] for i in ids]

    def content(start: int, stop: int) -> str:
        return digest(str(files.size(one)) for one in found[start:stop])

    def original(row: int, size: Size | None) -> np.ndarray:
        return files.image(found[row], size)

    return Split(name, ids, labels, [None] * len(ids), content, patches(original), original)


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open the folder, the zip, or a folder that contains the zip.

    If labels and files do not match, the source has problems. Raises InputError for a damaged zip, and
    if the labels or the training folder are missing.
    """
    if path.is_dir() and (path / ZIP).is_file() and not (path / TRAIN).is_dir():
        path = path / ZIP
    files: Files = Zip(path) if path.is_file() else Folder(path)
    parts: list[Part] = []
    if files.has(LABELS) and not files.has(TRAIN):
        inner = f"{TRAIN}.zip"
        what = (
            f"its {inner} to a folder {TRAIN}" if files.has(inner) else "the competition's train folder"
        )
        where = "; unpack it, and " if path.is_file() else "; "
        raise InputError(f"{path} has {LABELS} but no train folder{where}unpack {what} there.")
    if isinstance(files, Zip) and not files.has(LABELS) and (listed := files.other_folders()):
        raise InputError(
            f"{path} has no {LABELS}, and holds images in {', '.join(listed[:3])}; unpack it and give "
            "the folder."
        )
    if files.has(TRAIN):
        parts.append(_train(files, path, reading))
    if files.has(TEST):
        listing = files.images(TEST)
        test = _split(TEST, list(listing.files), None, files, listing.files)
        parts.append(Part(test, listing.problems, listing.unread))
    return source_of(Kind.kaggle, path, PROTOCOL, parts)
