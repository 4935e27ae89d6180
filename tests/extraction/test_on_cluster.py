"""A cluster writes the bytes that threads write, and what goes wrong there ends in one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import files_in
from dask_processes import Processes, local_client, small_parts

import pcam_features as pcam
from pcam_features.convert.synthesize import synthesize
from pcam_features.errors import InputError, PcamError
from pcam_features.execution.cluster import Dask
from pcam_features.extraction import on_cluster
from pcam_features.storage.costs import MEASURED
from pcam_features.storage.files import TEMPORARY
from pcam_features.store import layout

pytest.importorskip("distributed", reason="the extra cluster brings Dask")

ROWS = 32  # of a part in these tests, so that little work has several parts
SMALL_PARTS = small_parts(ROWS)
files_of = partial(files_in, without=("lock", MEASURED))
WANTED = {"families": "color", "copies": 20, "progress": None}


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PART_ROWS", ROWS)
        yield


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file that makes parts as small in a worker."""
    file = tmp_path_factory.mktemp("preload") / "small_parts.py"
    file.write_text(SMALL_PARTS)
    return str(file)


@pytest.fixture(scope="module")
def client(preload: str) -> Iterator[Any]:
    """A client of two worker processes on this machine."""
    with local_client(n_workers=2, threads_per_worker=1, silence_logs=100, preload=preload) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches on the disk: 160 to train on, which are five parts, and 40 to test."""
    folder = tmp_path_factory.mktemp("data") / "patches"
    synthesize(folder, patches=160, slides=8, seed=2)
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that threads write."""
    store = tmp_path_factory.mktemp("threads") / "store"
    pcam.extract(folder, store, threads=2, **WANTED)
    return files_of(store)


def test_parity_a_cluster_writes_the_bytes_of_threads(
    client: Any,
    folder: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)  # workers have another current folder
    pcam.extract(folder.name, tmp_path / "store", cluster=client, **WANTED)
    before = files_of(tmp_path / "store")
    manifest, known = before.pop("manifest.json"), dict(expected)
    given = f'"path": "{folder.name}"'.encode(), f'"path": "{folder}"'.encode()
    assert given[0] in manifest
    assert given[1] in known.pop("manifest.json")
    assert before == known
    assert not (tmp_path / "store" / MEASURED).exists()  # of one machine alone
    pcam.extract(folder, tmp_path / "again", cluster=client, **WANTED)
    assert files_of(tmp_path / "again") == expected


def test_mechanics_a_damaged_file_fails_the_run_and_parts_before_it_stay(
    client: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    third = folder / "train" / f"{pcam.open_source(folder).splits['train'].ids[2 * ROWS + 3]}.tif"
    content = third.read_bytes()
    third.write_bytes(b"x" * len(content))  # of the same size, so that the source looks the same
    try:
        with pytest.raises(InputError) as here:
            pcam.extract(folder, tmp_path / "threads", threads=1, **WANTED)
        with pytest.raises(InputError) as there:
            pcam.extract(folder, store, cluster=client, **WANTED)
    finally:
        third.write_bytes(content)
    assert str(there.value) == str(here.value)
    whole = {name for name in files_of(store) if "/color/" in name and name.startswith("train/")}
    assert {f"train/color/part-0000{k}.parquet" for k in range(2)} <= whole
    assert "train/color/part-00002.parquet" not in whole
    manifest = pcam_manifest(store)
    assert len([one for one in manifest["splits"]["train"]["families"]["color"]["parts"] if one]) == 2
    pcam.extract(folder, store, cluster=client, **WANTED)
    assert files_of(store) == expected


def pcam_manifest(store: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((store / "manifest.json").read_text())
    return content


def test_mechanics_another_version_is_refused_before_anything_is_written(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cluster, "__version__", "0.0.1")
    with pytest.raises(InputError, match=r"worker tcp://\S+ cannot take part: it has pcam .*0\.0\.1"):
        pcam.extract(folder, tmp_path / "store", cluster=client, **WANTED)
    assert not (tmp_path / "store").exists()


def test_mechanics_workers_that_see_other_patches_are_refused(
    client: Any, folder: Path, tmp_path: Path
) -> None:
    source, labels = pcam.open_source(folder), folder / "train_labels.csv"
    content = labels.read_text()
    head, first, *rest = content.splitlines()
    labels.write_text("\n".join([head, f"{first[:-1]}{1 - int(first[-1])}", *rest]) + "\n")
    try:
        with pytest.raises(InputError, match=r"worker \S+ cannot take part: it sees other patches"):
            pcam.extract(source, tmp_path / "store", cluster=client, **WANTED)
    finally:
        labels.write_text(content)
    assert not (tmp_path / "store").exists()


@dataclass(frozen=True)
class Elsewhere(Dask):
    """A cluster whose workers do not see the client's disk."""

    def on_each(self, work: Any, *arguments: Any) -> dict[str, Any]:
        async def answer() -> Any:
            try:
                return await work(str(Path(arguments[0]) / "elsewhere"), *arguments[1:])
            except InputError as error:
                return error

        return {"tcp://far:1": asyncio.run(answer())}


def test_mechanics_workers_that_do_not_see_the_store_are_named(folder: Path, tmp_path: Path) -> None:
    source = pcam.open_source(folder)
    job = on_cluster.job_of(source, source.only("test"), [], on_cluster.Device.cpu, 1)
    crew = on_cluster.ClusterCrew(Elsewhere(None), job)
    with pytest.raises(
        InputError, match=r"worker tcp://far:1 cannot write to the feature store at .*No"
    ):
        crew.check_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_mechanics_a_source_of_this_program_is_refused(folder: Path) -> None:
    source = replace(pcam.open_source(folder), opening=None)
    with pytest.raises(InputError, match="made by this program, so workers of a cluster"):
        on_cluster.job_of(source, source.only("test"), [], on_cluster.Device.cpu, 1)


def once(action: Callable[[], object]) -> Callable[[int], None]:
    """A progress function that acts when the first part is done."""
    todo = [action]

    def progress(rows: int) -> None:
        if rows and todo:
            todo.pop()()

    return progress


def test_invariant_a_killed_worker_changes_no_byte(
    client: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    killed = []

    def kill() -> None:
        killed.append(next(iter(client.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    wanted = WANTED | {"progress": once(kill)}
    pcam.extract(folder, tmp_path / "store", cluster=client, **wanted)
    assert killed
    assert files_of(tmp_path / "store") == expected


def test_regression_what_a_killed_worker_left_of_a_file_is_removed(
    client: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    half = store / "train" / "color" / f"part-00003.parquet.1.2{TEMPORARY}"
    wanted = WANTED | {"progress": once(lambda: half.write_bytes(b"PAR1"))}
    pcam.extract(folder, store, cluster=client, **wanted)
    assert files_of(store) == expected


def test_mechanics_a_killed_scheduler_is_one_sentence_and_the_next_run_goes_on(
    client: Any, folder: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with Processes(tmp_path / "scheduler.json", SMALL_PARTS) as there:
        there.worker("--no-nanny")
        wanted = WANTED | {"progress": once(there.scheduler.kill)}
        with pytest.raises(PcamError, match="connection to the cluster's scheduler was lost") as lost:
            pcam.extract(folder, store, cluster=str(there.file), **wanted)
    assert lost.value.exit_code == 1
    begun = pcam_manifest(store)["splits"]["train"]["families"]["color"]["parts"]
    assert any(begun)
    pcam.extract(folder, store, cluster=client, **WANTED)
    assert files_of(store) == expected
