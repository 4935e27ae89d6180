"""A cache of ONNX graphs in the user's cache folder, each with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..storage.files import cache_root, whole_file

SUM = hashlib.sha256().digest_size


def folder() -> Path:
    return cache_root() / "encoders"


def kept(name: str, what: object, make: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or create it with `make` and cache it.

    The key is `name` and a digest of `what` and of this package's source. A file that does not match
    its checksum is created again. Several processes may write at once, because files appear complete.
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
