"""Downloading one URL to one file.

An interrupted download is continued. A file never grows beyond its largest size, and gets its final
name only when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import InputError, PcamError
from ..storage.disks import telling_full
from .web import AgainError, Response, ask, refuse

PART = ".download"  # suffix of an incomplete file, which a later run continues
TRIES = 6  # consecutive attempts without progress
MOST_TRIES = 100
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; doubled after each attempt without progress
HASHED = 4 << 20  # bytes hashed at a time

pause = time.sleep  # replaced in tests, so that they need not wait
T = TypeVar("T")
Progress = Callable[[int], None]


class DownloadPart:
    """An incomplete file and the checksum of its content so far."""

    def __init__(self, path: Path, algorithm: str, progress: Progress) -> None:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise InputError(
                f"{path} is not a regular file, so no download can continue there; move it away and "
                "run the command again."
            )
        self.path, self.algorithm, self.progress = path, algorithm, progress
        self.stream = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        self.size, self.sum = 0, hashlib.new(algorithm, usedforsecurity=False)
        while content := self.stream.read(HASHED):
            self.sum.update(content)
            self.size += len(content)

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            with telling_full(self.path):
                count = self.stream.write(left)
            self.sum.update(left[:count])
            self.size += count
            self.progress(count)
            left = left[count:]

    def restart(self) -> None:
        self.progress(-self.size)
        self.stream.seek(0)
        self.stream.truncate()
        self.size, self.sum = 0, hashlib.new(self.algorithm, usedforsecurity=False)

    def close(self) -> None:
        self.stream.close()
        if not self.size:
            self.path.unlink(missing_ok=True)


@dataclass
class Known:
    """What is known about the file at a URL."""

    size: int | None  # published size; the file must have it
    most: int  # largest size in bytes
    told: bool = False  # whether the server must report the size
    total: int | None = None  # size reported by the server, or reached
    tag: str | None = None  # entity tag of the version that the part belongs to
    afresh: bool = False  # range requests failed; the whole file is requested

    @property
    def end(self) -> int | None:
        return self.total if self.size is None else self.size


def download(
    url: str,
    path: Path,
    known: Known,
    *,
    algorithm: str = "md5",
    expected: str | None = None,
    progress: Progress = lambda count: None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[int, str]:
    """Download `url` to `path` and return its size and checksum, which must be `expected`.

    `progress` is called with the number of new bytes; it is negative if a part is discarded. Raises
    PcamError if the download fails or gives another file, and InputError if the incomplete file cannot
    be continued.
    """
    partly = path.with_name(path.name + PART)
    with closing(DownloadPart(partly, algorithm, progress)) as part:
        if part.size > (known.most if known.size is None else known.size):
            part.restart()  # it belongs to another file
        elif part.size:
            say(f"{path.name}: continuing after {part.size:,} bytes")
        for last in (False, True):
            persist(lambda: _go_on(url, part, known), lambda: part.size, path.name, say)
            found = part.sum.hexdigest()
            if expected in (None, found):
                break
            part.restart()
            if last:
                raise PcamError(
                    f"{url} has the {algorithm} checksum {found} instead of {expected}, also after a "
                    "second download: it is not the published file, or it was damaged in transit; use "
                    "another --mirror."
                )
            say(
                f"{path.name} has the {algorithm} checksum {found} instead of {expected}; downloading "
                "it again from the start"
            )
            known.total = None if known.size is None else known.size
        os.fsync(part.stream.fileno())
    os.replace(partly, path)
    return part.size, found


def size_of(url: str, name: str, most: int, say: Callable[[str], None]) -> int:
    """The size of a file as the server reports it.

    Raises PcamError if the file is missing, empty or too large.
    """

    def look() -> int:
        with closing(ask(url, {})) as response:
            if response.status != 200:
                refuse(url, response)
            return _fitting(url, Known(None, most, told=True), response.length) or 0

    size = persist(look, lambda: 0, name, say)
    if not size:
        raise PcamError(f"the server reports that {url} is empty; use another --mirror.")
    return size


def persist(work: Callable[[], T], size: Callable[[], int], name: str, say: Callable[[str], None]) -> T:
    """Repeat `work` until it succeeds, and return its result.

    Raises PcamError after TRIES consecutive attempts without progress, or MOST_TRIES in all.
    """
    tried = fruitless = 0
    best = size()
    while True:
        try:
            return work()
        except AgainError as again:
            tried += 1
            fruitless = 0 if size() > best else fruitless + 1
            best = max(best, size())
            if fruitless >= TRIES or tried >= MOST_TRIES:
                advice = "try again later"
                if size():
                    advice = f"run the command again to continue after {size():,} bytes"
                raise PcamError(
                    f"{name} could not be downloaded in {tried} attempts (last error: {again}); "
                    f"{advice}."
                ) from None
            wait = max(min(FIRST_WAIT * 2 ** max(fruitless - 1, 0), LONGEST_WAIT), again.wait)
            say(f"{name}: {again}; trying again in {wait:.0f} s")
            pause(wait)


def _go_on(url: str, part: DownloadPart, known: Known) -> None:
    """Request the rest of a part once. Raises AgainError if it is still incomplete."""
    if part.size and part.size == known.end:
        return
    headers = {}
    if part.size and not known.afresh:
        headers["Range"] = f"bytes={part.size}-"
        if known.tag:
            headers["If-Range"] = known.tag
    with closing(ask(url, headers)) as response:
        if response.status == 416 and headers:
            if known.size is None and _range(response)[2] == part.size:
                known.total = part.size
                return
            known.afresh = True
            raise AgainError(f"the server has no data after the first {part.size:,} bytes")
        whole = response.status == 200
        if whole:
            known.total = _fitting(url, known, response.length)
        elif response.status == 206 and headers:
            _check_range(url, part, known, response)
        else:
            refuse(url, response)
        if whole and part.size:
            part.restart()
        _take(part, known, response)


def _take(part: DownloadPart, known: Known, response: Response) -> None:
    tag = response.headers.get("ETag", "")
    known.tag = (
        tag if re.fullmatch(r'"[!#-~]{0,200}"', tag) else None
    )  # a weak tag does not identify the bytes
    known.afresh = False
    end = known.most if known.end is None else known.end
    for content in response.chunks(end - part.size):
        part.write(content[: end - part.size])
        if known.end is None and part.size == end:
            part.restart()
            raise AgainError(f"the server sent more than {end:,} bytes")
        if part.size == end:
            return
    if known.end is None:
        known.total = part.size  # the checksum shows whether this is the whole file
    elif part.size < end:
        raise AgainError(f"the connection was lost after {part.size:,} of {end:,} bytes")


def _fitting(url: str, known: Known, length: int | None) -> int | None:
    """The size that the server reports, checked against what is known."""
    if length is None:
        if known.told:
            raise PcamError(f"the server does not report the size of {url}; use another --mirror.")
        return None
    if known.size is not None and length != known.size:
        raise AgainError(f"the server reports {length:,} bytes instead of {known.size:,}")
    if length > known.most:
        raise PcamError(
            f"the server reports {length:,} bytes for {url}, more than the largest possible size of "
            f"{known.most:,}; use another --mirror."
        )
    return length


def _range(response: Response) -> tuple[int | None, int | None, int | None]:
    """First byte, last byte and total of Content-Range; None for a missing number."""
    said = response.headers.get("Content-Range", "").strip()
    found = re.fullmatch(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", said)
    if not found:
        return None, None, None
    first, last, total = (int(one) if one and one != "*" else None for one in found.groups())
    return first, last, total


def _check_range(url: str, part: DownloadPart, known: Known, response: Response) -> None:
    """Raise AgainError, and request the whole file next, if the range is not the missing part."""
    first, last, total = _range(response)
    fits = (
        first == part.size
        and total is not None
        and last == total - 1
        and known.end in (None, total)
        and response.length in (None, total - part.size)
    )
    if not fits:
        known.afresh = True
        known.total = known.size
        raise AgainError("the server sent a different part than was requested")
    known.total = _fitting(url, known, total)
