"""What a fit states of its memory is what it takes, and its plan keeps to the limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pcam_features.errors import InputError
from pcam_features.learn import memory, nystroem
from pcam_features.learn.memory import FitSize, MemoryPlan

ROOT = Path(__file__).parents[2]
COLUMNS = 1000
SMALL, LARGE = 3_000, 16_000
NO_MORE_THAN = 1.6  # times the memory measured may be stated


def run(*words: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *(str(word) for word in words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Stores of generated features of two sizes."""
    folder = tmp_path_factory.mktemp("generated")
    for rows in (SMALL, LARGE):
        run(ROOT / "benchmarks" / "scale.py", folder / str(rows), rows, COLUMNS)
    return {rows: folder / str(rows) for rows in (SMALL, LARGE)}


def measured(store: Path, model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        run(Path(__file__).with_name("fit_and_measure.py"), store, model)
    )
    assert len(found["said"]) == 1
    assert found["before"] < found["peak"]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is Linux's")
def test_oracle_a_fit_takes_what_it_states_at_two_sizes(
    stores: dict[int, Path], tmp_path: Path
) -> None:
    found = {rows: measured(store, tmp_path / str(rows)) for rows, store in stores.items()}
    for one in found.values():
        assert one["keep"]
        assert one["peak"] <= one["stated"] <= NO_MORE_THAN * one["peak"]
    grown, stated = (found[LARGE][key] - found[SMALL][key] for key in ("peak", "stated"))
    values = (LARGE - SMALL) * COLUMNS
    assert 2 * values < grown <= stated


@pytest.fixture
def small_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that runs the tests may hold a gigabyte already."""
    monkeypatch.setattr(memory, "process_bytes", lambda: 200 << 20)


def plan_of(rows: int, columns: int, gib: float | None) -> MemoryPlan:
    size = FitSize(rows, columns, folds=5, threads=2)
    return memory.plan(size, None if gib is None else int(gib * 2**30))


@pytest.mark.usefixtures("small_process")
@pytest.mark.parametrize(
    ("gib", "keep", "bins"), [(64, True, True), (12, False, True), (6, False, False)]
)
def test_mechanics_what_stays_in_memory_depends_on_the_limit(
    gib: float, keep: bool, bins: bool
) -> None:
    plan = plan_of(220_025, 10_000, gib)
    assert (plan.keep, plan.bins) == (keep, bins)
    assert plan.total <= gib * 2**30
    assert f"for 220,025 patches and {10_000:,} columns" in plan.sentence()


@pytest.mark.usefixtures("small_process")
def test_mechanics_a_limit_that_cannot_hold_is_refused_with_one_that_can() -> None:
    with pytest.raises(
        InputError, match=r"takes at least .* more than --max-memory 1; give "
    ) as caught:
        plan_of(220_025, 10_000, 1)
    enough = float(str(caught.value).split("give ")[1].split(" or more")[0])
    assert plan_of(220_025, 10_000, enough).total <= enough * 2**30
    assert plan_of(220_025, 10_000, None).total > 0


def test_invariant_estimates_grow_with_everything_that_takes_memory() -> None:
    base = {"rows": 50_000, "columns": 2_000, "folds": 5, "threads": 2}
    least = MemoryPlan(FitSize(**base), keep=True, bins=True, process=0).total
    for name, value in (("rows", 60_000), ("columns", 3_000), ("threads", 8)):
        more = MemoryPlan(FitSize(**base | {name: value}), keep=True, bins=True, process=0)
        assert more.total > least, name
    few = {"rows": 20_000, "columns": 100, "threads": 2}
    totals = [
        MemoryPlan(FitSize(folds=folds, **few), keep=False, bins=True, process=0).total
        for folds in (5, 10)
    ]
    assert (
        totals[1] - totals[0] == 5 * nystroem.LANDMARKS**2 * 8
    )  # a matrix of likenesses for each fold


@pytest.mark.usefixtures("small_process")
def test_mechanics_units_of_a_worker_share_its_memory() -> None:
    size = FitSize(200_000, 1_000, folds=5, threads=1)
    gigabytes = 10**9
    alone = memory.plan_of_worker(size, int(1.35 * gigabytes), 1)
    assert (alone.keep, alone.bins) == (False, False)
    assert alone.total <= 1.35 * gigabytes
    two = memory.plan_of_worker(size, 16 * gigabytes, 2)
    assert (two.keep, two.bins) == (True, True)
    assert two.total - two.process <= (16 * gigabytes - two.process) / 2
    with pytest.raises(InputError, match=r"takes at least .* on a worker of 2 threads, more than"):
        memory.plan_of_worker(size, int(1.35 * gigabytes), 2)


def test_oracle_memory_of_the_machine_and_of_this_process() -> None:
    assert 1 << 28 < memory.machine_bytes() < 1 << 50
    before = memory.process_bytes()
    block = bytearray(200 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert 190 << 20 < memory.process_bytes() - before < 260 << 20
