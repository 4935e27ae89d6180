"""What a run will take: seconds of each stage, disk space and memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..families.family import FeatureFamily
from ..families.registry import FAMILIES
from ..learn import memory

# Core seconds, rough: while a run goes on, the time left follows from the time it has taken.
# HANDCRAFTED and EMBEDDED follow from the speeds in docs/results.md, the others from its run at full
# size.
CHECK = 1.8e-3  # of a patch
HANDCRAFTED = 0.9e-6  # of a value of a hand-crafted family
EMBEDDED = 6.2e-6  # of a value of an embedding
FIT = 2.6e-6  # of a value that is learned from
FIT_EACH = 4.0  # of a group of families in each fold, however few patches there are
PREDICT = 4.0e-7  # of a value that is predicted from
REPORT = 5.0e-4  # of a patch
LEAST = 1.0  # seconds of any stage


@dataclass(frozen=True)
class RunPlan:
    """What a run has left to do.

    Parameters
    ----------
    source, kind
        Where the patches are, and in which layout.
    patches
        Number of patches of each split, with changed copies.
    columns
        Number of columns of each family.
    train
        The split to learn from.
    predicted
        The splits to predict.
    seconds
        The estimated seconds of each stage that is left. The rates behind them are those of one
        machine, and rough.
    done
        The stages that an earlier run has finished.
    disk_bytes
        The disk space that features may need, at most.
    free_bytes
        The free space on that disk.
    memory_bytes
        The memory of the process while the model is fitted, at most.
    """

    source: str
    kind: str
    patches: dict[str, int]
    columns: dict[str, int]
    train: str
    predicted: tuple[str, ...]
    seconds: dict[str, float]
    done: tuple[str, ...]
    disk_bytes: int
    free_bytes: int
    memory_bytes: int

    @property
    def total_seconds(self) -> float:
        """The estimated seconds of all that is left."""
        return sum(self.seconds.values())

    def to_dict(self) -> dict[str, Any]:
        """The plan as `pcam run --json` prints it."""
        return vars(self) | {"predicted": list(self.predicted), "done": list(self.done)}


@dataclass(frozen=True)
class Amount:
    """How much there is to do in a run.

    Parameters
    ----------
    families
        The families that are computed.
    patches
        Number of patches of each split that is computed.
    measured
        Number of patches whose features are missing.
    learned
        Number of patches that the model learns from, with changed copies.
    trainings
        How often trees are grown: in each fold and on all patches.
    predicted
        Number of patches that it predicts.
    checked
        Number of patches that are checked.
    """

    families: Sequence[FeatureFamily]
    patches: Mapping[str, int]
    measured: int
    learned: int
    trainings: int
    predicted: int
    checked: int

    @property
    def columns(self) -> int:
        """Number of columns."""
        return sum(len(family.columns) for family in self.families)


def seconds_of(amount: Amount, threads: int) -> dict[str, float]:
    """The estimated seconds of each stage of a run."""
    measuring = sum(
        len(family.columns) * (HANDCRAFTED if family.name in FAMILIES else EMBEDDED)
        for family in amount.families
    )
    core_seconds = {
        "check": CHECK * amount.checked,
        "extract": measuring * amount.measured,
        "fit": FIT * amount.learned * amount.columns + FIT_EACH * amount.trainings,
        "predict": PREDICT * amount.predicted * amount.columns,
        "report": REPORT * amount.learned,
    }
    return {name: round(max(value / threads, LEAST), 1) for name, value in core_seconds.items()}


def memory_of(amount: Amount, folds: int, threads: int, limit: float | None) -> int:
    """The memory of the process during the fit, in bytes; `limit` is in GiB.

    Raises InputError if the fit takes more than the limit in any case.
    """
    size = memory.FitSize(amount.learned, amount.columns, folds, threads)
    return memory.plan(size, None if limit is None else int(limit * 2**30)).total


def free_bytes(path: Path) -> int:
    """The free space on the disk of a folder that may not exist yet."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free
