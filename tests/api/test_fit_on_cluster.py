"""Fits by the workers of a cluster: the same bytes as by one process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import files_in
from dask_processes import Processes, local_client

import pcam_features as pcam
from pcam_features.api import fit_cluster
from pcam_features.errors import InputError, PcamError
from pcam_features.learn import boosting, kernel_ridge, nystroem
from pcam_features.storage.costs import FILE

pytest.importorskip("distributed", reason="the extra cluster brings Dask")

files_of = partial(files_in, without=(FILE,))
WANTED: dict[str, Any] = {"folds": 3, "threads": 1, "progress": None}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_client(n_workers=2, threads_per_worker=1, silence_logs=100) as opened:
        yield opened


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of two families, of patches and of changed copies."""
    folder = tmp_path_factory.mktemp("features") / "store"
    pcam.extract("synthetic:120:12:1", folder, families="color,lbp", copies=20, progress=None)
    return folder


@pytest.fixture(scope="module")
def expected(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the model that one process fits."""
    return files_of(pcam.fit(store, tmp_path_factory.mktemp("here") / "model", **WANTED).path)


def test_parity_workers_fit_the_bytes_of_one_process(
    client: Any,
    store: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boosting, "grow", refuse)  # here, so that workers have to grow all trees
    for module in (kernel_ridge, nystroem):
        monkeypatch.setattr(module, "add_up", refuse)
    fitted = pcam.fit(store, tmp_path / "model", cluster=client, **WANTED)
    assert files_of(fitted.path) == expected


def refuse(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("this process makes a step itself")


def test_invariant_a_killed_worker_changes_no_byte_of_a_model(
    client: Any, store: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(done: int) -> None:
        if done and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    fitted = pcam.fit(store, tmp_path / "model", cluster=client, **WANTED | {"progress": kill})
    assert killed
    assert files_of(fitted.path) == expected


def test_mechanics_a_killed_scheduler_is_one_sentence_and_the_next_fit_goes_on(
    store: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    def kill(done: int) -> None:
        if done:
            there.scheduler.kill()

    with Processes(tmp_path / "scheduler.json") as there:
        there.worker("--no-nanny")
        wanted = WANTED | {"progress": kill, "cluster": str(there.file)}
        with pytest.raises(PcamError, match="connection to the cluster's scheduler was lost") as lost:
            pcam.fit(store, tmp_path / "model", **wanted)
    assert lost.value.exit_code == 1
    assert not (tmp_path / "model").exists()
    said: list[str] = []
    fitted = pcam.fit(store, tmp_path / "model", log=said.append, **WANTED)
    assert any(sentence.startswith("continuing ") for sentence in said), said
    assert files_of(fitted.path) == expected


def test_mechanics_another_version_is_refused_before_a_fit_writes(
    client: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_cluster, "__version__", "0.0.1")
    with pytest.raises(InputError, match=r"worker tcp://\S+ cannot take part: it has pcam .*0\.0\.1"):
        pcam.fit(store, tmp_path / "model", cluster=client, **WANTED)
    assert not list(tmp_path.iterdir())


def test_mechanics_workers_that_see_other_features_are_refused(
    client: Any, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_cluster, "features_digest", lambda *_, **__: "other")
    with pytest.raises(InputError, match=r"worker \S+ cannot take part: it sees other features"):
        pcam.fit(store, tmp_path / "model", cluster=client, **WANTED)
    assert not list(tmp_path.iterdir())
