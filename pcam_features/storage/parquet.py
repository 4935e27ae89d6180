"""Reading untrusted Parquet files.

A long text that a file stores once could fill the memory when it is repeated in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LONGEST = 1000  # maximum number of characters of an id or a slide


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, plain or dictionary-encoded."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def open_file(file: Path | bytes) -> tuple[pq.ParquetFile, pa.Schema]:
    """Open a Parquet file, or the content of one, for `read`; returns it with its schema."""

    def source() -> Path | pa.BufferReader:
        return pa.BufferReader(file) if isinstance(file, bytes) else file

    with pq.ParquetFile(source()) as opened:
        schema = opened.schema_arrow
    text = [name for name, kind in zip(schema.names, schema.types, strict=True) if is_text(kind)]
    return pq.ParquetFile(source(), read_dictionary=text), schema


def read(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns, with strings decoded. Raises ValueError if a string is longer than LONGEST."""
    table = file.read(None if columns is None else list(columns))
    for k, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        for chunk in table[k].chunks:
            if max((len(one or "") for one in chunk.dictionary.to_pylist()), default=0) > LONGEST:
                raise ValueError(f"a text in column {field.name} has more than {LONGEST} characters")
        table = table.set_column(k, field.name, table[k].cast(field.type.value_type))
    return table
