"""Files that are whole or absent, and tables of text that are what they should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".part-written"  # the ending of what is not whole yet
LARGEST_TABLE = 1 << 30  # bytes of a CSV that is read into memory


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` once the block ends, and never otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_free(path: Path, *, overwrite: bool, what: str, belongs: str) -> None:
    """Raises InputError if `path` exists, unless `overwrite` says to replace it; and then only a
    folder that holds `belongs` (the file that marks such a folder) or nothing is replaced."""
    if path.exists():
        if not overwrite:
            raise InputError(f"{what} {path} exists already; give another name or --overwrite.")
        if not path.is_dir() or (any(path.iterdir()) and not (path / belongs).is_file()):
            raise InputError(f"{path} is not a {what} (no {belongs} in it), so it is left as it is.")


@contextmanager
def whole_folder(path: Path, *, overwrite: bool, what: str, belongs: str) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` once the block ends, and never otherwise.

    Raises InputError as `check_free` does.
    """
    check_free(path, overwrite=overwrite, what=what, belongs=belongs)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError, naming `what` it should be, if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{what} {path} is not a JSON object.")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_table(path: Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """A CSV's text, `id` unique and not empty. Raises InputError, naming `what` it should be."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{what} {path} does not exist.")
    if path.stat().st_size > LARGEST_TABLE:
        raise InputError(f"{what} {path} is larger than {LARGEST_TABLE >> 20} MiB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
            table = pd.read_csv(
                path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
            )
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{what} {path} cannot be read as CSV: {reason}.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{what} {path} has no column {' or '.join(missing)}; it has: {', '.join(table.columns)}."
        )
    if "id" in columns:
        check_ids(table["id"].tolist(), f"{what} {path}")
    return table


def check_ids(ids: list[str], where: str) -> None:
    """Raises InputError if an id is empty or stands twice."""
    if len(set(ids)) != len(ids):
        ((twice, _),) = Counter(ids).most_common(1)
        raise InputError(f"{where} has the id {twice} more than once.")
    if "" in ids:
        raise InputError(f"{where} has an empty id in row {ids.index('') + 2}.")
