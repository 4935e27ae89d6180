"""Files in object stores, such as s3://bucket/features: read whole, and written whole or not at all.

A path that begins with one of URL_SCHEMES is a URL, as a text or as a `Path`, which writes it with one
slash (`s3:/bucket/features`). fsspec reads and writes; endpoints, credentials and profiles are those of
its packages. Object stores have no folders, renames, links or locks: an object appears when its last
byte has arrived, and `write` with `new` refuses one that is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import URL_SCHEMES, InputError, PcamError
from ..extras import EXTRAS, check_installed
from ..words import message_of

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
URL = re.compile(rf"({'|'.join(URL_SCHEMES)}):/{{1,2}}([^/\\].*)", re.DOTALL)
NO_CREDENTIALS = re.compile(r"Credential|Anonymous|DefaultCredentials")  # in the names of errors
NO_ANSWER = re.compile(r"Connect|Timeout|DNS")
LONGEST = 200  # characters of what somebody else's error says


def url_of(path: str | Path) -> str | None:
    """The URL that a path is; None for a path on a disk.

    Examples
    --------
    >>> url_of(Path("s3://bucket/features") / "manifest.json")
    's3://bucket/features/manifest.json'
    >>> url_of("features") is None
    True
    """
    found = URL.fullmatch(str(path))
    return None if found is None else f"{found[1]}://{found[2].rstrip('/')}"


def text_of(path: str | Path) -> str:
    """A path as users write it: its URL, or the path on the disk.

    Examples
    --------
    >>> text_of(Path("s3://bucket/features")), text_of("features")
    ('s3://bucket/features', 'features')
    """
    return url_of(path) or str(path)


def is_url(path: str | Path) -> bool:
    """Whether a path is a URL."""
    return url_of(path) is not None


def check_local(path: str | Path, what: str) -> None:
    """Raise InputError if a path is a URL, for what can only be on a disk."""
    if url := url_of(path):
        raise InputError(
            f"{url} is a URL, and {what} has to be on a disk; give a path there, and use pcam copy to "
            "bring stores and models to a URL or from it."
        )


def is_file(path: Path) -> bool:
    """Whether there is a file on the disk, or an object at the URL. Raises as `size_of`."""
    return path.is_file() if url_of(path) is None else size_of(path) is not None


def absolute(path: str | Path) -> str:
    """The path for a process with another current folder.

    Examples
    --------
    >>> absolute("s3://bucket/features")
    's3://bucket/features'
    """
    return url_of(path) or os.path.abspath(path)


def size_of(path: str | Path) -> int | None:
    """The size of an object in bytes; None if there is none.

    Raises
    ------
    InputError
        If the URL cannot be used: no package, no credentials, no access.
    PcamError
        If nobody answers.
    """
    files, key = _files(path)
    with told(path):
        try:
            known = files.info(key)
        except FileNotFoundError:
            return None
    return int(known["size"]) if known["type"] == "file" else None


def version_of(path: str | Path) -> str:
    """What changes when an object is replaced: its size, and its ETag or time."""
    files, key = _files(path)
    with told(path):
        known = files.info(key)
    mark = next((known[name] for name in ("ETag", "etag", "mtime", "updated") if name in known), "")
    return f"{known['size']} {mark}"


def read(path: str | Path, most: int) -> bytes:
    """The content of an object, of which at most `most` + 1 bytes are read.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    InputError, PcamError
        As `size_of`.
    """
    files, key = _files(path)
    with told(path):
        size = int(files.info(key)["size"])
        if not size:
            return b""
        content: bytes = files.cat_file(key, start=0, end=min(size, most + 1))
    return content


def write(path: str | Path, content: bytes | memoryview, *, new: bool = False) -> None:
    """Write an object, which appears whole or not at all.

    With `new`, one that is there is refused, by the object store itself where it can do that.

    Raises
    ------
    InputError
        If there is no such bucket, or with `new` such an object; or as `size_of`.
    PcamError
        If nobody answers.
    """
    files, key = _files(path)
    with told(path):
        try:
            files.pipe_file(key, bytes(content), **({"mode": "create"} if new else {}))
        except FileExistsError:
            raise InputError(
                f"{url_of(path)} exists already; choose another name or use --overwrite."
            ) from None
        except FileNotFoundError:
            raise InputError(_no_bucket(path)) from None


def remove(path: str | Path) -> None:
    """Remove an object, if it is there."""
    files, key = _files(path)
    with told(path):
        try:
            files.rm_file(key)
        except FileNotFoundError:
            return


def names_below(path: str | Path, most: int) -> dict[str, int]:
    """The objects below a URL, in the order of their names, with their sizes.

    Raises InputError if there are more than `most`.
    """
    files, key = _files(path)
    with told(path):
        try:
            found = files.find(key, detail=True)
        except FileNotFoundError:
            raise InputError(_no_bucket(path)) from None
    if len(found) > most:
        raise InputError(f"{url_of(path)} has more than {most:,} objects; give a URL further below.")
    start = f"{key.rstrip('/')}/"
    below = {name: int(known["size"]) for name, known in found.items() if name.startswith(start)}
    return {name.removeprefix(start): below[name] for name in sorted(below)}


def opened(path: str | Path) -> Any:
    """An object as a file to read from, for a library that reads parts of it."""
    files, key = _files(path)
    with told(path):
        return files.open(key, "rb", cache_type="none")


def check_writable(path: str | Path) -> None:
    """Raise InputError or PcamError if it is known before that an object cannot be written."""
    files, key = _files(path)
    with told(path):
        try:
            files.find(key, withdirs=False, maxdepth=1)
        except FileNotFoundError:
            raise InputError(_no_bucket(path)) from None


def _no_bucket(path: str | Path) -> str:
    url = str(url_of(path))
    return f"there is no bucket for {url}; create it, or correct the URL."


def _files(path: str | Path) -> tuple[Any, str]:
    """The file system of a URL, and the object's key in it. Raises InputError without its package."""
    url = str(url_of(path))
    check_installed("fsspec", url)
    import fsspec

    scheme = url.partition(":")[0]
    try:
        files, key = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError:
        package = PACKAGES[scheme]
        if package in EXTRAS:
            check_installed(package, url)
        raise InputError(
            f"{url} needs the package {package}, which is not installed; run pip install {package}."
        ) from None
    if key.count("/") == 0 and not key.strip("/"):
        raise InputError(f"{url} names no bucket; give {scheme}://BUCKET/NAME.")
    return files, key


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Say in one sentence what is wrong with a URL, whatever a package raises for it.

    Of a path on a disk nothing is said.
    """
    url = url_of(path)
    if url is None:
        yield
        return
    try:
        yield
    except (PcamError, FileNotFoundError, FileExistsError):
        raise
    except PermissionError as error:
        raise InputError(
            f"access to {url} is denied ({message_of(error, LONGEST)}); check the credentials and what "
            "they may do."
        ) from None
    except Exception as error:
        kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
        reason = message_of(error, LONGEST)
        if NO_CREDENTIALS.search(kinds):
            raise InputError(
                f"there are no credentials for {url} ({reason}); set them up as for other programs, "
                "such as AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ) from None
        if NO_ANSWER.search(kinds):
            raise PcamError(
                f"nobody answers for {url} ({reason}); check the network and the endpoint, such as "
                "AWS_ENDPOINT_URL, and run the same command again."
            ) from None
        raise PcamError(f"{url} cannot be used: {reason}; run the same command again.") from None
