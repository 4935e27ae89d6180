"""A model's manifest: what it was fitted on and how, the stack, the scores, the checksums."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..constants import LARGEST_ROWS
from ..errors import InputError
from ..evaluate.intervals import Estimate
from ..families.registry import FAMILIES
from ..grouping.folds import Folds
from ..storage.fields import Fields
from ..storage.resumable import PLAN_KEY
from ..storage.sums import FileSum, check_seal, files_from
from ..store.manifest import FamilyRecord, Fingerprint, SourceRecord
from ..store.names import may_be_stored
from ..words import one_line, quoted
from .base_models import MODEL_CLASSES, base_models, sharing
from .blend import CLASSICAL, Blend, OutsideRecord
from .copies import ShiftScore
from .known_answers import KnownAnswers
from .names import KEY, VERSION, VERSION_OUTSIDE
from .settings import Settings
from .stack import BEST, COMBINED, FIXED, STACK, Stack

PLAN_VERSION = 1
SHOWN = 5  # families in a message


@dataclass(frozen=True)
class TrainingData:
    """The patches that a model was fitted on.

    Parameters
    ----------
    source
        Where they come from.
    split, rows, fingerprint
        The split of the feature store, its size and its digests.
    positive
        How many patches have label 1.
    """

    source: SourceRecord
    split: str
    rows: int
    fingerprint: Fingerprint
    positive: int

    @property
    def kind(self) -> str:
        """The layout of the source."""
        return self.source.kind

    @property
    def path(self) -> str:
        """Where the source was opened."""
        return self.source.path

    @property
    def protocol(self) -> str:
        """How the data set may be used."""
        return self.source.protocol

    @classmethod
    def from_fields(cls, known: Fields) -> TrainingData:
        """Raises ValueError if a field is missing or wrong."""
        rows = known.whole("rows", least=1, most=LARGEST_ROWS - 1)
        return cls(
            SourceRecord.from_fields(known),
            known.text("split"),
            rows,
            Fingerprint.from_fields(known.child("fingerprint")),
            known.whole("positive", most=rows),
        )

    def planned(self) -> dict[str, Any]:
        """The JSON object of a plan, which does not count positive patches."""
        return self.source.to_dict() | {
            "split": self.split,
            "rows": self.rows,
            "fingerprint": self.fingerprint.to_dict(),
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        return self.planned() | {"positive": self.positive}


@dataclass(frozen=True)
class FoldsRecord:
    """The folds of a fit: their number, the number of groups, how groups were made, and a digest."""

    count: int
    groups: int
    protocol: str
    fingerprint: str

    @classmethod
    def of(cls, folds: Folds) -> FoldsRecord:
        """The record of folds."""
        groups = int(folds.group.max()) + 1
        return cls(folds.count, groups, one_line(folds.protocol), folds.fingerprint())

    @classmethod
    def from_fields(cls, known: Fields) -> FoldsRecord:
        """Raises ValueError if a field is missing or wrong."""
        return cls(
            known.whole("count", least=2, most=LARGEST_ROWS - 1),
            known.whole("groups", most=LARGEST_ROWS - 1),
            known.text("protocol"),
            known.text("fingerprint"),
        )


@dataclass(frozen=True)
class ProbabilityScores:
    """Scores of probabilities, lower is better: Brier score, log loss, expected calibration error."""

    brier: float
    log_loss: float
    ece: float

    @classmethod
    def from_fields(cls, known: Fields) -> ProbabilityScores:
        """Raises ValueError if a field is missing or wrong."""
        return cls(known.share("brier"), known.number("log_loss", least=0), known.share("ece"))


@dataclass(frozen=True)
class CalibrationRecord:
    """Out-of-fold scores of probabilities before and after calibration."""

    before: ProbabilityScores
    after: ProbabilityScores

    @classmethod
    def from_fields(cls, known: Fields) -> CalibrationRecord:
        """Raises ValueError if a field is missing or wrong."""
        before, after = known.child("before"), known.child("after")
        return cls(ProbabilityScores.from_fields(before), ProbabilityScores.from_fields(after))


@dataclass(frozen=True)
class Leakage:
    """The AUC of `model` in the folds of the fit, in folds dealt at random, and the difference."""

    model: str
    auc: float
    auc_at_random: float
    gap: float

    @classmethod
    def of(cls, model: str, auc: float, auc_at_random: float) -> Leakage:
        """The record of two AUCs."""
        return cls(model, auc, auc_at_random, auc_at_random - auc)

    @classmethod
    def from_fields(cls, known: Fields) -> Leakage:
        """Raises ValueError if a field is missing or wrong."""
        return cls(
            known.text("model"),
            known.share("auc"),
            known.share("auc_at_random"),
            known.number("gap", -1, 1),
        )


@dataclass(frozen=True)
class Importance:
    """A family's share of the gain of trees, and by how much it moves the log-odds of a patch."""

    gain: float
    contribution: float

    @classmethod
    def from_fields(cls, known: Fields) -> Importance:
        """Raises ValueError if a field is missing or wrong."""
        return cls(known.share("gain"), known.number("contribution", least=0))


