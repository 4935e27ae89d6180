"""Sources are checked and converted from Python as on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from PIL import Image

import pcam_features as pcam
from pcam_features.api.preparing import Conversion
from pcam_features.constants import Layout

Run = Callable[..., Result]


@pytest.fixture
def twice(tmp_path: Path) -> Path:
    """A folder of images in which one patch is there twice, with both labels."""
    pixels = pcam.open_source("synthetic:12:3:0").splits["train"].read(0, 12)
    folder = tmp_path / "twice"
    for row, patch in enumerate(pixels):
        (folder / str(row % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(patch).save(folder / str(row % 2) / f"p{row}.png")
    Image.fromarray(pixels[0]).save(folder / "1" / "copy.png")
    return folder


def test_parity_a_check_is_that_of_the_command_line(twice: Path, tmp_path: Path, pcam: Run) -> None:
    import pcam_features as api

    checked = api.check_source(twice, threads=1)
    said = pcam("check", twice, "--json", "--patches", tmp_path / "patches.csv", "--threads", 1)
    assert json.loads(said.out) == json.loads(json.dumps(checked.to_dict()))
    by_api = checked.write_patches(tmp_path / "by_api.csv")
    assert by_api.read_bytes() == (tmp_path / "patches.csv").read_bytes()
    assert len(pd.read_csv(by_api)) == len(checked.to_frame()) == 13


def test_mechanics_a_check_tells_its_findings(
    twice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []
    checked = pcam.check_source(str(twice), threads=1, progress=done.append)
    assert sum(done) == 13
    assert checked.faults >= 1
    assert "fault" in checked.verdict
    assert checked.findings["grade"].eq("fault").sum() == checked.faults
    assert "<table" in checked._repr_html_()
    assert str(twice) in repr(checked)
    page = checked.report(tmp_path / "check.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr() == ("", "")


def test_mechanics_a_check_against_another_source_reports_what_is_in_both(twice: Path) -> None:
    alone, both = (
        pcam.check_source("synthetic:12:3:0", against=other, threads=1) for other in (None, twice)
    )
    assert len(both.to_frame()) == len(alone.to_frame()) + 13
    assert set(both.findings["what"]) - set(alone.findings["what"])


def test_parity_a_conversion_is_that_of_the_command_line(tmp_path: Path, pcam: Run) -> None:
    import pcam_features as api

    logged: list[str] = []
    plan = api.convert_source(
        "synthetic:12:3:0", tmp_path / "a", to="hdf5", split="train", threads=1, log=logged.append
    )
    assert plan.patches == {"train": 12}
    assert "read as synthetic" in logged[0]
    pcam("convert", "synthetic:12:3:0", tmp_path / "b", "--to", "hdf5", "--split", "train")
    a, b = (api.open_source(tmp_path / name).splits["train"] for name in "ab")
    assert (a.ids, a.slides) == (b.ids, b.slides)
    np.testing.assert_array_equal(a.read(0, 12), b.read(0, 12))
    original = api.open_source("synthetic:12:3:0").splits["train"]
    np.testing.assert_array_equal(a.read(0, 12), original.read(0, 12))
    np.testing.assert_array_equal(a.labels, original.labels)


def test_mechanics_a_planned_conversion_writes_nothing(tmp_path: Path) -> None:
    source = pcam.open_source("synthetic:12:3:0")
    work = Conversion(source, tmp_path / "new", Layout.parquet, threads=1)
    plan = work.plan()
    assert not list(tmp_path.iterdir())
    assert work.run(None).patches == plan.patches
    with pytest.raises(pcam.InputError, match="overwrite=True"):
        pcam.convert_source(source, tmp_path / "new", to="parquet")
    pcam.convert_source(source, tmp_path / "new", to="parquet", overwrite=True)


def test_mechanics_a_source_with_faults_opens_if_it_is_not_strict(twice: Path) -> None:
    (twice / "0" / "p2.png").write_bytes(b"no image")
    with pytest.raises(pcam.InputError):
        pcam.open_source(twice).splits["train"].read(0, 12)
    source = pcam.open_source(twice, strict=False)
    checked = pcam.check_source(source, threads=1)
    assert not checked.to_frame()["readable"].all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pcam.check_source(None), "source= is None; give a source"),  # type: ignore[arg-type]
        (lambda: pcam.check_source("synthetic:20", against=3), "against= is 3"),  # type: ignore[arg-type]
        (lambda: pcam.check_source("synthetic:20", threads=-1), "threads= is -1"),
        (lambda: pcam.check_source("synthetic:20", split="valid"), "valid"),
        (
            lambda: pcam.convert_source("synthetic:20", "new", to="zip"),
            "to= is 'zip'; give one of: hdf5",
        ),
        (lambda: pcam.convert_source("synthetic:20", 3, to="hdf5"), "path= is 3"),  # type: ignore[arg-type]
        (lambda: pcam.convert_source("nowhere", "new", to="hdf5"), "nowhere"),
    ],
    ids=range(7),
)
def test_mechanics_wrong_arguments_are_refused(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pcam.InputError, match=message) as caught:
        call()
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_mechanics_tiles_are_not_converted(tmp_path: Path) -> None:
    folder = tmp_path / "large" / "1"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((192, 192, 3), np.uint8)).save(folder / "a.png")
    source = pcam.open_source(tmp_path / "large", fit="tile")
    with pytest.raises(pcam.InputError, match="fit='tile' is for features") as caught:
        pcam.convert_source(source, tmp_path / "new", to="folder")
    assert "--" not in str(caught.value)
