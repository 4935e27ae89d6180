"""What the trials of the campaign share: a server that runs pcam, seeded random numbers, and totals.

`PCAM_CAMPAIGN_SECONDS` is the time for all trials together, and `PCAM_CAMPAIGN_SEED` their seed. A
trial holds if what is promised is true after the fault; the totals are printed at the end of the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SECONDS = float(os.environ.get("PCAM_CAMPAIGN_SECONDS", "60"))
LONG = 600  # seconds of a campaign that has time for whole runs and networks
NETWORKS = SECONDS >= LONG and find_spec("torch") is not None and find_spec("safetensors") is not None
SEED = int(os.environ.get("PCAM_CAMPAIGN_SEED", "0"))
KILLED = 137
TIMINGS = ("measured.json", "run.json", "lock")  # files that differ from run to run
COSTS = "cost.json"  # the end of the names of others
LEFTOVERS = ("plan.json", "steps")  # in a complete folder whose process was killed before it tidied up
REFUSED, FAILED = 2, 1  # exit codes


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (KILLED if it was killed), output and counted calls."""

    code: int | str
    out: str
    err: str
    calls: list[str]

    def problem(self) -> str | None:
        """What is wrong with how a command ended that met a fault; None if nothing is."""
        if self.code not in (0, FAILED, REFUSED):
            return f"it ended with {self.code}: {self.err[-300:]}"
        if "Traceback" in self.err:
            return f"it ended in a traceback: {self.err[-600:]}"
        if self.code and not self.err.rstrip("\n").rpartition("\n")[2].startswith("error: "):
            return f"it failed without a sentence: {self.err[-300:]}"
        return None


class Server:
    """A process that runs commands of pcam; see `server`."""

    def __init__(self) -> None:
        here = Path(__file__)
        path = os.pathsep.join([str(here.parents[2]), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(here.with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ
            | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
            | {"PCAM_CAMPAIGN_NETWORKS": "1" if NETWORKS else ""},
            text=True,
        )

    def __call__(self, *words: object, **fault: Any) -> Ended:
        """Run a command, with a fault if one is given; see `server.Job`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"words": [str(word) for word in words]} | fault
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))

    def make(self, *words: object) -> Ended:
        """Run a command that must succeed."""
        ended = self(*words)
        assert ended.code == 0, f"{words}: {ended.err}"
        return ended

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@dataclass
class Totals:
    """The trials of each kind: how many were tried, and what went wrong in those that failed."""

    tried: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def record(self, kind: str, trial: str, problem: str | None) -> None:
        """Count a trial. `problem` is None if it held."""
        self.tried[kind] = self.tried.get(kind, 0) + 1
        if problem is not None:
            self.failures.setdefault(kind, []).append(f"{trial}: {problem}")

    def add(self, others: Totals) -> None:
        """Take in what another process counted."""
        for kind, tried in others.tried.items():
            self.tried[kind] = self.tried.get(kind, 0) + tried
        for kind, failures in others.failures.items():
            self.failures.setdefault(kind, []).extend(failures)
        self.skipped |= others.skipped

    def check(self, kind: str) -> None:
        """Fail the test if a trial of this kind failed."""
        failures = self.failures.get(kind, [])
        assert not failures, "\n".join([f"{len(failures)} of {self.tried[kind]} failed", *failures])

    def lines(self) -> list[str]:
        """A line for each kind."""
        rows = [("fault", "tried", "held", "failed")]
        for kind, tried in self.tried.items():
            failed = len(self.failures.get(kind, []))
            rows.append((kind, str(tried), str(tried - failed), str(failed)))
        lines = [f"{kind:<28}{tried:>8}{held:>8}{failed:>8}" for kind, tried, held, failed in rows]
        return lines + [f"{kind:<28}skipped: {why}" for kind, why in self.skipped.items()]


TOTALS = Totals()


def skip_slow(kind: str, name: str) -> None:
    """Skip the trials of a command that takes longer than the campaign allows."""
    why = None
    if name in ("run", "deep fit") and SECONDS < LONG:
        why = f"it needs a campaign of {LONG} s or more (make campaign)"
    elif name == "deep fit" and not NETWORKS:
        why = "it needs the extra deep"
    if why is not None:
        TOTALS.skipped[kind] = why
        pytest.skip(why)


def trials(kind: str, share: float, least: int) -> Iterator[random.Random]:
    """Yield the random numbers of each trial until the time is over, of `least` trials in any case.

    Parameters
    ----------
    kind
        The kind of trials.
    share
        Its share of SECONDS.
    least
        The least number of trials.
    """
    began, number = time.monotonic(), 0
    while number < least or time.monotonic() - began < SECONDS * share:
        yield random.Random(f"{SEED} {kind} {number}")
        number += 1


def state(folder: Path) -> dict[str, str]:
    """The checksum of every file below a folder but timings, by path; "folder" for folders.

    A link is given by its target. A folder that is not there has no files.
    """
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = str(path.relative_to(folder))
        if path.name in TIMINGS or path.name.endswith(COSTS):
            continue
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = sum_of(path) if path.is_file() else "folder"
    return found


def without_leftovers(found: dict[str, str]) -> dict[str, str]:
    """The state of a complete folder, without what the next run removes."""
    return {name: one for name, one in found.items() if Path(name).parts[0] not in LEFTOVERS}


def sum_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Command:
    """A command that makes a result, and makes another in its place.

    Parameters
    ----------
    name
        Its name.
    old, new
        The words that make the one and the other; they end in the path of the result.
    result
        The name of the result.
    overwrite
        The words by which the new one may replace the old one.
    partly
        Whether an interrupted command leaves the part that is done under the name of the result.
    """

    name: str
    old: tuple[object, ...]
    new: tuple[object, ...]
    result: str = "out"
    overwrite: tuple[str, ...] = ("--overwrite",)
    partly: bool = False


@dataclass
class Place:
    """A folder in which one trial after the other happens, so that all paths are the same.

    Parameters
    ----------
    folder
        The folder.
    keep
        Where folders are kept to start trials from.
    server
        Runs commands.
    """

    folder: Path
    keep: Path
    server: Server

    def clean(self, start: str | None = None) -> None:
        """Empty the folder, or bring it to a kept state."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if start is None:
            self.folder.mkdir(parents=True)
        else:
            shutil.copytree(self.keep / start, self.folder, symlinks=True)

    def store(self, name: str) -> None:
        """Keep the state of the folder."""
        shutil.copytree(self.folder, self.keep / name, symlinks=True)

    def kept(self, name: str) -> dict[str, str]:
        """A kept state."""
        return state(self.keep / name)

    def run(self, words: Sequence[object], **fault: Any) -> Ended:
        """Run a command. In its words, "@NAME" is a path in the folder."""
        return self.server(*(self.path(word) for word in words), **fault)

    def path(self, word: object) -> object:
        text = str(word)
        return self.folder / text[1:] if text.startswith("@") else word

    def make(self, name: str, make: Callable[[], None]) -> None:
        """Keep the state that `make` brings the empty folder to, unless it is kept already."""
        if not (self.keep / name).exists():
            self.clean()
            make()
            self.store(name)