@dataclass(frozen=True)
class SearchRecord:
    """What a search for settings of one kind of base model came to.

    Parameters
    ----------
    trials, complete
        How many trials ended, and how many were not pruned.
    default, best
        The mean AUC over folds of the default settings and of the best trial.
    nested
        The mean over folds of the AUC there of the trial that is best on the other folds.
    taken
        Whether the best trial's parameters are used.
    parameters
        The best trial's parameters.
    """

    trials: int
    complete: int
    default: float
    best: float
    nested: float
    taken: bool
    parameters: dict[str, Any]

    @classmethod
    def from_fields(cls, known: Fields) -> SearchRecord:
        """Raises ValueError if a field is missing or wrong."""
        known.numbers("parameters")
        return cls(
            known.whole("trials"),
            known.whole("complete"),
            known.share("default"),
            known.share("best"),
            known.share("nested"),
            known.flag("taken"),
            dict(known.child("parameters").content),
        )


def check_names(known: Fields, names: Collection[str]) -> None:
    """Raises ValueError unless an object has objects of these names, and no others."""
    for name in names:
        known.child(name)
    if more := set(known) - set(names):
        raise ValueError(f"{known.name} has an entry {quoted(min(more))} of no model or family")


def estimate_from(known: Fields) -> Estimate:
    """An AUC with its interval. Raises ValueError if a field is missing or wrong."""
    estimate = Estimate(known.share("value"), known.share("low"), known.share("high"))
    if estimate.low > estimate.high:
        raise ValueError(f"{known.name} has an interval that ends before it begins")
    return estimate


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What decides a fit. A stopped fit goes on only if its plan is the same.

    Parameters
    ----------
    pcam_version, versions
        The versions of pcam, Python and libraries.
    source
        The patches.
    families
        The families that are learned from.
    folds
        The folds.
    features
        A digest of the features' files.
    seed, trials, device, threads
        How the fit is computed, and the number of trials of a search.
    outside
        The predictions of other models that are combined with this one; None without any.
    """

    pcam_version: str = __version__
    source: TrainingData
    families: dict[str, FamilyRecord]
    folds: FoldsRecord
    features: str
    seed: int
    trials: int
    device: str
    threads: int
    versions: dict[str, str]
    outside: OutsideRecord | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the plan's file."""
        return {PLAN_KEY: PLAN_VERSION} | self.decisions() | {"source": self.source.planned()}

    def decisions(self) -> dict[str, Any]:
        """The JSON object of these fields in a model's manifest."""
        outside = {} if self.outside is None else {"outside": self.outside.to_dict()}
        return {
            "pcam_version": self.pcam_version,
            "source": self.source.to_dict(),
            "families": {name: record.to_dict() for name, record in self.families.items()},
            "folds": asdict(self.folds),
            "features": self.features,
            "seed": self.seed,
            "trials": self.trials,
            "device": self.device,
            "threads": self.threads,
            "versions": self.versions,
        } | outside


