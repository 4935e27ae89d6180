"""What a model costs: a small JSON file in its folder, and beside its predictions for `pcam compare`.

`NAME.cost.json` beside `NAME.csv` may hold any of FIELDS; for models of others it is written by hand.
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
    "train_patches_per_second": "patches trained on, by second of the whole training",
    "train_memory_mib": "MiB to train",
    "predict_patches_per_second": "patches predicted a second, from pixels",
    "predict_memory_mib": "MiB to predict",
}
TEXTS = {"train_device": "trained on", "predict_device": "predicted on"}
FIELDS = NUMBERS | TEXTS


def beside(predictions: Path) -> Path:
    return predictions.with_name(f"{predictions.stem}.{FILE}")


def read(file: Path) -> dict[str, Any]:
    """The costs in a file, or none if there is no file. Raises InputError for a file that holds
    anything but FIELDS."""
    if not file.is_file():
        return {}
    if file.stat().st_size > LARGEST_FILE:
        raise InputError(f"{file} is too large to be a table of costs.")
    found = read_json(file, "costs")
    for name, value in found.items():
        if name in NUMBERS:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and 0 < value < 1e18  # which NaN is not
        else:
            text = isinstance(value, str) and value.isprintable() and len(value) <= LONGEST
            good = name in TEXTS and text
        if not good:
            raise InputError(
                f"costs {file}: {name[:100]!r} is not to be used; there may be positive numbers "
                f"({', '.join(NUMBERS)}) and texts ({', '.join(TEXTS)})."
            )
    return found


def write(file: Path, cost: dict[str, Any]) -> None:
    """Write what is known of a cost: values of None are left out."""
    write_json(file, {name: value for name, value in cost.items() if value is not None})


def record_measuring(store: Path, families: Sequence[str], patches: int, seconds: float) -> None:
    """Remember how long a run took to measure families; runs of the same families are added up."""
    file, key = store / MEASURED, ",".join(families)
    runs = measured(store)
    before = runs.get(key, {"patches": 0, "seconds": 0.0})
    runs[key] = {
        "patches": before["patches"] + patches,
        "seconds": round(before["seconds"] + seconds, 3),
    }
    write_json(file, {"runs": runs})


def measured(store: Path) -> dict[str, dict[str, float]]:
    """What `record_measuring` has written, as far as it can be used."""
    try:
        runs = read_json(store / MEASURED, "timings")["runs"]
        found = {
            str(key): {"patches": int(one["patches"]), "seconds": float(one["seconds"])}
            for key, one in runs.items()
        }
    except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return {}  # a store of before, or of others: then it is not known
    return {key: one for key, one in found.items() if one["patches"] > 0 and 0 < one["seconds"] < 1e12}


def measuring_seconds(store: Path, families: Iterable[str]) -> float | None:
    """Seconds a patch that measuring some families took, or None if that is not known of each; runs
    that measured others as well count whole."""
    seconds, missing = 0.0, set(families)
    for key, one in measured(store).items():
        own = set(key.split(",")) & missing
        if own:
            seconds, missing = seconds + one["seconds"] / one["patches"], missing - own
    return None if missing else seconds


def peak_memory_mib() -> float | None:
    """The most memory this process has held, or None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def cpu_name(threads: int) -> str:
    return f"cpu, {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
