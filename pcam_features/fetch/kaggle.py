"""Kaggle's zip of the competition, by its own client or from a mirror: checked member by member."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, PcamError
from ..sources.archive import Archive
from ..sources.kaggle import ZIP as NAME
from ..storage.files import one_process, whole_file
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

UNCHECKED = f"{NAME}.unchecked"  # from a mirror; with its own client, a folder of that name and PART
PATCH_FILE = 27_935  # bytes of each TIFF; zipped they are less
AROUND_A_FILE = 512  # bytes of a zip that are not a member's


def expected_most() -> int:
    """Bytes that the zip may have: hardly more than its members unpacked."""
    patches = kaggle_zip.TRAIN + kaggle_zip.TEST
    return patches * (PATCH_FILE + AROUND_A_FILE) + len(kaggle_zip.TABLES) * kaggle_zip.MOST_TABLE


def fetch(folder: Path, *, mirror: str | None, dry_run: bool, bar: Bar, say: Say) -> FetchResult:
    """Bring the competition's zip to `folder` and look at every member; gives what there is and takes.

    Raises InputError for a folder with another file of that name and for a disk too small, and
    PcamError for what cannot be had. What came is kept for the next run.
    """
    url = None if mirror is None else f"{check_url(mirror, '--mirror')}/{NAME}"
    check_folder(folder)
    if dry_run:
        return _forecast(folder, url, say)
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"fetching to {folder}"):
        taken = _forecast(folder, url, say)
        if not is_done(folder):
            if (folder / NAME).exists():
                _check(folder / NAME, bar)
                record = _record(folder / NAME, url, hash_file(folder / NAME, "sha256"))
            else:
                record = _bring(folder, url, bar, say)
            add_to_record(folder, NAME, record)
        say(f"{folder / NAME} is whole, by the sums that the zip holds")
        lay_out(folder)
        return replace(taken, files=read_record(folder))


def lay_out(folder: Path) -> None:
    """Put the zip's tables beside it, where they are not there yet: the patches are read in it."""
    zipped = Archive(folder / NAME)
    for name in kaggle_zip.TABLES:
        if not (folder / name).exists():
            with whole_file(folder / name) as temporary:
                temporary.write_bytes(zipped.read(name, kaggle_zip.MOST_TABLE))


def is_done(folder: Path) -> bool:
    """Whether the zip has the size that is recorded. Raises InputError if it has another."""
    record, path = read_record(folder).get(NAME), folder / NAME
    if record is None or not path.is_file():
        return False
    if path.stat().st_size != record.bytes:
        raise InputError(f"{path} is not as large as when it was fetched; move it away and run again.")
    return True


def _forecast(folder: Path, url: str | None, say: Say) -> FetchResult:
    """Say what is left to download. Raises InputError if the disk is too small for it."""
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
    """Raises InputError for a zip that is not Kaggle's."""
    if flaw := _flaw(path, bar):
        raise InputError(f"{path} is not Kaggle's zip: {flaw}; move it away and run again.")


def _flaw(path: Path, bar: Bar) -> str:
    members = kaggle_zip.TRAIN + kaggle_zip.TEST + len(kaggle_zip.TABLES)
    with bar(f"check {path.name}", members, "members") as progress:
        return kaggle_zip.flaw_of(path, progress)


def _bring(folder: Path, url: str | None, bar: Bar, say: Say) -> FetchRecord:
    """Download, check, and only then give the zip its name."""
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
            f"what came from {url or 'Kaggle'} is not the competition's zip: {flaw}; it was thrown "
            "away: run again to download it anew."
        )
    with bar_for(bar, f"hash {NAME}", came.stat().st_size) as progress:
        record = _record(came, url, hash_file(came, "sha256", progress))
    os.replace(came, folder / NAME)
    shutil.rmtree(by_client, ignore_errors=True)
    return record


def _record(path: Path, url: str | None, sha256: str) -> FetchRecord:
    origin = url or f"https://www.kaggle.com/competitions/{COMPETITION}/data"
    return FetchRecord(origin, path.stat().st_size, sha256=sha256)
