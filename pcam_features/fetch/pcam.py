"""Downloading PatchCamelyon's nine files from Zenodo or a mirror, checked by MD5 and unpacked."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError, PcamError
from ..sources.hdf5 import LABELS, PACKED, PIXELS, STEM
from ..sources.images import PIXEL_BYTES
from ..storage.disks import telling_full
from ..storage.files import TEMPORARY, readable, whole_file
from ..storage.folders import one_process
from .download import PART, Known, download
from .record import (
    RECORD,
    Bar,
    FetchRecord,
    FetchResult,
    Say,
    Unpacked,
    add_to_record,
    bar_for,
    check_folder,
    check_room,
    hash_file,
    read_record,
)
from .web import check_url

ZENODO = "https://zenodo.org/records/2546921/files"
MOST_META = 64 << 20  # bytes; the sizes of the tables are not published
CHUNK = 4 << 20


@dataclass(frozen=True)
class PublishedFile:
    """A file of PatchCamelyon.

    Parameters
    ----------
    name
        Its name on the server.
    md5
        Its published checksum.
    size
        Its size in bytes; None if unknown.
    most
        Its largest possible size in bytes.
    unpacked
        Its largest possible size after unpacking, in bytes; 0 if it is not packed.
    """

    name: str
    md5: str
    size: int | None
    most: int
    unpacked: int = 0

    @property
    def final(self) -> str:
        """The name of the file after unpacking."""
        return self.name.removesuffix(PACKED) if self.unpacked else self.name


def _pixels(split: str, rows: int, md5: str, size: int) -> PublishedFile:
    most = rows * PIXEL_BYTES * 65 // 64 + (1 << 20)  # HDF5's overhead is small
    return PublishedFile(f"{STEM}{split}_{PIXELS}.h5{PACKED}", md5, size, size, most)


def _labels(split: str, rows: int, md5: str, size: int) -> PublishedFile:
    most = rows * 8 + (1 << 20)
    return PublishedFile(f"{STEM}{split}_{LABELS}.h5{PACKED}", md5, size, size, most)


def _meta(split: str, md5: str) -> PublishedFile:
    return PublishedFile(f"{STEM}{split}_meta.csv", md5, None, MOST_META)


# The largest file first, while most disk space is free. The published README swaps the checksums of
# valid and test; these are the checksums of the files.
FILES = (
    _pixels("train", 262_144, "1571f514728f59376b705fc836ff4b63", 6_421_353_462),
    _pixels("valid", 32_768, "d5b63470df7cfa627aeec8b9dc0c066e", 805_965_320),
    _pixels("test", 32_768, "d8c2d60d490dbd479f8199bdfa0cf6ec", 800_875_929),
    _labels("train", 262_144, "35c2d7259d906cfc8143347bb8e05be7", 21_378),
    _labels("valid", 32_768, "2b85f58b927af9964a4c15b8f7e8f179", 3_038),
    _labels("test", 32_768, "60a7035772fbdb7f34eb86d4420cf66a", 3_040),
    _meta("train", "5a3dd671e465cfd74b5b822125e65b0a"),
    _meta("valid", "67589e00a4a37ec317f2d1932c7502ca"),
    _meta("test", "3455fd69135b66734e1008f3af684566"),
)


@dataclass(frozen=True)
class Step:
    """The work left for a file, in bytes at most. If `there`, the file only has to be checked."""

    file: PublishedFile
    there: bool
    download: int
    frees: int  # bytes that are freed when it is unpacked


def fetch(
    folder: Path,
    *,
    mirror: str | None,
    keep_packed: bool,
    dry_run: bool,
    bar: Bar,
    say: Say,
    files: Sequence[PublishedFile] | None = None,
) -> FetchResult:
    """Download PatchCamelyon, verify checksums and unpack the files.

    Finished files are kept, and a later run skips them.

    Parameters
    ----------
    folder
        The folder to download to.
    mirror
        Address of a folder with the same files; None for Zenodo.
    keep_packed
        Whether to keep the packed files after unpacking.
    dry_run
        Whether to print the size of the download and stop.
    bar
        Shows progress: called with a title, a total and a unit.
    say
        Called with each message.
    files
        The files to download; None for all of PatchCamelyon.

    Returns
    -------
    FetchResult
        The size of the download, and the downloaded files unless `dry_run`.

    Raises
    ------
    InputError
        If the folder has other files with the same names, or if the disk has too little free space.
    PcamError
        If a file cannot be downloaded.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> table = PublishedFile("meta.csv", "5a3dd671e465cfd74b5b822125e65b0a", size=2048, most=2048)
    >>> result = fetch(
    ...     Path("new"),
    ...     mirror=None,
    ...     keep_packed=False,
    ...     dry_run=True,
    ...     bar=lambda title, total, unit: nullcontext(lambda done: None),
    ...     say=lambda message: None,
    ...     files=[table],
    ... )
    >>> result.bytes_to_download
    2048
    """
    wanted = FILES if files is None else files
    base = None if mirror is None else check_url(mirror, "--mirror")
    check_folder(folder)
    if dry_run:
        return _forecast(folder, steps_of(folder, wanted, keep_packed), say)
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"downloading to {folder}"):
        for file in wanted:
            for leftover in folder.glob(f"{file.final}.*{TEMPORARY}"):
                leftover.unlink()
        steps = steps_of(folder, wanted, keep_packed)
        taken = _forecast(folder, steps, say)
        for step in steps:
            if step.there:
                _check(folder / step.file.name, step.file, bar)
        for step in steps:
            url = f"{base}/{step.file.name}" if base else f"{ZENODO}/{step.file.name}?download=1"
            _do(folder, step, url, keep_packed, bar, say)
        _tidy(folder, wanted)
        return replace(taken, files=read_record(folder))


def steps_of(folder: Path, wanted: Sequence[PublishedFile], keep_packed: bool) -> list[Step]:
    """The steps left, in order. Raises InputError if an existing file was not downloaded by pcam."""
    record = read_record(folder)
    steps = []
    for file in wanted:
        if is_done(folder, file, record.get(file.name)):
            continue
        path = folder / file.name
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file; move it away and run the command again.")
        there = path.is_file()
        if file.unpacked and not there and (folder / file.final).exists():
            raise InputError(_in_the_way(folder / file.final))
        partly = path.with_name(path.name + PART)
        already = partly.stat().st_size if partly.is_file() else 0
        left = 0 if there else max(file.most - already, 0)
        frees = 0 if keep_packed or not file.unpacked else file.most
        steps.append(Step(file, there, left, frees))
    return steps


def is_done(folder: Path, file: PublishedFile, record: FetchRecord | None) -> bool:
    """Whether a file is recorded as downloaded and still has the recorded size."""
    final = folder / file.final
    if record is None or record.md5 != file.md5 or not final.is_file():
        return False
    size = record.unpacked.bytes if file.unpacked and record.unpacked else record.bytes
    if final.stat().st_size != size:
        raise InputError(_in_the_way(final))
    return True


def _in_the_way(path: Path) -> str:
    return (
        f"{path} exists but does not match the downloads listed in {RECORD}; move it away and run the "
        "command again."
    )


def room(steps: Sequence[Step]) -> int:
    """Maximum disk space in use at any time: a packed file stays until it is unpacked."""
    used = most = 0
    for step in steps:
        used += step.download + step.file.unpacked
        most = max(most, used)
        used -= step.frees
    return most


def _forecast(folder: Path, steps: Sequence[Step], say: Say) -> FetchResult:
    to_download, needed = sum(step.download for step in steps), room(steps)
    check_room(folder, to_download, needed, say)
    return FetchResult(to_download, needed)


def _check(path: Path, file: PublishedFile, bar: Bar) -> None:
    """Raise InputError if a file without a record has another checksum."""
    with bar_for(bar, f"check {path.name}", path.stat().st_size) as progress:
        found = hash_file(path, "md5", progress)
    if found != file.md5:
        raise InputError(
            f"{path} has the md5 checksum {found} instead of {file.md5}; move it away or, if it is an "
            f"incomplete download, rename it to {path.name}{PART}; then run the command again."
        )


def _do(folder: Path, step: Step, url: str, keep_packed: bool, bar: Bar, say: Say) -> None:
    file, path = step.file, folder / step.file.name
    if not step.there:
        known = Known(file.size, file.most)
        with bar_for(bar, file.name, step.download) as progress:
            download(url, path, known, expected=file.md5, progress=progress, say=say)
    record = FetchRecord(url, path.stat().st_size, md5=file.md5)
    if file.unpacked:
        unpacked = unpack(path, folder / file.final, file.unpacked, bar)
        record = replace(record, keeps_packed=keep_packed, unpacked=unpacked)
    add_to_record(folder, file.name, record)
    if file.unpacked and not keep_packed:
        path.unlink()
    say(f"{folder / file.final}: {readable((folder / file.final).stat().st_size)}")


def unpack(packed: Path, final: Path, most: int, bar: Bar) -> Unpacked:
    """Unpack a file into `final`, of at most `most` bytes.

    Raises PcamError if it cannot be unpacked, and InputError if `final` exists and differs.
    """
    found, size = hashlib.sha256(), 0
    with whole_file(final, final.parent) as temporary:
        with (
            bar_for(bar, f"unpack {final.name}", packed.stat().st_size) as progress,
            packed.open("rb") as stream,
            gzip.GzipFile(fileobj=stream) as unpacked,
            temporary.open("wb") as out,
        ):
            before = 0
            while content := _next(unpacked, packed):
                size += len(content)
                if size > most:
                    raise PcamError(
                        f"{packed} unpacks to more than the largest possible size of {most:,} bytes; "
                        "remove it and run the command again."
                    )
                found.update(content)
                with telling_full(final):
                    out.write(content)
                progress(stream.tell() - before)
                before = stream.tell()
        if final.exists() and hash_file(final, "sha256") != found.hexdigest():
            raise InputError(_in_the_way(final))
    return Unpacked(final.name, size, found.hexdigest())


def _next(unpacked: gzip.GzipFile, packed: Path) -> bytes:
    try:
        return unpacked.read(CHUNK)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise PcamError(
            f"{packed} cannot be unpacked ({error}); remove it and run the command again."
        ) from None


def _tidy(folder: Path, wanted: Sequence[PublishedFile]) -> None:
    """Remove packed files that an interrupted run had unpacked and recorded, but not removed."""
    record = read_record(folder)
    for file in wanted:
        known, packed = record.get(file.name), folder / file.name
        unneeded = known is not None and known.keeps_packed is False and packed.is_file()
        if unneeded and is_done(folder, file, known):
            packed.unlink()
