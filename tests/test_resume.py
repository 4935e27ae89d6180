"""A fit that was killed goes on where it was and ends in the same model; another is not mixed in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FITTED, Result
from filelock import FileLock

from pcam_features.learn.work import LOCK, PLAN, STEPS, unfinished

Run = Callable[..., Result]


def command(store: Path, model: Path, *words: str) -> list[str]:
    options = ["--folds", "3", "--threads", "2", "--families", ",".join(FITTED), *words]
    return ["fit", str(store), str(model), *options]


def kill_after(steps: int, store: Path, model: Path, *words: str) -> None:
    """Start a fit and kill it once it has kept some steps more than there were."""
    kept = unfinished(model) / STEPS
    before = len(list(kept.glob("*.npy")))
    process = subprocess.Popen(
        [sys.executable, "-m", "pcam_features", *command(store, model, *words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(kept.glob("*.npy"))) < before + steps and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed: nothing was tested"


def test_mechanics_a_killed_fit_goes_on_and_ends_in_the_same_model(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    written: dict[Path, int] = {}
    for _ in range(3):
        kill_after(3, store_folder, model)
        assert not model.exists()
        kept = {f: f.stat().st_mtime_ns for f in (unfinished(model) / STEPS).glob("*.npy")}
        assert all(kept[file] == when for file, when in written.items()), "a finished step was redone"
        written = kept
    assert len(written) >= 9
    refused = pcam("predict", unfinished(model), store_folder, tmp_path / "p.csv")
    assert refused.code == 2
    assert pcam(*command(store_folder, model)).code == 0
    assert not unfinished(model).exists()
    names = sorted(f.relative_to(model_folder) for f in model_folder.rglob("*"))
    assert sorted(f.relative_to(model) for f in model.rglob("*")) == names
    for name in names:
        if (model / name).is_file():
            assert (model / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_mechanics_another_fit_is_not_mixed_in(store_folder: Path, pcam: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    kill_after(1, store_folder, model)
    refused = pcam(*command(store_folder, model, "--seed", "5"))
    assert refused.code == 2
    assert "unfinished fit that differs in" in refused.err
    assert "seed" in refused.err
    assert any((unfinished(model) / STEPS).iterdir())
    result = pcam(*command(store_folder, model, "--seed", "5", "--overwrite", "--json"))
    assert result.code == 0
    assert json.loads(result.out)["seed"] == 5


def test_mechanics_one_process_fits_a_model(store_folder: Path, pcam: Run, tmp_path: Path) -> None:
    folder = unfinished(tmp_path / "model")
    folder.mkdir()
    with FileLock(folder / LOCK):
        result = pcam(*command(store_folder, tmp_path / "model"))
    assert result.code == 1
    assert "another process" in result.err


@pytest.mark.parametrize("content", ["strangers", "damaged plan"])
def test_mechanics_a_folder_that_is_not_ours_is_left(
    content: str, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    folder = unfinished(tmp_path / "model")
    folder.mkdir()
    file = folder / ("thesis.txt" if content == "strangers" else PLAN)
    file.write_text("precious")
    result = pcam(*command(store_folder, tmp_path / "model", "--overwrite"))
    assert result.code == 2
    assert "not an unfinished model" in result.err
    assert file.read_text() == "precious"
