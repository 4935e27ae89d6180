"""The settings of a run and its record, the file `run.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..constants import Adapt, Device
from ..errors import InputError
from ..families.family import FeatureFamily
from ..learn.fit import versions
from ..storage.fields import Fields
from ..storage.files import read_json, sha256, write_json

RECORD, KEY, VERSION = "run.json", "run_version", 2


@dataclass(frozen=True)
class RunOptions:
    """How a run is done; see `run`. On a cluster, `units` of work run at a time."""

    families: Sequence[FeatureFamily]
    sample: Path | None
    copies: int
    folds: int
    trials: int
    adapt: Adapt
    max_memory: float | None
    device: Device
    threads: int
    seed: int
    strict: bool
    cluster: Any = None
    units: int = 1

    def deciding(self) -> dict[str, Any]:
        """The options that decide the results."""
        sample = None if self.sample is None else sha256(self.sample.read_bytes())
        return {
            "families": [family.name for family in self.families],
            "sample": sample,
            "copies": self.copies,
            "folds": self.folds,
            "trials": self.trials,
            "adapt": self.adapt.value,
            "device": self.device.value,
            "threads": self.threads,
            "seed": self.seed,
            "pcam_version": __version__,
            "versions": versions(),
        }


@dataclass(frozen=True)
class RunRecord:
    """The file `run.json`: what decides a run, and the time that each finished stage has taken.

    Parameters
    ----------
    settings
        What decides the results.
    seconds
        The seconds of each finished stage, in its last attempt.
    processor_seconds
        The same in seconds of processor time, of all threads of this process, without workers.
    sums
        The sum of each result of the finished stages, by its name in the folder.
    """

    settings: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)
    processor_seconds: dict[str, float] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the file. Raises InputError if it is damaged or of another version."""
        content = read_json(folder / RECORD, "run record", "choose another folder")
        try:
            known = Fields(content)
            known.whole(KEY, least=VERSION, most=VERSION)
            seconds, processor = (known.numbers(name) for name in ("seconds", "processor_seconds"))
            sums = {name: str(text) for name, text in known.child("sums").content.items()}
            return cls(known.child("settings").content, seconds, processor, sums)
        except ValueError as error:
            raise InputError(
                f"{folder / RECORD} is damaged or of another version of pcam ({error}); choose another "
                "folder."
            ) from None

    def with_stage(
        self, stage: str, seconds: float, processor_seconds: float, sums: dict[str, str]
    ) -> RunRecord:
        """The record once a stage is finished, with the sums of its results."""
        return replace(
            self,
            seconds=self.seconds | {stage: round(seconds, 1)},
            processor_seconds=self.processor_seconds | {stage: round(processor_seconds, 1)},
            sums=self.sums | sums,
        )

    def of_stages(self, stages: Sequence[str]) -> RunRecord:
        """The record with only these of its stages."""
        kept = [{name: known[name] for name in stages if name in known} for known in self.times]
        return replace(self, seconds=kept[0], processor_seconds=kept[1])

    @property
    def times(self) -> tuple[dict[str, float], dict[str, float]]:
        """The seconds, and the seconds of processor time."""
        return self.seconds, self.processor_seconds

    def write(self, folder: Path) -> None:
        """Write the file."""
        write_json(folder / RECORD, {KEY: VERSION} | vars(self), folder)
