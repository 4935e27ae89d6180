"""Files and folders that are either complete or absent, and JSON files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from ..errors import InputError, PcamError

TEMPORARY = ".part-written"  # suffix of incomplete files and folders
LOCK = "lock"  # the lock file of a folder that only one process may write to at a time
LARGEST_JSON = 1 << 28  # bytes


def cache_root() -> Path:
    """The user's cache folder, for files that can be created again."""
    chosen = os.environ.get("PCAM_CACHE_DIR")
    return Path(chosen) if chosen else user_cache_path("pcam-features", appauthor=False)


def flush(path: Path) -> None:
    """Flush a file to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to. It becomes `path` only if the block ends without an error.

    Raises InputError if `path` is a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; choose another file name.")
    path = path.resolve()  # replace the target of a link, not the link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Raise InputError if `path` cannot be written as a file. Call this before long work."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{path} cannot be written as a file; choose another file name.")


def is_marked(path: Path, mark: str, key: str) -> bool:
    """Whether a folder has the JSON file `mark` with the entry `key`, and so was written by pcam.

    A file that is damaged further on still marks the folder if `key` is its first entry, as pcam writes
    it. So what is damaged can be overwritten.
    """
    try:
        return key in read_json(path / mark, mark)
    except InputError:
        return begins_with(path / mark, key)


def begins_with(file: Path, key: str) -> bool:
    """Whether a file begins as a JSON object whose first entry is `key`."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        start = stream.read(len(key) + 100)
    return re.match(rb'\s*\{\s*"%s"\s*:' % re.escape(key).encode(), start) is not None


def check_free(path: Path, *, overwrite: bool, what: str, mark: str, key: str) -> None:
    """Raise InputError if the folder `path` cannot be created.

    It cannot be created if it exists and `overwrite` is false, if it is not empty and not marked as
    pcam's, or if its parent is not a folder.
    """
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(
            f"{what} {path} cannot be created: {parent} is not a writable folder; choose another path."
        )
    if not path.name:
        raise InputError(f"{path} cannot be the name of a {what}; choose the name of a new folder.")
    if path.exists() or path.is_symlink():
        if not overwrite:
            raise InputError(f"{what} {path} exists already; choose another name or use --overwrite.")
        if path.is_symlink() or not path.is_dir():
            raise InputError(
                f"{path} is a link or a file, so it is left as it is; choose another name."
            )
        if any(path.iterdir()) and not is_marked(path, mark, key):
            raise InputError(
                f"{path} was not created by pcam as a {what} (no valid {mark}), so it is left as it "
                "is; choose another folder."
            )


@contextmanager
def whole_folder(path: Path, *, overwrite: bool, what: str, mark: str, key: str) -> Iterator[Path]:
    """Yield a temporary folder to fill. It becomes `path` only if the block ends without an error.

    Raises InputError as `check_free` does.
    """
    check_free(path, overwrite=overwrite, what=what, mark=mark, key=key)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        check_free(
            path, overwrite=overwrite, what=what, mark=mark, key=key
        )  # check again, because filling the folder took time
        replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(whole: Path, path: Path) -> None:
    """Rename a folder to `path`, replacing an existing folder."""
    old = path.with_name(f"{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(whole, path)
    shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove incomplete files of an interrupted run."""
    for leftover in folder.rglob(f"*{TEMPORARY}"):
        leftover.unlink()


def clear_folder(folder: Path, *kept: str) -> None:
    """Remove the content of a folder except the files `kept`."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in kept:
            entry.unlink()


@contextmanager
def one_process(folder: Path, doing: str) -> Iterator[Callable[[], None]]:
    """Lock a folder during the block.

    Yields a function that raises PcamError if the folder was removed or replaced since then, so that
    another process may have locked what is there now. Raises PcamError if another process has locked
    it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise PcamError(f"another process is {doing}; wait until it has finished.") from None

    def check() -> None:
        try:
            same = os.path.samestat(os.fstat(held.fileno()), os.stat(folder / LOCK))
        except FileNotFoundError:
            same = False
        if not same:
            raise PcamError(
                f"{folder} was removed or replaced by another program while pcam was {doing}; run the "
                "same command again."
            )

    # An open file keeps its number, so a new file of the same name cannot be taken for it.
    with lock, (folder / LOCK).open("rb") as held:
        yield check


def write_text(path: Path, text: str) -> None:
    """Write a text file, which is complete or absent."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, which is complete or absent."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object. `what` names the file in errors. Raises InputError if it is invalid."""
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST_JSON):
        raise InputError(f"{what} {path} is not a regular file, or is too large.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{what} {path} is not a JSON object.")
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def readable(size: int) -> str:
    """A number of bytes with a unit, rounded up."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{-(-size * 10 // (1 << shift)) / 10:,.1f} {unit}"
    return f"{size} bytes"
