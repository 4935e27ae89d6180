"""A Dask cluster beside threads: speed, bytes moved and messages; and workers that are killed.

    python benchmarks/cluster.py speed SOURCE OUT [--families all] [--rounds 5]
    python benchmarks/cluster.py kills SOURCE OUT [--families color,lbp] [--trials 10] [--seed 0]
    python benchmarks/cluster.py traffic SOURCE OUT [--families all]

`speed` extracts SOURCE in turn with two threads and with the workers of `local:2`, and says how many
patches each measures in a second, once it is ready. The stores have to be the same to the byte.

`kills` extracts and fits with two workers, of which one is killed with SIGKILL at a random moment, as
often as asked, and compares stores and models with those of one process.

`traffic` counts the messages of scheduler, worker and client, and their bytes, for each unit of work of
extract, check, fit and predict. All three are in one process, and talk over TCP. A JSON object is
printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import dask
from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP

import pcam_features as pcam
from pcam_features.storage.costs import FILE, MEASURED

UNTIMED = ("lock", MEASURED, FILE)
QUIET = 100  # above every level of Python's logging


@dataclass
class Clock:
    """Progress that notes when work began and how much of it is done."""

    began: float = 0.0
    ended: float = 0.0
    done: int = 0

    def __call__(self, units: int) -> None:
        self.ended = time.monotonic()
        self.done += units
        if not units:
            self.began, self.done = self.ended, 0

    @property
    def rate(self) -> float:
        return self.done / (self.ended - self.began)


def files_of(folder: Path) -> dict[str, bytes]:
    """What has to be the same, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in UNTIMED
    }


@contextmanager
def two_workers() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=QUIET,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """Extract in turn with two threads and with two workers."""
    rates: dict[str, list[float]] = {"threads": [], "workers": []}
    loads, same = [], True
    wanted = {"families": given.families, "copies": 0}
    with two_workers() as client:
        for number in range(given.rounds + 1):
            stores = {name: given.out / name for name in rates}
            for name, store in stores.items():
                shutil.rmtree(store, ignore_errors=True)
                clock = Clock()
                how = {"threads": 2} if name == "threads" else {"cluster": client}
                pcam.extract(given.source, store, progress=clock, **how, **wanted)
                if number:  # the first round only warms up
                    rates[name].append(round(clock.rate, 1))
                    loads.append(round(os.getloadavg()[0], 1))
            same &= files_of(stores["threads"]) == files_of(stores["workers"])
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "patches_per_second": rates,
        "medians": medians,
        "workers_to_threads": round(medians["workers"] / medians["threads"], 3),
        "same_bytes": same,
        "load": [min(loads), max(loads)],
    }


def kill_later(client: Client, numbers: random.Random, within: float) -> threading.Timer:
    """Kill a worker at a random moment of the next seconds."""

    def kill() -> None:
        pids = sorted(client.run(os.getpid, on_error="ignore").values())
        if pids:
            os.kill(numbers.choice(pids), signal.SIGKILL)

    timer = threading.Timer(numbers.uniform(0, within), kill)
    timer.start()
    return timer


def kills(given: argparse.Namespace) -> dict[str, Any]:
    """Kill a worker at random moments of extractions and fits."""
    numbers = random.Random(given.seed)  # noqa: S311 -- trials, not secrets
    base = given.out / "one-process"
    options: dict[str, Any] = {"threads": 1, "progress": None}
    features = {"families": given.families, "copies": 0}
    tasks: dict[str, Callable[..., object]] = {
        "extract": lambda path, **how: pcam.extract(given.source, path, **how, **features),
        "fit": lambda path, **how: pcam.fit(base / "extract", path, folds=3, **how),
    }
    found: dict[str, Any] = {}
    for name, make in tasks.items():
        shutil.rmtree(base / name, ignore_errors=True)
        make(base / name, **options)
        expected, there = files_of(base / name), given.out / "cluster"
        seconds, ended = 0.0, []
        with two_workers() as client:
            for number in range(given.trials + 1):
                shutil.rmtree(there, ignore_errors=True)
                shutil.rmtree(there.with_name("cluster.unfinished"), ignore_errors=True)
                began = time.monotonic()
                timer = kill_later(client, numbers, seconds) if number else None
                try:
                    make(there, cluster=client, **options)
                    again = False
                except pcam.PcamError as error:  # it says to run the same command again
                    ended.append(str(error))
                    make(there, cluster=client, **options)
                    again = True
                if timer is None:  # the first, in which nothing is killed, tells the time
                    seconds = time.monotonic() - began
                else:
                    timer.join()
                    client.wait_for_workers(2)
                if files_of(there) != expected:
                    ended.append(f"trial {number}: other bytes, after another run: {again}")
        found[name] = {"trials": given.trials, "seconds": round(seconds, 1), "said": ended}
    return found


@contextmanager
def counted_messages() -> Iterator[dict[str, int]]:
    """Count what is written to connections in this process."""
    found, write = {"messages": 0, "bytes": 0}, TCP.write

    async def counting(self: Any, *arguments: Any, **named: Any) -> Any:
        moved = await write(self, *arguments, **named)
        found["messages"] += 1
        found["bytes"] += moved
        return moved

    with mock.patch.object(TCP, "write", counting):
        yield found


@contextmanager
def counted_units() -> Iterator[list[Any]]:
    """Note the units that are handed out."""
    units: list[Any] = []
    submit = Client.submit

    def noting(self: Client, work: Any, unit: Any, **named: Any) -> Any:
        units.append(unit)
        return submit(self, work, unit, **named)

    with mock.patch.object(Client, "submit", noting):
        yield units


def traffic(given: argparse.Namespace) -> dict[str, Any]:
    """Count messages and bytes of the units of each command."""
    source = pcam.open_source(given.source)
    split = next(name for name in source.splits if name != "train")
    store, model = given.out / "store", given.out / "model"
    commands: dict[str, Callable[..., Any]] = {
        "extract": lambda **how: pcam.extract(source, store, families=given.families, copies=0, **how),
        "check": lambda **how: pcam.check_source(source, **how),
        "fit": lambda **how: pcam.fit(store, model, folds=3, **how),
        "predict a store": lambda **how: pcam.open_model(model).predict_split(store, split, **how),
        "predict a source": lambda **how: pcam.open_model(model).predict_split(source, split, **how),
    }
    found: dict[str, Any] = {}
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for name, command in commands.items():
            began = time.monotonic()
            with counted_messages() as moved, counted_units() as units:
                command(cluster=client, threads=1, progress=None)
            found[name] = {
                "units": len(units),
                "seconds": round(time.monotonic() - began, 1),
                "messages_of_a_unit": round(moved["messages"] / len(units), 1),
                "bytes_of_a_unit": round(moved["bytes"] / len(units)),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(WHAT))
    parser.add_argument("source")
    parser.add_argument("out", type=Path, help="folder to create")
    parser.add_argument("--families")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.families = given.families or ("color,lbp" if given.what == "kills" else "all")
    given.out.mkdir(parents=True, exist_ok=True)
    json.dump(WHAT[given.what](given), sys.stdout, indent=2)
    print()


WHAT = {"speed": speed, "kills": kills, "traffic": traffic}

if __name__ == "__main__":
    main()
