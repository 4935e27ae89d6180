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
from typing import IO, TYPE_CHECKING, Any

from platformdirs import user_cache_path

from .errors import InputError, PcamError

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".part-written"  # the ending of what is not whole yet
LOCK = "lock"  # of a folder that one process at a time may write to
LONGEST_HEADER, MOST_COLUMNS = 1 << 16, 4000  # bytes and columns of a CSV's first line
LARGEST_JSON = 1 << 28  # bytes
LARGEST_TABLE = 1 << 28  # bytes of a CSV that is read into memory


def cache_root() -> Path:
    """Where what can be made again is kept."""
    chosen = os.environ.get("PCAM_CACHE_DIR")
    return Path(chosen) if chosen else user_cache_path("pcam-features", appauthor=False)


def flush(path: Path) -> None:
    """Have the system write a file to the disk, so that it outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` once the block ends, and never otherwise.

    Raises InputError if `path` is a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a file that can be replaced; name another one to write.")
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raises InputError if `path` cannot be written as a file: best known before the work."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{path} cannot be written as a file; name another one.")


def is_marked(path: Path, mark: str, key: str) -> bool:
    """Whether a folder holds the JSON file `mark` with `key` in it: that it is ours, and what it is."""
    try:
        return key in read_json(path / mark, mark)
    except InputError:
        return False


def check_free(path: Path, *, overwrite: bool, what: str, mark: str, key: str) -> None:
    """Raises InputError if `path` cannot be made: it exists and `overwrite` does not say to replace
    it, or it is not empty and not marked as ours, or its parent is no folder."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{what} {path} cannot be made: {parent} is not a folder one can write to.")
    if not path.name:
        raise InputError(f"{path} is no name for a {what}; give a new folder.")
    if path.exists() or path.is_symlink():
        if not overwrite:
            raise InputError(f"{what} {path} exists already; give another name or --overwrite.")
        if path.is_symlink() or not path.is_dir():
            raise InputError(f"{path} is not a folder of its own, so it is left as it is.")
        if any(path.iterdir()) and not is_marked(path, mark, key):
            raise InputError(
                f"{path} is not a {what} of pcam's ({mark} does not say so), so it is left as it is; "
                "give another folder."
            )


@contextmanager
def whole_folder(path: Path, *, overwrite: bool, what: str, mark: str, key: str) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` once the block ends, and never otherwise.

    Raises InputError as `check_free` does.
    """
    check_free(path, overwrite=overwrite, what=what, mark=mark, key=key)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check_free(
            path, overwrite=overwrite, what=what, mark=mark, key=key
        )  # once more: it took a while
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(whole: Path, path: Path) -> None:
    """Give a folder the name `path`, in the place of what is there."""
    old = path.with_name(f"{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(whole, path)
    shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what an interrupted run left half-written."""
    for leftover in folder.rglob(f"*{TEMPORARY}"):
        leftover.unlink()


def clear_folder(folder: Path, *kept: str) -> None:
    """Remove all that a folder holds but the files `kept`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in kept:
            entry.unlink()


@contextmanager
def one_process(folder: Path, doing: str) -> Iterator[None]:
    """Raises PcamError, naming what it is `doing`, while another process is in such a block."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PcamError(f"another process is {doing}; wait for it to end.") from None
    with lock:
        yield


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError, naming `what` it should be, if there is none."""
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_JSON):
        raise InputError(f"{what} {path} is no file, or too large.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{what} {path} is not a JSON object.")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_table(path: Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """A CSV's text, `id` unique and not empty. Raises InputError, naming `what` it should be."""
    if not path.is_file():
        raise InputError(f"{what} {path} does not exist.")
    if path.stat().st_size > LARGEST_TABLE:
        raise InputError(f"{what} {path} is larger than {LARGEST_TABLE >> 20} MiB.")
    return parse_table(path, columns, f"{what} {path}")


def parse_table(file: Path | IO[bytes], columns: Sequence[str], name: str) -> pd.DataFrame:
    """As `read_table`, from a file that is there and of a fit size; `name` is what errors call it."""
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
            f"{name} has no column {' or '.join(missing)}; it has: {', '.join(table.columns)}."
        )
    if "id" in columns:
        check_ids(table["id"].tolist(), name)
    return table


def check_header(file: Path | IO[bytes], name: str) -> None:
    """Raises InputError for a CSV with a first line out of all measure: each column takes its time."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            start = opened.read(LONGEST_HEADER + 1)
    else:
        start = file.read(LONGEST_HEADER + 1)
        file.seek(0)
    first = start.partition(b"\n")[0]
    if len(first) > LONGEST_HEADER or first.count(b",") > MOST_COLUMNS:
        raise InputError(
            f"{name} has too long a first line, or too many columns, for a table of patches."
        )


def check_ids(ids: list[str], where: str) -> None:
    """Raises InputError if an id is empty or stands twice."""
    if len(set(ids)) != len(ids):
        ((twice, _),) = Counter(ids).most_common(1)
        raise InputError(f"{where} has the id {twice[:100]} more than once.")
    if "" in ids:
        raise InputError(f"{where} has an empty id in row {ids.index('') + 2}.")
