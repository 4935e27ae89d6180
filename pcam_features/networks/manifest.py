"""The manifest of a trained network: its network, patches, options and learning curve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..constants import LARGEST_ROWS, TIMM
from ..errors import InputError
from ..grouping.folds import Folds
from ..sources.source import Source, Split
from ..storage.fields import Fields
from ..storage.resumable import PLAN_KEY
from ..storage.sums import FileSum, check_seal, files_from
from ..store.manifest import Fingerprint, SourceRecord
from ..words import one_line

# Version 1 had sums of some of its files only; version 2 had no AUC of training patches, and did not
# record how a network is fine-tuned.
VERSION, PLAN_VERSION = 3, 2
KEY = "network_version"
NAME = re.compile(rf"({TIMM})?[A-Za-z0-9_.\-]{{1,100}}")  # no path: weights are in the folder


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training.

    Parameters
    ----------
    epochs
        Maximum number of passes through the training patches.
    batch
        Patches per step.
    patience
        Stop after this many epochs without improvement.
    seed
        Seed of all random numbers.
    device
        "cpu" or "cuda".
    threads
        Number of threads.
    rate
        The learning rate; None uses the network's own.
    """

    epochs: int
    batch: int
    patience: int
    seed: int
    device: str
    threads: int
    rate: float | None = None

    @classmethod
    def from_fields(cls, known: Fields) -> TrainingOptions:
        """Raises ValueError if a field is missing or wrong."""
        return cls(
            known.whole("epochs", least=1),
            known.whole("batch", least=1, most=LARGEST_ROWS - 1),
            known.whole("patience", least=1),
            known.whole("seed"),
            known.text("device"),
            known.whole("threads"),
            known.number("rate", least=0),
        )


@dataclass(frozen=True)
class Epoch:
    """An epoch of training.

    Parameters
    ----------
    loss
        The mean loss of its training patches.
    auc
        The AUC on the held-out fold after it.
    training_auc
        The AUC of its training patches, augmented, each scored in the step that it was trained on.
    """

    loss: float
    auc: float
    training_auc: float

    @classmethod
    def from_fields(cls, known: Fields) -> Epoch:
        """Raises ValueError if a field is missing or wrong."""
        return cls(known.number("loss", least=0), known.share("auc"), known.share("training_auc"))


