"""The cost of a model, as a small JSON file in its folder and beside its predictions.

`pcam compare` reads `NAME.cost.json` beside `NAME.csv`. It may have any of FIELDS. For models that pcam
did not train, it can be written by hand.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import read_json, write_json

FILE = "cost.json"  # in a model's folder; its ending beside predictions
MEASURED = "measured.json"  # in a feature store's folder
LARGEST_FILE = 1 << 16  # bytes
LONGEST = 200  # letters of a device's name
NUMBERS = {
    "parameters": "parameters",
    "train_patches_per_second": "training throughput (patches per second)",
    "train_memory_mib": "training memory (MiB)",
    "predict_patches_per_second": "prediction throughput from pixels (patches per second)",
    "predict_memory_mib": "prediction memory (MiB)",
}
TEXTS = {"train_device": "training device", "predict_device": "prediction device"}
FIELDS = NUMBERS | TEXTS


def beside(predictions: Path) -> Path:
    return predictions.with_name(f"{predictions.stem}.{FILE}")


def read(file: Path) -> dict[str, Any]:
    """The costs in a file, or an empty record if there is no file.

    Raises InputError for a file with anything except FIELDS.
    """
    if not file.is_file():
        return {}
    if file.stat().st_size > LARGEST_FILE:
        raise InputError(f"{file} is too large to be a cost file; remove or rename it.")
    found = read_json(file, "costs")
    for name, value in found.items():
        if name in NUMBERS:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and 0 < value < 1e18  # false for NaN
        else:
            text = isinstance(value, str) and value.isprintable() and len(value) <= LONGEST
            good = name in TEXTS and text
        if not good:
            raise InputError(
                f"cost file {file}: the entry {name[:100]!r} is not valid; allowed are positive "
                f"numbers ({', '.join(NUMBERS)}) and texts ({', '.join(TEXTS)})."
            )
    return found


def write(file: Path, cost: dict[str, Any]) -> None:
    """Write a cost file. Values of None are left out."""
    write_json(file, {name: value for name, value in cost.items() if value is not None})


def record_measuring(store: Path, families: Sequence[str], patches: int, seconds: float) -> None:
    """Record how long a run took to compute families. Runs of the same families are added up."""
    file, key = store / MEASURED, ",".join(families)
    runs = measured(store)
    before = runs.get(key, {"patches": 0, "seconds": 0.0})
    runs[key] = {
        "patches": before["patches"] + patches,
        "seconds": round(before["seconds"] + seconds, 3),
    }
    write_json(file, {"runs": runs})


def measured(store: Path) -> dict[str, dict[str, float]]:
    """The valid records that `record_measuring` has written."""
    try:
        runs = read_json(store / MEASURED, "timings")["runs"]
        found = {
            str(key): {"patches": int(one["patches"]), "seconds": float(one["seconds"])}
            for key, one in runs.items()
        }
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return {}  # a store written by an older version or another tool: timing unknown
    return {key: one for key, one in found.items() if one["patches"] > 0 and 0 < one["seconds"] < 1e12}


def measuring_seconds(store: Path, families: Iterable[str]) -> float | None:
    """Seconds per patch to compute some families, or None if it is unknown for one of them.

    A run that also computed other families counts with its whole time.
    """
    seconds, missing = 0.0, set(families)
    for key, one in measured(store).items():
        own = set(key.split(",")) & missing
        if own:
            seconds, missing = seconds + one["seconds"] / one["patches"], missing - own
    return None if missing else seconds


def peak_memory_mib() -> float | None:
    """The peak memory of this process in MiB, or None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def cpu_name(threads: int) -> str:
    return f"cpu, {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
