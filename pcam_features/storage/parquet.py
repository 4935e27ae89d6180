"""Parquet files of strangers: a text that stands in every row is stored once, and may be long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LONGEST = 1000  # letters of an id or a slide


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts, written out or as a dictionary."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain))


def open_file(path: Path) -> tuple[pq.ParquetFile, pa.Schema]:
    """A Parquet file, to be read with `read`, and its schema."""
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    text = [name for name, kind in zip(schema.names, schema.types, strict=True) if is_text(kind)]
    return pq.ParquetFile(path, read_dictionary=text), schema


def read(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Its columns, texts written out. Raises ValueError if one is longer than LONGEST."""
    table = file.read(None if columns is None else list(columns))
    for k, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        for chunk in table[k].chunks:
            if max((len(one or "") for one in chunk.dictionary.to_pylist()), default=0) > LONGEST:
                raise ValueError(f"a text in column {field.name} has more than {LONGEST} letters")
        table = table.set_column(k, field.name, table[k].cast(field.type.value_type))
    return table
