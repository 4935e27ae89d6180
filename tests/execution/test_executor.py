"""Units of work are handed out in order, and never far ahead of the caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pcam_features.execution.executor import Threads


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_invariant_results_come_in_the_order_of_the_units(workers: int) -> None:
    def work(unit: int) -> int:
        time.sleep(0.001 * (7 - unit % 7))
        return unit * unit

    assert list(Threads(workers).map(work, range(40))) == [unit * unit for unit in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_mechanics_units_are_taken_only_as_results_are(workers: int) -> None:
    taken: list[int] = []

    def units() -> Iterator[int]:
        for unit in range(100):
            taken.append(unit)
            yield unit

    results = Threads(workers).map(lambda unit: unit, units())
    for expected in range(10):
        assert next(results) == expected
        assert len(taken) <= expected + 2 * workers
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 100


def test_mechanics_a_unit_that_fails_stops_the_rest() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(unit: int) -> int:
        if unit == 3:
            raise ValueError("unit 3")
        with lock:
            done.append(unit)
        return unit

    with pytest.raises(ValueError, match="unit 3"):
        list(Threads(2).map(work, range(1000)))
    assert len(done) < 20
