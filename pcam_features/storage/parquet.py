"""Reading untrusted Parquet files.

A file of a megabyte can declare, and hold, hundreds of millions of rows, and a long text that a file
stores once could fill the memory when it is repeated in every row. So what a file says of its rows and
sizes is compared with what is expected, before a column is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..execution.memory import lacks_memory
from . import urls
from .parquet_footer import columns_of

LONGEST = 1000  # maximum number of characters of an id or a slide
WIDEST = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
}  # bytes of a value
WIDEST_TEXT = 4 * (LONGEST + 1)
ROOM = 1 << 16  # bytes of a column in a row group beside its values


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, plain or dictionary-encoded."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def readable(file: Path) -> Any:
    """What PyArrow reads parts of: a path on the disk, or an object at a URL."""
    return urls.opened(file) if urls.is_url(file) else file


@contextmanager
def telling_memory() -> Iterator[None]:
    """Raise MemoryError in place of what PyArrow says of it, which is no fault of the file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if lacks_memory(error):
            raise MemoryError(str(error)) from error
        raise


def in_arrow(content: bytes) -> pa.BufferReader:
    """Bytes in memory of Arrow's own.

    Its threads let go of what they read now and then after Python has begun to end. If that were
    Python's bytes, the process would be aborted.
    """
    memory = pa.allocate_buffer(len(content))
    memoryview(memory).cast("B")[:] = content
    return pa.BufferReader(memory)


@telling_memory()
def open_file(file: Path | bytes) -> tuple[pq.ParquetFile, pa.Schema]:
    """Open a Parquet file, or the content of one, for `read`; returns it with its schema.

    Its attribute `described` has what its footer says of the columns of each group of rows.
    """
    source = in_arrow(file) if isinstance(file, bytes) else readable(file)
    with pq.ParquetFile(source) as opened:  # which leaves open what it did not open itself
        schema = opened.schema_arrow
    text = [name for name, kind in zip(schema.names, schema.types, strict=True) if is_text(kind)]
    opened = pq.ParquetFile(source, read_dictionary=text)
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as content:
        opened.described = columns_of(content)
    return opened, schema


@telling_memory()
def read(file: pq.ParquetFile, columns: Sequence[str] | None = None, *, rows: int) -> pa.Table:
    """Read columns, with strings decoded.

    Parameters
    ----------
    file
        What `open_file` gave.
    columns
        The columns to read; None for all.
    rows
        The number of rows that the file has to have.

    Raises
    ------
    ValueError
        If the file has another number of rows, says that a column takes more memory than so many
        values do, or holds a string longer than LONGEST.
    """
    check_counts(file, columns, rows)
    table = file.read(None if columns is None else list(columns))
    for k, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        for chunk in table[k].chunks:
            if max((len(one or "") for one in chunk.dictionary.to_pylist()), default=0) > LONGEST:
                raise ValueError(f"a text in column {field.name} has more than {LONGEST} characters")
        table = table.set_column(k, field.name, table[k].cast(field.type.value_type))
    return table


def check_counts(file: pq.ParquetFile, columns: Sequence[str] | None, rows: int) -> None:
    """Raise ValueError unless a file says that its columns hold `rows` values of a fit size each.

    Arrow reads as many values as a column declares, whatever the number of rows in the file's head.
    """
    head = file.metadata
    if head.num_rows != rows:
        raise ValueError(f"it has {head.num_rows:,} rows instead of {rows:,}")
    if head.num_row_groups > max(rows, 1):
        raise ValueError(f"it has {head.num_row_groups:,} groups of rows for {rows:,} rows")
    groups = [head.row_group(k) for k in range(head.num_row_groups)]
    if min((group.num_rows for group in groups), default=0) < 0:
        raise ValueError("it has a negative number of rows")
    if sum(group.num_rows for group in groups) != rows:
        raise ValueError("the rows of its groups do not add up")
    for group, described in zip(groups, file.described, strict=True):
        for column in described:
            if columns is not None and column.name.partition(".")[0] not in columns:
                continue
            most = ROOM + 2 * group.num_rows * WIDEST.get(column.kind, WIDEST_TEXT)
            if column.values != group.num_rows or column.size > most:
                raise ValueError(f"column {column.name} declares too many or too large values")
