"""The result of a comparison, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..constants import TOO_GOOD
from .intervals import Estimate, for_threshold
from .metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

STAIN_CLUSTER = "stain cluster"
WITHOUT_COPIES = "without near-duplicates"


@dataclass(frozen=True)
class MetricEstimate:
    """A metric's value with its interval; the bounds are None where no interval can be given."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SeedSpread:
    """The AUC of each seed of a model, and their standard deviation (None for one seed)."""

    aucs: tuple[float, ...]
    deviation: float | None

    @property
    def count(self) -> int:
        """The number of seeds."""
        return len(self.aucs)

    def to_dict(self) -> dict[str, Any]:
        """The spread as JSON has it."""
        return {"count": self.count, "aucs": list(self.aucs), "deviation": self.deviation}


@dataclass(frozen=True)
class ModelResult:
    """The scores of one model.

    `resampled` is the AUC with its interval across groups, `delong` the AUC with DeLong's
    interval, which assumes that patches are independent. `metrics` has every metric of
    `METRICS` by name. `thresholds` has one threshold for each seed. `cost` has the known fields of
    `storage.costs.FIELDS`.
    """

    name: str
    files: tuple[str, ...]
    resampled: Estimate
    delong: Estimate
    metrics: Mapping[str, MetricEstimate]
    thresholds: tuple[float, ...]
    seeds: SeedSpread
    cost: Mapping[str, Any] = field(default_factory=dict)

    @property
    def auc(self) -> float:
        """The area under the ROC curve, averaged over seeds."""
        return self.resampled.value

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return {
            "model": self.name,
            "files": list(self.files),
            "auc": self.auc,
            "resampled": self.resampled.as_dict(),
            "delong": self.delong.as_dict(),
            "metrics": {name: asdict(metric) for name, metric in self.metrics.items()},
            "thresholds": list(self.thresholds),
            "seeds": self.seeds.to_dict(),
            "cost": dict(self.cost),
        }


@dataclass(frozen=True)
class PairDifference:
    """The difference of AUC between two models, A − B.

    `p_value` is two-sided, across groups; `p_holm` is adjusted for the number of pairs. Both are None
    if the difference cannot be tested, because too few groups have patches of a class, or because all
    groups show the same difference and it is not zero;
    `delong_p_value` is None if DeLong's variance is zero. `not_inferior` is None unless a margin was
    given and the difference can be tested.
    """

    a: str
    b: str
    resampled: Estimate
    p_value: float | None
    delong: Estimate
    delong_p_value: float | None
    p_holm: float | None
    finding: str
    not_inferior: bool | None = None

    @property
    def difference(self) -> float:
        """AUC of A minus AUC of B."""
        return self.resampled.value

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON has it.

        A difference that cannot be tested has `tested` false; see `intervals.for_threshold`.
        """
        within = {} if self.not_inferior is None else {"not_inferior": self.not_inferior}
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "resampled": self.resampled.as_dict(),
            "tested": self.p_value is not None,
            "p_value": for_threshold(self.p_value),
            "delong": self.delong.as_dict(),
            "delong_p_value": self.delong_p_value,
            "p_holm": for_threshold(self.p_holm),
            "finding": self.finding,
        } | within


Matrix = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Agreement:
    """How far models agree, each matrix (models, models) in the order of `models`.

    `spearman` is the rank correlation of probabilities, None where a model's are constant. `kappa` is
    Cohen's kappa of the classifications at each model's threshold, None where both models give all
    patches the same class. `all_wrong` and `all_right` count patches.
    """

    models: tuple[str, ...]
    spearman: Matrix
    kappa: Matrix
    all_wrong: int
    all_right: int

    def to_dict(self) -> dict[str, Any]:
        """The agreement as JSON has it."""
        return {
            "models": list(self.models),
            "spearman": [list(row) for row in self.spearman],
            "kappa": [list(row) for row in self.kappa],
            "all_wrong": self.all_wrong,
            "all_right": self.all_right,
        }


@dataclass(frozen=True)
class GroupResult:
    """The AUC of each model, by name, on the patches of one group."""

    group: str
    patches: int
    positive: int
    aucs: Mapping[str, float]


@dataclass(frozen=True)
class LeftOut:
    """Groups with too few patches of a class for an AUC: how many, how many of them have one class
    only, and how many patches they have; and how many patches are in no group."""

    groups: int
    of_one_class: int
    patches: int
    without_group: int


@dataclass(frozen=True)
class PartResult:
    """The AUC of each model within each group of one grouping: slides, stain clusters, a table's."""

    name: str
    groups: tuple[GroupResult, ...]
    left_out: LeftOut

    def to_dict(self) -> dict[str, Any]:
        """The part as JSON has it."""
        return {"groups": [asdict(one) for one in self.groups], "left_out": asdict(self.left_out)}


