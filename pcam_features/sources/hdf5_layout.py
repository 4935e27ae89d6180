"""Finding where an HDF5 file stores its pixels, in a separate process.

On a malicious file, HDF5's library may crash, hang or allocate any amount of memory. Therefore this
process limits its memory and time. It prints the positions of the bytes as JSON, and `hdf5` then reads
them without the library. If the file is refused, it prints the reason:

    python -P pcam_features/sources/hdf5_layout.py FILE DATASET [values]
    python -P pcam_features/sources/hdf5_layout.py FILE                    the datasets it has
"""

from __future__ import annotations

import json
import sys
from typing import Any

MEMORY = 4 << 30  # bytes of address space, including the libraries
SECONDS = 100  # of processor time
MOST_CHUNKS = 1 << 22
MOST_NAMES = 100  # of datasets and groups
DEEPEST = 4  # names on the way to a dataset
MOST_ROWS = 1 << 24  # seventy times Kaggle's competition
REWRITE = "rewrite it with: h5repack -l CONTI -f NONE FILE NEW"


def limit() -> None:
    """Limit the memory and time of this process, on systems that support it."""
    try:
        import resource
    except ImportError:
        return
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == -1 else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def layout(path: str, name: str, values: bool) -> dict[str, Any]:
    """Shape and type of a dataset, and its values or the positions of its bytes.

    Raises ValueError if its storage is not supported.
    """
    import h5py

    with h5py.File(path, "r") as file:
        found = own(file, name)
        if found is None:
            raise ValueError(
                f"it has no dataset {name!r} of its own; it has: {', '.join(list(file)[:10])}"
            )
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name!r} is not a dataset")
        if found.external or found.is_virtual or file.userblock_size:
            raise ValueError(f"{name!r} is stored in another file; {REWRITE}")
        if found.dtype.kind == "f" and not values:
            raise ValueError(f"{name!r} holds {found.dtype} {extent(found)}, not 8-bit integers")
        if found.dtype.kind not in "iubf":
            raise ValueError(f"{name!r} holds {found.dtype}, not numbers; write labels as 0 and 1")
        said: dict[str, Any] = {"shape": list(found.shape), "dtype": found.dtype.str}
        if not found.shape or found.shape[0] > MOST_ROWS:
            raise ValueError(f"{name!r} has the shape {found.shape}")
        if values:
            if found.size > 2 * MOST_ROWS:
                raise ValueError(f"{name!r} has the shape {found.shape}, more than one value per patch")
            return said | {"values": found[...].ravel().tolist()}
        return said | places(found)


def extent(found: Any) -> str:
    """The range of the first values of a dataset of other numbers, and how to write them."""
    first = found[:16]
    low, high = float(first.min()), float(first.max())
    if low >= 0 and high <= 1:
        advice = "multiply them by 255, round, and write uint8"
    else:
        advice = (
            "write uint8" if low >= 0 and high <= 255 else "bring them to 0 to 255, and write uint8"
        )
    return f"with values from {low:g} to {high:g} ({advice})"


def own(file: Any, name: str) -> Any:
    """What a file has under a name, such as `train/x`; None for what only a link leads to."""
    import h5py

    here = file
    for part in name.split("/"):
        inside = isinstance(here, h5py.Group)
        if not inside or not isinstance(here.get(part, getlink=True), h5py.HardLink):
            return None
        here = here[part]
    return here


def datasets(path: str) -> dict[str, Any]:
    """The shapes of the datasets of a file by name, those that are its own; also of its groups'."""
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        waiting = list(file)[:MOST_NAMES]
        for _ in range(MOST_NAMES):
            if not waiting:
                break
            name = waiting.pop(0)
            one = own(file, name)
            if isinstance(one, h5py.Dataset):
                found[name] = list(one.shape)
            elif isinstance(one, h5py.Group) and name.count("/") < DEEPEST - 1:
                waiting += [f"{name}/{inside}" for inside in list(one)[:MOST_NAMES]]
    return found


def places(found: Any) -> dict[str, Any]:
    """The positions of a dataset's bytes: contiguous or in chunks. Raises ValueError."""
    if found.chunks is None:
        offset = found.id.get_offset()
        if offset is None and not found.size:
            raise ValueError("it holds no patches")
        if offset is None:
            raise ValueError(f"its bytes are not contiguous; {REWRITE}")
        return {"offset": offset}
    create = found.id.get_create_plist()
    filters = [create.get_filter(k)[0] for k in range(create.get_nfilters())]
    if found.id.get_num_chunks() > MOST_CHUNKS:
        raise ValueError(f"it has {found.id.get_num_chunks():,} chunks; {REWRITE}")
    chunks: list[list[int]] = []
    found.id.chunk_iter(
        lambda one: chunks.append([*one.chunk_offset, one.byte_offset, one.size, one.filter_mask])
    )
    return {"chunk": list(found.chunks), "filters": filters, "chunks": chunks}


def main() -> None:
    limit()
    path, *rest = sys.argv[1:]
    try:
        said = layout(path, rest[0], values=len(rest) > 1) if rest else {"datasets": datasets(path)}
    except Exception as error:  # the library raises many kinds of exceptions on damage
        said = {"refused": " ".join(str(error).split())}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
