"""Downloading Kaggle's zip with Kaggle's client or from a mirror, and checking each file in it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, PcamError
from ..sources.archive import Archive
from ..sources.kaggle import ZIP as NAME
from ..storage.files import whole_file
from ..storage.folders import one_process
from . import kaggle_client, kaggle_zip
from .download import PART, Known, download, size_of
from .kaggle_client import COMPETITION
from .record import (
    Bar,
    FetchRecord,
    FetchResult,
    Say,
    add_to_record,
    bar_for,
    check_folder,
    check_room,
    hash_file,
    read_record,
)
from .web import check_url

UNCHECKED = f"{NAME}.unchecked"  # from a mirror; Kaggle's client uses a folder named NAME + PART
PATCH_FILE = 27_935  # bytes of each TIFF before compression
AROUND_A_FILE = 512  # bytes of overhead per file in a zip


def expected_most() -> int:
    """An upper bound on the size of the zip: slightly more than its files unpacked."""
    patches = kaggle_zip.TRAIN + kaggle_zip.TEST
    return patches * (PATCH_FILE + AROUND_A_FILE) + len(kaggle_zip.TABLES) * kaggle_zip.MOST_TABLE


def fetch(folder: Path, *, mirror: str | None, dry_run: bool, bar: Bar, say: Say) -> FetchResult:
    """Download the competition's zip and check every file in it.

    A partial download is kept, and the next run continues it.

    Parameters
    ----------
    folder
        The folder to download to.
    mirror
        Address of a folder with the zip; None for Kaggle's client.
    dry_run
        Whether to print the size of the download and stop.
    bar
        Shows progress: called with a title, a total and a unit.
    say
        Called with each message.

    Returns
    -------
    FetchResult
        The size of the download, and the downloaded file unless `dry_run`.

    Raises
    ------
    InputError
        If the folder has another file of that name, or if the disk has too little free space.
    PcamError
        If the download fails.
    """
    url = None if mirror is None else f"{check_url(mirror, '--mirror')}/{NAME}"
    check_folder(folder)
    if dry_run:
        return _forecast(folder, url, say)
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"downloading to {folder}"):
        taken = _forecast(folder, url, say)
        if not is_done(folder):
            if (folder / NAME).exists():
                _check(folder / NAME, bar)
                record = _record(folder / NAME, url, hash_file(folder / NAME, "sha256"))
            else:
                record = _bring(folder, url, bar, say)
            add_to_record(folder, NAME, record)
        say(f"{folder / NAME}: every file in it matches its checksum")
        lay_out(folder)
        return replace(taken, files=read_record(folder))


def lay_out(folder: Path) -> None:
    """Copy the zip's tables beside it unless they exist; patches are read from the zip."""
    zipped = Archive(folder / NAME)
    for name in kaggle_zip.TABLES:
        if not (folder / name).exists():
            with whole_file(folder / name, folder) as temporary:
                temporary.write_bytes(zipped.read(name, kaggle_zip.MOST_TABLE))


def is_done(folder: Path) -> bool:
    """Whether the zip is recorded. Raises InputError if its size is not the recorded one."""
    record, path = read_record(folder).get(NAME), folder / NAME
    if record is None or not path.is_file():
        return False
    if path.stat().st_size != record.bytes:
        raise InputError(
            f"{path} does not have the size that was downloaded; move it away and run the command "
            "again."
        )
    return True


def _forecast(folder: Path, url: str | None, say: Say) -> FetchResult:
    """Print how much is left to download. Raises InputError if the disk is too small."""
    unchecked = folder / UNCHECKED
    left = 0
    if not (is_done(folder) or (folder / NAME).exists() or unchecked.is_file()):
        if url:
            most, partly = size_of(url, NAME, kaggle_zip.MOST_BYTES, say), folder / (UNCHECKED + PART)
        else:
            most, partly = expected_most(), folder / (NAME + PART) / NAME
        left = max(most - (partly.stat().st_size if partly.is_file() else 0), 0)
    check_room(folder, left, left, say)
    return FetchResult(left, left)


def _check(path: Path, bar: Bar) -> None:
    """Raise InputError for a zip that is not Kaggle's."""
    if flaw := _flaw(path, bar):
        raise InputError(f"{path} is not Kaggle's zip: {flaw}; move it away and run the command again.")


def _flaw(path: Path, bar: Bar) -> str:
    members = kaggle_zip.TRAIN + kaggle_zip.TEST + len(kaggle_zip.TABLES)
    with bar(f"check {path.name}", members, "files") as progress:
        return kaggle_zip.flaw_of(path, progress)


def _bring(folder: Path, url: str | None, bar: Bar, say: Say) -> FetchRecord:
    """Download and check the zip, and rename it to its final name only then."""
    by_client = folder / (NAME + PART)
    if url:
        came = folder / UNCHECKED
        if not came.is_file():
            known = Known(None, kaggle_zip.MOST_BYTES, told=True)
            size = size_of(url, NAME, kaggle_zip.MOST_BYTES, say)
            with bar_for(bar, NAME, size) as progress:
                download(url, came, known, algorithm="sha256", progress=progress, say=say)
    else:
        came = kaggle_client.download(by_client, bar)
    if flaw := _flaw(came, bar):
        came.unlink()
        raise PcamError(
            f"the file from {url or 'Kaggle'} is not the competition's zip ({flaw}) and was deleted; "
            "run the command again to download it again."
        )
    with bar_for(bar, f"hash {NAME}", came.stat().st_size) as progress:
        record = _record(came, url, hash_file(came, "sha256", progress))
    os.replace(came, folder / NAME)
    shutil.rmtree(by_client, ignore_errors=True)
    return record


def _record(path: Path, url: str | None, sha256: str) -> FetchRecord:
    origin = url or f"https://www.kaggle.com/competitions/{COMPETITION}/data"
    return FetchRecord(origin, path.stat().st_size, sha256=sha256)
