"""Fits a model in a process of its own, and prints what was stated of its memory and what it took.

    python fit_and_measure.py STORE MODEL [GIB]

Few trees and landmarks, so that it takes seconds: what is measured is what grows with the features.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path

from pcam_features.api.fitting import fit
from pcam_features.learn import fit as learning
from pcam_features.learn import leakage, memory, nystroem
from pcam_features.learn.context import FitContext
from pcam_features.learn.settings import Settings

ROUNDS, LANDMARKS = 20, 300


def peak_bytes() -> int:
    """The most memory that this program has held. `ru_maxrss` also counts what started it."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024


def main(store: str, model: str, *limit: str) -> None:
    nystroem.LANDMARKS = leakage.LANDMARKS = LANDMARKS
    learning.FitContext = partial(FitContext, settings=Settings(rounds=ROUNDS))  # type: ignore[misc]
    plans: list[memory.MemoryPlan] = []
    plan = memory.plan

    def watched(size: memory.FitSize, most: int | None = None) -> memory.MemoryPlan:
        plans.append(plan(size, most))
        return plans[-1]

    memory.plan = watched
    said: list[str] = []
    most = float(limit[0]) if limit else None
    fit(store, model, folds=3, threads=1, max_memory=most, progress=None, log=said.append)
    (one,) = plans
    found = {
        "stated": one.total,
        "keep": one.keep,
        "bins": one.bins,
        "said": [sentence for sentence in said if sentence.startswith("memory: ")],
        "before": one.process,
        "peak": peak_bytes(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
