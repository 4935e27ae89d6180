"""Parquet of anybody's: counts and sizes are compared with what is expected before a column is read."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pcam_features.errors import InputError
from pcam_features.grouping.folds import read_fold_table
from pcam_features.storage import costs, parquet


def constant(rows: int) -> pa.Table:
    """A table that takes a megabyte on disk, however many rows it has."""
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a"]))
    return pa.table({"id": ids, "fold": pa.array(np.zeros(rows, np.int8))})


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("parquet") / "folds.parquet"
    table = constant(4_000_000)
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(5):
            writer.write_table(table)
    assert file.stat().st_size < 2e6
    return file


def test_mechanics_rows_beyond_the_expected_are_refused_before_they_are_read(many_rows: Path) -> None:
    before, began = costs.peak_memory_mib(), time.monotonic()
    with pytest.raises(ValueError, match="it has 20,000,000 rows instead of 240"):
        parquet.read(parquet.open_file(many_rows)[0], rows=240)
    with pytest.raises(InputError, match="are for other patches: 20,000,000, not 240"):
        read_fold_table(many_rows, rows=240)
    assert time.monotonic() - began < 20
    assert before is not None
    assert (costs.peak_memory_mib() or 0) - before < 50


def test_mechanics_a_long_text_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "long.parquet"
    pq.write_table(pa.table({"id": ["x" * (64 << 20)] * 4}), file, compression="zstd")
    before = costs.peak_memory_mib()
    with pytest.raises(ValueError, match="column id declares too many or too large values"):
        parquet.read(parquet.open_file(file)[0], rows=4)
    assert before is not None
    assert (costs.peak_memory_mib() or 0) - before < 50


def test_invariant_tables_of_pcam_are_within_the_limits(tmp_path: Path) -> None:
    """Whatever the groups, encodings and compression: long ids, one row, none."""
    rng = np.random.default_rng(0)
    for rows in (0, 1, 300):
        table = pa.table(
            {
                "id": pa.array([f"{k}" * 200 for k in range(rows)], pa.string()),
                "label": pa.array([None] * rows, pa.int8()),
                "combined": rng.random(rows),
                "value": rng.random(rows).astype(np.float32),
                "flag": pa.array([True] * rows),
            }
        )
        for options in ({}, {"compression": "none"}, {"row_group_size": 7}, {"use_dictionary": False}):
            pq.write_table(table, tmp_path / "table.parquet", **options)
            read = parquet.read(parquet.open_file(tmp_path / "table.parquet")[0], rows=rows)
            assert read.equals(table)


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("Failed to launch worker thread: Resource temporarily unavailable", MemoryError),
        ("malloc of size 64 failed: out of memory", MemoryError),
        ("Couldn't deserialize thrift", OSError),
    ],
)
def test_regression_lack_of_memory_is_no_damage_to_a_file(said: str, raised: type[Exception]) -> None:
    def fail() -> None:
        with parquet.telling_memory():
            raise OSError(said)

    with pytest.raises(raised, match=said[:20]):
        fail()
