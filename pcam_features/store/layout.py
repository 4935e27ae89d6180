"""The paths of files in a feature store, and the division of rows into parts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

MANIFEST = "manifest.json"
PATCHES = "patches"  # the table of ids, labels and slides beside the families
PART_ROWS = 2048
LARGEST_PART = 1 << 30  # bytes of a part's file, which is read at once; 5,000 columns take a 25th
PATCH_SCHEMA = pa.schema([("id", pa.string()), ("label", pa.int8()), ("slide", pa.string())])


def part_path(store: Path, split: str, table: str, part: int) -> Path:
    """The file of a part of a family, or of the table PATCHES."""
    return store / split / table / f"part-{part:05d}.parquet"


def part_count(rows: int) -> int:
    """The number of parts that a split of so many rows has."""
    return -(-rows // PART_ROWS)


def part_span(part: int, rows: int) -> tuple[int, int]:
    """The first row of a part, and the row after its last, in a split of so many rows."""
    return part * PART_ROWS, min((part + 1) * PART_ROWS, rows)
