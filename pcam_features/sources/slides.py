"""Which slide each patch comes from: a CSV with `id` and `slide` or `wsi`, or a named column."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from ..storage.tables import read_table

COLUMNS = ("slide", "wsi")
UNKNOWN = ("", "NA", "nan", "NaN", "None", "null")  # how tables say that a cell has no value
BESIDE = "slides.csv"  # used without being asked for where it lies in the source's folder


def column_of(names: Iterable[str]) -> str | None:
    """The column that says slides, if there is one."""
    there = set(names)
    return next((name for name in COLUMNS if name in there), None)


def known(slides: Iterable[str]) -> list[str | None]:
    """Slides, None where a cell says that it has no value."""
    return [None if slide in UNKNOWN else slide for slide in slides]


def parse(spec: str) -> tuple[Path, str | None]:
    """`FILE` or `FILE:COLUMN`; a file of that very name comes first."""
    if ":" in spec and not Path(spec).exists():
        file, column = spec.rsplit(":", 1)
        if column and not {"/", "\\"} & set(column):
            return Path(file), column
    return Path(spec), None


def read_slides(spec: str) -> dict[str, str]:
    """Slides by id; an empty cell is an unknown slide and left out.

    Raises InputError if the file, the column or unique ids are missing.
    """
    path, column = parse(spec)
    table = read_table(path, ("id",) if column is None else ("id", column), "slide table")
    if column is None:
        column = column_of(table.columns)
    if column is None:
        raise InputError(
            f"slide table {path} has no column {' or '.join(COLUMNS)}; name one as {path}:COLUMN "
            f"(it has: {', '.join(table.columns)})."
        )
    return {
        i: slide for i, slide in zip(table["id"], table[column], strict=True) if slide not in UNKNOWN
    }
