"""The tables of a comparison as cells of text: for Markdown, the HTML report, and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..constants import TOO_GOOD
from ..evaluate.metrics import METRICS
from ..evaluate.published import SCORES, PublishedScore
from ..evaluate.result import (
    Comparison,
    ModelResult,
    PartResult,
    SeedSpread,
    Subset,
    TrainingCopies,
    WithoutCopies,
)
from ..evaluate.subsets import LEAST
from ..storage.costs import ADAPTATION, FIELDS, NUMBERS
from ..words import counted, form
from .sentences import span

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def over(result: Comparison) -> str:
    """The heading of intervals across groups."""
    return f"{result.level:.0%} interval across {result.resampled_over}"


def beside(result: Comparison) -> str:
    """The heading of DeLong's intervals."""
    if result.resampled_over != "patches":
        return "DeLong (assumes independent patches; too narrow)"
    return "DeLong (assumes many patches of each class)"


def models(result: Comparison) -> Table:
    """AUC and intervals: a row for each model."""
    rows = [
        (
            model.name,
            f"{model.auc:.4f}",
            span(model.resampled),
            span(model.delong),
            seeds(model.seeds),
        )
        for model in result.models
    ]
    columns = ("model", "AUC", over(result), beside(result), "seeds, spread of AUC")
    if all(model.seeds.count == 1 for model in result.models):
        return columns[:-1], [row[:-1] for row in rows]
    return columns, rows


def seeds(spread: SeedSpread) -> str:
    """The number of seeds and the standard deviation of their AUCs."""
    if spread.deviation is None:
        return "1 seed"
    return f"{counted(spread.count, 'seed')}, SD {spread.deviation:.4f}"


def titles(result: Comparison) -> dict[str, str]:
    """The headings of METRICS."""
    headings = {name: metric.title for name, metric in METRICS.items()}
    headings["sensitivity"] = f"sensitivity at a specificity of at least {result.specificity:g}"
    return headings


def metrics(result: Comparison) -> Table:
    """Every metric but AUC: a row for each model."""
    wanted = [name for name in METRICS if name != "auc"]
    headings = titles(result)
    rows = []
    for model in result.models:
        cells = [metric_cell(model, name) for name in wanted]
        thresholds = ", ".join(f"{threshold:.3g}" for threshold in model.thresholds)
        rows.append((model.name, *cells, thresholds))
    directions = {name: "" if METRICS[name].higher else " (lower is better)" for name in wanted}
    columns = [headings[name] + directions[name] for name in wanted]
    return ("model", *columns, "threshold"), rows


def metric_cell(model: ModelResult, name: str) -> str:
    """A metric with its interval, if it has one."""
    metric = model.metrics[name]
    interval = "" if metric.low is None else f" [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.4f}{interval}"


def turned(table: Table, corner: str) -> Table:
    """A table transposed: its first column becomes the heading, its other columns become rows."""
    columns, rows = table
    heading = (corner, *(row[0] for row in rows))
    return heading, [(name, *(row[k] for row in rows)) for k, name in enumerate(columns) if k]


def differences(result: Comparison) -> Table:
    """Differences of AUC: a row for each pair."""
    rows = [
        (
            f"{pair.a} − {pair.b}",
            f"{pair.difference:+.4f}",
            span(pair.resampled, "+"),
            p_cell(pair.p_value),
            p_cell(pair.p_holm),
            span(pair.delong, "+"),
            pair.finding,
        )
        for pair in result.differences
    ]
    columns = ("pair", "difference of AUC", over(result), "p", "p (Holm)", beside(result), "finding")
    return columns, rows


def p_cell(p_value: float | None) -> str:
    """A p-value as text."""
    return "not testable" if p_value is None else f"{p_value:.2g}"


def costs(result: Comparison) -> Table | None:
    """The known costs of the models; None if none is known."""
    known = [name for name in FIELDS if any(name in model.cost for model in result.models)]
    if not known:
        return None
    rows = [(model.name, *(cost(name, model.cost) for name in known)) for model in result.models]
    return ("model", *(FIELDS[name] for name in known)), rows


def cost(name: str, known: Mapping[str, object]) -> str:
    """One cost of a model, as text."""
    if name not in known:
        return "none" if name == ADAPTATION else "unknown"
    value = known[name]
    if name not in NUMBERS or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def too_good(result: Comparison) -> list[str]:
    """A warning of AUCs that are too high for patches of tissue."""
    wrong = [model for model in result.models if model.name in result.too_good]
    if not wrong:
        return []
    named = ", ".join(f"{model.name} ({model.auc:.4f})" for model in wrong)
    return [
        f"An AUC above {TOO_GOOD:g} is too good for patches of tissue: {named}. Check that the model "
        "was not trained on these patches or on copies of them, and that neither its inputs nor the "
        "names of files tell the label."
    ]


def part(result: PartResult, names: Sequence[str]) -> Table:
    """The AUC of each model in each group."""
    rows = [
        (
            group.group,
            f"{group.patches:,}",
            f"{group.positive:,}",
            *(f"{group.aucs[name]:.4f}" for name in names),
        )
        for group in result.groups
    ]
    return (result.name, "patches", "positive", *names), rows


