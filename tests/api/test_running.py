"""A run does what the single commands do, in one folder, and goes on after it was stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from PIL import Image

import pcam_features
from pcam_features import words
from pcam_features.api import estimating, run_stages, running
from pcam_features.api.progress import Reporter
from pcam_features.api.stages import Stages, staged
from pcam_features.convert.synthesize import synthesize
from pcam_features.encoders.options import EncoderOptions
from pcam_features.geometry import THUMBNAIL_SIDE
from pcam_features.storage.files import TEMPORARY

Run = Callable[..., Result]
HOW: dict[str, Any] = {"families": "lbp", "folds": 3, "threads": 1, "progress": None}
WORDS = ("--families", "lbp", "--folds", 3, "--threads", 1)
TIMINGS = ("run.json", "measured.json", "cost.json", "submission.cost.json", "lock")


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's layout: slides.csv, a sample submission and a test split without labels."""
    folder = tmp_path_factory.mktemp("run") / "kaggle"
    synthesize(folder, patches=120, slides=12, seed=3)
    return folder


@pytest.fixture(scope="module")
def finished(patches: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not stopped."""
    out = tmp_path_factory.mktemp("run") / "out"
    pcam_features.run(patches, out, **HOW)
    return out


def content(out: Path) -> dict[str, bytes]:
    """Every file of a run but those that hold timings."""
    files = (file for file in sorted(out.rglob("*")) if file.is_file() and file.name not in TIMINGS)
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def stopped(run: run_stages.Run, progress: object) -> None:
    raise KeyboardInterrupt


def test_mechanics_a_run_makes_the_submission_the_card_and_the_reports(
    patches: Path, finished: Path
) -> None:
    sample = pd.read_csv(patches / "sample_submission.csv")
    submission = pd.read_csv(finished / "submission.csv")
    assert list(submission["id"]) == list(sample["id"])
    assert submission["label"].between(0, 1).all()
    assert (finished / "card.md").read_text().startswith("# Model card")
    for page in ("check.html", "report.html"):
        assert (finished / page).read_text().startswith("<!doctype html>")
    record = json.loads((finished / "run.json").read_text())
    assert list(record["seconds"]) == list(run_stages.STAGES)
    assert json.loads((finished / "submission.cost.json").read_text())["predict_device"]


def test_parity_a_run_is_the_single_commands(
    patches: Path, finished: Path, pcam: Run, tmp_path: Path
) -> None:
    features, model, out = tmp_path / "features", tmp_path / "model", tmp_path / "submission.csv"
    assert pcam("extract", patches, features, "--families", "lbp", "--threads", 1).code == 0
    assert pcam("fit", features, model, *WORDS).code == 0
    sample = patches / "sample_submission.csv"
    assert pcam("submit", model, features, out, "--sample", sample, "--threads", 1).code == 0
    assert out.read_bytes() == (finished / "submission.csv").read_bytes()
    theirs = {f"model/{name}": text for name, text in content(model).items()}
    assert theirs == {k: v for k, v in content(finished).items() if k.startswith("model/")}


@pytest.mark.parametrize("after", [False, True])
def test_invariant_a_run_stopped_at_any_stage_ends_in_the_same_files(
    patches: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
) -> None:
    """It is stopped before each stage, or after it but before this is recorded."""
    out = tmp_path / "out"
    for stage, work in run_stages.STAGES.items():

        def stop(run: run_stages.Run, progress: Any, work: Any = work) -> None:
            if after:
                work(run, progress)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setitem(run_stages.STAGES, stage, stop)
            with pytest.raises(KeyboardInterrupt):
                pcam_features.run(patches, out, **HOW)
        assert stage not in json.loads((out / "run.json").read_text())["seconds"]
    pcam_features.run(patches, out, **HOW)
    assert content(out) == content(finished)


def test_invariant_a_run_killed_while_it_fits_ends_in_the_same_files(
    patches: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [str(word) for word in ("run", patches, out, *WORDS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pcam_features", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 600:
        if list((out / "model.unfinished").glob("steps/*.npy")):
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert (out / "model.unfinished").exists()
    told: list[str] = []
    pcam_features.run(patches, out, **HOW, log=told.append)
    assert any("of an earlier run" in sentence for sentence in told)
    assert not any("stage 1 of 5" in sentence for sentence in told)
    assert content(out) == content(finished)


def test_mechanics_nothing_is_left_to_do_in_a_finished_run(
    patches: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in run_stages.STAGES:
        monkeypatch.setitem(run_stages.STAGES, stage, stopped)
    before, told = content(finished), list[str]()
    result = pcam_features.run(patches, finished, **HOW, log=told.append)
    assert told[-1] == "nothing is left to do"
    assert content(finished) == before
    assert result.plan.seconds == {}
    assert all(file.exists() for file in result.files.values())
    assert "combined" in result.model.scores.index


def test_regression_half_written_files_of_a_killed_run_are_removed(
    patches: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    half = out / f"run.json.77{TEMPORARY}"
    half.write_text("{")
    (out / "card.md").unlink()
    pcam_features.run(patches, out, **HOW)
    assert not half.exists()
    assert content(out) == content(finished)


@pytest.mark.parametrize("name", ["submission.csv", "card.md", "report.html", "model/manifest.json"])
@pytest.mark.parametrize("damage", ["empty", "gone"])
def test_invariant_a_result_that_was_changed_is_made_again(
    name: str, damage: str, patches: Path, finished: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    file = out / name
    if name.startswith("model/"):
        shutil.rmtree(file.parent)
        if damage == "empty":
            file.parent.mkdir()
            with pytest.raises(pcam_features.InputError):
                pcam_features.run(patches, out, **HOW)
            return
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    result = pcam_features.run(patches, out, **HOW)
    assert result.plan.seconds
    assert content(out) == content(finished)


def test_invariant_the_model_of_another_run_is_refused(
    patches: Path, finished: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    pcam_features.run(patches, other, **HOW | {"seed": 1})
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(out / "model")
    shutil.copytree(other / "model", out / "model")
    (out / "submission.csv").unlink()
    with pytest.raises(pcam_features.InputError, match=r"model is not of this run.*remove it"):
        pcam_features.run(patches, out, **HOW)
    shutil.rmtree(out / "model")
    pcam_features.run(patches, out, **HOW)
    assert content(out) == content(finished)


def test_mechanics_other_settings_are_refused_and_overwritten_on_request(
    patches: Path, finished: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    before = content(out)
    changed = HOW | {"seed": 1, "folds": 4}
    with pytest.raises(pcam_features.InputError, match=r"differs in folds, seed; .*overwrite=True"):
        pcam_features.run(patches, out, **changed)
    assert content(out) == before
    written = {file: file.stat().st_mtime_ns for file in (out / "features").rglob("*.parquet")}
    (out / "report-old.html").write_text("a report of before")
    pcam_features.run(patches, out, **changed, overwrite=True)
    assert {file: file.stat().st_mtime_ns for file in (out / "features").rglob("*.parquet")} == written
    after = content(out)
    assert after["submission.csv"] != before["submission.csv"]
    assert set(after) == set(before)
    assert json.loads((out / "run.json").read_text())["settings"]["folds"] == 4


def test_mechanics_changed_files_are_another_run(patches: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(patches, tmp_path / "kaggle"))
    before = run_stages.digests(pcam_features.open_source(source).splits["train"])
    file = next((source / "train").iterdir())
    Image.open(file).convert("RGB").save(file, format="TIFF", compression="tiff_lzw")
    after = run_stages.digests(pcam_features.open_source(source).splits["train"])
    assert [name for name in after if after[name] != before[name]] == ["content"]


def test_mechanics_a_dry_run_writes_nothing(patches: Path, pcam: Run, tmp_path: Path) -> None:
    result = pcam("run", patches, tmp_path / "out", *WORDS, "--dry-run", "--json")
    assert result.code == 0, result.err
    assert not (tmp_path / "out").exists()
    printed = json.loads(result.out)
    assert (printed["dry_run"], printed["files"]) == (True, {})
    plan = printed["plan"]
    assert plan["patches"] == {"train": 120, "test": 30}
    assert list(plan["seconds"]) == list(run_stages.STAGES)
    assert plan["disk_bytes"] == 150 * (plan["columns"]["lbp"] + THUMBNAIL_SIDE**2) * 4
    assert "estimated time: " in result.err


def test_mechanics_what_a_run_cannot_use_is_refused(
    patches: Path, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("keep")
    refused = pcam("run", patches, foreign, *WORDS)
    assert (refused.code, refused.out) == (2, "")
    assert "was not made by pcam run" in refused.err
    refused = pcam("run", "synthetic:40", tmp_path / "a", "--sample", patches / "sample_submission.csv")
    assert refused.code == 2
    assert "no single split without labels" in refused.err
    refused = pcam("run", patches, tmp_path / "a", "--sample", tmp_path / "none.csv")
    assert "there is no sample submission" in refused.err
    source = pcam_features.open_source(patches)
    with pytest.raises(pcam_features.InputError, match="give it to open_source"):
        pcam_features.run(source, tmp_path / "a", slides="none")
    monkeypatch.setattr(run_stages, "free_bytes", lambda path: 1000)
    refused = pcam("run", patches, tmp_path / "a", *WORDS)
    assert refused.code == 2
    assert "free disk space or give a folder on another disk" in refused.err
    assert not (tmp_path / "a").exists()
    assert [file.name for file in foreign.iterdir()] == ["thesis.txt"]


def test_mechanics_faults_stop_a_run_only_if_asked_or_unreadable(
    patches: Path, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run_stages.STAGES, "extract", stopped)  # the check is enough here
    source = Path(shutil.copytree(patches, tmp_path / "kaggle"))
    labels = pd.read_csv(source / "train_labels.csv")
    twin = "twin"
    shutil.copy(source / "train" / f"{labels['id'][0]}.tif", source / "train" / f"{twin}.tif")
    labels.loc[len(labels)] = [twin, 1 - labels["label"][0]]
    labels.to_csv(source / "train_labels.csv", index=False)
    with pytest.raises(KeyboardInterrupt):
        pcam_features.run(source, tmp_path / "a", **HOW)
    with pytest.raises(pcam_features.InputError, match=r"fault.*leave out strict=True"):
        pcam_features.run(source, tmp_path / "b", **HOW, strict=True)
    assert (tmp_path / "b" / "check.html").exists()
    file = source / "train" / f"{labels['id'][1]}.tif"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(pcam_features.InputError, match=r"cannot be read"):
        pcam_features.run(source, tmp_path / "c", **HOW)


def test_mechanics_a_run_computes_the_families_that_fit_learns_from() -> None:
    options = EncoderOptions()
    every = [family.name for family in running.families_to_run(None, options)]
    assert "histogram" not in every
    assert len(every) == 13
    named = running.families_to_run(["color", "histogram"], options)
    assert [family.name for family in named] == ["color", "histogram"]


def test_invariant_progress_of_stages_goes_from_nothing_to_all() -> None:
    told: list[int] = []
    with staged(told.append, "run", {"a": 1, "b": 3}) as stages:
        assert isinstance(stages, Stages)
        for stage, expected in (("a", 25), ("b", 100)):
            for _ in range(2):  # a stage of two calls does not take progress back
                progress = stages.within(stage)
                assert isinstance(progress, Reporter)
                with progress.display(stage, 10, "patches") as advance:
                    advance(0)
                    for _ in range(10):
                        advance(1)
            stages.finish(stage)
            assert sum(told) == expected
    assert all(step > 0 for step in told)


def test_invariant_estimates_grow_with_patches_and_shrink_with_threads() -> None:
    families = running.families_to_run("color,nuclei", EncoderOptions())

    def seconds(rows: int, threads: int) -> np.ndarray:
        amount = estimating.Amount(families, {"train": rows}, rows, rows, 18, rows, rows)
        return np.array(list(estimating.seconds_of(amount, threads).values()))

    assert (seconds(1_000_000, 2) > seconds(500_000, 2)).all()
    np.testing.assert_allclose(seconds(1_000_000, 1), 2 * seconds(1_000_000, 2), rtol=0.01)
    assert words.duration(3600 * 2) == "2 h"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record | {"run_version": 99},
        lambda record: record | {"seconds": [1]},
        lambda record: {"run_version": 2},
    ],
)
def test_mechanics_a_damaged_record_is_refused(
    spoil: Callable[[dict[str, Any]], dict[str, Any]], patches: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    whole = {"run_version": 2, "settings": {}, "seconds": {}, "processor_seconds": {}, "sums": {}}
    (out / "run.json").write_text(json.dumps(spoil(whole)))
    with pytest.raises(pcam_features.InputError, match="damaged or of another version"):
        pcam_features.run(patches, out, **HOW)
    (out / "run.json").write_text(json.dumps(whole))
    with pytest.raises(pcam_features.InputError, match="differs in source, patches"):
        pcam_features.run(patches, out, **HOW)
