"""Hugging Face's Parquet files: `image`, a struct with the `bytes` of an image file, and `label`.

The files are <split>.parquet or <split>-*.parquet, in the folder or in its subfolder `data`. The
columns `id` and `slide` are optional.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..constants import LARGEST_ROWS, Kind
from ..errors import InputError
from ..storage import parquet
from ..storage.tables import check_ids
from ..words import counted
from .blocks import Blocks
from .fitting import Size
from .images import patch_of, patches
from .slides import COLUMNS as SLIDE_COLUMNS
from .slides import UNKNOWN, column_of
from .source import Original, Source, Split, digest, numbered, train_first, whole_labels
from .vocabulary import class_of

IMAGE, BYTES, LABEL, ID = "image", "bytes", "label", "id"
SUFFIX = ".parquet"
NAME = re.compile(
    rf"(?P<split>\w{{1,64}}?)(-(?P<shard>\d+)-of-(?P<shards>\d+)|-\d+|-[0-9a-f]{{16}})*{SUFFIX}"
)
PROTOCOL = (
    "Patches as stored in Parquet files. Only the author of the files knows whether splits share "
    "slides."
)
LARGEST_GROUP = 1 << 30  # bytes of a row group, uncompressed
MOST_TIMES = 100  # the largest compression ratio of a row group; images are compressed already
KEPT = 2  # cached row groups; batches are read in order
Group = tuple[Path, int]


def file_name(split: str, shard: int, shards: int) -> str:
    return f"{split}-{shard:05d}-of-{shards:05d}{SUFFIX}"


def listed(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == SUFFIX else []
    for folder in (path, path / "data"):
        found = [file for file in sorted(folder.glob(f"*{SUFFIX}")) if file.is_file()]
        if found:
            return found
    return []


def recognize(path: Path) -> bool:
    return bool(listed(path))


def read_group(key: Group) -> pa.Array:
    """The image files of a row group, as bytes. Raises InputError if it is damaged."""
    path, group = key
    try:
        with pq.ParquetFile(path) as file:
            nested = pa.types.is_struct(file.schema_arrow.field(IMAGE).type)
        column = f"{IMAGE}.{BYTES}" if nested else IMAGE
        with pq.ParquetFile(path, read_dictionary=[column]) as file:
            said = file.metadata.row_group(group)
            size, packed = (
                sum(getattr(said.column(k), what) for k in range(said.num_columns))
                for what in ("total_uncompressed_size", "total_compressed_size")
            )
            if size > LARGEST_GROUP or size > MOST_TIMES * packed + LARGEST_GROUP // 1024:
                raise InputError(
                    f"{path}: row group {group} holds {size >> 20:,} MiB; rewrite the file with "
                    "smaller row groups."
                )
            images = file.read_row_group(group, columns=[column])[IMAGE].combine_chunks()
        images = images.field(BYTES) if nested else images
        return images.chunk(0) if isinstance(images, pa.ChunkedArray) else images
    except (OSError, KeyError, ValueError, TypeError, MemoryError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: row group {group} cannot be read: {reason}; download the file again."
        ) from None


def columns_of(path: Path) -> tuple[dict[str, list[Any]], list[int]]:
    """The columns other than images, and the number of rows of each row group.

    Raises InputError if the file is damaged or too large.
    """
    try:
        file, schema = parquet.open_file(path)
        with file:
            rows = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
            if sum(rows) > LARGEST_ROWS or min(rows, default=0) < 0:
                raise InputError(
                    f"{path} declares {counted(sum(rows), 'row')}, too many for a data set; check "
                    "the file."
                )
            if IMAGE not in schema.names or any(schema.names.count(n) > 1 for n in schema.names):
                raise InputError(
                    f"{path} has no column {IMAGE}, or two columns of the same name: "
                    f"{schema.names[:10]}; correct the file."
                )
            wanted = [n for n in (LABEL, ID, *SLIDE_COLUMNS) if n in schema.names]
            table = parquet.read(file, wanted)
            if wanted and len(table) != sum(rows):
                raise InputError(
                    f"{path} has {counted(len(table), 'row')} and declares {sum(rows):,}; download "
                    "it again."
                )
            columns = {name: table[name].to_pylist() for name in wanted}
            if is_inverted(schema) and LABEL in columns:
                columns[LABEL] = [1 - v if v in (0, 1) else v for v in columns[LABEL]]
            return columns, rows
    except (OSError, KeyError, ValueError, TypeError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())}.") from None


def is_inverted(schema: pa.Schema) -> bool:
    """Whether label 1 means normal, according to the label names in the file's metadata."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = said["info"]["features"][LABEL]["names"]
        first, second = (class_of(str(name)) for name in names)
        told = (first and first.label == 0) or (second and second.label == 1)
        return not told and bool((first and first.label == 1) or (second and second.label == 0))
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def check_shards(split: str, files: list[Path]) -> None:
    """Raise InputError if the files are numbered k of n and some of the n are missing."""
    found = [NAME.fullmatch(file.name) for file in files]
    said = [(int(m["shard"]), int(m["shards"])) for m in found if m and m["shards"]]
    if said and sorted(said) != [(k, len(files)) for k in range(len(files))]:
        raise InputError(
            f"the {len(files)} {SUFFIX} files of split {split} in {files[0].parent} are not numbered 0 "
            f"to n - 1 of n (the first is {files[0].name}); add the missing files, or "
            "move files of another data set away."
        )


