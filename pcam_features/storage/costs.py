"""The cost of a model: its speed, memory and number of parameters.

A small JSON file in the model's folder, and beside its predictions for `pcam compare`, has the cost.

`NAME.cost.json` beside `NAME.csv` may hold any of FIELDS. For models that pcam did not train, write it
by hand. pcam adds the sum of the predictions, and takes the costs of no others for theirs.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..words import quoted
from . import urls
from .fields import Fields
from .files import read_json, write_json
from .sums import SUM, FileSum, check_seal, write_sealed

FILE = "cost.json"  # in a model's folder; its ending beside predictions
MEASURED = "measured.json"  # in a feature store's folder
OF = "predictions"  # in a file beside predictions: the sum of those that the costs are of
LARGEST_FILE = 1 << 16  # bytes
LARGEST_NUMBER, LARGEST_SECONDS = 1e18, 1e12
LONGEST = 200  # letters of a device's name
TRAIN_SECONDS = "train_seconds"
NUMBERS = {
    "parameters": "parameters",
    TRAIN_SECONDS: "training time (seconds)",
    "train_patches_per_second": "training throughput (patches per second)",
    "train_memory_mib": "training memory (MiB)",
    "predict_patches_per_second": "prediction throughput from pixels (patches per second)",
    "predict_memory_mib": "prediction memory (MiB)",
}
ADAPTATION, LEFT_OUT = "adaptation", "left_out"
TEXTS = {
    "train_device": "training device",
    "predict_device": "prediction device",
    ADAPTATION: "adaptation to the predicted patches",
    LEFT_OUT: "costs left out",
}
FIELDS = NUMBERS | TEXTS


@dataclass(frozen=True)
class Cost:
    """The cost of a model. None means unknown.

    Parameters
    ----------
    parameters
        Number of learned parameters.
    train_seconds
        Duration of the whole training, with the extraction of features.
    train_patches_per_second, predict_patches_per_second
        Patches per second in training, and in prediction from pixels.
    train_memory_mib, predict_memory_mib
        Peak memory in MiB.
    train_device, predict_device
        The devices of training and of prediction.
    adaptation
        How predictions were adapted to the patches predicted; None if they were not.
    left_out
        Why a file of costs was not used; None if it was, or if there is none.
    """

    parameters: float | None = None
    train_seconds: float | None = None
    train_patches_per_second: float | None = None
    train_memory_mib: float | None = None
    train_device: str | None = None
    predict_patches_per_second: float | None = None
    predict_memory_mib: float | None = None
    predict_device: str | None = None
    adaptation: str | None = None
    left_out: str | None = None

    @classmethod
    def from_dict(cls, content: dict[str, Any], file: Path) -> Cost:
        """The costs in a parsed file. Raises InputError if it holds anything but FIELDS."""
        for name, value in content.items():
            if name in NUMBERS:
                number = isinstance(value, int | float) and not isinstance(value, bool)
                valid = number and 0 < value < LARGEST_NUMBER  # false for NaN
            else:
                text = isinstance(value, str) and value.isprintable() and len(value) <= LONGEST
                valid = name in TEXTS and text
            if not valid:
                raise InputError(
                    f"cost file {file}: the entry {quoted(name)} is not valid; allowed are positive "
                    f"numbers ({', '.join(NUMBERS)}) and texts ({', '.join(TEXTS)})."
                )
        return cls(**content)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the file. Unknown values are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Measuring:
    """Number of patches whose features were computed, and the time in seconds."""

    patches: int = 0
    seconds: float = 0.0

    def plus(self, patches: int, seconds: float) -> Measuring:
        """Both runs together."""
        return Measuring(self.patches + patches, round(self.seconds + seconds, 3))


def beside(predictions: Path) -> Path:
    """The file of costs beside a file of predictions."""
    return predictions.with_name(f"{predictions.stem}.{FILE}")


def read(file: Path) -> Cost:
    """Read a file of costs.

    Parameters
    ----------
    file
        The file; if it does not exist, all costs are unknown.

    Raises
    ------
    InputError
        If the file holds anything but FIELDS.
    """
    return Cost.from_dict(content_of(file), file)


def read_beside(file: Path, predictions: Sequence[Path]) -> Cost:
    """Read a file of costs beside predictions.

    Parameters
    ----------
    file
        The file; if it does not exist, all costs are unknown.
    predictions
        The files of predictions that it may belong to. If it names the sum of others, as after a
        run that was killed between writing the one and the other, only `left_out` is known.

    Raises
    ------
    InputError
        If the file holds anything but FIELDS and OF.
    """
    content = content_of(file)
    known = content.pop(OF, None)
    if known is not None and known not in (str(FileSum.of_file(one)) for one in predictions):
        return Cost(left_out=f"{file.name} is of other predictions")
    return Cost.from_dict(content, file)


def content_of(file: Path) -> dict[str, Any]:
    """The object in a file of costs; empty if the file does not exist."""
    if not urls.is_file(file):
        return {}
    if not urls.is_url(file) and file.stat().st_size > LARGEST_FILE:
        raise InputError(f"{file} is too large to be a cost file; remove or rename it.")
    content = read_json(file, "costs")
    if SUM in content:
        try:
            check_seal(content)
        except ValueError as error:
            raise InputError(
                f"cost file {file} is damaged ({error}); remove it, so that costs are unknown."
            ) from None
        del content[SUM]
    return content


def write_beside(predictions: Path, cost: Cost, written: Path) -> None:
    """Write the file of costs beside predictions, which may be completed by hand.

    Parameters
    ----------
    predictions
        The file of predictions.
    cost
        The costs.
    written
        A file with the content that the predictions will have.
    """
    known = {OF: str(FileSum.of_file(written))}
    write_json(beside(predictions), known | cost.to_dict())


def write_sum(folder: Path, cost: Cost) -> None:
    """Write the costs of the model in a folder, with their sum."""
    write_sealed(folder / FILE, cost.to_dict(), folder)


def record_measuring(store: Path, families: Sequence[str], patches: int, seconds: float) -> None:
    """Record how long a run took to compute families.

    Parameters
    ----------
    store
        The feature store's folder.
    families
        The families that were computed together. Runs of the same families are added up.
    patches, seconds
        The number of patches, and the time that they took.
    """
    key, runs = ",".join(families), measured(store)
    runs[key] = runs.get(key, Measuring()).plus(patches, seconds)
    content = {"runs": {name: asdict(run) for name, run in runs.items()}}
    write_sealed(store / MEASURED, content, store)


def measured(store: Path) -> dict[str, Measuring]:
    """The recorded runs, by their families; none of a damaged file."""
    try:
        content = read_json(store / MEASURED, "timings")
        check_seal(content)
        runs = {
            key: Measuring(run.whole("patches"), run.number("seconds"))
            for key, run in Fields(content).children("runs").items()
        }
    except (InputError, ValueError):
        return {}  # a store written by an older version or another tool: timing unknown
    return {
        key: run for key, run in runs.items() if run.patches > 0 and 0 < run.seconds < LARGEST_SECONDS
    }


def measuring_seconds(store: Path, families: Iterable[str]) -> float | None:
    """The time per patch, in seconds, that some families took; None if unknown for one of them.

    A run that computed other families as well counts with its whole time.
    """
    seconds, missing = 0.0, set(families)
    for key, run in measured(store).items():
        own = set(key.split(",")) & missing
        if own:
            seconds, missing = seconds + run.seconds / run.patches, missing - own
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
    """The name of this machine's processor in a table of costs."""
    return f"cpu, {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
