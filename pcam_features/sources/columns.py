"""Which column of a table holds ids, paths, labels, slides and splits.

A column is found by its name, from explicit lists, or by the option that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import InputError
from ..storage.tables import check_ids, header_of, plain, read_table, without_column
from .reading import TABLES
from .vocabulary import label_values, split_name, words, words_of

if TYPE_CHECKING:
    import pandas as pd

PATHS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img"),
    *("img_path", "image_file", "image_name", "img_name", "img_file", "patch", "patch_path"),
)
MORE_PATHS = (  # where there are no ids
    *("fname", "patch_name", "tile", "tile_path", "tile_name", "relative_path", "rel_path"),
)
IDS = ("id", "image_id", "patch_id", "img_id", "tile_id", "uid", "name")
LABELS = (
    *("label", "labels", "target", "targets", "class", "class_label", "label_id", "y", "cls", "tumor"),
    *("tumour", "is_tumor", "has_tumor", "cancer", "is_cancer", "has_cancer", "malignant", "gt"),
    *("ground_truth", "class_name", "label_name", "metastasis"),
)
SLIDES = (
    *("slide", "wsi", "slide_id", "slide_name", "wsi_id", "wsi_name", "patient", "patient_id"),
    *("case", "case_id", "case_no", "slide_no", "wsi_file", "svs", "subject_id", "specimen_id"),
    *("donor", "donor_id"),
)
SPLITS = ("split", "subset", "set", "partition")
MORE_SPLITS = (  # tables with one of these may tell splits
    *("data_split", "dataset_split", "split_name", "subset_name", "tvt", "which_set", "train_test"),
)
FLAGS = {  # columns that say of each row whether it is of a split
    "is_train": "train",
    "is_training": "train",
    "is_valid": "valid",
    "is_val": "valid",
    "is_validation": "valid",
    "is_test": "test",
}
TRAIN = "train"
MOST_SPLITS = 20  # different cells of a column that may name splits
FIRST_ROWS = 1000  # in which they are counted
# Folders of tables, beside the folders of images that these tables list.
OF_TABLES = words(
    "label labels table tables csv csvs split splits list lists manifest manifests metadata"
)
SHOWN = 20  # columns in a message


def is_table(path: Path) -> bool:
    """Whether this is the name of a table."""
    return path.name.lower().endswith(TABLES)


def bare(name: str) -> str:
    """The letters and digits of a column's name: the same for `slide_id`, `SlideID` and `slide.id`."""
    return re.sub(r"[\W_]+", "", name).lower()


def is_one_of(column: str, names: Iterable[str]) -> bool:
    """Whether a column has one of some names, however these are written."""
    return bare(column) in map(bare, names)


