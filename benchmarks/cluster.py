"""A Dask cluster beside threads: speed, bytes moved and messages; and workers that are killed.

    python benchmarks/cluster.py speed SOURCE OUT [--families all] [--rounds 3]
    python benchmarks/cluster.py kills SOURCE OUT [--families color,lbp] [--trials 10] [--seed 0]
    python benchmarks/cluster.py traffic SOURCE OUT [--families all]

`speed` extracts SOURCE in turn with two threads and with the workers of `local:2`, and says how many
patches each measures in a second once it is ready, and the processor time that this takes. The stores
have to be the same to the byte.

`kills` extracts and fits with two workers, of which one is killed with SIGKILL at a random moment, as
often as asked, and compares stores and models with those of one process.

`traffic` says how many bytes the largest unit and the largest result of extract, check, fit and predict
have, and how many messages scheduler, worker and client send for a unit; they talk over TCP. A JSON
object is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from distributed import Client, LocalCluster
from distributed.comm.tcp import TCP

import pcam_features as pcam
from pcam_features.execution.cluster import Dask, connected
from pcam_features.storage.costs import FILE, MEASURED
from pcam_features.storage.resumable import unfinished

MANY = 500  # units that do nothing
PATIENCE = 120  # seconds for a killed worker to be replaced
UNTIMED = ("lock", MEASURED, FILE)


def processor_seconds(client: Client) -> float:
    """The processor time of this process and of the workers."""
    return time.process_time() + float(sum(client.run(time.process_time).values()))


@dataclass
class Clock:
    """Progress that notes when work began, how much of it is done, and the processor time."""

    client: Client
    spent: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    done: int = 0

    def __call__(self, units: int) -> None:
        self.ended = time.monotonic()
        self.done += units
        if not units:
            self.began, self.done, self.spent = self.ended, 0, processor_seconds(self.client)

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
    """Two workers of one thread, as `--cluster local:2` starts them."""
    with connected("local:2") as executor:
        yield executor.client


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """Extract in turn with two threads and with two workers."""
    rates: dict[str, list[float]] = {"threads": [], "workers": []}
    spent: dict[str, list[float]] = {"threads": [], "workers": []}
    loads, same = [], True
    wanted = {"families": given.families, "copies": 0}
    with two_workers() as client:
        for _ in range(given.rounds):
            stores = {name: given.out / name for name in rates}
            for name, store in stores.items():
                shutil.rmtree(store, ignore_errors=True)
                clock = Clock(client)
                how = {"threads": 2} if name == "threads" else {"cluster": client}
                pcam.extract(given.source, store, progress=clock, **how, **wanted)
                rates[name].append(round(clock.rate, 1))
                spent[name].append(round(processor_seconds(client) - clock.spent, 1))
                loads.append(round(os.getloadavg()[0], 1))
            same &= files_of(stores["threads"]) == files_of(stores["workers"])
    medians = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "patches_per_second": rates,
        "processor_seconds": spent,
        "medians": medians,
        "workers_to_threads": round(medians["workers"] / medians["threads"], 3),
        "same_bytes": same,
        "load": [min(loads), max(loads)],
    }


@dataclass
class Killer:
    """Has two workers, and kills one of them at a random moment; they are started anew when need be."""

    numbers: random.Random
    stack: ExitStack
    client: Client | None = None

    def workers(self) -> tuple[Client, list[int]]:
        """A client of two workers that live, and their process numbers."""
        began = time.monotonic()
        while self.client is not None and time.monotonic() - began < PATIENCE:
            pids = self.client.run(os.getpid, on_error="ignore").values()
            living = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
            if len(living) == 2:
                return self.client, sorted(living)
            time.sleep(0.5)
        self.stack.close()  # none yet, or a nanny has given up, on a machine that is busy
        self.client = self.stack.enter_context(two_workers())
        self.client.wait_for_workers(2)
        return self.workers()

    def kill_within(self, pids: list[int], seconds: float) -> threading.Timer:
        """Kill a worker at a random moment of the next seconds."""

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.kill(self.numbers.choice(pids), signal.SIGKILL)

        timer = threading.Timer(self.numbers.uniform(0, seconds), kill)
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
    with ExitStack() as stack:
        killer = Killer(numbers, stack)
        for name, make in tasks.items():
            shutil.rmtree(base / name, ignore_errors=True)
            make(base / name, **options)
            found[name] = trials(killer, make, base / name, given, options)
            print(name, found[name], file=sys.stderr)
    return found


def trials(
    killer: Killer,
    make: Callable[..., object],
    expected: Path,
    given: argparse.Namespace,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Kill a worker in each trial but the first, which tells how long one takes."""
    there, seconds = given.out / "cluster", 0.0
    same, again = [], []
    for number in range(given.trials + 1):
        shutil.rmtree(there, ignore_errors=True)
        shutil.rmtree(unfinished(there), ignore_errors=True)
        client, pids = killer.workers()
        began = time.monotonic()
        timer = killer.kill_within(pids, seconds) if number else None
        try:
            make(there, cluster=client, **options)
        except pcam.PcamError as error:  # it says to run the same command again
            again.append(str(error))
            make(there, cluster=client, **options)
        if timer is None:
            seconds = time.monotonic() - began
            continue
        timer.join()
        same.append(files_of(there) == files_of(expected))
    return {
        "trials": len(same),
        "same_bytes": sum(same),
        "seconds_without_kills": round(seconds, 1),
        "run_again_because": again,
    }


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
def measured_units() -> Iterator[dict[str, list[int]]]:
    """Note the size of units and results as they travel."""
    found: dict[str, list[int]] = {"unit": [], "result": []}
    submit, result = Client.submit, Dask._result

    def submitting(self: Client, work: Any, unit: Any, **named: Any) -> Any:
        found["unit"].append(len(pickle.dumps(unit)))
        return submit(self, work, unit, **named)

    def resulting(self: Dask, future: Any) -> Any:
        value = result(self, future)
        found["result"].append(len(pickle.dumps(value)))
        return value

    with (
        mock.patch.object(Client, "submit", submitting),
        mock.patch.object(Dask, "_result", resulting),
    ):
        yield found


def traffic(given: argparse.Namespace) -> dict[str, Any]:
    """The bytes of units and results of each command, and the messages of a unit."""
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
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        with counted_messages() as moved:
            list(Dask(client).map(abs, range(MANY)))
        found["messages"] = round(moved["messages"] / MANY, 1)
        for name, command in commands.items():
            with measured_units() as sizes:
                command(cluster=client, threads=1, progress=None)
            found[name] = {what: max(each) for what, each in sizes.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(WHAT))
    parser.add_argument("source")
    parser.add_argument("out", type=Path, help="folder to create")
    parser.add_argument("--families")
    parser.add_argument("--rounds", type=int, default=3)
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
