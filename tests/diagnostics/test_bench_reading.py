"""Reading is timed on the same pixels, whichever way they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result

from pcam_features.diagnostics import bench_reading
from pcam_features.errors import PcamError
from pcam_features.sources import synthetic

Run = Callable[..., Result]


def test_mechanics_reading_is_timed_from_every_layout(pcam: Run, synthetic_folder: Path) -> None:
    words = ("bench", synthetic_folder, "--only", "reading", "--patches", 40, "--repeats", 3)
    result = pcam(*words, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report.keys() == {"source", "reading"}
    reading = report["reading"]
    assert (reading["patches"], reading["repeats"]) == (40, 3)
    assert len({row["layout"] for row in reading["layouts"]}) == 6
    for row in reading["layouts"]:
        assert row["ratio"] == pytest.approx(row["library_ms_per_patch"] / row["ms_per_patch"])
    table = pcam(*words)
    assert "page cache" in table.err
    assert all(row["layout"] in table.out for row in reading["layouts"])


def test_mechanics_what_reads_otherwise_is_not_timed(tmp_path: Path) -> None:
    split = synthetic.open_source("synthetic:4:2").splits["train"]
    pixels = split.read(0, 4)
    for plain, told in ((pixels, pixels ^ 1), (pixels ^ 1, pixels)):
        way = bench_reading.Way("a layout", "a library", tmp_path, lambda made=plain: list(made))
        with pytest.raises(PcamError, match="read different pixels"):
            bench_reading.check_pixels(way, split, told)
    same = bench_reading.Way("a layout", "a library", tmp_path, lambda: list(np.copy(pixels)))
    bench_reading.check_pixels(same, split, pixels)
