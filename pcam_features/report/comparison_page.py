"""The report of a comparison: one self-contained HTML file that includes Plotly for its charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from html import escape
from pathlib import Path

from ..evaluate.curves import BAND_DRAWS, GRID, CurveBand, ModelCurves
from ..evaluate.paired import PLAIN_THRESHOLD
from ..evaluate.published import NOTE
from ..evaluate.result import Comparison, PairDifference
from ..evaluate.subsets import LEAST
from ..learn.exhibits import Exhibits, Gallery
from ..learn.manifest import ModelManifest
from ..storage.costs import TRAIN_SECONDS
from ..storage.files import write_text
from ..words import counted
from . import charts, tables
from .charts import Chart
from .gallery import gallery
from .html import Page, paragraph, table, tabs
from .sentences import findings, span

Show = Callable[[Chart], str]
DELONG = "DeLong"  # in the legend; the caption says what it assumes
MOST_DRAWN = 15  # differences that a chart shows, if no pair was declared


def write(path: Path, result: Comparison, exhibits: Exhibits, *, published: bool = False) -> None:
    """Write the report of a comparison, whole or not at all.

    Parameters
    ----------
    path
        The HTML file.
    result
        The comparison.
    exhibits
        The curves, patches and model that are shown beside the scores.
    published
        Whether to show scores published by others.
    """
    write_text(path, page(result, exhibits, published=published))


def page(result: Comparison, exhibits: Exhibits, *, published: bool) -> str:
    """The report as HTML."""
    made = Page()
    show, section = made.show, made.section
    section("models", "Models", show(models_chart(result), opened=True), metrics_table(result))
    if result.differences:
        few = len(pairs_drawn(result)) == len(result.differences)
        section("differences", "Differences", show(differences_chart(result), opened=few))
    curves = [(chart, show(chart)) for chart in curve_charts(exhibits.curves, result)]
    section("curves", "Curves", tabs("Curves", curves))
    cost = tables.costs(result)
    if cost is not None:
        budget = budget_chart(result)
        shown = [] if budget is None else [show(budget)]
        section("cost", "Cost", *shown, table("Cost of each model, where known", cost[0], cost[1]))
    if result.parts:
        section("parts", "Subgroups", *parts(result, show))
    if len(result.models) > 1:
        section("agreement", "Agreement", show(agreement_chart(result)))
    if exhibits.gallery is not None:
        section("patches", patches_title(result), *patches(exhibits.gallery, result))
    if exhibits.model is not None:
        model = [show(chart) for chart in model_charts(exhibits.model)]
        model += [f"<p>{escape(sentence)}.</p>" for sentence in findings(exhibits.model)]
        section("families", "The classical model", *model)
    if published:
        columns, rows = tables.published()
        scores = table("Scores published by others", columns, rows)
        section("published", "Published scores", paragraph(NOTE), scores)
    section("protocol", "Protocol", protocol(result, exhibits.model))
    return made.html(
        "pcam compare: " + ", ".join(result.names),
        "Model comparison",
        result.verdict,
        tables.notes(result),
    )


def patches_title(result: Comparison) -> str:
    """The heading above the patches."""
    return "Largest errors" if len(result.models) == 1 else "Largest disagreements"


def patches(shown: Gallery, result: Comparison) -> list[str]:
    """The patches, and how they were chosen, as HTML."""
    if len(result.models) == 1:
        sentence = "Patches whose predicted probability is farthest from the label."
    else:
        sentence = "Patches whose ranks differ most between models, when each model ranks all patches."
    square = " The square marks the center, which decides the label."
    return [paragraph(sentence + square), paragraph(shown.problem), gallery(shown)]


def models_chart(result: Comparison) -> Chart:
    """The AUC of each model."""
    figure = charts.forest(
        result.names,
        (tables.over(result), [model.resampled for model in result.models]),
        (DELONG, [model.delong for model in result.models]),
        "AUC",
        seeds=[model.seeds.aucs for model in result.models],
    )
    intervals = f"{tables.over(result)} (thick), and {tables.beside(result)} (thin)"
    caption = f"Area under the ROC curve. Intervals: {intervals}."
    columns, rows = tables.models(result)
    return Chart("models", "AUC of each model", caption, figure, columns, rows)


def budget_chart(result: Comparison) -> Chart | None:
    """AUC by training time; None unless it is known for two models."""
    timed = [model for model in result.models if model.cost.get(TRAIN_SECONDS)]
    if len(timed) < 2:
        return None
    seconds = [float(model.cost[TRAIN_SECONDS]) for model in timed]
    figure = charts.budget_figure(
        [model.name for model in timed], seconds, [model.resampled for model in timed]
    )
    caption = (
        "The training time includes the extraction of features; its scale is logarithmic. The dotted "
        "line is the best AUC at each budget, of the models that are named beside it. Times are "
        "comparable only if they are of the same machine, and small differences of AUC may be chance."
    )
    if len(timed) < len(result.models):
        left_out = [model.name for model in result.models if model not in timed]
        caption += f" Not shown, because its time is unknown: {', '.join(left_out)}."
    rows = [
        (model.name, f"{time:,.0f}", f"{model.auc:.4f}")
        for time, model in sorted(zip(seconds, timed, strict=True), key=lambda row: row[0])
    ]
    columns = ("model", "training time (seconds)", "AUC")
    return Chart("budget", "AUC by training time", caption, figure, columns, rows)


def metrics_table(result: Comparison) -> str:
    """The other metrics, as HTML."""
    columns, rows = tables.metrics(result)
    return table(f"Other metrics ({tables.over(result)})", columns, rows)


def pairs_drawn(result: Comparison) -> list[PairDifference]:
    """The pairs that are drawn: all, or those with the best model if there are many undeclared ones."""
    if result.pairs_declared or len(result.differences) <= MOST_DRAWN:
        return list(result.differences)
    best = max(result.models, key=lambda model: model.auc).name
    return [pair for pair in result.differences if best in (pair.a, pair.b)]


def differences_chart(result: Comparison) -> Chart:
    """The difference of AUC of each pair; see `pairs_drawn`."""
    pairs, margin = pairs_drawn(result), result.margin
    figure = charts.forest(
        [f"{pair.a}\n− {pair.b}" for pair in pairs],
        (tables.over(result), [pair.resampled for pair in pairs]),
        (DELONG, [pair.delong for pair in pairs]),
        "difference of AUC",
        marks=[0.0] if margin is None else [0.0, -margin],
    )
    caption = (
        "Both models of a pair are scored on the same resamples. An interval that excludes 0 shows a "
        f"difference, before adjustment for the number of pairs. Thin: {tables.beside(result)}."
    )
    if len(pairs) < len(result.differences):
        caption += (
            f" Drawn are the pairs with the model of the highest AUC; the table has all "
            f"{len(result.differences):,}."
        )
    if margin is not None:
        caption += f" Dotted: the non-inferiority margin of {margin:g}."
    columns, rows = tables.differences(result)
    return Chart("differences", "Differences of AUC", caption, figure, columns, rows)


def curve_rows(bands: Sequence[CurveBand]) -> list[tuple[str, ...]]:
    """The values of curves at every tenth point of GRID, as cells."""
    return [
        (f"{GRID[k]:.1f}", *(f"{band.value[k]:.4f}" for band in bands)) for k in range(0, len(GRID), 10)
    ]


def curve_charts(curves: Sequence[ModelCurves], result: Comparison) -> list[Chart]:
    """ROC, precision-recall and reliability."""
    band = (
        f"Bands: pointwise {result.level:.0%} intervals from {BAND_DRAWS} resamples of "
        f"{result.resampled_over}."
    )
    names = [model.name for model in curves]
    roc = [(model.name, model.roc) for model in curves]
    precision = [(model.name, model.precision) for model in curves]
    reliability = [
        (f"{model.name}, {one.probability:.3f}", f"{one.positive:.3f}", f"{one.patches:,}")
        for model in curves
        for one in model.reliability
    ]
    return [
        Chart(
            "roc",
            "ROC",
            f"Sensitivity against the false positive rate. {band}",
            charts.curve_figure(roc, "false positive rate", "sensitivity"),
            ("false positive rate", *names),
            curve_rows([model.roc for model in curves]),
        ),
        Chart(
            "precision",
            "Precision and recall",
            f"Precision is the share of true positives among patches classified as positive. {band}",
            charts.curve_figure(precision, "recall", "precision"),
            ("recall", *names),
            curve_rows([model.precision for model in curves]),
        ),
        Chart(
            "reliability",
            "Reliability",
            "The share of positives against the predicted probability. Larger points: more patches.",
            charts.reliability_figure(curves),
            ("model, probability", "positive", "patches"),
            reliability,
        ),
    ]


def agreement_chart(result: Comparison) -> Chart:
    """The agreement of the models."""
    agreement = result.agreement
    names = agreement.models
    rows = [
        (
            f"{names[a]} and {names[b]}",
            known(agreement.spearman[a][b], "constant"),
            known(agreement.kappa[a][b], "one class"),
        )
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]
    return Chart(
        "agreement",
        "Rank correlation of the models",
        "Spearman's correlation of probabilities. The table also has Cohen's kappa of classes.",
        charts.agreement_figure(agreement),
        ("pair", "Spearman", "kappa"),
        rows,
    )


def known(value: float | None, otherwise: str) -> str:
    """A value as text, or `otherwise` if it is None."""
    return otherwise if value is None else f"{value:.3f}"


def parts(result: Comparison, show: Show) -> list[str]:
    """The AUC within each part of the patches, as HTML."""
    shown = []
    for part in result.parts:
        left_out = tables.left_out(part)
        if not part.groups:
            shown.append(paragraph(left_out))
            continue
        caption = f"AUC within each {part.name} with at least {LEAST} patches of each class. {left_out}"
        columns, rows = tables.part(part, result.names)
        figure = charts.parts_figure(part, result.names)
        key = f"part-{len(shown)}"
        shown.append(show(Chart(key, f"By {part.name}", caption, figure, columns, rows)))
    if result.without_copies is not None:
        shown.append(paragraph(tables.copies(result.without_copies)))
    return shown


def model_charts(model: ModelManifest) -> list[Chart]:
    """The scores of the base models, and the contribution of each family."""
    scores = model.out_of_fold_auc
    contributions = {name: record.contribution for name, record in model.importance.items()}
    return [
        Chart(
            "ablation",
            "Each group of families alone, and combined",
            "Out-of-fold AUC on the training patches, with intervals across groups.",
            charts.forest(list(scores), ("out of fold", list(scores.values())), None, "AUC"),
            ("model", "AUC", "interval"),
            [(name, f"{score.value:.4f}", span(score)) for name, score in scores.items()],
        ),
        Chart(
            "families",
            "Contribution of each family",
            "The mean absolute change that each family makes to the log-odds of a patch.",
            charts.families_figure(contributions),
            ("family", "log-odds"),
            [(name, f"{contribution:.3f}") for name, contribution in contributions.items()],
        ),
    ]


def made_with(model: ModelManifest) -> str:
    """The data, folds and versions of the classical model, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in model.versions.items())
    return (
        f"The classical model was fitted on {counted(model.source.rows, 'patch')} of "
        f"{model.source.path}; folds: {model.folds.protocol}; versions: {versions}."
    )


