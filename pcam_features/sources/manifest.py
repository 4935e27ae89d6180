"""A table of image files: a CSV with `path` and, where they are known, `id, label, slide, split`.

Paths are taken from the table's folder on, and do not leave it. Without `id` a patch is called as its
file without the ending, without `split` all are `train`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import read_table
from . import kaggle
from .images import by_id, content_of, originals, patches
from .slides import UNKNOWN, column_of
from .slides import known as known_slides
from .source import Problem, Source, Split, problem, source_of, whole_labels

NAME = "manifest.csv"  # in a folder, it is the folder's
PATH, ID, LABEL, SPLIT = "path", "id", "label", "split"
PROTOCOL = (
    "Patches as a table lists them. Whether splits share slides is for the one who made it to say."
)


def recognize(path: Path) -> bool:
    return path.suffix.lower() == ".csv" if path.is_file() else (path / NAME).is_file()


def inside(folder: Path, path: str, where: str) -> Path:
    """A path of a table's. Raises InputError if it leads out of the table's folder."""
    root = os.path.normpath(folder.absolute())
    if "\0" in path or not path:
        raise InputError(f"{where} is no path of a file: {path[:100]!r}.")
    found = os.path.normpath(os.path.join(root, path))
    if os.path.commonpath([root, found]) != root or found == root:
        raise InputError(
            f"{where} leads out of {root}: {path[:100]!r}; put the table above its images."
        )
    return Path(found)


def split_of(name: str, rows: pd.DataFrame, where: str) -> tuple[Split, list[Problem]]:
    """One split from rows with ID, `file` (a Path), LABEL and `slide`; what has no file is left out."""
    files, twice = by_id(zip(rows[ID], rows["file"], strict=True))
    there = {
        i: file for i, file in files.items() if os.path.isfile(file)
    }  # also false for names that cannot be
    gone = [i for i in files if i not in there]
    first = files[gone[0]] if gone else ""
    says = f"{where} lists {len(gone)} file(s) that are not there, the first {first}; complete them."
    rows_by_id = rows.drop_duplicates(ID).set_index(ID)
    ids, paths = list(there), list(there.values())
    labels = whole_labels(rows_by_id.loc[ids, LABEL].tolist(), f"{where}, split {name}")
    slides = known_slides(rows_by_id.loc[ids, "slide"])
    original = originals(paths)
    split = Split(name, ids, labels, slides, content_of(paths), patches(original), original)
    return split, twice + problem("missing file", gone, says)


def read_labels(table: pd.DataFrame, where: str) -> list[int | None]:
    if LABEL not in table:
        return [None] * len(table)
    # As pandas writes them where some are missing: 1.0.
    told = {"0": 0, "1": 1, "0.0": 0, "1.0": 1} | dict.fromkeys(UNKNOWN)
    for row, label in enumerate(table[LABEL]):
        if label not in told:
            raise InputError(f"{where}, line {row + 2}: the label is {label[:100]!r}, not 0 or 1.")
    return [told[label] for label in table[LABEL]]


def open_source(path: Path) -> Source:
    """Raises InputError for a table that is none, a path that leads out of its folder, and labels that
    are not 0, 1 or, in a whole split, absent."""
    path = path if path.is_file() else path / NAME
    if path.name in (kaggle.LABELS, kaggle.SAMPLE):
        raise InputError(f"{path} is a table of Kaggle's labels; give its folder: {path.parent}.")
    table = read_table(path, (PATH,), "manifest")
    where = f"manifest {path}"
    files = [inside(path.parent, file, f"{where}, line {k + 2}") for k, file in enumerate(table[PATH])]
    slide = column_of(table.columns)
    labels = pd.array(read_labels(table, where), dtype="object")
    rows = pd.DataFrame(
        {
            ID: table[ID] if ID in table else [file.stem for file in files],
            "file": files,
            LABEL: pd.Series(list(labels), dtype="object"),
            "slide": table[slide] if slide else "",
            SPLIT: table[SPLIT].replace("", "train") if SPLIT in table else "train",
        }
    )
    made = {
        str(name): split_of(str(name), part, where) for name, part in rows.groupby(SPLIT, sort=False)
    }
    return source_of(Kind.manifest, path, PROTOCOL, made)