@dataclass(frozen=True)
class TrainedPatches:
    """The split that a network was trained on."""

    source: SourceRecord
    split: str
    rows: int
    fingerprint: Fingerprint

    @classmethod
    def of(cls, source: Source, split: Split) -> TrainedPatches:
        """The record of a split of an open source."""
        return cls(SourceRecord.of(source), split.name, len(split), Fingerprint.of(split))

    @classmethod
    def from_fields(cls, known: Fields) -> TrainedPatches:
        """Raises ValueError if a field is missing or wrong."""
        return cls(
            SourceRecord.from_fields(known),
            known.text("split"),
            known.whole("rows", least=1, most=LARGEST_ROWS - 1),
            Fingerprint.from_fields(known.child("fingerprint")),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        return self.source.to_dict() | {
            "split": self.split,
            "rows": self.rows,
            "fingerprint": self.fingerprint.to_dict(),
        }


@dataclass(frozen=True)
class HeldOutFold:
    """The folds of a training.

    Parameters
    ----------
    count
        Number of folds.
    held_out
        The fold that is held out.
    protocol
        How the folds were made.
    fingerprint
        Digest of the folds.
    """

    count: int
    held_out: int
    protocol: str
    fingerprint: str

    @classmethod
    def of(cls, folds: Folds, held_out: int) -> HeldOutFold:
        """The record of folds, one of which is held out."""
        return cls(folds.count, held_out, one_line(folds.protocol), folds.fingerprint())

    @classmethod
    def from_fields(cls, known: Fields) -> HeldOutFold:
        """Raises ValueError if a field is missing or wrong."""
        return cls(
            known.whole("count"),
            known.whole("held_out"),
            known.text("protocol"),
            known.text("fingerprint"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest and of a plan."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Everything that determines a training. An interrupted run continues only if its plan is equal.

    Parameters
    ----------
    pcam_version, versions
        The versions of pcam, Python and libraries.
    network
        The network's name, without the file that its weights started from.
    started_from
        The name as it was given.
    source
        The patches.
    folds
        The folds.
    how
        The options of the training.
    optimizer, decay
        The optimizer and its weight decay.
    views
        How many flips and rotations a prediction is averaged over.
    body_rate, smoothing, averaging
        See `architectures.Recipe`.
    """

    pcam_version: str = __version__
    network: str
    started_from: str
    source: TrainedPatches
    folds: HeldOutFold
    how: TrainingOptions
    optimizer: str
    decay: float
    views: int
    body_rate: float
    smoothing: float
    averaging: float
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the plan's file."""
        return {PLAN_KEY: PLAN_VERSION} | self.decisions()

    def decisions(self) -> dict[str, Any]:
        """The JSON object of these fields in a network's manifest."""
        return {
            "pcam_version": self.pcam_version,
            "network": self.network,
            "started_from": self.started_from,
            "source": self.source.to_dict(),
            "folds": self.folds.to_dict(),
            "how": asdict(self.how),
            "optimizer": self.optimizer,
            "decay": self.decay,
            "views": self.views,
            "body_rate": self.body_rate,
            "smoothing": self.smoothing,
            "averaging": self.averaging,
            "versions": self.versions,
        }


@dataclass(frozen=True)
class TrainingOutcome:
    """The result of a training.

    Parameters
    ----------
    positive
        How many patches have label 1.
    curve
        The epochs.
    best_epoch
        The number of the epoch whose weights are kept, from 1.
    held_out_auc
        The AUC of these weights on the held-out fold.
    """

    positive: int
    curve: tuple[Epoch, ...]
    best_epoch: int
    held_out_auc: float


@dataclass(frozen=True, kw_only=True)
class NetworkManifest(TrainingPlan, TrainingOutcome):
    """The manifest of a network: the plan and the result of its training, and its files' sums."""

    files: dict[str, FileSum] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: TrainingPlan, outcome: TrainingOutcome) -> NetworkManifest:
        """The manifest of a finished training, without the sums of its files."""
        return cls(**vars(plan), **vars(outcome))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path) -> NetworkManifest:
        """Read and validate a manifest.

        Parameters
        ----------
        content
            The parsed JSON object.
        path
            The network's folder, for error messages.

        Raises
        ------
        InputError
            If the manifest is damaged, not a network's, or of another version.
        """
        if KEY not in content:
            raise InputError(
                f"{path} is not a network of pcam deep fit; check the order of NETWORK and SOURCE."
            )
        if content[KEY] != VERSION:
            raise InputError(f"network {path} was written by another version of pcam; train it again.")
        try:
            check_seal(content)
            return cls._from_fields(Fields(content))
        except ValueError as error:
            raise InputError(f"network {path} is damaged ({error}); train it again.") from None

    @classmethod
    def _from_fields(cls, known: Fields) -> NetworkManifest:
        name, versions = known.text("network"), known.child("versions")
        if not NAME.fullmatch(name):
            raise ValueError("network is not the name of a network")
        curve = tuple(Epoch.from_fields(epoch) for epoch in known.items("curve"))
        return cls(
            pcam_version=known.text("pcam_version"),
            network=name,
            started_from=known.text("started_from"),
            source=TrainedPatches.from_fields(known.child("source")),
            folds=HeldOutFold.from_fields(known.child("folds")),
            how=TrainingOptions.from_fields(known.child("how")),
            optimizer=known.text("optimizer"),
            decay=known.number("decay", least=0),
            views=known.whole("views", least=1, most=8),
            body_rate=known.share("body_rate"),
            smoothing=known.share("smoothing"),
            averaging=known.share("averaging"),
            versions={library: versions.text(library) for library in versions},
            positive=known.whole("positive"),
            curve=curve,
            best_epoch=known.whole("best_epoch", least=1, most=len(curve)),
            held_out_auc=known.share("held_out_auc"),
            files=files_from(known),
        )

    def with_files(self, files: Mapping[str, FileSum]) -> NetworkManifest:
        """The manifest with the sums of its files, by name."""
        return replace(self, files=dict(files))

    def public(self) -> dict[str, Any]:
        """The JSON object that `pcam deep fit --json` prints: all but the sums of files."""
        return self.decisions() | {
            KEY: VERSION,
            "positive": self.positive,
            "curve": [asdict(epoch) for epoch in self.curve],
            "best_epoch": self.best_epoch,
            "held_out_auc": self.held_out_auc,
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads."""
        return self.public() | {"files": {name: str(known) for name, known in self.files.items()}}