def called(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns of the first of some names that is there: as written, or else in any spelling."""
    exact = ([column for column in columns if plain(column) == name] for name in known)
    spelled = ([column for column in columns if bare(column) == bare(name)] for name in known)
    return next(filter(None, chain(exact, spelled)), [])


def find(columns: Sequence[str], known: Sequence[str], given: str | None, option: str) -> str | None:
    """The column of a kind; None if there is none.

    Parameters
    ----------
    columns
        The columns of the table.
    known
        The names of this kind, the clearest first.
    given
        The column that the user named; None to find one by its name.
    option
        The option that names it, for messages.

    Raises
    ------
    InputError
        If there is no column as given, or two of the same name.
    """
    if given is not None:
        alike = [column for column in columns if column == given]
        alike = alike or [column for column in columns if plain(column) == plain(given)]
        alike = alike or [column for column in columns if bare(column) == bare(given)]
    else:
        alike = called(columns, known)
    if len(alike) == 1 or not (alike or given):
        return alike[0] if alike else None
    wrong = "two columns" if alike else "no column"
    raise InputError(
        f"{option} {given or alike[0]}: the table has {wrong} of that name; its columns are: "
        f"{shown(columns)}."
    )


def read_by_id(path: Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Read a table with a row for each patch, and with `columns`; see `read_table`.

    Its column of ids, or else of file names, is found by its name and called `id`. Raises InputError
    if it has none, or an id is empty or occurs twice.
    """
    table = read_table(path, columns, what)
    where = f"{what} {path}"
    own = find(list(table.columns), (*IDS, *PATHS), None, where)
    if own is None:
        raise InputError(without_column(IDS[0], list(table.columns), where))
    table = table.rename(columns={own: IDS[0]})
    check_ids(table[IDS[0]].tolist(), where)
    return table


def shown(columns: Sequence[str]) -> str:
    """The columns of a table, for a message."""
    return ", ".join(columns[:SHOWN]) + (", …" if len(columns) > SHOWN else "")


def label_column(columns: Sequence[str], given: str | None, where: str) -> str | None:
    """The column of labels; None if there is none.

    Raises InputError if several may be meant and none is called `label`.
    """
    found = find(columns, label_names(columns), given, "--label-column")
    alike = labels_like(columns)
    if given is None and len(alike) > 1 and found is not None and bare(found) != LABELS[0]:
        raise InputError(
            f"{where} has several columns that may be labels ({', '.join(alike)}); name one with "
            "--label-column COLUMN."
        )
    return found


def label_names(columns: Sequence[str]) -> list[str]:
    """The names by which a column of labels is found in a table with these columns."""
    a_place = "x" in map(bare, columns)  # x and y are a place
    return [name for name in LABELS if name != "y" or not a_place]


def labels_like(columns: Sequence[str]) -> list[str]:
    """The columns that may be labels."""
    names = set(map(bare, label_names(columns)))
    return [column for column in columns if bare(column) in names]


class CellSplits(NamedTuple):
    """The split of each row of a table, and a note on the column that says it."""

    rows: list[str]
    note: str


def split_cells(table: pd.DataFrame, used: Sequence[str], where: str) -> CellSplits | None:
    """The splits that columns not `used` name; None if there are none.

    It is a column of which every cell is the name of a split, `train` and others, or else columns
    such as `is_valid`, with only true and false in them. Raises InputError if several may be meant.
    """
    some = table.head(FIRST_ROWS)
    rest = [c for c in table.columns if c not in used and some[c].nunique() <= MOST_SPLITS]
    told = {c: {cell: split_name(cell) for cell in table[c].unique()} for c in rest}
    found = [c for c, named in told.items() if all(named.values()) and {TRAIN} < {*named.values()}]
    if len(found) > 1:
        raise InputError(
            f"{where} has several columns that name splits ({', '.join(found)}); keep one of them, "
            "called split."
        )
    if found:
        named = told[found[0]]
        return CellSplits(
            [str(named[cell]) for cell in table[found[0]]], f"splits are in column {found[0]}"
        )
    return flagged(table, rest, where)


def flagged(table: pd.DataFrame, columns: Sequence[str], where: str) -> CellSplits | None:
    """The splits by columns of true and false that are called `FLAGS`; None if there are none.

    A row of none is of `train`, or of `test` if there is a column for `train`. Raises InputError for a
    row of two.
    """
    by_name = {bare(name): split for name, split in FLAGS.items()}
    labels = {c: label_values(table[c].unique()) for c in columns if bare(c) in by_name}
    flags = {c: told for c, told in labels.items() if len(told) == table[c].nunique()}
    if not flags:
        return None
    splits = ["test" if TRAIN in map(by_name.get, map(bare, flags)) else TRAIN] * len(table)
    said = np.zeros(len(table), int)
    for column, told in flags.items():
        of = table[column].map(told).to_numpy(int)
        said += of
        splits = [
            by_name[bare(column)] if one else split for one, split in zip(of, splits, strict=True)
        ]
    if said.max(initial=0) > 1:
        row = int(said.argmax())
        raise InputError(
            f"{where}, line {row + 2} is of several splits by {', '.join(flags)}; correct it."
        )
    if len(set(splits)) == 1:
        return None
    if 2 * splits.count(TRAIN) < len(splits):
        note = f"{', '.join(flags)} is not read: most rows would not be of train"
        return CellSplits([TRAIN] * len(splits), note)
    return CellSplits(splits, f"splits are in {', '.join(flags)}")


def one_hot(table: pd.DataFrame, used: Sequence[str]) -> list[str] | None:
    """The name of the column with 1 in each row, of several columns of 0 and 1; None without these."""
    columns = [
        column
        for column in table.columns
        if column not in used and table[column].str.strip().isin(("0", "1", "0.0", "1.0")).all()
    ]
    values = table[columns].astype(float).to_numpy()
    if len(columns) < 2 or not len(table) or (values.sum(axis=1) != 1).any():
        return None
    return [columns[k] for k in values.argmax(axis=1).tolist()]


def tables_in(folder: Path, besides: Sequence[str] = (), *, labeled: bool = True) -> list[Path]:
    """The tables in a folder that have ids or paths, by name; not those called `besides`.

    If `labeled`, only those that have labels.
    """
    found = []
    known, labels = set(map(bare, (*PATHS, *IDS))), set(map(bare, LABELS))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (
            not is_table(path)
            or path.name.startswith(".")
            or path.name in besides
            or not path.is_file()
        ):
            continue
        columns = {bare(column) for column in header_of(path)}
        if columns & known and (columns & labels or not labeled):
            found.append(path)
    return found


def is_of_tables(folder: Path) -> bool:
    """Whether a folder is called as one of tables is, such as `labels` and `csv_files`."""
    told = [word for word in words_of(folder.name) if word not in ("file", "files", "data")]
    return bool(told) and OF_TABLES.issuperset(told)


def folder_of_tables(folder: Path) -> Path:
    """The folder that has the tables of a folder of images: itself, or a folder of tables in it."""
    try:
        if not folder.is_dir() or tables_in(folder):
            return folder
        inside = [
            one for one in folder.iterdir() if one.is_dir() and is_of_tables(one) and tables_in(one)
        ]
    except PermissionError:
        return folder
    return inside[0] if len(inside) == 1 else folder
