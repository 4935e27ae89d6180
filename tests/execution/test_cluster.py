"""What may be given as a cluster, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from pcam_features.errors import InputError
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


def test_mechanics_a_scheduler_file_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "check_installed", lambda *_: None)
    with pytest.raises(InputError, match=r"there is no scheduler file .*scheduler\.json"):
        cluster.check_cluster(str(tmp_path / "scheduler.json"))
