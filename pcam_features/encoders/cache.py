"""Graphs that were made once, kept in the user's cache folder with their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..storage.files import cache_root, whole_file

SUM = hashlib.sha256().digest_size


def folder() -> Path:
    return cache_root() / "encoders"


def kept(name: str, what: object, make: Callable[[], bytes]) -> bytes:
    """What `make` gives: from the cache, or made and put there.

    It is known by `name` and by a digest of `what` decides it and of this package's source. A file
    without its checksum is made again; two processes may write at once, for a file comes whole.
    """
    digest = hashlib.sha256(repr(what).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    path = folder() / f"{name}-{digest.hexdigest()[:16]}.graph"
    if path.is_file():
        found = path.read_bytes()
        if hashlib.sha256(found[SUM:]).digest() == found[:SUM]:
            return found[SUM:]
    content = make()
    with whole_file(path) as temporary:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
    return content
