"""Runs units of work. All parts of the package use it instead of thread pools of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .memory import check_room, let_cpp_throw

Unit = TypeVar("Unit")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs units of work."""

    @property
    def workers(self) -> int:
        """The number of units that run at the same time."""
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
        How many further units may be finished but not yet taken by the caller, or queued. Default:
        `workers`.
    """

    workers: int
    waiting: int | None = None

    def map(self, work: Callable[[Unit], Result], units: Iterable[Unit]) -> Iterator[Result]:
        """Yield the result of each unit, in the order of the units.

        Units are taken from `units` as workers become free. At most `workers + waiting` of them are
        running, queued or not yet taken by the caller, which bounds memory. If a unit fails or the
        caller stops early, units that have not started are canceled.

        Raises
        ------
        Exception
            The exception that `work` raises for a unit, when its result is due.
        MemoryError
            If memory is limited and threads could not start.

        Examples
        --------
        >>> list(Threads(2).map(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        if self.workers <= 1:
            for unit in units:
                yield work(unit)
            return
        pending: deque[Future[Result]] = deque()
        most = self.workers + (self.workers if self.waiting is None else self.waiting)
        check_room(self.workers)
        with ThreadPoolExecutor(self.workers, initializer=let_cpp_throw) as pool:
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
