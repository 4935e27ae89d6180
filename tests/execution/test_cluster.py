"""What may be given as a cluster, and what is said where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

from pcam_features.errors import InputError, PcamError
from pcam_features.execution import cluster


@pytest.mark.parametrize(
    "name", ["", "lokal", "local:0", "local:x", "tcp://host", "http://host:1", "8786"]
)
def test_mechanics_what_is_no_cluster_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is not a cluster; give tcp://HOST:PORT, tls://"):
        cluster.check_cluster(name)


def test_mechanics_without_dask_the_extra_is_named(
    pcam: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = pcam("extract", "synthetic:40", tmp_path / "f", "--cluster", "local:2")
    assert result.code == 2
    assert "--cluster needs distributed, which is not installed; run " in result.err
    assert "[cluster]'" in result.err
    assert not (tmp_path / "f").exists()


def test_regression_local_workers_leave_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dask sets the number of BLAS threads in this process, for the workers that it starts."""
    pytest.importorskip("distributed", reason="the extra cluster brings Dask")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED")
    before = {name: os.environ.get(name) for name in names}
    with cluster.connected("local:1"):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert {name: os.environ.get(name) for name in names} == before


@pytest.mark.parametrize("deaths", [1, 2])
def test_regression_a_worker_may_die_once_while_it_gets_ready(deaths: int) -> None:
    pytest.importorskip("distributed", reason="the extra cluster brings Dask")
    from distributed.comm import CommClosedError

    class Client:
        asked = 0

        def run(self, work: Any, *arguments: Any, on_error: str) -> dict[str, Any]:
            self.asked += 1
            closed = CommClosedError("in <TCP> stream is closed")
            unconnected = OSError("Timed out trying to connect to 'tcp://b:2' after 30 s")
            died = {"tcp://b:2": closed if self.asked > 1 else unconnected}
            return {"tcp://a:1": None} | (died if self.asked <= deaths else {})

        def wait_for_workers(self, count: int, timeout: float) -> None: ...

    if deaths == 1:
        assert cluster.Dask(Client()).on_each(print) == {"tcp://a:1": None}
        return
    with pytest.raises(
        PcamError, match=r"^worker tcp://b:2 died while it got ready; its log says why"
    ) as said:
        cluster.Dask(Client()).on_each(print)
    assert not isinstance(said.value, InputError)


def test_mechanics_a_run_whose_workers_are_all_paused_ends() -> None:
    """Dask pauses a worker whose memory is nearly full, and waits for ever."""
    pytest.importorskip("distributed", reason="the extra cluster brings Dask")

    class Future:
        def exception(self, timeout: float) -> None:
            raise TimeoutError

    class Client:
        status = "running"
        paused = ({"tcp://a:1": False}, {"tcp://a:1": True})  # one that is busy is waited for
        asked = 0

        def nthreads(self) -> dict[str, int]:
            return {"tcp://a:1": 1}

        def submit(self, *arguments: Any, pure: bool) -> Future:
            return Future()

        def run(self, work: Any, *arguments: Any, on_error: str) -> dict[str, bool]:
            self.asked += 1
            return self.paused[self.asked - 1]

        def cancel(self, futures: Any) -> None: ...

    client = Client()
    with pytest.raises(PcamError, match="Dask has paused all workers of the cluster"):
        list(cluster.Dask(client).map(print, [1]))
    assert client.asked == 2


def test_mechanics_a_scheduler_file_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "check_installed", lambda *_: None)
    with pytest.raises(InputError, match=r"there is no scheduler file .*scheduler\.json"):
        cluster.check_cluster(str(tmp_path / "scheduler.json"))