def label_of(value: Any, path: Path) -> int | None:
    """A label from 0, 1, False or True; None for null and for −1, which marks withheld labels."""
    if value is None or value == -1:
        return None
    if value not in (0, 1) or not isinstance(value, int):
        raise InputError(f"{path} has the label {str(value)[:100]!r}, not 0 or 1; correct it.")
    return int(value)


def texts(values: list[Any], path: Path, name: str) -> list[str]:
    """The values of a column of strings. Raises InputError if some are not strings."""
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"{path}: column {name} is not text in every row; correct it.")
    return values


def split_of(name: str, files: list[Path]) -> Split:
    """Open a split from its files, in order. Raises InputError if they are damaged or incomplete."""
    check_shards(name, files)
    ids: list[str] = []
    labels: list[int | None] = []
    slides: list[str | None] = []
    groups: list[Group] = []
    sizes: list[int] = []
    own_ids = 0
    for path in files:
        columns, rows = columns_of(path)
        count = sum(rows)
        labels += [label_of(value, path) for value in columns.get(LABEL, [None] * count)]
        slide = column_of(columns)
        known = columns[slide] if slide else [None] * count
        slides += [None if s is None or str(s) in UNKNOWN else str(s) for s in known]
        ids += texts(columns[ID], path, ID) if ID in columns else [""] * count
        own_ids += ID in columns
        groups += [(path, k) for k in range(len(rows))]
        sizes += rows
    if own_ids not in (0, len(files)):
        raise InputError(
            f"some files of split {name} have a column {ID} and some have none; add it to all files."
        )
    ids = ids if own_ids else numbered(name, len(ids))
    check_ids(ids, f"split {name} of {files[0].parent}")
    known_labels = whole_labels(labels, f"split {name} of {files[0].parent}")
    content = digest(f"{path.name} {path.stat().st_size}" for path in files)
    original = originals(groups, sizes, ids)
    read = patches(original)
    return Split(name, ids, known_labels, slides, lambda *span: content, read, original)


def originals(groups: list[Group], sizes: list[int], ids: list[str]) -> Original:
    """A `Split.original` over row groups of these sizes, the last of which are cached."""
    blocks = Blocks(read_group, KEPT)
    starts = [0, *accumulate(sizes)]

    def original(row: int, size: Size | None) -> np.ndarray:
        k = bisect_right(starts, row) - 1
        path = groups[k][0]
        images = blocks[groups[k]]
        data = images[row - starts[k]].as_py() if row - starts[k] < len(images) else None
        if not isinstance(data, bytes):
            raise InputError(f"{path} has no bytes of an image for {ids[row]}; remove that row.")
        return patch_of(data, path / ids[row], size)

    return original


def open_source(path: Path) -> Source:
    """Open a file or a folder of files. Raises InputError for files in another format."""
    found: dict[str, list[Path]] = {}
    for file in listed(path):
        match = NAME.fullmatch(file.name)
        if not match:
            raise InputError(
                f"{file} does not name its split; rename it to {file_name('SPLIT', 0, 1)}."
            )
        found.setdefault(match["split"], []).append(file)
    splits = {name: split_of(name, found[name]) for name in train_first(found)}
    return Source(Kind.parquet, str(path), PROTOCOL, splits)
