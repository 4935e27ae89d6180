"""A table of image files: a CSV with `path` and optionally `id`, `label`, `slide` and `split`.

Paths are relative to the table's folder and must stay in it. Without `id`, the id is the file's name
without suffix. Without `split`, all patches are in `train`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import read_table
from ..words import counted, form
from . import kaggle
from .images import by_id, content_of, originals, patches
from .slides import UNKNOWN, column_of
from .slides import known as known_slides
from .source import Problem, Source, Split, problem, source_of, whole_labels

NAME = "manifest.csv"  # the table's name in a folder that is given as the source
PATH, ID, LABEL, SPLIT = "path", "id", "label", "split"
PROTOCOL = (
    "Patches as listed in a table. Only the author of the table knows whether splits share slides."
)


def recognize(path: Path) -> bool:
    return path.suffix.lower() == ".csv" if path.is_file() else (path / NAME).is_file()


def inside(folder: Path, path: str, where: str) -> Path:
    """The file at a relative path. Raises InputError if it leads out of the table's folder."""
    root = os.path.normpath(folder.absolute())
    if "\0" in path or not path:
        raise InputError(f"{where} is not the path of a file: {path[:100]!r}; correct it.")
    found = os.path.normpath(os.path.join(root, path))
    if os.path.commonpath([root, found]) != root or found == root:
        raise InputError(
            f"{where} leads out of {root}: {path[:100]!r}; move the table to a folder above its images."
        )
    return Path(found)


def split_of(name: str, rows: pd.DataFrame, where: str) -> tuple[Split, list[Problem]]:
    """A split from rows with ID, `file` (a Path), LABEL and `slide`, if the file exists."""
    files, twice = by_id(zip(rows[ID], rows["file"], strict=True))
    there = {
        i: file for i, file in files.items() if os.path.isfile(file)
    }  # also false for impossible names
    gone = [i for i in files if i not in there]
    first = files[gone[0]] if gone else ""
    says = (
        f"{where} lists {counted(len(gone), 'file')} that {form(len(gone), 'is', 'are')} not "
        f"there, the first {first}; add the files or "
        "remove the rows."
    )
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
    # pandas writes 1.0 if some labels are missing.
    told = {"0": 0, "1": 1, "0.0": 0, "1.0": 1} | dict.fromkeys(UNKNOWN)
    for row, label in enumerate(table[LABEL]):
        if label not in told:
            raise InputError(
                f"{where}, line {row + 2}: the label is {label[:100]!r}, not 0 or 1; correct it."
            )
    return [told[label] for label in table[LABEL]]


def open_source(path: Path) -> Source:
    """Open a table of image files.

    Raises InputError for a damaged table, for a path that leads out of its folder, and for labels other
    than 0 and 1. Labels may be absent in a whole split.
    """
    path = path if path.is_file() else path / NAME
    if path.name in (kaggle.LABELS, kaggle.SAMPLE):
        raise InputError(f"{path} is Kaggle's label table; give its folder: {path.parent}.")
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
