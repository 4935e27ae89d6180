"""Folders that are either complete or absent, and the replacement of one by another.

While it is filled, a folder has another name. A folder that it replaces keeps its name until then, and
the two are exchanged in one step where the system can do that. What a killed process leaves behind is
removed by the next run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import InputError, PcamError
from .disks import telling_full
from .files import LOCK, TEMPORARY, read_json, temporaries_of, temporary_of
from .links import within
from .urls import check_local

REPLACED = ".part-replaced"  # suffix of a folder that was replaced and not removed yet
HERE = -100  # AT_FDCWD: paths are relative to the current folder
SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


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
    check_local(path, f"a {what} to write")
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
    check_local(path, f"a {what} to write")
    recover(path, mark, key)
    check = partial(check_free, path, overwrite=overwrite, what=what, mark=mark, key=key)
    check()
    sweep_beside(path)
    temporary = temporary_of(path)
    try:
        temporary.mkdir(parents=True)
        with one_process(temporary, f"writing {path}"):
            yield temporary
            check()  # check again, because filling the folder took time
            (temporary / LOCK).unlink()
            replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(whole: Path, path: Path) -> None:
    """Rename a folder to `path`, and remove the folder that has this name, if there is one.

    If the process is killed, `path` is the one or the other, and where the system cannot exchange
    names, `recover` gives a replaced folder its name again.
    """
    if not path.exists():
        os.replace(whole, path)
    elif exchange(whole, path):
        shutil.rmtree(whole, ignore_errors=True)
    else:
        aside = replaced(path)
        os.replace(path, aside)
        os.replace(whole, path)
        shutil.rmtree(aside, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step. Returns whether the system can do that."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, SWAP)
        else:
            failed = system.renameat2(HERE, names[0], HERE, names[1], SWAP)
    except (AttributeError, OSError, TypeError):  # no such function here; on Windows no library None
        return False
    number = ctypes.get_errno()
    if failed and number not in CANNOT:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    return not failed


def replaced(path: Path) -> Path:
    """The name of a folder while another takes its place, where names cannot be exchanged."""
    return path.with_name(path.name + REPLACED)


def recover(path: Path, mark: str, key: str) -> None:
    """Give a replaced folder its name again, if a killed process has left nothing under it.

    If there is a folder of this name, the replaced one is removed.
    """
    aside = replaced(path)
    if aside.is_symlink() or not aside.is_dir():
        return
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
    elif is_marked(aside, mark, key):
        os.replace(aside, path)


def sweep_beside(path: Path) -> None:
    """Remove temporary folders that killed processes left beside `path`."""
    named = temporaries_of(path)
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        if not named.fullmatch(entry.name) or entry.is_symlink() or not entry.is_dir():
            continue
        try:
            with one_process(entry, f"writing {path}"):
                shutil.rmtree(entry)
        except (PcamError, FileNotFoundError):
            continue  # a living process fills it, or has removed it


def sweep(folder: Path) -> None:
    """Remove incomplete files and folders of an interrupted run."""
    for leftover in list(folder.rglob(f"*{TEMPORARY}")):
        remove(leftover)


def clear_folder(folder: Path, *kept: str) -> None:
    """Remove the content of a folder except the files `kept`."""
    for entry in folder.iterdir():
        if entry.name not in kept:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its content, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy_folder(folder: Path, new: Path) -> None:
    """Copy a folder whose files are replaced and never changed; the copy is complete or absent.

    The copies are hard links where the disk has them, and then take no space. A lock is not copied.
    """

    def copy(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # another disk, or a disk without hard links
            shutil.copy2(source, target)

    temporary = temporary_of(new)
    shutil.copytree(folder, temporary, copy_function=copy, ignore=shutil.ignore_patterns(LOCK))
    os.replace(temporary, new)


@contextmanager
def one_process(folder: Path, doing: str) -> Iterator[Callable[[], None]]:
    """Lock a folder during the block.

    Yields a function that raises PcamError if the folder was removed or replaced since then, so that
    another process may have locked what is there now. Raises PcamError if another process has locked
    it, or its disk is full.
    """
    from filelock import FileLock, Timeout

    path = within(folder, folder / LOCK)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; remove it and run the command again.")
    lock = FileLock(path)
    try:
        with telling_full(folder):
            lock.acquire(timeout=0)
    except Timeout:
        raise PcamError(f"another process is {doing}; wait until it has finished.") from None

    def check() -> None:
        try:
            same = os.path.samestat(os.fstat(held.fileno()), os.stat(path))
        except FileNotFoundError:
            same = False
        if not same:
            raise PcamError(
                f"{folder} was removed or replaced by another program while pcam was {doing}; run the "
                "same command again."
            )

    # An open file keeps its number, so a new file of the same name cannot be taken for it.
    with lock, path.open("rb") as held, telling_full(folder):
        yield check
