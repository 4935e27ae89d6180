"""Kaggle's *Histopathologic Cancer Detection*, as a folder or as the downloaded zip.

train/<id>.tif   test/<id>.tif   train_labels.csv (id,label)   sample_submission.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import filterfalse
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import check_ids, parse_table, plain, read_table
from ..words import counted
from . import tree
from .archive import Archive
from .class_labels import NO_SPLITS, check_agreement, meaning, not_read
from .columns import (
    IDS,
    PATHS,
    SPLITS,
    find,
    label_column,
    shown,
    split_cells,
    tables_in,
)
from .fitting import Size
from .ids import examples, stem
from .images import LARGEST_FILE, by_id, patch_of, patches, read_patch
from .reading import EVERYTHING, TABLES, Reading
from .slides import BESIDE, column_of
from .slides import known as known_slides
from .source import Part, Problem, Source, Split, digest, problem, source_of, train_first
from .vocabulary import classes_of, split_name

LABELS = "train_labels.csv"
PACKED = f"{LABELS}.gz"
SAMPLE = "sample_submission.csv"
TRAIN, TEST = "train", "test"
ELSEWHERE = "image outside of train and test"
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

    `images` gives a file for each id, which `size` and `image` accept. `beside` are the names of images
    that are in neither of the competition's folders, `tables` those of other tables of labels.
    """

    def has(self, name: str) -> bool: ...
    def table(self, name: str) -> pd.DataFrame: ...
    def images(self, folder: str) -> Listing: ...
    def beside(self) -> list[str]: ...
    def tables(self) -> list[str]: ...
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

    def beside(self) -> list[str]:
        entries = [one for one in sorted(self.path.iterdir()) if not tree.is_litter(one.name)]
        files = [one for one in entries if tree.is_patch(one)]
        for folder in entries:
            if folder.name not in (TRAIN, TEST) and split_name(folder.name) and folder.is_dir():
                files += [file for own in tree.walk(folder).folders.values() for file in own]
        return [str(file.relative_to(self.path)) for file in files]

    def tables(self) -> list[str]:
        return [table.name for table in tables_in(self.path, (LABELS, PACKED, SAMPLE, BESIDE))]

    def size(self, file: Path) -> int:
        return file.stat().st_size

    def image(self, file: Path, size: Size | None) -> np.ndarray:
        return read_patch(file, size)


class Zip:
    """The competition's zip, read without unpacking. Its files may be in a folder of the zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = Archive(path)
        self.files = [name for name in self.archive.members if not is_litter(name)]
        self.folders: dict[PurePosixPath, list[str]] = {}
        for name in filterfalse(is_litter, self.archive.names):
            self.folders.setdefault(PurePosixPath(name).parent, []).append(name)
        self.root = min(
            (PurePosixPath(name).parent for name in self.files if name.split("/")[-1] == LABELS),
            key=lambda folder: len(folder.parts),
            default=PurePosixPath(),
        )

    def other_folders(self) -> list[str]:
        """The folders of images other than `test`."""
        return sorted(
            str(folder)
            for folder, names in self.folders.items()
            if folder.name != TEST and any(map(tree.is_image, names))
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
        )
        files, twice = by_id((PurePosixPath(n).stem, n) for n in names if tree.is_image(n))
        other = [name for name in names if tree.is_foreign(name)]
        where = f"{self.path}: {folder}"
        return Listing(files, twice, [tree.left_out(tree.OTHER, other, where)] if other else [])

    def beside(self) -> list[str]:
        own = (self.root / TRAIN, self.root / TEST)
        return [
            name
            for folder, names in self.folders.items()
            if not any(one == folder or one in folder.parents for one in own)
            for name in names
            if tree.is_image(name)
        ]

    def tables(self) -> list[str]:
        own = (str(self.root / LABELS), str(self.root / SAMPLE), str(self.root / BESIDE))
        return [name for name in self.files if name.endswith(TABLES) and name not in own]

    def size(self, file: str) -> int:
        return self.archive.members[file].file_size

    def image(self, file: str, size: Size | None) -> np.ndarray:
        return patch_of(self.archive.read(file, LARGEST_FILE), self.path / file, size)


def is_litter(member: str) -> bool:
    """Whether programs left a file of a zip behind, or its folder."""
    return any(map(tree.is_litter, PurePosixPath(member).parts))


def tables_of(folder: Path) -> tuple[str, ...]:
    """The names of the competition's tables in its folder; none where images lie in other folders."""
    elsewhere = (folder / LABELS).is_file() and other_images(folder)
    return (SAMPLE,) if elsewhere else (SAMPLE, LABELS)


def other_images(folder: Path) -> bool:
    """Whether a folder has folders of images, and none of them is the competition's."""
    if not folder.is_dir() or any((folder / name).exists() for name in (TRAIN, TEST, ZIP)):
        return False
    return tree.has_images(folder)


