"""Checks, predictions and whole runs by the workers of a cluster: the same bytes as by one process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from dask_processes import local_client

import pcam_features as pcam_api
from pcam_features.api import predict_cluster
from pcam_features.check import look
from pcam_features.convert.synthesize import synthesize
from pcam_features.errors import InputError
from pcam_features.extraction.on_cluster import SplitToSee
from pcam_features.learn import boosting, predict
from pcam_features.store import layout

pytest.importorskip("distributed", reason="Dask is not installed (extra cluster)")

ROWS = 256  # of a part in these tests, so that little work has several parts
TIMES = ("seconds", "processor_seconds")


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "PART_ROWS", ROWS)
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a worker in this process, so that nothing is imported again."""
    with local_client(n_workers=1, threads_per_worker=2, processes=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patches on the disk: 1,200 of twelve slides to train on, and 300 to test."""
    folder = tmp_path_factory.mktemp("data") / "patches"
    synthesize(folder, patches=1200, slides=12, seed=3)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("features") / "store"
    return pcam_api.extract(folder, store, families="color,lbp", copies=0, progress=None).path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pcam_api.Model:
    """A model that has learned from other patches."""
    folder = tmp_path_factory.mktemp("model")
    store = pcam_api.extract(
        "synthetic:360:12:9", folder / "store", families="color,lbp", copies=0, progress=None
    )
    return pcam_api.fit(store, folder / "model", folds=3, threads=1, progress=None)


def only_on(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[str]:
    """Have a function refuse to work outside a worker; returns the workers' addresses."""
    from distributed import get_worker

    work, workers = getattr(module, name), []

    def checked(*arguments: Any, **named: Any) -> Any:
        workers.append(get_worker().address)  # raises ValueError outside of a unit
        return work(*arguments, **named)

    monkeypatch.setattr(module, name, checked)
    return workers


def test_parity_workers_check_as_one_process_does(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = folder / "train" / f"{pcam_api.open_source(folder).splits['train'].ids[300]}.tif"
    content = damaged.read_bytes()
    monkeypatch.chdir(folder.parent)  # what cannot be read is named by the path that was given
    damaged.write_bytes(b"x" * len(content))
    try:
        here = pcam_api.check_source(folder.name, against="synthetic:40", threads=1, progress=None)
        with monkeypatch.context() as patch:
            workers = only_on(patch, look, "look_at_span")
            there = pcam_api.check_source(
                folder.name, against="synthetic:40", cluster=client, progress=None
            )
    finally:
        damaged.write_bytes(content)
    assert workers
    assert f"{folder.name}/train/" in here.findings["says"].str.cat()
    assert there.to_dict() == here.to_dict()
    for name, result in (("here", here), ("there", there)):
        result.report(tmp_path / f"{name}.html")
        result.write_patches(tmp_path / f"{name}.csv")
    for kind in ("html", "csv"):
        made = (tmp_path / f"there.{kind}").read_bytes()
        assert made == (tmp_path / f"here.{kind}").read_bytes(), kind


@pytest.mark.parametrize("adapt", ["none", "split", "slide"])
@pytest.mark.parametrize("kind", ["store", "source"])
def test_parity_workers_predict_the_bytes_of_one_process(
    kind: str,
    adapt: str,
    client: Any,
    model: pcam_api.Model,
    store: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, said = store if kind == "store" else folder, ([], [])
    monkeypatch.setattr("pcam_features.learn.adapt.LEAST_PATCHES", 90)  # of a slide: it has 100
    wanted = {"adapt": adapt, "threads": 1, "progress": None}
    here = model.predict_split(data, "train", log=said[0].append, **wanted)
    done: list[int] = []
    with monkeypatch.context() as patch:
        workers = only_on(patch, predict_cluster, "scores_of")
        patch.setattr(predict, "scores_of", None)  # of this process
        wanted["progress"] = done.append
        there = model.predict_split(data, "train", cluster=client, log=said[1].append, **wanted)
    parts = -(-1200 // ROWS)
    passes = 1 if adapt == "none" else 2
    assert len(workers) == parts * passes
    assert done == [0, *([ROWS] * (parts - 1) + [1200 - ROWS * (parts - 1)]) * passes]
    if adapt != "none":
        assert here.adaptation is not None
        assert here.adaptation.patches > 0
    assert said[1] == said[0]
    assert (there.adaptation, there.ids) == (here.adaptation, here.ids)
    np.testing.assert_array_equal(there.copies, here.copies)
    for name, result in (("here", here), ("there", there)):
        result.write(tmp_path / f"{name}.csv")
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert there.cost.predict_patches_per_second is None  # of one machine alone
    assert there.cost.predict_memory_mib is None
    assert there.cost.parameters == here.cost.parameters


def test_regression_workers_that_see_another_model_or_other_patches_are_named(
    client: Any,
    model: pcam_api.Model,
    store: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = (
        ("model_sum", store, "another model"),
        ("features_digest", store, "other features"),
        ("SplitToSee.of", folder, "other patches"),
    )
    for name, data, says in cases:
        calls = count()  # the client, and then the worker
        if name == "SplitToSee.of":
            monkeypatch.setattr(
                SplitToSee,
                "of",
                lambda source, split, calls=calls: SplitToSee(split.name, 1, str(next(calls))),
            )
        else:
            monkeypatch.setattr(predict_cluster, name, lambda *_, calls=calls, **__: str(next(calls)))
        with pytest.raises(InputError, match=rf"worker \S+ cannot take part: it sees {says}"):
            model.predict_split(data, "train", cluster=client, progress=None)
        monkeypatch.undo()


def test_mechanics_a_source_of_this_program_is_refused(
    client: Any, model: pcam_api.Model, folder: Path, tmp_path: Path
) -> None:
    source = replace(pcam_api.open_source(folder), opening=None)
    says = "made by this program, so workers of a cluster"
    with pytest.raises(InputError, match=says):
        pcam_api.check_source(source, cluster=client, progress=None)
    with pytest.raises(InputError, match=says):
        model.predict_split(source, "train", cluster=client, progress=None)
    with pytest.raises(InputError, match=says):
        pcam_api.run(source, tmp_path / "out", cluster=client, progress=None)
    assert not (tmp_path / "out").exists()


def test_parity_a_run_by_workers_has_the_bytes_of_one_by_one_process(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: dict[str, Any] = {"families": "color", "copies": 40, "folds": 3, "progress": None}
    here = pcam_api.run(folder, tmp_path / "here", threads=1, **wanted)
    with monkeypatch.context() as patch:
        grown = only_on(patch, boosting, "grow")
        looked = only_on(patch, look, "look_at_span")
        there = pcam_api.run(folder, tmp_path / "there", cluster=client, threads=1, **wanted)
    assert grown
    assert looked
    names = sorted(str(path.relative_to(here.path)) for path in here.path.rglob("*") if path.is_file())
    others = [str(path.relative_to(there.path)) for path in there.path.rglob("*") if path.is_file()]
    timed = {"features/measured.json"}
    assert set(others) == set(names) - timed
    for name in others:
        if name.endswith(("cost.json", "run.json")) or Path(name).stem.startswith("report"):
            continue  # the pages of reports have costs, too
        assert (there.path / name).read_bytes() == (here.path / name).read_bytes(), name
    records = [json.loads((result.path / "run.json").read_text()) for result in (here, there)]
    for record in records:
        for name in TIMES:
            record.pop(name)
    assert records[0] == records[1]
    again = pcam_api.run(folder, tmp_path / "there", cluster=client, threads=1, **wanted)
    assert not again.plan.seconds


def test_mechanics_the_commands_take_a_cluster(
    pcam: Callable[..., Result], model: pcam_api.Model, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    commands = (
        ("check", "synthetic:40"),
        ("predict", model.path, store, out, "--split", "train"),
        ("submit", model.path, store, out, "--split", "train"),
        ("run", "synthetic:120:12", tmp_path / "run"),
    )
    for words in commands:
        result = pcam(*words, "--cluster", "nowhere")
        assert result.code == 2, words
        assert "is not a cluster" in result.err, words
    assert not list(tmp_path.iterdir())
