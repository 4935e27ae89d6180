"""predict and submit read a source as extract does: the same options, told once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

READING = (
    *("--kind", "--positive", "--classes", "--exclude", "--labeled-only", "--label-column"),
    *("--id-column", "--path-column", "--skip-unreadable", "--slides", "--fit", "--mpp"),
)


@pytest.mark.parametrize("command", ["predict", "submit"])
def test_invariant_prediction_has_the_options_of_a_source(
    command: str, pcam: Callable[..., Any]
) -> None:
    told, expected = pcam(command, "--help").out, pcam("extract", "--help").out
    for option in READING:
        assert option in expected
        assert option in told


def test_mechanics_a_source_is_predicted_as_it_is_told(
    pcam: Callable[..., Any], model_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    images = sorted((synthetic_folder / "test").iterdir())[:6]
    table = tmp_path / "t.csv"
    below = tmp_path / "images"
    below.symlink_to(synthetic_folder / "test")
    rows = [f"images/{file.name},own_{k},{'abc'[k % 3]}" for k, file in enumerate(images)]
    table.write_text("\n".join(["where,own,grade", *rows]) + "\n")
    options = ("--path-column", "where", "--id-column", "own", "--label-column", "grade")
    options = (*options, "--positive", "a", "--exclude", "c", "--kind", "manifest")
    for command, out in (("predict", tmp_path / "p.csv"), ("submit", tmp_path / "s.csv")):
        done = pcam(command, model_folder, table, out, "--split", "train", *options)
        assert done.code == 0, done.err
        assert "2 × excluded" in done.err
        assert pd.read_csv(out)["id"].tolist() == ["own_0", "own_1", "own_3", "own_4"]


def test_mechanics_a_store_takes_no_options_of_a_source(
    pcam: Callable[..., Any], model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    options = ("--kind", "images", "--labeled-only")
    done = pcam("predict", model_folder, store_folder, tmp_path / "p.csv", *options)
    assert done.code == 2
    assert "--kind, --labeled-only are for a source" in done.err
