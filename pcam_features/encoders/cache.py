"""A cache of ONNX graphs in the user's cache folder, each with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..storage.files import cache_root, whole_file

SUM = hashlib.sha256().digest_size


def folder() -> Path:
    """The folder of the cache."""
    return cache_root() / "encoders"


def cached(name: str, key: object, make: Callable[[], bytes]) -> bytes:
    """Return a graph from the cache, or create it with `make` and store it there.

    The file is named after `name` and a digest of `key` and of the source code of `encoders`. A file
    that does not match its checksum is created again. Several processes can write at the same time,
    because a file is moved into place only when it is complete.

    Parameters
    ----------
    name
        The start of the file's name.
    key
        Everything that determines the graph; its `repr` must be the same in every process.
    make
        Creates the serialized graph.

    Returns
    -------
    bytes
        The serialized graph.
    """
    digest = hashlib.sha256(repr(key).encode())
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