@dataclass(frozen=True, kw_only=True)
class FitOutcome:
    """What came of a fit.

    Parameters
    ----------
    settings
        The settings of the base models.
    stack
        How the base models are combined and calibrated.
    blend
        How the base models together are combined with outside predictions; None without any.
    candidates
        The out-of-fold AUC of each way to combine them.
    out_of_fold_auc
        The out-of-fold AUC of each base model and of all combined.
    calibration
        Scores of probabilities before and after calibration.
    leakage
        The AUC that folds dealt at random would have shown.
    importance
        The importance of each family.
    search
        What the search for settings came to, for each kind of base model; empty without a search.
    copies
        The number of changed copies of patches that the base models were trained on as well.
    elsewhere
        The scores of changed copies of the patches, by how they were changed; empty without copies.
    elsewhere_auc
        The AUC to expect after a change of laboratory; None without copies, or with too few.
    known_answers
        What the model says of the rows of features that it keeps.
    leaky_columns
        The columns that tell the label alone, with their out-of-sample AUC; empty if there are none.
    """

    settings: Settings
    stack: Stack
    candidates: dict[str, float]
    out_of_fold_auc: dict[str, Estimate]
    calibration: CalibrationRecord
    leakage: Leakage
    importance: dict[str, Importance]
    known_answers: KnownAnswers
    search: dict[str, SearchRecord] = field(default_factory=dict)
    copies: int = 0
    elsewhere: dict[str, ShiftScore] = field(default_factory=dict)
    elsewhere_auc: Estimate | None = None
    leaky_columns: dict[str, float] = field(default_factory=dict)
    blend: Blend | None = None

    def results(self) -> dict[str, Any]:
        """The JSON object of these fields in a model's manifest."""
        plain: dict[str, Any] = {
            "settings": self.settings.to_dict(),
            "stack": self.stack.to_dict(),
            "candidates": self.candidates,
            "out_of_fold_auc": {name: asdict(score) for name, score in self.out_of_fold_auc.items()},
            "calibration": asdict(self.calibration),
            "leakage": asdict(self.leakage),
            "importance": {name: asdict(record) for name, record in self.importance.items()},
            "known_answers": self.known_answers.to_dict(),
        }
        if self.search:
            plain["search"] = {kind: asdict(record) for kind, record in self.search.items()}
        if self.copies:
            plain["copies"] = self.copies
            plain["elsewhere"] = {shift: asdict(score) for shift, score in self.elsewhere.items()}
        if self.elsewhere_auc is not None:
            plain["elsewhere_auc"] = asdict(self.elsewhere_auc)
        if self.leaky_columns:
            plain["leaky_columns"] = self.leaky_columns
        if self.blend is not None:
            plain["blend"] = self.blend.to_dict()
        return plain


