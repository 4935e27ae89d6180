"""Runs commands of pcam, each in a fresh child, with a fault at a chosen call of the system.

It reads a JSON object a line from its input, and answers with one: see `Job`. The libraries are loaded
once, and a child is a fork: a trial then takes a fraction of a second. Faults are made by wrapping
Python's functions, so calls that libraries make by themselves are not counted.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

CALLS = ("replace", "rename", "unlink", "fsync", "mkdir", "rmdir", "link")
EXCHANGE = "exchange"
MODULES = (
    "h5py",
    "optuna",
    "plotly.graph_objects",
    "sklearn.model_selection",
    "pcam_features.api.comparing",
    "pcam_features.api.fitting",
    "pcam_features.api.model",
    "pcam_features.api.networks",
    "pcam_features.api.preparing",
    "pcam_features.api.running",
    "pcam_features.cli.main",
    "pcam_features.convert.synthesize",
)
KILLED = 137  # the exit code of a process that SIGKILL ended, as a shell gives it


@dataclass
class Job:
    """A command and its fault.

    Parameters
    ----------
    words
        The arguments of pcam.
    at
        The number of the call at which the fault happens, from 1; 0 for no fault.
    fault
        "before" and "after" kill the process before or after the call; a name of `errno` lets the call
        fail with this error.
    exchange
        Whether the system can exchange the names of two folders.
    memory
        Bytes of address space that the command may take beside what the process has; 0 for no limit.
    encoding
        The encoding of what is printed; empty for the system's.
    """

    words: list[str]
    at: int = 0
    fault: str = "before"
    exchange: bool = True
    memory: int = 0
    encoding: str = ""
    calls: list[str] = field(default_factory=list)
    report: int = -1  # where the calls are written to when the process ends

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the system with the fault in it."""

        def run(*words: Any, **named: Any) -> Any:
            self.calls.append(name)
            hit = len(self.calls) == self.at
            if hit and self.fault not in ("before", "after"):
                import errno

                number = getattr(errno, self.fault)
                raise OSError(number, os.strerror(number), str(words[0]))
            if hit and self.fault == "before":
                self.die()
            result = call(*words, **named)
            if hit:
                self.die()
            return result

        return run

    def die(self) -> None:
        self.write_calls()
        os.kill(os.getpid(), signal.SIGKILL)

    def write_calls(self) -> None:
        os.write(self.report, json.dumps(self.calls).encode())

    def install(self) -> None:
        from pcam_features.storage import folders

        for name in CALLS:
            setattr(os, name, self.wrapped(name, getattr(os, name)))
        if self.exchange:
            folders.exchange = self.wrapped(EXCHANGE, folders.exchange)
        else:
            folders.exchange = lambda one, other: False
        if self.encoding:
            for stream in (sys.stdout, sys.stderr):
                cast(io.TextIOWrapper, stream).reconfigure(encoding=self.encoding)
        if self.memory:
            limit_memory(self.memory)


def limit_memory(more: int) -> None:
    """Let this process take only so many bytes of address space beside what it has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def load() -> None:
    """Load all that commands need, without starting a thread."""
    from pcam_features.engine import cpu
    from pcam_features.families.registry import FAMILIES

    for name in MODULES:
        import_module(name)
    if os.environ.get("PCAM_CAMPAIGN_NETWORKS"):
        import_module("pcam_features.networks.fit")
        import_module("torch").set_num_threads(1)
    for name in ("color", "lbp"):
        cpu.prepare(FAMILIES[name].kernel)


def child(job: Job, out: int, err: int, report: int) -> None:
    """Run the command and end the process."""
    from pcam_features.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.argv = ["pcam", *job.words]
    code: Any = 0
    job.report = report
    job.install()
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    job.write_calls()
    os._exit(code)


def run(job: Job, seconds: float = 900) -> dict[str, Any]:
    """Run a job in a child; returns its exit code, output and calls."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.TemporaryFile() as calls,
    ):
        pid = os.fork()
        if pid == 0:
            child(job, out.fileno(), err.fileno(), calls.fileno())
        began, status = time.monotonic(), None
        while status is None:
            done, ended = os.waitpid(pid, os.WNOHANG)
            if done:
                status = ended
            elif time.monotonic() - began > seconds:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return {"code": "timeout", "out": "", "err": "", "calls": []}
            else:
                time.sleep(0.005)
        texts = []
        for stream in (out, err, calls):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    code = os.waitstatus_to_exitcode(status)
    code = KILLED if code == -signal.SIGKILL else code
    return {"code": code, "out": texts[0], "err": texts[1], "calls": json.loads(texts[2] or "[]")}


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # threads of a parent do not live on in a child
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # as pcam does where memory is limited
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    load()
    for line in sys.stdin:
        print(json.dumps(run(Job(**json.loads(line)))), file=answers, flush=True)
