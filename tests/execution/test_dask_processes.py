"""`--cluster` with `dask scheduler` and `dask worker`, and workers that something is wrong with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from campaign.test_full_disks import mount
from conftest import Result, files_in
from dask_processes import Processes, end

import pcam_features as pcam_api
from pcam_features.convert.synthesize import synthesize
from pcam_features.execution import cluster
from pcam_features.storage.costs import FILE, MEASURED
from pcam_features.storage.files import TEMPORARY
from pcam_features.store.layout import MANIFEST

pytest.importorskip("distributed", reason="Dask is not installed (extra cluster)")

Run = Callable[..., Result]
EXTRACT = ("--families", "color", "--copies", "0", "--threads", "1")
files_of = partial(files_in, without=("lock", MEASURED, FILE))
FIT = ("--folds", "3", "--threads", "1")
OTHER_VERSION = "import pcam_features\npcam_features.__version__ = '0.0.1'\n"
NO_PCAM = "import sys\nsys.modules['pcam_features'] = None\n"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """A scheduler with two workers."""
    with Processes(tmp_path_factory.mktemp("dask") / "scheduler.json") as started:
        started.worker()
        started.worker("--no-nanny")
        started.wait_for(2)
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "patches"
    synthesize(folder, patches=120, slides=12, seed=4)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a model that one process made."""
    made = tmp_path_factory.mktemp("here")
    wanted: dict[str, Any] = {"threads": 1, "progress": None}
    pcam_api.extract(folder, made / "store", families="color", copies=0, **wanted)
    pcam_api.fit(made / "store", made / "model", folds=3, **wanted)
    return made


def test_parity_the_commands_use_workers_by_address_and_by_file(
    pcam: Run, there: Processes, folder: Path, expected: Path, tmp_path: Path
) -> None:
    store, model = tmp_path / "store", tmp_path / "model"
    done = pcam("extract", folder, store, *EXTRACT, "--cluster", there.address)
    assert done.code == 0, done.err
    assert f"cluster {there.address}: 2 units of work at a time" in done.err
    assert files_of(store) == files_of(expected / "store")
    done = pcam("fit", expected / "store", model, *FIT, "--cluster", there.file)
    assert done.code == 0, done.err
    assert files_of(model) == files_of(expected / "model")


def refused(result: Result, out: Path) -> str:
    """The sentence of a command that was refused before it has written anything."""
    assert result.code == 2, result.err
    assert not out.exists()
    assert "Traceback" not in result.err
    return result.err.rstrip("\n").rpartition("\n")[2]


@pytest.mark.parametrize(
    ("preload", "says"),
    [
        (OTHER_VERSION, "cannot take part: it has pcam 0.0.1, and the client has"),
        (NO_PCAM, "No module named"),
    ],
    ids=["other version", "no pcam"],
)
def test_mechanics_a_worker_without_the_same_pcam_is_named(
    preload: str, says: str, pcam: Run, there: Processes, folder: Path, tmp_path: Path
) -> None:
    worker = there.worker("--no-nanny", preload=preload)
    there.wait_for(3)
    try:
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", there.file)
    finally:
        end(worker)
        there.wait_for(2)
    sentence = refused(result, tmp_path / "s")
    assert sentence.startswith("error: worker tcp://")
    assert says in sentence
    assert "the same pcam" in sentence


@pytest.fixture
def mounting() -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a disk that only some processes see needs root on Linux, and unshare")
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")


def test_mechanics_a_worker_that_does_not_see_the_source_is_named(
    mounting: None, pcam: Run, there: Processes, folder: Path, tmp_path: Path
) -> None:
    hide = f"mount -t tmpfs tmpfs '{folder}' && exec \"$@\""
    worker = there.worker("--no-nanny", before=("unshare", "--mount", "sh", "-c", hide, "sh"))
    there.wait_for(3)
    try:
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", there.file)
    finally:
        end(worker)
        there.wait_for(2)
    sentence = refused(result, tmp_path / "s")
    assert sentence.startswith("error: worker tcp://")
    assert "cannot take part: " in sentence
    assert str(folder) in sentence
    assert "every worker needs the same pcam, and the source at the same path." in sentence


def test_mechanics_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    mounting: None, pcam: Run, there: Processes, folder: Path, expected: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert not mount(disk, 200_000).returncode
    try:
        command = ("extract", folder, disk / "store", *EXTRACT, "--cluster", there.file)
        result = pcam(*command)
        assert result.code == 1, result.err
        assert "Traceback" not in result.err
        # The folder that is named is that of the first file that does not fit.
        said = result.err.splitlines()[-1]
        assert said.startswith(f"error: the disk of {disk / 'store'}")
        assert " is full" in said
        made, whole = files_of(disk / "store"), files_of(expected / "store")
        named = [name for name in made if name != MANIFEST and not name.endswith(TEMPORARY)]
        assert all(made[name] == whole[name] for name in named)
        assert not mount(disk, 1 << 26, again=True).returncode
        again = pcam(*command)
        assert again.code == 0, again.err
        assert files_of(disk / "store") == files_of(expected / "store")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("options", "pause", "says"),
    [
        (("--memory-limit", "200MB"), "0.8", "died while it got ready; its log says why"),
        (("--no-nanny",), "0.0001", "Dask has paused all workers of the cluster"),
    ],
    ids=["killed", "paused"],
)
def test_mechanics_a_worker_without_enough_memory_is_one_sentence(
    options: tuple[str, ...],
    pause: str,
    says: str,
    pcam: Run,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The libraries take more than 200 MB, and more than a ten-thousandth of the machine's memory."""
    with Processes(tmp_path / "scheduler.json") as small, monkeypatch.context() as patch:
        patch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE", pause)
        small.worker(*options)
        small.wait_for(1)
        patch.setattr(cluster, "PATIENCE", 3.0)
        result = pcam("extract", folder, tmp_path / "s", *EXTRACT, "--cluster", small.file)
    assert result.code == 1, result.err
    assert "Traceback" not in result.err
    sentence = result.err.rstrip("\n").rpartition("\n")[2]
    assert sentence.startswith("error: ")
    assert says in sentence
    assert "memory" in sentence
    assert not list((tmp_path / "s").rglob("*.parquet"))