@dataclass(frozen=True)
class WithoutCopies:
    """The AUC of each model, by name, once near-duplicates are removed.

    `left_out` is the number of patches removed. `aucs` is empty if too few patches of a class remain.
    """

    patches: int
    positive: int
    left_out: int
    aucs: Mapping[str, float]

    def to_dict(self) -> dict[str, Any] | None:
        """The scores as JSON has them: null if there are none."""
        return asdict(self) if self.aucs else None


@dataclass(frozen=True)
class Subset:
    """Some patches, and the AUC of each model on them by name; none if one class has too few."""

    patches: int
    positive: int
    aucs: Mapping[str, float]


@dataclass(frozen=True)
class TrainingCopies:
    """The AUC of each model on near-duplicates of training patches, and on the other patches.

    `of` names the training patches. If they were not looked for, `problem` says why, and there are no
    subsets.
    """

    of: str
    copies: Subset | None = None
    others: Subset | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The scores as JSON has them."""
        if self.copies is None or self.others is None:
            return {"of": self.of, "not_looked_for": self.problem}
        return {"of": self.of, "copies": asdict(self.copies), "others": asdict(self.others)}


@dataclass(frozen=True)
class Comparison:
    """A comparison of models on the same patches.

    `resampled_over` names the groups that intervals are across (slides, pseudo-slides or patches), and
    `protocol` describes them in a sentence; `notes` say how tables were read.
    `positive_groups` and `negative_groups` have patches of that class; a group may have both. `slides`
    is None if no slide is known. `without_copies` is None unless a feature store was given.
    """

    pcam_version: str
    slides: int | None
    patches_with_slide: int
    resampled_over: str
    protocol: str
    notes: tuple[str, ...]
    pairs_declared: bool
    thresholds_chosen_on: str | None
    patches: int
    positive: int
    groups: int
    positive_groups: int
    negative_groups: int
    level: float
    resamples: int
    seed: int
    specificity: float
    margin: float | None
    models: tuple[ModelResult, ...]
    differences: tuple[PairDifference, ...]
    verdict: str
    agreement: Agreement
    parts: tuple[PartResult, ...]
    without_copies: WithoutCopies | None
    training_copies: TrainingCopies

    @property
    def names(self) -> list[str]:
        """The names of the models, in order."""
        return [model.name for model in self.models]

    @property
    def too_good(self) -> list[str]:
        """The names of the models whose AUC is above TOO_GOOD."""
        return [model.name for model in self.models if model.auc > TOO_GOOD]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as `pcam compare --json` prints it."""
        parts: dict[str, Any] = {}
        for part in self.parts:
            parts[part.name] = part.to_dict()
            if part.name == STAIN_CLUSTER and self.without_copies is not None:
                parts[WITHOUT_COPIES] = self.without_copies.to_dict()
        return {
            "pcam_version": self.pcam_version,
            "slides": self.slides,
            "patches_with_slide": self.patches_with_slide,
            "resampled_over": self.resampled_over,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "pairs_declared": self.pairs_declared,
            "thresholds_chosen_on": self.thresholds_chosen_on,
            "patches": self.patches,
            "positive": self.positive,
            "groups": self.groups,
            "positive_groups": self.positive_groups,
            "negative_groups": self.negative_groups,
            "level": self.level,
            "resamples": self.resamples,
            "seed": self.seed,
            "specificity": self.specificity,
            "margin": self.margin,
            "models": [model.to_dict() for model in self.models],
            "differences": [pair.to_dict() for pair in self.differences],
            "verdict": self.verdict,
            "too_good": self.too_good,
            "agreement": self.agreement.to_dict(),
            "parts": parts,
            "training_copies": self.training_copies.to_dict(),
        }

    def models_frame(self) -> pd.DataFrame:
        """The models as a table.

        Returns
        -------
        pandas.DataFrame
            A row for each model, indexed by its name (`model`). For each metric a column of its value,
            and `_low` and `_high` columns of its interval where it has one; `delong_low` and
            `delong_high` for the AUC; `seeds`, the spread `seed_deviation` of their AUC, the mean
            `threshold`, and a column for each cost that is known of any model.
        """
        import pandas as pd

        rows = [model_row(model) for model in self.models]
        return pd.DataFrame(rows, index=pd.Index(self.names, name="model"))

    def differences_frame(self) -> pd.DataFrame:
        """The pairs as a table.

        Returns
        -------
        pandas.DataFrame
            A row for each pair, indexed by the names `a` and `b`: `difference` of AUC (A − B) with its
            interval `low` to `high`, `p_value`, `p_holm` (adjusted for the number of pairs), DeLong's
            `delong_low`, `delong_high` and `delong_p_value`, the `finding` in words and, if a margin
            was given, `not_inferior`.
        """
        import pandas as pd

        columns = list(DIFFERENCE_COLUMNS)
        if self.margin is not None:
            columns.append("not_inferior")
        rows = [[difference_row(pair)[name] for name in columns] for pair in self.differences]
        index = pd.MultiIndex.from_arrays(
            [[pair.a for pair in self.differences], [pair.b for pair in self.differences]],
            names=["a", "b"],
        )
        return pd.DataFrame(rows, index=index, columns=columns)

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from html import escape

        from .notebook import forest_svg, table_html

        shown = [f"<p><strong>{escape(self.verdict)}</strong></p>"]
        chart = forest_svg(self.names, [model.resampled for model in self.models], "AUC")
        shown += [chart, table_html(self.models_frame()[list(SHOWN_METRICS)])]
        if self.differences:
            shown.append(table_html(self.differences_frame()[list(SHOWN_DIFFERENCES)]))
        return "".join(shown)


