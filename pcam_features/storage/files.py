"""Files that are either complete or absent, and JSON files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from platformdirs import user_cache_path

from ..errors import InputError
from . import json_text, urls
from .disks import telling_full
from .links import within

TEMPORARY = ".part-written"  # suffix of incomplete files and folders
LOCK = "lock"  # the lock file of a folder that only one process may write to at a time
PAGE = "<!doctype html>"  # how HTML pages begin


def cache_root() -> Path:
    """The user's cache folder, for files that can be created again."""
    chosen = os.environ.get("PCAM_CACHE_DIR")
    return Path(chosen) if chosen else user_cache_path("pcam-features", appauthor=False)


def unpacking_folder(key: str) -> Path:
    """The folder of the cache for what cannot be unpacked beside itself; `key` says what it is."""
    return cache_root() / "unpacked" / sha256(key.encode(errors="replace"))[:16]


@cache
def _machine_number() -> int:
    """A number of this machine, from its name."""
    return zlib.crc32(socket.gethostname().encode())


def temporary_of(path: Path) -> Path:
    """The name of a file or folder while this process fills it.

    It has numbers of the machine and of the process, because workers of a cluster write to one disk.
    """
    return path.with_name(f"{path.name}.{_machine_number()}{os.getpid():07d}{TEMPORARY}")


def temporaries_of(path: Path) -> re.Pattern[str]:
    """What the names of `temporary_of` match, whichever process gave them."""
    return re.compile(rf"{re.escape(path.name)}\.\d+{re.escape(TEMPORARY)}")


def flush(path: Path) -> None:
    """Flush a file to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path, root: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to. It becomes `path` only if the block ends without an error.

    Parameters
    ----------
    path
        The file.
    root
        The folder that it belongs to, if that was there before: below it no link is followed. None for
        a file that the user chose: if that is a link, its target is replaced.

    Raises
    ------
    InputError
        If `path` is a folder or a device, or there is a link below `root`.
    PcamError
        If the disk is full.
    """
    if urls.is_url(path):
        with TemporaryDirectory(prefix="pcam-") as folder:
            yield Path(folder, path.name)
            urls.write(path, Path(folder, path.name).read_bytes())
        return
    if root is not None:
        within(root, path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file; choose another file name.")
    if root is None:
        path = path.resolve()
        _sweep_beside(path)
    temporary = temporary_of(path)
    with telling_full(path.parent), _held(temporary):
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Create a temporary file, and lock it during the block, so that no other process removes it."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)  # of a killed process of the same number, or a stranger's link
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed. Returns whether no process has locked it."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows, a disk without locks, or locked
        return False
    return True


def _sweep_beside(path: Path) -> None:
    """Remove temporary files of `path` that killed processes left."""
    named = temporaries_of(path)
    try:
        names = os.listdir(path.parent)
    except OSError:
        return  # there is no such folder yet, or it cannot be listed
    for leftover in (path.with_name(name) for name in names if named.fullmatch(name)):
        if leftover.is_symlink() or not leftover.is_file():
            continue
        with suppress(OSError):  # it is another user's, or was removed meanwhile
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                if _lock(descriptor):
                    leftover.unlink()
            finally:
                os.close(descriptor)


def check_file(path: Path) -> None:
    """Raise InputError if `path` cannot be written as a file. Call this before long work."""
    if urls.is_url(path):
        urls.check_writable(path)
        return
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if (path.exists() and not path.is_file()) or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{path} cannot be written as a file; choose another file name.")


def check_html(path: Path) -> None:
    """Raise InputError if an HTML page cannot be written, or would replace a file that is none."""
    check_output(path, PAGE.encode())


def check_output(path: Path, start: bytes) -> None:
    """Raise InputError if a file cannot be written, or would replace one that does not begin so."""
    check_file(path)
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as there:
            if there.read(len(start)) != start:
                raise InputError(not_ours(path))


def not_ours(path: Path) -> str:
    """The sentence that refuses to replace a file."""
    return f"{path} exists and was not written by this command; choose another file name."


def write_text(path: Path, text: str, root: Path | None = None) -> None:
    """Write a text file, which is complete or absent. See `whole_file` for `root`."""
    with whole_file(path, root) as temporary:
        # Names of files on Linux need not be text; their bytes are written as escapes.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any, root: Path | None = None) -> None:
    """Write a JSON file, which is complete or absent. See `whole_file` for `root`."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", root)


def read_json(path: Path, what: str, advice: str = "") -> dict[str, Any]:
    """Read a JSON object; see `json_text.parse`.

    `what` names the file in errors, and `advice` is what to do if it cannot be read. Raises InputError
    if it is invalid."""
    end = f"; {advice}." if advice else "."
    try:
        if not urls.is_url(path) and path.exists() and not path.is_file():
            raise InputError(f"{what} {path} is not a regular file; replace it.")
        content = json_text.parse(read_at_most(path, json_text.LARGEST))
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror or error}{end}") from None
    except ValueError as error:
        raise InputError(f"{what} {path} cannot be read: {error}{end}") from None
    if not isinstance(content, dict):
        raise InputError(f"{what} {path} is not a JSON object{end}")
    return content


def read_at_most(path: Path, most: int) -> bytes:
    """The content of a file or of an object at a URL, of which at most `most` + 1 bytes are read."""
    if urls.is_url(path):
        return urls.read(path, most)
    with path.open("rb") as file:
        return file.read(min(os.fstat(file.fileno()).st_size, most) + 1)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def readable(size: int) -> str:
    """A number of bytes with a unit, rounded up."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{-(-size * 10 // (1 << shift)) / 10:,.1f} {unit}"
    return f"{size} bytes"
