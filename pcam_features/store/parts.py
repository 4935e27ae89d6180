"""Writing the parts of a store: each is whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, PcamError
from ..sources.source import Split
from ..storage.files import whole_file
from .layout import PART_ROWS, PATCH_SCHEMA, PATCHES, part_path, part_span
from .manifest import _ANEW, Stored

CONTENT = b"pcam_content"  # in a part's metadata: what its patches were made from


def is_there(path: Path, split: Split, family: Stored, part: int) -> bool:
    """Whether a part is whole; one that cannot be read counts as missing, and is made again.

    Raises InputError if it was made from files of other sizes than the source has now.
    """
    file = part_path(path, split.name, family.name, part)
    start, stop = part_span(part, len(split))
    if not file.exists():
        return False
    try:
        found = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return False
    if (found.metadata or {}).get(CONTENT, b"").decode() != split.content(start, stop):
        raise InputError(
            f"feature store {path} was made from other files: the size of one of rows {start:,} to "
            f"{stop:,} of split {split.name!r} changed; {_ANEW}"
        )
    return bool(found.num_rows == stop - start)


def write_patches(path: Path, split: Split, part: int) -> None:
    """Write a part's ids, labels and slides, if they are not there as they are now."""
    target = part_path(path, split.name, PATCHES, part)
    start, stop = part_span(part, len(split))
    labels = [None] * (stop - start) if split.labels is None else split.labels[start:stop].tolist()
    columns = [split.ids[start:stop], labels, split.slides[start:stop]]
    table = pa.table(dict(zip(PATCH_SCHEMA.names, columns, strict=True)), schema=PATCH_SCHEMA)
    try:
        if pq.read_table(target).equals(table):
            return
    except (OSError, pa.ArrowException):
        pass  # not there, or damaged: written below
    _write(target, table)


def write_features(path: Path, split: Split, family: Stored, part: int, values: np.ndarray) -> None:
    """Write a part of a family: float32 (rows, columns). Raises PcamError if they are not finite."""
    if not np.isfinite(values).all():
        raise PcamError(
            f"{family.name} is NaN or infinite in rows {part * PART_ROWS:,} and on of split "
            f"{split.name!r}; nothing of them is kept."
        )
    start, stop = part_span(part, len(split))
    columns = {name: pa.array(values[:, k]) for k, name in enumerate(family.columns)}
    table = pa.table({"id": pa.array(split.ids[start:stop], pa.string())} | columns)
    table = table.replace_schema_metadata({CONTENT: split.content(start, stop)})
    _write(part_path(path, split.name, family.name, part), table)


def _write(path: Path, table: pa.Table) -> None:
    with whole_file(path) as temporary:
        # Features hardly compress: plain columns are a third faster to write, and as large.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"])
