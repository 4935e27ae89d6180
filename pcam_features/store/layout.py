"""Where the files of a feature store lie, and how rows are dealt into parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

MANIFEST = "manifest.json"
PATCHES = "patches"  # the table of ids, labels and slides beside the families
PART_ROWS = 2048
PATCH_SCHEMA = pa.schema([("id", pa.string()), ("label", pa.int8()), ("slide", pa.string())])


def part_path(store: Path, split: str, table: str, part: int) -> Path:
    return store / split / table / f"part-{part:05d}.parquet"


def part_count(rows: int) -> int:
    return -(-rows // PART_ROWS)


def part_span(part: int, rows: int) -> tuple[int, int]:
    return part * PART_ROWS, min((part + 1) * PART_ROWS, rows)


def parts_of(rows: np.ndarray) -> np.ndarray:
    """The part that each row is in."""
    return rows // PART_ROWS
