"""One address to one file: gone on with where it broke off, never larger than it may be, and under
its name only once it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import InputError, PcamError
from .web import AgainError, Response, ask, refuse

PART = ".download"  # the ending of what is not whole yet, which a later run goes on with
TRIES = 6  # in a row without a byte more
MOST_TRIES = 100
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds; doubled with each try without a byte more
HASHED = 4 << 20  # bytes of a file that are hashed at a time

pause = time.sleep  # a name of its own, so that tests need not wait
T = TypeVar("T")
Told = Callable[[int], None]


@contextmanager
def room_needed(path: Path) -> Iterator[None]:
    """Raises PcamError if the disk turns out to be full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PcamError(
            f"the disk is full at {path}; make room and run again: what is finished is kept."
        ) from None


class Part:
    """A file that grows, and its sum so far."""

    def __init__(self, path: Path, algorithm: str, progress: Told) -> None:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise InputError(f"{path} is not a file that can be gone on with; move it away.")
        self.path, self.algorithm, self.progress = path, algorithm, progress
        self.stream = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115
        self.size, self.sum = 0, hashlib.new(algorithm, usedforsecurity=False)
        while content := self.stream.read(HASHED):
            self.sum.update(content)
            self.size += len(content)

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            with room_needed(self.path):
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
    """What is known of a file at an address."""

    size: int | None  # in advance: it is this file or none
    most: int  # bytes it may have at most
    told: bool = False  # whether the server must say how large it is
    total: int | None = None  # what it said, or came to
    tag: str | None = None  # of the version that a part is from
    afresh: bool = False  # its ranges are no use: it is asked for the whole

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
    progress: Told = lambda count: None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[int, str]:
    """Bring what is at `url` to `path`; gives its bytes and its sum, which must be `expected`.

    `progress` is told of bytes as they come, and of fewer where a part is thrown away. Raises
    PcamError for what does not come or is something else, and InputError for a part nobody can use.
    """
    partly = path.with_name(path.name + PART)
    with closing(Part(partly, algorithm, progress)) as part:
        if part.size > (known.most if known.size is None else known.size):
            part.restart()  # of something else
        elif part.size:
            say(f"{path.name}: {part.size:,} bytes are there already")
        for last in (False, True):
            persist(lambda: _go_on(url, part, known), lambda: part.size, path.name, say)
            found = part.sum.hexdigest()
            if expected in (None, found):
                break
            part.restart()
            if last:
                raise PcamError(
                    f"{url} has the {algorithm} {found} and not {expected}, twice: it is another file, "
                    "or damaged on the way; name another --mirror."
                )
            say(f"{path.name} has the {algorithm} {found}, not {expected}: once more from the start")
            known.total = None if known.size is None else known.size
        os.fsync(part.stream.fileno())
    os.replace(partly, path)
    return part.size, found


def size_of(url: str, name: str, most: int, say: Callable[[str], None]) -> int:
    """How large the server says a file is. Raises PcamError if it does not say, or says too much."""

    def look() -> int:
        with closing(ask(url, {})) as response:
            if response.status != 200:
                refuse(url, response)
            return _fitting(url, Known(None, most, told=True), response.length) or 0

    size = persist(look, lambda: 0, name, say)
    if not size:
        raise PcamError(f"the server of {url} says that it is empty; name another --mirror.")
    return size


def persist(work: Callable[[], T], size: Callable[[], int], name: str, say: Callable[[str], None]) -> T:
    """The result of `work`, tried again as long as `size` grows now and then.

    Raises PcamError after TRIES without a byte more, or MOST_TRIES.
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
                kept = f"; run again to go on after {size():,} bytes" if size() else "; try again later"
                raise PcamError(
                    f"{name} could not be downloaded in {tried} tries, at last because {again}{kept}."
                ) from None
            wait = max(min(FIRST_WAIT * 2 ** max(fruitless - 1, 0), LONGEST_WAIT), again.wait)
            say(f"{name}: {again}; trying again in {wait:.0f} s")
            pause(wait)


def _go_on(url: str, part: Part, known: Known) -> None:
    """Ask for what a part lacks, once. Raises AgainError if that does not make it whole."""
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
            raise AgainError(f"the server has nothing after {part.size:,} bytes")
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


def _take(part: Part, known: Known, response: Response) -> None:
    tag = response.headers.get("ETag", "")
    known.tag = tag if re.fullmatch(r'"[!#-~]{0,200}"', tag) else None  # a weak one will not do
    known.afresh = False
    end = known.most if known.end is None else known.end
    for content in response.chunks(end - part.size):
        part.write(content[: end - part.size])
        if known.end is None and part.size == end:
            part.restart()
            raise AgainError(f"more than {end:,} bytes came")
        if part.size == end:
            return
    if known.end is None:
        known.total = part.size  # all that came: the sum says whether it is all there is
    elif part.size < end:
        raise AgainError(f"the connection broke off after {part.size:,} of {end:,} bytes")


def _fitting(url: str, known: Known, length: int | None) -> int | None:
    """The size that a server says, if it can be right."""
    if length is None:
        if known.told:
            raise PcamError(f"the server of {url} does not say how large it is; name another --mirror.")
        return None
    if known.size is not None and length != known.size:
        raise AgainError(f"the server says that it has {length:,} bytes, not {known.size:,}")
    if length > known.most:
        raise PcamError(
            f"the server of {url} says that it has {length:,} bytes, more than the {known.most:,} that "
            "it can have; name another --mirror."
        )
    return length


def _range(response: Response) -> tuple[int | None, int | None, int | None]:
    """First and last byte and total of Content-Range; None is what it does not say."""
    said = response.headers.get("Content-Range", "").strip()
    found = re.fullmatch(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", said)
    if not found:
        return None, None, None
    first, last, total = (int(one) if one and one != "*" else None for one in found.groups())
    return first, last, total


def _check_range(url: str, part: Part, known: Known, response: Response) -> None:
    """Raises AgainError, and lets the whole be asked for, if a range is not what the part lacks."""
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
        raise AgainError("the server sent another part than it was asked for")
    known.total = _fitting(url, known, total)