SHOWN_METRICS = (
    "auc",
    "auc_low",
    "auc_high",
    "average_precision",
    "sensitivity",
    "balanced_accuracy",
    "brier",
    "log_loss",
    "ece",
)
SHOWN_DIFFERENCES = ("difference", "low", "high", "p_value", "p_holm", "finding")
DIFFERENCE_COLUMNS = (
    "difference",
    "low",
    "high",
    "p_value",
    "p_holm",
    "delong_low",
    "delong_high",
    "delong_p_value",
    "finding",
)


def model_row(model: ModelResult) -> dict[str, Any]:
    """A model's cells in `Comparison.models_frame`."""
    row: dict[str, Any] = {}
    for name in METRICS:
        metric = model.metrics[name]
        row[name] = metric.value
        if metric.low is not None:
            row |= {f"{name}_low": metric.low, f"{name}_high": metric.high}
        if name == "auc":
            row |= {"delong_low": model.delong.low, "delong_high": model.delong.high}
    row["threshold"] = mean(model.thresholds)
    row |= {"seeds": model.seeds.count, "seed_deviation": model.seeds.deviation}
    return row | dict(model.cost)


def difference_row(pair: PairDifference) -> dict[str, Any]:
    """A pair's cells in `Comparison.differences_frame`."""
    return {
        "difference": pair.difference,
        "low": pair.resampled.low,
        "high": pair.resampled.high,
        "p_value": pair.p_value,
        "p_holm": pair.p_holm,
        "delong_low": pair.delong.low,
        "delong_high": pair.delong.high,
        "delong_p_value": pair.delong_p_value,
        "finding": pair.finding,
        "not_inferior": pair.not_inferior,
    }


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
