"""Footers of Parquet files: read as Arrow reads them, and none of them ends the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pcam_features.storage.parquet_footer import Thrift, columns_of

ROOT = Path(__file__).parents[2]
# Change each byte of a footer and read the file: Arrow ends a process that asks it for such columns.
DAMAGE = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from pcam_features.storage.parquet import open_file, read
whole = Path(sys.argv[1]).read_bytes()
refused = 0
for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
    for byte in (whole[place] ^ 63, 0, 255):
        try:
            read(open_file(whole[:place] + bytes([byte]) + whole[place + 1 :])[0], rows=7)
        except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException):
            refused += 1
print(refused)
"""


def table(rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "image": [{"bytes": rng.bytes(50), "path": None} for _ in range(rows)],
            "label": [k % 2 == 1 for k in range(rows)],
            "id": [f"é{k}" for k in range(rows)],
            "lists": [rng.random(3).tolist() for _ in range(rows)],
            "more": pa.array(rng.random((rows, 4), np.float32).tolist(), pa.list_(pa.float32(), 4)),
            "fixed": pa.array([b"abcd"] * rows, pa.binary(4)),
        }
    )


@pytest.mark.parametrize(
    "how", [{}, {"row_group_size": 3}, {"compression": "none"}, {"write_page_index": True}]
)
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_oracle_columns_are_as_arrow_describes_them(
    rows: int, how: dict[str, Any], tmp_path: Path
) -> None:
    pq.write_table(table(rows), tmp_path / "t.parquet", **how)
    with pq.ParquetFile(tmp_path / "t.parquet") as file, (tmp_path / "t.parquet").open("rb") as stream:
        found = columns_of(stream)
        assert len(found) == file.metadata.num_row_groups
        for k, columns in enumerate(found):
            group = file.metadata.row_group(k)
            told = [group.column(j) for j in range(group.num_columns)]
            assert [(c.name, c.kind, c.values, c.size, c.packed) for c in columns] == [
                (
                    c.path_in_schema,
                    c.physical_type,
                    c.num_values,
                    c.total_uncompressed_size,
                    c.total_compressed_size,
                )
                for c in told
            ]


def test_regression_no_damaged_footer_ends_the_process(tmp_path: Path) -> None:
    pq.write_table(table(7).select(["image", "label"]), tmp_path / "t.parquet")
    words = [sys.executable, "-c", DAMAGE, str(tmp_path / "t.parquet")]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert ended.returncode == 0, ended.stderr[-500:]
    assert int(ended.stdout) > 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x15" + b"\xff" * 20,
        b"\x19\xfc",
        b"\x18\x7f",
        b"\x1d\x00",
        b"\x1c" * 40,
        b"\x19\xf3" + b"\xff" * 8 + b"\x01",  # a list of more bytes than there are
    ],
)
def test_mechanics_what_is_no_thrift_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        Thrift(data).pass_over(12)
