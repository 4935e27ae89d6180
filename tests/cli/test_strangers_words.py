"""Names from strangers' files in tables, terminals and spreadsheets; and files that are no files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Result

from pcam_features.errors import InputError
from pcam_features.report.markdown import table
from pcam_features.sources.detect import open_source
from pcam_features.storage.tables import formula_note, read_at_most

Run = Callable[..., Result]


@pytest.mark.parametrize("slide", ["\x1b[2J", "a\x07", "b\u202egpj", "c\u2028d", "e\ud800"])
def test_mechanics_slide_tables_take_no_names_that_steer(
    slide: str, synthetic_folder: Path, tmp_path: Path
) -> None:
    ids = pd.read_csv(synthetic_folder / "train_labels.csv")["id"]
    file = tmp_path / "slides.csv"
    rows = [f"{i},{slide if k == 3 else 's1'}" for k, i in enumerate(ids)]
    file.write_bytes("\n".join(["id,slide", *rows]).encode(errors="surrogatepass"))
    with pytest.raises(InputError, match=r"slides\.csv") as refusal:
        open_source(str(synthetic_folder), slides=str(file))
    assert str(refusal.value).isprintable()


def test_invariant_ids_like_formulas_are_kept_and_said(
    pcam: Run, model_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    """The field writes ids as they are: whoever reads them by id finds his patches."""
    images = tmp_path / "images" / "test"
    images.mkdir(parents=True)
    names = ["=cmd|' !A0", "@SUM(1)", "+a", "-5", "plain"]
    for name, file in zip(names, sorted((synthetic_folder / "test").iterdir()), strict=False):
        shutil.copy(file, images / f"{name}.tif")
    out = tmp_path / "out.csv"
    result = pcam("predict", model_folder, tmp_path / "images", out, "--threads", 1)
    assert result.code == 0, result.err
    assert set(pd.read_csv(out, dtype={"id": str})["id"]) == set(names)
    notes = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert len(notes) == 1
    assert "3 ids begin with =, +, - or @" in notes[0]
    assert formula_note(["-5", "+1.5e3", "0", "a=b"]) == ""


def test_mechanics_names_stay_in_their_cell_of_markdown() -> None:
    lines = table(["a|b\n# fake", "AUC"], [["c\r\n| d", "<b>"]]).split("\n")
    assert lines == ["| a\\|b # fake | AUC |", "| --- | --- |", "| c \\| d | &lt;b> |"]


@pytest.mark.parametrize("what", ["device", "pipe"])
@pytest.mark.parametrize(
    "name",
    ["manifest.json", "cost.json", "out_of_fold.parquet", "folds.parquet", "all/trees.ubj"],
)
def test_mechanics_what_is_no_file_in_a_model_is_not_read(
    name: str, what: str, pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (model / name).unlink()
    if what == "pipe":
        os.mkfifo(model / name)
    else:
        (model / name).symlink_to("/dev/zero")
    words = ("predict", model, store_folder, tmp_path / "out.csv", "--split", "test")
    result = pcam(*words, "--threads", 1)
    train = pcam(*words[:-1], "train", "--threads", 1)
    for ending in (result, train):
        assert ending.code in (0, 1, 2)
        assert ending.code or (tmp_path / "out.csv").is_file()
    # Costs that cannot be read are not known; whatever predictions depend on is refused.
    if name != "cost.json":
        assert 2 in (result.code, train.code)


@pytest.mark.parametrize("what", ["device", "pipe"])
def test_mechanics_what_is_no_file_in_a_store_is_not_read(
    what: str, pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    for name in ("test/color/part-00000.parquet", "test/patches/part-00000.parquet", "manifest.json"):
        store = Path(shutil.copytree(store_folder, tmp_path / name.replace("/", "_")))
        (store / name).unlink()
        if what == "pipe":
            os.mkfifo(store / name)
        else:
            (store / name).symlink_to("/dev/zero")
        result = pcam("predict", model_folder, store, tmp_path / "out.csv", "--threads", 1)
        assert result.code == 2
        assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == 1
        assert not (tmp_path / "out.csv").exists()


def test_mechanics_a_stream_is_read_as_far_as_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789" * 300_000)
    with (tmp_path / "a").open("rb") as stream:
        assert len(read_at_most(stream, 2_500_000)) == 2_500_000
        assert len(read_at_most(stream, 2_500_000)) == 500_000
        assert read_at_most(stream, 1) == b""
