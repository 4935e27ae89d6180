"""Files that are whole or absent, and tables of text that are what they should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from ..errors import InputError, PcamError

if TYPE_CHECKING:
    pass

TEMPORARY = ".part-written"  # the ending of what is not whole yet
LOCK = "lock"  # of a folder that one process at a time may write to
LARGEST_JSON = 1 << 28  # bytes


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


def readable(size: int) -> str:
    """Bytes as people read them, rounded up."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{-(-size * 10 // (1 << shift)) / 10:,.1f} {unit}"
    return f"{size} bytes"
