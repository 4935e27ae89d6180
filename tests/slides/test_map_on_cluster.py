"""Maps by the workers of a cluster: the same bytes as by one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from dask_processes import local_client

import pcam_features as pcam_api
from pcam_features.api import slide_cluster
from pcam_features.errors import InputError
from pcam_features.slides import mapping
from pcam_features.slides.synthesize import SyntheticSlide

pytest.importorskip("distributed", reason="Dask is not installed (extra cluster)")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with local_client(n_workers=1, threads_per_worker=2, processes=False) as opened:
        yield opened


def test_invariant_a_map_by_workers_has_the_bytes_of_one_by_this_process(
    made_slide: SyntheticSlide,
    quick_model: Path,
    tmp_path: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mapping, "PART_ROWS", 32)
    parts: list[int] = []
    predict = slide_cluster.ClusterCrew.predict

    def noting(self: Any, given: Any, progress: Any) -> Any:
        parts.extend(len(places) for places in given)
        return predict(self, given, progress)

    monkeypatch.setattr(slide_cluster.ClusterCrew, "predict", noting)
    for name, cluster in (("here", None), ("there", client)):
        pcam_api.map_slide(
            made_slide.slide, quick_model, tmp_path / name, cluster=cluster, progress=None
        )
    record = json.loads((tmp_path / "here" / "map.json").read_text())
    assert len(parts) > 3
    assert sum(parts) == record["centers"]
    names = sorted(file.name for file in (tmp_path / "here").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "there").iterdir())
    for name in names:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


def test_mechanics_workers_take_the_number_of_threads_of_matrix_products(
    made_slide: SyntheticSlide,
    quick_model: Path,
    tmp_path: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounding depends on it, and Dask starts workers with one."""
    limits: list[tuple[int, str]] = []
    monkeypatch.setattr(slide_cluster, "blas_threads", lambda: 3)
    monkeypatch.setattr(
        slide_cluster, "threadpool_limits", lambda count, user_api: limits.append((count, user_api))
    )
    out = tmp_path / "map"
    pcam_api.map_slide(made_slide.slide, quick_model, out, cluster=client, stride=64, progress=None)
    assert set(limits) == {(3, "blas")}


def test_regression_a_worker_that_sees_another_slide_or_model_is_named(
    made_slide: SyntheticSlide,
    quick_model: Path,
    tmp_path: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> None:
        out = tmp_path / "map"
        pcam_api.map_slide(made_slide.slide, quick_model, out, cluster=client, stride=64, progress=None)

    for name, says in (("slide_seen", "another slide"), ("model_sum", "another model")):
        calls = count()  # the client, and then the worker
        monkeypatch.setattr(slide_cluster, name, lambda of, calls=calls: next(calls))
        with pytest.raises(InputError, match=rf"worker \S+ cannot take part: it sees {says}"):
            run()
        monkeypatch.undo()
        assert not (tmp_path / "map.unfinished").exists()


def test_mechanics_the_command_starts_workers_of_this_machine(
    pcam: Callable[..., Result], made_slide: SyntheticSlide, quick_model: Path, tmp_path: Path
) -> None:
    words = ("slide", "map", made_slide.slide, quick_model, tmp_path / "map", "--stride", 16)
    refused = pcam(*words, "--cluster", "nowhere")
    assert refused.code == 2
    assert "is not a cluster" in refused.err
    done = pcam(*words, "--cluster", "local:1", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["centers"] > 500
    here = pcam_api.map_slide(
        made_slide.slide, quick_model, tmp_path / "here", stride=16, progress=None
    )
    for file in here.path.iterdir():
        assert (tmp_path / "map" / file.name).read_bytes() == file.read_bytes(), file.name
