"""Runs units of work on the workers of a Dask cluster.

Dask is imported inside functions, because it is optional and takes a while to load.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from threadpoolctl import threadpool_info

from ..errors import InputError, PcamError
from ..extras import check_installed
from ..words import counted, message_of

Unit = TypeVar("Unit")
Result = TypeVar("Result")

LOCAL = re.compile(r"local(?::([1-9]\d{0,2}))?")
ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
FILE = ".json"  # ends the name of a scheduler file
FORMS = "tcp://HOST:PORT, tls://HOST:PORT, the scheduler's file (*.json), local or local:WORKERS"
LONGEST = 200  # characters of what somebody else's error says
AHEAD = 2  # units handed out for each thread of a worker, so that none waits for the next
ANSWER = 30.0  # seconds in which a scheduler has to answer
PATIENCE = 60.0  # seconds without any worker after which a run ends
UNPROFILED = {"distributed.worker.profile.enabled": False}  # of workers that pcam starts: 4% faster
QUIET = 100  # above every level of Python's logging: what goes wrong is told in our sentences
PAUSED = (
    "Dask has paused all workers of the cluster, because their memory is nearly full; what is finished "
    "stays, so start workers with more memory and run the same command again."
)
GONE = (
    "the connection to the cluster's scheduler was lost; what is finished stays, so start the "
    "scheduler and the workers again and run the same command."
)


@dataclass(frozen=True)
class Dask:
    """An executor of the workers of a cluster.

    Units and results travel between machines, so they are plain values, and `work` is a function of a
    module that every worker can import.

    Parameters
    ----------
    client
        The open `distributed.Client`.
    """

    client: Any

    @property
    def workers(self) -> int:
        """The number of threads of all workers: Dask runs one unit in each."""
        with lost_connections():
            return sum(self.client.nthreads().values())

    def sentence(self, name: str) -> str:
        """What the cluster of this name can do, for the user."""
        return (
            f"cluster {name}: {counted(self.workers, 'unit')} of work at a time; where kernels are not "
            "compiled yet, that takes about a minute first"
        )

    def map(self, work: Callable[[Unit], Result], units: Iterable[Unit]) -> Generator[Result]:
        """Yield the result of each unit, in the order of the units.

        At most two units for each thread of a worker are handed out and not yet taken by the caller. A
        unit whose worker dies runs on another, as often as Dask's `allowed-failures` says. If a unit
        fails or the caller stops early, units that have not started are canceled.

        Raises
        ------
        Exception
            The exception that `work` raises for a unit, when its result is due.
        PcamError
            If the scheduler is gone, no worker is left or all are paused, or several workers died of
            the same unit.
        """
        pending: deque[Any] = deque()
        try:
            for unit in units:
                with lost_connections():
                    pending.append(self.client.submit(work, unit, pure=False))
                if len(pending) >= AHEAD * max(1, self.workers):
                    yield self._result(pending.popleft())
            while pending:
                yield self._result(pending.popleft())
        finally:
            if pending and self.client.status == "running":
                with suppress(Exception):  # the connection may be lost, and another error is on its way
                    self.client.cancel(list(pending))

    def _result(self, future: Any) -> Any:
        """The result of a unit, or what it raised. Raises PcamError if that will never come."""
        from distributed import KilledWorker

        while True:
            try:
                with lost_connections():
                    failed = future.exception(timeout=PATIENCE)
                break
            except TimeoutError:
                if not self.workers:
                    raise PcamError(
                        "the cluster has no workers left; their logs say why, such as too little "
                        "memory; what is finished stays, so start workers and run the same command "
                        "again."
                    ) from None
                if all(self.on_each(is_paused).values()):
                    raise PcamError(PAUSED) from None
        if isinstance(failed, KilledWorker):
            raise PcamError(
                f"{failed.allowed_failures + 1} workers died of the same unit of work, the last "
                f"{failed.last_worker.address}; give workers more memory (a worker's log says why "
                "it died), and run the same command again."
            )
        if failed is not None and not isinstance(failed, CancelledError):
            raise failed
        with lost_connections():
            return future.result()

    def on_each(self, work: Callable[..., Awaitable[Result]], *arguments: Any) -> dict[str, Any]:
        """Call an asynchronous function once on each worker, beside the units.

        If a worker dies meanwhile, those that are there then are asked once more.

        Returns
        -------
        dict
            By the worker's address, what the function returned, or the exception that it raised.

        Raises
        ------
        PcamError
            If the scheduler is gone, no worker is left, or workers died twice.
        """
        found = self._asked(work, *arguments)
        if died_among(found) and self._has_one():
            found = self._asked(work, *arguments)
        for worker in died_among(found):
            raise PcamError(
                f"worker {worker} died while it got ready; its log says why, such as too little "
                "memory; correct that, and run the same command again."
            )
        return found

    def _asked(self, work: Callable[..., Awaitable[Result]], *arguments: Any) -> dict[str, Any]:
        with lost_connections():
            found: dict[str, Any] = self.client.run(work, *arguments, on_error="return")
        return found

    def _has_one(self) -> bool:
        """Whether there is a worker that is not paused, after some patience."""
        try:
            with lost_connections():
                self.client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            return False
        return True

    def wait_for_one(self) -> None:
        """Wait until there is a worker. Raises PcamError if none comes, or all are paused."""
        if self._has_one():
            return
        if self.workers:  # which Dask does not wait for while they are paused
            raise PcamError(PAUSED)
        raise PcamError(
            f"cluster {name_of(self.client)} has no workers after {PATIENCE:.0f} seconds; start some, "
            "such as with dask worker."
        )

    def check_versions(self, packages: Sequence[str]) -> None:
        """Raise InputError unless scheduler and workers have this process's versions of packages.

        A package whose version is not recorded in an installation, here or there, is not compared.
        """
        with lost_connections():
            found = self.client.get_versions(packages=list(packages))
        own = found["client"]["packages"]
        others = {f"worker {address}": one for address, one in found["workers"].items()}
        for who, there in ({"the scheduler": found["scheduler"]} | others).items():
            for package in packages:
                here, version = own.get(package), there["packages"].get(package)
                if here and version and here != version:
                    raise InputError(
                        f"{who} has {package} {version} and this process has {here}; install the same "
                        "versions of pcam, NumPy and Numba everywhere."
                    )


def died_among(found: dict[str, Any]) -> list[str]:
    """The addresses of workers that died before they answered.

    Dask says so by CommClosedError or, where it could not even connect, by a plain OSError.
    """
    from distributed.comm import CommClosedError

    def died(answer: Any) -> bool:
        unconnected = type(answer) is OSError and answer.errno is None
        return unconnected or isinstance(answer, CommClosedError)

    return [worker for worker, answer in found.items() if died(answer)]


async def is_paused(dask_worker: Any) -> bool:
    """Whether a worker runs nothing and starts nothing; Dask passes the worker."""
    return dask_worker.status.name == "paused" and not dask_worker.state.executing_count


@contextmanager
def lost_connections() -> Iterator[None]:
    """Say in one sentence that the scheduler is gone, whatever Dask raises for it."""
    from distributed.comm import CommClosedError

    try:
        yield
    except TimeoutError:
        raise
    except (CancelledError, CommClosedError, ConnectionError):
        raise PcamError(GONE) from None
    except RuntimeError as error:  # of a client that has given up
        if "closed" not in str(error).lower():
            raise
        raise PcamError(GONE) from None


def check_cluster(cluster: Any) -> None:
    """Check, before anything is opened, what was given as a cluster.

    Parameters
    ----------
    cluster
        An address, a scheduler file, `local[:WORKERS]`, or a `distributed.Client`.

    Raises
    ------
    InputError
        If it is none of them, or Dask is not installed.
    """
    if isinstance(cluster, str):
        forms = (LOCAL.fullmatch(cluster), ADDRESS.fullmatch(cluster), cluster.endswith(FILE))
        if not any(forms):
            raise InputError(f"--cluster {cluster!r} is not a cluster; give {FORMS}.")
    check_installed("distributed", "--cluster")
    if not isinstance(cluster, str):
        from distributed import Client

        if not isinstance(cluster, Client):
            raise InputError(
                f"--cluster is {type(cluster).__name__}; give a distributed.Client, or {FORMS}."
            )
        if cluster.asynchronous:
            raise InputError("the distributed.Client is asynchronous; make one without asynchronous.")
    elif cluster.endswith(FILE) and not os.path.isfile(cluster):
        raise InputError(
            f"there is no scheduler file {cluster}; give the one of dask scheduler --scheduler-file."
        )


@contextmanager
def connected(cluster: Any, threads: int = 1) -> Iterator[Dask]:
    """Connect to a cluster, and disconnect at the end.

    Parameters
    ----------
    cluster
        See `check_cluster`. `local` starts worker processes on this machine, as many as it has cores
        for `threads` threads each, and ends them. A client that the caller has opened stays open.
    threads
        Number of threads that each unit uses.

    Raises
    ------
    InputError
        If it is not a cluster, or Dask is not installed.
    PcamError
        If the scheduler does not answer, or has no workers.
    """
    check_cluster(cluster)
    with ExitStack() as stack:
        client = cluster if not isinstance(cluster, str) else opened_client(cluster, threads, stack)
        executor = Dask(client)
        executor.wait_for_one()
        yield executor


@contextmanager
def joined(cluster: Any, threads: int, log: Callable[[str], None]) -> Iterator[Dask]:
    """Like `connected`, and say what a cluster can do, unless it is a client, whose owner knows it."""
    with connected(cluster, threads) as executor:
        if isinstance(cluster, str):
            log(executor.sentence(name_of(cluster)))
        yield executor


def opened_client(cluster: str, threads: int, stack: ExitStack) -> Any:
    """A client of the cluster of this name, which `stack` closes."""
    import dask
    import joblib
    from distributed import Client, LocalCluster
    from distributed.utils import silence_logging_cmgr

    stack.enter_context(silence_logging_cmgr(QUIET))
    if (local := LOCAL.fullmatch(cluster)) is not None:
        workers = int(local[1] or max(1, joblib.cpu_count() // threads))
        stack.enter_context(environment_restored())
        with dask.config.set(UNPROFILED):
            here = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=QUIET,
            )
        return stack.enter_context(Client(stack.enter_context(here), set_as_default=False))
    where = {"scheduler_file": cluster} if cluster.endswith(FILE) else {"address": cluster}
    try:
        client = Client(**where, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # no answer, or a file that is not a scheduler's
        raise PcamError(
            f"no Dask scheduler answers at {cluster} ({message_of(error, LONGEST)}); start it with "
            "dask scheduler, or correct --cluster."
        ) from None
    return stack.enter_context(client)


@contextmanager
def environment_restored() -> Iterator[None]:
    """Take back the variables that Dask sets in this process for local workers to inherit.

    Otherwise, programs that this process starts later would compute with one BLAS thread, and round
    otherwise.
    """
    import dask
    import distributed.config  # noqa: F401 -- which has the variables' names

    names = [*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED"]
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def blas_threads() -> int:
    """Number of threads of products of matrices in this process."""
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=1)


def name_of(cluster: Any) -> str:
    """The cluster's name in a sentence."""
    return cluster if isinstance(cluster, str) else str(cluster.scheduler.address)