@dataclass(frozen=True, kw_only=True)
class ModelManifest(FitPlan, FitOutcome):
    """What a model's manifest says: the plan of its fit, what came of it, and its files' sums."""

    files: dict[str, FileSum] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: FitPlan, outcome: FitOutcome) -> ModelManifest:
        """The manifest of a finished fit, without the sums of its files."""
        return cls(**vars(plan), **vars(outcome))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path) -> ModelManifest:
        """Read and validate a manifest: the only place that does.

        Parameters
        ----------
        content
            The parsed JSON object.
        path
            The model's folder, for error messages.

        Raises
        ------
        InputError
            If the manifest is damaged, not a model's, or of another version.
        """
        if KEY not in content:
            raise InputError(f"{path} is not a model; put MODEL and FEATURES in the right order.")
        if content[KEY] != (VERSION_OUTSIDE if "outside" in content else VERSION):
            raise InputError(
                f"model {path} was written by another version of pcam, whose models are combined in "
                "another way or have other parts or sums; fit it anew."
            )
        try:
            check_seal(content)
            known = Fields(content)
            check_families(known.children("families"), path)
            return cls._from_fields(known)
        except ValueError as error:
            raise InputError(f"model {path} is damaged ({error}); fit it anew.") from None

    @classmethod
    def _from_fields(cls, known: Fields) -> ModelManifest:
        families = {
            name: FamilyRecord.from_fields(name, family)
            for name, family in known.children("families").items()
        }
        models = tuple(base_models(list(families)))
        scores, importance = known.child("out_of_fold_auc"), known.child("importance")
        outside = OutsideRecord.from_fields(known.child("outside")) if "outside" in known else None
        parts = () if outside is None else (CLASSICAL, *outside.models)
        if set(parts) & {*models, COMBINED, "id"}:
            raise ValueError("outside.models has the name of a base model")
        check_names(scores, (*models, *parts, COMBINED))
        check_names(importance, families)
        candidates = known.child("candidates")
        versions = known.child("versions")
        search = known.children("search") if "search" in known else {}
        elsewhere = known.children("elsewhere") if "elsewhere" in known else {}
        if not set(search) <= set(MODEL_CLASSES):
            raise ValueError("search has an unknown kind of model")
        combined = Stack.from_fields(known.child("stack"), models)
        asked = sharing(list(families), combined.weight_of)
        return cls(
            pcam_version=known.text("pcam_version"),
            source=TrainingData.from_fields(known.child("source")),
            families=families,
            folds=FoldsRecord.from_fields(known.child("folds")),
            features=known.text("features"),
            seed=known.whole("seed"),
            trials=known.whole("trials"),
            device=known.text("device"),
            threads=known.whole("threads"),
            versions={name: versions.text(name) for name in versions},
            settings=Settings.from_fields(known.child("settings")),
            stack=combined,
            known_answers=KnownAnswers.from_fields(known.child("known_answers"), asked),
            candidates={name: candidates.share(name) for name in (FIXED, BEST, STACK)},
            out_of_fold_auc={name: estimate_from(scores.child(name)) for name in scores},
            calibration=CalibrationRecord.from_fields(known.child("calibration")),
            leakage=Leakage.from_fields(known.child("leakage")),
            importance={name: Importance.from_fields(importance.child(name)) for name in importance},
            search={kind: SearchRecord.from_fields(record) for kind, record in search.items()},
            copies=known.whole("copies", most=LARGEST_ROWS - 1) if "copies" in known else 0,
            elsewhere={name: ShiftScore.from_fields(score) for name, score in elsewhere.items()},
            elsewhere_auc=(
                estimate_from(known.child("elsewhere_auc")) if "elsewhere_auc" in known else None
            ),
            leaky_columns=known.numbers("leaky_columns") if "leaky_columns" in known else {},
            outside=outside,
            blend=None if outside is None else Blend.from_fields(known.child("blend"), parts),
            files=files_from(known),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads."""
        files = {name: str(known) for name, known in self.files.items()}
        version = VERSION if self.outside is None else VERSION_OUTSIDE
        return {KEY: version} | self.decisions() | self.results() | {"files": files}


def check_families(families: Mapping[str, Fields], path: Path) -> None:
    """Raises InputError for families that this version of pcam cannot compute.

    Names of families become names of files, so only those that may be stored are taken.
    """
    unknown = [
        name
        for name, known in families.items()
        if not may_be_stored(name, known.content)
        or ("encoder" not in known and ("table" in known) == (name in FAMILIES))
    ]
    if unknown or not families:
        names = ", ".join(map(quoted, unknown[:SHOWN])) or "none are named"
        raise InputError(f"model {path} needs families this pcam does not know: {names}.")