def left_out(result: PartResult) -> str:
    """The groups without an AUC and the patches without a group, in a sentence; empty without any."""
    out, parts = result.left_out, []
    if out.groups:
        parts.append(
            f"{counted(out.groups, 'group')} with {counted(out.patches, 'patch')}, because each has "
            f"fewer than {LEAST} patches of a class ({out.of_one_class:,} with only one class)"
        )
    if out.without_group:
        parts.append(f"{counted(out.without_group, 'patch')} in no group")
    return f"Left out by {result.name}: {'; '.join(parts)}." if parts else ""


FEW_PAIRS = 3  # whose speeds are compared one by one, if no pair was declared


def slower(result: Comparison) -> list[str]:
    """The relative prediction time of the models of each pair, in sentences.

    Of many pairs of which none was declared, only the fastest and the slowest model are named.
    """
    rate = {model.name: model.cost.get("predict_patches_per_second", 0) for model in result.models}
    device = {model.name: model.cost.get("predict_device") for model in result.models}
    pairs = [(pair.a, pair.b) for pair in result.differences]
    if not result.pairs_declared and len(pairs) > FEW_PAIRS:
        timed = sorted((name for name in rate if rate[name]), key=lambda name: rate[name])
        pairs = [(timed[0], timed[-1])] if len(timed) > 1 else []
    sentences = []
    for pair in pairs:
        slow, fast = sorted(pair, key=lambda name: rate[name])
        if rate[slow] and rate[fast]:
            caution = "" if device[slow] == device[fast] else " (measured on different devices)"
            sentences.append(
                f"Predicting a patch with {slow} takes {rate[fast] / rate[slow]:.1f} times as long as "
                f"with {fast}{caution}."
            )
    return sentences


def copies(result: WithoutCopies) -> str:
    """The AUCs without near-duplicates, in a sentence; empty if there are none."""
    if not result.aucs:
        return ""
    if not result.left_out:
        return "There are no near-duplicates among these patches."
    aucs = ", ".join(f"{name} {auc:.4f}" for name, auc in result.aucs.items())
    return (
        f"AUC without {counted(result.left_out, 'near-duplicate')} "
        f"({counted(result.patches, 'patch')} {form(result.patches, 'remains', 'remain')}): {aucs}."
    )


def training_copies(result: TrainingCopies) -> str:
    """The AUCs with and without near-duplicates of training patches, in a sentence."""
    copies, others = result.copies, result.others
    if copies is None or others is None:
        return f"Near-duplicates of {result.of} were not looked for: {result.problem}."
    if not copies.patches:
        return f"There are no near-duplicates of {result.of} among these patches."
    return (
        f"{counted(copies.patches, 'patch')} of {copies.patches + others.patches:,} "
        f"{form(copies.patches, 'is a near-duplicate', 'are near-duplicates')} of {result.of}, turned, "
        f"flipped or compressed anew. AUC without them: {aucs_of(others)}; on them alone: "
        f"{aucs_of(copies)}. Report the AUC without them."
    )


def aucs_of(subset: Subset) -> str:
    """The AUC of each model on some patches."""
    if not subset.aucs:
        return f"unknown, because {counted(subset.patches, 'patch')} of both classes are too few"
    return ", ".join(f"{name} {auc:.4f}" for name, auc in subset.aucs.items())


def part_notes(result: Comparison) -> list[str]:
    """Notes on subgroups, in sentences."""
    sentences = [left_out(one) for one in result.parts]
    if result.without_copies is not None:
        sentences.append(copies(result.without_copies))
    return [sentence for sentence in sentences if sentence]


def published() -> Table:
    """Scores published by others."""
    return PublishedScore._fields, [tuple(score) for score in SCORES]


def notes(result: Comparison) -> list[str]:
    """Notes that a reader needs to interpret the numbers."""
    sentences = [
        f"{counted(result.patches, 'patch')}, {result.positive:,} positive. Intervals across: "
        f"{result.protocol}.",
        *result.notes,
    ]
    sentences += too_good(result)
    sentences.append(training_copies(result.training_copies))
    sentences += slower(result)
    constant = [model.name for model in result.models if model.resampled.low == model.resampled.high]
    if constant:
        sentences.append(
            f"The AUC of {', '.join(constant)} is the same in every group, so its interval is not "
            "meaningful."
        )
    if result.pairs_declared:
        sentences.append(
            "Pairs were declared beforehand; p-values are adjusted for their number (Holm)."
        )
    elif len(result.differences) > 1:
        sentences.append("No pair was declared beforehand; p-values are adjusted for all pairs (Holm).")
    if result.margin is not None:
        sentences.append(
            f"Model A is not inferior to B if the interval of A − B lies above −{result.margin:g}."
        )
    if len(result.models) > 1:
        agreed = result.agreement
        sentences.append(
            f"At their thresholds, all models classify {counted(agreed.all_right, 'patch')} "
            "correctly and "
            f"{agreed.all_wrong:,} incorrectly."
        )
    return sentences
