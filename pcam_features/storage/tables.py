"""Reading and validating CSV tables."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LONGEST_HEADER, MOST_COLUMNS = 1 << 16, 4000  # bytes and columns of a CSV's first line
LARGEST_TABLE = 1 << 28  # bytes of a CSV that is read into memory


def read_table(path: Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Read a CSV as strings, with unique and nonempty `id`. `what` names the file in error messages.

    Raises InputError if the file is missing or invalid.
    """
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist; check the path.")
    if path.stat().st_size > LARGEST_TABLE:
        raise InputError(
            f"{what} {path} is larger than {LARGEST_TABLE >> 20} MiB, too large for a table of patches."
        )
    return parse_table(path, columns, f"{what} {path}")


def parse_table(file: Path | IO[bytes], columns: Sequence[str], name: str) -> pd.DataFrame:
    """Like `read_table`, for an existing file of acceptable size, which errors call `name`."""
    import pandas as pd

    check_header(file, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
            table = pd.read_csv(
                file, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
            )
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name} cannot be read as CSV: {reason}.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{name} has no column {' or '.join(missing)}; its columns are: {', '.join(table.columns)}."
        )
    if "id" in columns:
        check_ids(table["id"].tolist(), name)
    return table


def check_header(file: Path | IO[bytes], name: str) -> None:
    """Raise InputError for a CSV with an excessive first line, because every column takes time."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            start = opened.read(LONGEST_HEADER + 1)
    else:
        start = file.read(LONGEST_HEADER + 1)
        file.seek(0)
    first = start.partition(b"\n")[0]
    if len(first) > LONGEST_HEADER or first.count(b",") > MOST_COLUMNS:
        raise InputError(
            f"the first line of {name} is too long, or has too many columns, for a table of patches."
        )


def check_ids(ids: list[str], where: str) -> None:
    """Raise InputError if an id is empty or occurs twice."""
    if len(set(ids)) != len(ids):
        ((twice, _),) = Counter(ids).most_common(1)
        raise InputError(f"{where} has the id {twice[:100]} more than once; keep one row per id.")
    if "" in ids:
        raise InputError(f"{where} has an empty id in line {ids.index('') + 2}; fill it in.")
