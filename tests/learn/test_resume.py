"""A fit that was killed goes on where it was and ends in the same model; another is not mixed in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FITTED, Result
from filelock import FileLock
from signed import sign

from pcam_features.errors import InputError, PcamError
from pcam_features.learn.fit import FitOptions, deal, fit
from pcam_features.learn.settings import Compute
from pcam_features.storage import resumable as making
from pcam_features.storage.costs import FILE as COST
from pcam_features.storage.files import LOCK
from pcam_features.storage.resumable import PLAN, STEPS, unfinished
from pcam_features.store.store import open_store

Run = Callable[..., Result]


def command(store: Path, model: Path, *words: str) -> list[str]:
    options = ["--folds", "3", "--threads", "2", "--families", ",".join(FITTED), *words]
    return ["fit", str(store), str(model), *options]


def finished_steps(model: Path) -> list[Path]:
    """The arrays of an unfinished fit that are complete: their sum is beside them."""
    folder = unfinished(model) / STEPS
    return [file for file in folder.glob("*.npy") if (folder / f"{STEPS}-{file.name}.sum").exists()]


def kill_after(steps: int, store: Path, model: Path, *words: str) -> None:
    """Start a fit and kill it once it has kept some steps more than there were."""
    before = len(finished_steps(model))
    process = subprocess.Popen(
        [sys.executable, "-m", "pcam_features", *command(store, model, *words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(finished_steps(model)) < before + steps and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed: nothing was tested"


def test_mechanics_a_killed_fit_goes_on_and_ends_in_the_same_model(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    written: dict[Path, int] = {}
    for steps in (2, 2, 1):
        kill_after(steps, store_folder, model)
        assert not model.exists()
        kept = {file: file.stat().st_mtime_ns for file in finished_steps(model)}
        assert all(kept[file] == when for file, when in written.items()), "a finished step was redone"
        written = kept
    assert len(written) >= 5
    refused = pcam("predict", unfinished(model), store_folder, tmp_path / "p.csv")
    assert refused.code == 2
    assert pcam(*command(store_folder, model)).code == 0
    assert not unfinished(model).exists()
    names = sorted(f.relative_to(model_folder) for f in model_folder.rglob("*"))
    assert sorted(f.relative_to(model) for f in model.rglob("*")) == names
    for name in names:
        if (model / name).is_file() and name.name != COST:  # of another run: other times
            assert (model / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_mechanics_another_fit_is_not_mixed_in(store_folder: Path, pcam: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    kill_after(1, store_folder, model)
    refused = pcam(*command(store_folder, model, "--seed", "5"))
    assert refused.code == 2
    assert "unfinished model that differs in" in refused.err
    assert "seed" in refused.err
    assert any((unfinished(model) / STEPS).iterdir())
    result = pcam(*command(store_folder, model, "--seed", "5", "--overwrite", "--json"))
    assert result.code == 0
    assert json.loads(result.out)["seed"] == 5


def test_mechanics_ctrl_c_stops_at_once_and_loses_nothing(
    store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    words = command(store_folder, model)
    process = subprocess.Popen(
        [sys.executable, "-m", "pcam_features", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((unfinished(model) / STEPS).glob("*.npy")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("stopped; run the same command again to continue\n")
    assert "Traceback" not in err
    assert pcam(*words).code == 0


def test_mechanics_a_fit_that_is_killed_as_it_ends_only_gets_its_name(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"

    def killed(whole: Path, path: Path) -> None:
        raise PcamError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(making, "replace_folder", killed)
        assert pcam(*command(store_folder, model)).code == 1
    assert not model.exists()
    assert pcam(*command(store_folder, model)).code == 0
    assert sorted(f.name for f in model.iterdir()) == sorted(f.name for f in model_folder.iterdir())


def test_regression_a_refused_fit_removes_what_a_killed_one_left_in_its_model(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    """A process that is killed after its folder became the model leaves the plan and steps in it."""
    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    (model / PLAN).write_text(json.dumps({making.PLAN_KEY: 1}))
    (model / STEPS).mkdir()
    result = pcam(*command(store_folder, model))
    assert (result.code, "exists already" in result.err) == (2, True)
    assert sorted(f.name for f in model.iterdir()) == sorted(f.name for f in model_folder.iterdir())


def test_mechanics_what_appears_under_its_name_meanwhile_is_left(
    store_folder: Path, tmp_path: Path
) -> None:
    model, store = tmp_path / "model", open_store(store_folder)
    folds = deal(store, "train", 3, 0)

    def appears(done: int) -> None:
        model.mkdir(exist_ok=True)
        (model / "thesis.txt").write_text("precious")

    with pytest.raises(InputError, match="exists already"):
        fit(
            store,
            model,
            split="train",
            families=["lbp"],
            folds=folds,
            options=FitOptions(Compute("cpu", 2, 0)),
            progress=appears,
        )
    assert (model / "thesis.txt").read_text() == "precious"
    assert (unfinished(model) / "manifest.json").is_file()


def test_mechanics_damaged_steps_are_made_anew(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    kill_after(5, store_folder, model)
    for k, file in enumerate(sorted((unfinished(model) / STEPS).glob("*.npy"))):
        file.write_bytes(b"" if k % 2 else file.read_bytes()[:90])
    for file in (unfinished(model) / "color").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert pcam(*command(store_folder, model)).code == 0
    for name in ("out_of_fold.parquet", "all/trees.ubj", "color/landmarks.npy"):
        assert (model / name).read_bytes() == (model_folder / name).read_bytes(), name


def test_mechanics_features_that_changed_meanwhile_are_noticed(
    store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    store, model = tmp_path / "store", tmp_path / "model"
    shutil.copytree(store_folder, store)
    kill_after(2, store, model)
    file = next((store / "train" / "color").iterdir())
    table = pq.read_table(file)
    column = pa.array(table[1].to_numpy()[::-1].copy())
    pq.write_table(table.set_column(1, table.column_names[1], column), file)
    sign(store)
    refused = pcam(*command(store, model))
    assert refused.code == 2
    assert "features" in refused.err.split("differs in ")[1]


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
    assert "was not created by pcam as an unfinished model" in result.err
    assert file.read_text() == "precious"
