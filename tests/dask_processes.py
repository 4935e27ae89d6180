"""Dask workers for tests: those of a client, and processes of their own, as users start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pcam_features.execution.cluster import environment_restored

WAIT = 300.0  # seconds for processes to start, on a machine that is busy


def small_parts(rows: int) -> str:
    """Python code that gives the parts of a store so few rows, for processes of their own."""
    return f"from pcam_features.store import layout\nlayout.PART_ROWS = {rows}\n"


def wait_until(true: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < WAIT
        time.sleep(0.1)


@contextmanager
def local_client(**how: Any) -> Iterator[Any]:
    """A client of workers of this process; `how` are options of Dask's `LocalCluster`."""
    from distributed import Client, LocalCluster

    with (
        environment_restored(),
        LocalCluster(dashboard_address="127.0.0.1:0", **how) as cluster,
        Client(cluster, set_as_default=False) as opened,
    ):
        yield opened


class Processes:
    """A scheduler that has written its scheduler file, and workers; all of them end with the block.

    Parameters
    ----------
    file
        The scheduler file.
    preload
        Python code that each worker runs first.
    security
        Options that give scheduler and workers their certificates.
    """

    def __init__(self, file: Path, preload: str = "", security: Sequence[str] = ()) -> None:
        self.file, self.preload, self.security = file, preload, tuple(security)
        self.started: list[subprocess.Popen[bytes]] = []
        protocol = ("--protocol", "tls") if security else ()
        self.scheduler = self.start("scheduler", "--port", "0", "--no-dashboard", *protocol)
        wait_until(lambda: file.is_file() or self.scheduler.poll() is not None)
        assert self.scheduler.poll() is None

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return str(json.loads(self.file.read_text())["address"])

    def start(
        self,
        what: str,
        *options: str,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `dask scheduler` or `dask worker`, with words before the command."""
        command = [*before, sys.executable, "-m", "dask", what, "--scheduler-file", str(self.file)]
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [*command, *self.security, *options],
            env=os.environ | {"PYTHONPATH": paths} | dict(environment or {}),
            cwd=self.file.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.started.append(process)
        return process

    def worker(
        self, *options: str, preload: str = "", before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `dask worker` with one thread."""
        script = self.file.with_name(f"preload_{len(self.started)}.py")
        script.write_text(self.preload + preload)
        common = ("--nthreads", "1", "--no-dashboard", "--preload", str(script))
        return self.start("worker", *common, *options, before=before)

    def wait_for(self, workers: int) -> None:
        """Wait until the scheduler has so many workers, no more and no fewer."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=WAIT) as client:
            wait_until(lambda: len(client.nthreads()) == workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self.started):
            end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, whether or not it wants to."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
