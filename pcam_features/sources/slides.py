"""The slide of each patch, from a CSV with `id` and `slide`, `wsi` or a named column."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from .columns import SLIDES, called, read_by_id

COLUMNS = ("slide", "wsi")
UNKNOWN = ("", "NA", "nan", "NaN", "None", "null")  # cells without a value
NOT_KNOWN = frozenset(("n/a", "#n/a", "<na>", "unk", "--", "?"))  # cells of labels and slides
NO_SLIDE = NOT_KNOWN | {"", "na", "nan", "none", "null", "unknown", "-"}
BESIDE = "slides.csv"  # used by default if it is in the source's folder


def column_of(names: Iterable[str]) -> str | None:
    """The column that names slides; None if there is none."""
    return next(iter(called(list(names), SLIDES)), None)


def is_unknown(slide: str) -> bool:
    """Whether a cell names no slide.

    Examples
    --------
    >>> [is_unknown(cell) for cell in (" Unknown", "n/a", "-", "", "slide_1")]
    [True, True, True, True, False]
    """
    return slide.strip().lower() in NO_SLIDE


def known(slides: Iterable[str]) -> list[str | None]:
    """Slides, with None for cells without a value."""
    return [None if is_unknown(slide) else slide.strip() for slide in slides]


def parse(spec: str) -> tuple[Path, str | None]:
    """Split `FILE:COLUMN`. If a file has that whole name, it is the file."""
    if ":" in spec and not Path(spec).exists():
        file, column = spec.rsplit(":", 1)
        if column and not {"/", "\\"} & set(column):
            return Path(file), column
    return Path(spec), None


def read_slides(spec: str) -> dict[str, str]:
    """Slides by id; patches without a known slide are left out.

    Raises InputError if the file or the column is missing, or if ids are not unique.
    """
    path, column = parse(spec)
    table = read_by_id(path, () if column is None else (column,), "slide table")
    if column is None:
        column = column_of(table.columns)
    if column is None:
        raise InputError(
            f"slide table {path} has no column {' or '.join(COLUMNS)}; name one as {path}:COLUMN "
            f"(it has: {', '.join(table.columns)})."
        )
    pairs = zip(table["id"].tolist(), table[column].tolist(), strict=True)  # faster than the columns
    return {i: slide.strip() for i, slide in pairs if not is_unknown(slide)}
