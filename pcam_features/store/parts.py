"""Writing the parts of a store. Each part is either complete or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, PcamError
from ..sources.source import Split
from ..storage.files import whole_file
from .layout import PART_ROWS, PATCH_SCHEMA, PATCHES, part_path, part_span
from .manifest import ADVICE, Stored

CONTENT = b"pcam_content"  # in a part's metadata: what its patches were made from


def is_there(path: Path, split: Split, family: Stored, part: int) -> bool:
    """Whether a part of a family exists. A part that cannot be read counts as missing.

    Raises
    ------
    InputError
        If a file of the source has another size than when the part was written.
    """
    file = part_path(path, split.name, family.name, part)
    start, stop = part_span(part, len(split))
    if not file.exists():
        return False
    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return False
    if (metadata.metadata or {}).get(CONTENT, b"").decode() != split.content(start, stop):
        raise InputError(
            f"feature store {path} was made from other files: in rows {start:,} to {stop:,} of split "
            f"{split.name!r}, a file has another size now; {ADVICE}"
        )
    return bool(metadata.num_rows == stop - start)


def write_patches(path: Path, split: Split, part: int) -> None:
    """Write a part's ids, labels and slides, unless the stored ones are the same."""
    target = part_path(path, split.name, PATCHES, part)
    start, stop = part_span(part, len(split))
    labels = [None] * (stop - start) if split.labels is None else split.labels[start:stop].tolist()
    columns = [split.ids[start:stop], labels, split.slides[start:stop]]
    table = pa.table(dict(zip(PATCH_SCHEMA.names, columns, strict=True)), schema=PATCH_SCHEMA)
    try:
        if pq.read_table(target).equals(table):
            return
    except (OSError, pa.ArrowException):
        pass  # missing or damaged: written below
    _write(target, table)


def write_features(path: Path, split: Split, family: Stored, part: int, values: np.ndarray) -> None:
    """Write a part of a family.

    Parameters
    ----------
    path, split, family, part
        The store's folder, and the part to write.
    values
        Features, float32 (rows, columns).

    Raises
    ------
    PcamError
        If a value is not finite.
    """
    if not np.isfinite(values).all():
        raise PcamError(
            f"{family.name} is NaN or infinite in split {split.name!r}, from row "
            f"{part * PART_ROWS:,} on, so this part is not written; run pcam doctor to check the "
            "installation."
        )
    start, stop = part_span(part, len(split))
    columns = {name: pa.array(values[:, k]) for k, name in enumerate(family.columns)}
    table = pa.table({"id": pa.array(split.ids[start:stop], pa.string())} | columns)
    table = table.replace_schema_metadata({CONTENT: split.content(start, stop)})
    _write(part_path(path, split.name, family.name, part), table)


def _write(path: Path, table: pa.Table) -> None:
    with whole_file(path) as temporary:
        # Features hardly compress; plain columns are as small and a third faster to write.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"])