def protocol(result: Comparison, model: ModelManifest | None) -> str:
    """How the comparison was made, as HTML."""
    thresholds = f"{PLAIN_THRESHOLD:g} for all models"
    if result.thresholds_chosen_on:
        thresholds = f"chosen on {result.thresholds_chosen_on}"
    files = "; ".join(
        f"{one.name}: {', '.join(one.files) if one.files else 'from memory'}" for one in result.models
    )
    sentences = [
        f"Intervals have a nominal coverage of {result.level:.0%}. They are across "
        f"{result.resampled_over}: {result.positive_groups:,} have positive patches and "
        f"{result.negative_groups:,} have negative ones. Those of AUCs and their differences come from "
        "what each contributes to the AUC, those of other metrics from "
        f"{result.resamples:,} bootstrap resamples; both are on the log-odds scale for proportions. "
        "DeLong's intervals assume that patches are independent.",
        "The score of a model with several seeds is the mean of the scores of its seeds; their spread "
        "is listed separately.",
        "Sensitivity is the highest of all thresholds whose specificity is at least "
        f"{result.specificity:g}. Patches of equal probability are on one side of a threshold.",
        f"Balanced accuracy is computed at each model's threshold: {thresholds}. The calibration error "
        "has no interval, because resampling inflates it.",
        f"Made with pcam {result.pcam_version} on {date.today()}, seed {result.seed}.",
        f"Predictions: {files}.",
    ]
    if model is not None:
        sentences.append(made_with(model))
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
