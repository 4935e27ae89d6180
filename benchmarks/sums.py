"""What the sums of files cost: their share of the processor time of `extract` and of `fit`.

    python benchmarks/sums.py SOURCE [--rounds 3] [--families all] > sums.json

The time within the functions that form sums is added up, so other work on the machine, which changes
the time of a whole run by much more than sums take, does little to the share. Runs use one thread and
make no copies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from pcam_features.api.data import extract
from pcam_features.api.fitting import fit
from pcam_features.storage.sums import FileSum


@contextmanager
def share_of_sums(into: dict[str, list[float]], what: str) -> Iterator[None]:
    """Add to `into` the share of the block's processor time that is spent on sums."""
    spent = 0.0

    def timed(make: Callable[[Any], FileSum]) -> Callable[[Any], FileSum]:
        def made(content: Any) -> FileSum:
            nonlocal spent
            began = time.thread_time()
            try:
                return make(content)
            finally:
                spent += time.thread_time() - began

        return made

    of, of_file = timed(FileSum.of), timed(FileSum.of_file)
    began = time.process_time()
    with mock.patch.object(FileSum, "of", of), mock.patch.object(FileSum, "of_file", of_file):
        yield
    whole = time.process_time() - began
    into.setdefault(what, []).append(spent / whole)
    print(f"{what}: {spent:.3f} of {whole:.2f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--families", default="all")
    options = parser.parse_args()
    shares: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            with share_of_sums(shares, "extract"):
                extract(options.source, store, families=options.families, threads=1, copies=0)
            with share_of_sums(shares, "fit"):
                fit(store, Path(folder) / "model", threads=1)
    medians = {what: statistics.median(own) for what, own in shares.items()}
    print(json.dumps({"medians": medians, "shares": shares}, indent=2))


if __name__ == "__main__":
    main()