def recognize(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() == ".zip"
    if any((path / name).is_file() for name in (LABELS, PACKED)) and not other_images(path):
        return True
    no_classes = not (path / TRAIN).is_dir() or has_tiffs(path / TRAIN)
    if (path / ZIP).is_file():
        return True
    if (path / SAMPLE).is_file() and no_classes and not other_images(path):
        return True
    if tables_in(path):
        return False  # images with labels in another table
    return any(has_tiffs(folder) for folder in (path / TRAIN, path / TEST) if folder.is_dir())


def has_tiffs(folder: Path) -> bool:
    """Whether a folder's own files are patches as the competition has them."""
    return any(file.suffix == ".tif" for file in folder.iterdir())


@dataclass(frozen=True)
class LabelTable:
    """What the table of labels says, by id in its order: labels, slides and splits, problems and notes.

    A label that says neither 0 nor 1 is None. `splits` is empty if the table names none.
    """

    labels: dict[str, int | None]
    slides: dict[str, str | None]
    splits: dict[str, str]
    problems: Sequence[Problem]
    notes: Sequence[str]


def read_labels(files: Files, path: Path, reading: Reading) -> LabelTable:
    """Read the table of labels.

    A label that says neither 0 nor 1 is a problem. Rows without a label are left out.
    """
    table, where = files.table(LABELS), f"label table {path / LABELS}"
    columns = list(table.columns)
    ids = find(columns, (*IDS, *PATHS), reading.id_column, "--id-column")
    told_by = label_column(columns, reading.label_column, where)
    missing = [name for name, found in (("id", ids), ("label", told_by)) if found is None]
    if ids is None or told_by is None:
        no_names = {"0", "1"} & {plain(column) for column in columns}
        option = f"name it with --{missing[0]}-column"
        advice = "the first line has to name the columns: id,label" if no_names else option
        none = " or ".join(missing)
        raise InputError(f"{where} has no column {none}; its columns are: {shown(columns)}; {advice}.")
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
    rows = table[ids].tolist()
    if reading.label_column is None:
        check_agreement(table, told_by, where)
    slide, split = column_of(columns), find(columns, SPLITS, None, "split")
    named = [split_name(cell) for cell in table[split]] if split else []
    notes = [] if all(named) else [NO_SPLITS]
    in_cells = None if split else split_cells(table, [c for c in (ids, told_by, slide) if c], where)
    if in_cells is not None and TEST in in_cells.rows and files.has(TEST):
        notes = [f"{in_cells.note}, which is not read, because there is a folder {TEST}"]
    elif in_cells is not None:
        named, notes = [*in_cells.rows], [in_cells.note]
    splits = {i: name for i, name in zip(rows, named, strict=False) if name}
    return LabelTable(
        {i: told.get(label) for i, label in pairs},
        dict(zip(rows, known_slides(table[slide]), strict=True)) if slide else {},
        splits if all(named) else {},
        problems,
        notes,
    )


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


def _train(files: Files, path: Path, reading: Reading) -> list[Part]:
    """The split `train`, or the splits into which the table of labels divides it."""
    if not files.has(LABELS):
        raise InputError(
            f"{path} has a train folder but no {LABELS}; copy the competition's table there."
        )
    table = read_labels(files, path, reading)
    told, bad = table.labels, table.problems
    listing = files.images(TRAIN)
    images = listing.files
    whole = without_suffix(told, images)
    notes = [*table.notes]
    notes += [f"ids of {LABELS} are file names; ids are these without their suffix"] * (whole != told)
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
    own_name = dict(zip(labels, told, strict=True))  # of an id, in the table
    split_of = {i: table.splits.get(own_name[i], TRAIN) for i in ids}
    parts = []
    for name in train_first(set(split_of.values())) if ids else (TRAIN,):
        own = [i for i in ids if split_of[i] == name]
        values = np.array([labels[i] for i in own], np.int8)
        split = _split(name, own, values, files, images)
        parts.append(Part(replace(split, slides=[table.slides.get(own_name[i]) for i in own])))
    problems = [*bad, *listing.problems]
    return [replace(parts[0], problems=problems, unread=unread, notes=notes), *parts[1:]]


def labels_by_folder(images: Mapping[str, Any]) -> np.ndarray | None:
    """The labels of images in folders of classes; None unless all are in such folders."""
    names = [PurePosixPath(str(file)).parent.name for file in images.values()]
    known = classes_of(set(names))
    labels = [None if (own := known[name]) is None else own.label for name in names]
    by_number = any(own is not None and own.by_number for own in known.values())
    clear = bool(labels) and None not in labels and (not by_number or set(labels) == {0, 1})
    return np.array(labels, np.int8) if clear else None


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
        parts += _train(files, path, reading)
    if files.has(TEST):
        if any(part.split.name == TEST for part in parts):
            raise InputError(
                f"{path}: {LABELS} names patches of split {TEST}, and there is a folder {TEST}; rename "
                "the folder or that split."
            )
        listing = files.images(TEST)
        labels = labels_by_folder(listing.files)
        test = _split(TEST, list(listing.files), labels, files, listing.files)
        notes = [f"labels of {TEST} are its folders"] * (labels is not None)
        parts.append(Part(test, listing.problems, listing.unread, notes))
    unread = [
        tree.left_out(reason, names, str(path))
        for reason, names in ((ELSEWHERE, files.beside()), (tree.TABLE, files.tables()))
        if names
    ]
    source = source_of(Kind.kaggle, path, PROTOCOL, parts)
    return replace(source, unread=[*source.unread, *unread])
