"""One way to hand out units of work, so that no caller has a pool of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")


class Executor(Protocol):
    """Hands out units of work to its workers."""

    @property
    def workers(self) -> int:
        """How many units are worked on at once."""
        ...

    def map(self, work: Callable[[Unit], Result], units: Iterable[Unit]) -> Iterator[Result]:
        """Yield the result of each unit, in the order of the units."""
        ...


@dataclass(frozen=True)
class Threads:
    """An executor of threads in this process, for work that releases the interpreter's lock.

    Parameters
    ----------
    workers
        Number of threads. With one, the work runs in the calling thread.
    waiting
        How many units may wait for the caller, or for a free thread, beside the `workers` units that
        are being worked on. As many as there are workers by default.
    """

    workers: int
    waiting: int | None = None

    def map(self, work: Callable[[Unit], Result], units: Iterable[Unit]) -> Iterator[Result]:
        """Yield the result of each unit, in the order of the units.

        Units are taken from `units` as workers become free: at most `workers + waiting` of them are
        being worked on or wait for the caller, so that memory does not grow with their number. When a
        unit fails or the caller stops early, units that have not begun are dropped.

        Raises
        ------
        Exception
            Whatever `work` raises for a unit, when that unit's result is due.
        """
        if self.workers <= 1:
            for unit in units:
                yield work(unit)
            return
        pending: deque[Future[Result]] = deque()
        most = self.workers + (self.workers if self.waiting is None else self.waiting)
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for unit in units:
                    pending.append(pool.submit(work, unit))
                    if len(pending) >= most:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
