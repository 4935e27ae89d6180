"""The report of a comparison: one self-contained HTML file, charts drawn by Plotly, which is in it."""

from __future__ import annotations

from datetime import date
from html import escape
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluate.curves import BAND_DRAWS, GRID, curves
from ..evaluate.inputs import Data, Features
from ..evaluate.paired import PLAIN_THRESHOLD
from ..evaluate.published import NOTE, SCORES, Published
from ..evaluate.subsets import LEAST
from ..learn.bundle import Bundle, read
from ..learn.predict import check_features
from ..storage.files import write_text
from . import charts, tables
from .charts import Chart
from .gallery import gallery
from .html import Page, paragraph, table, tabs
from .sentences import findings, span


def write(
    path: Path,
    data: Data,
    result: dict[str, Any],
    *,
    model: Path | None = None,
    source: str | None = None,
    published: bool = False,
    threads: int = 1,
) -> None:
    """Write the report of `result`, which is of `data`, whole or not at all.

    Raises InputError if the model is not one, or not of these features.
    """
    bundle = None if model is None else opened(model, data)
    points = curves(data.labels, data.entries, data.groups, seed=result["seed"], threads=threads)
    write_text(path, page(data, result, points, bundle, source, published))


def opened(model: Path, data: Data) -> Bundle:
    """The classical model. Raises InputError unless it goes with the features and can be shown."""
    bundle = read(model)
    if data.features is not None:
        check_features(bundle, data.features.store)
    try:
        bundle_charts(bundle)
        findings(bundle.manifest)
        made_with(bundle)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"model {model} is damaged ({error}, for the report); fit it anew.") from None
    return bundle


def page(
    data: Data,
    result: dict[str, Any],
    points: dict[str, Any],
    bundle: Bundle | None,
    source: str | None,
    published: bool,
) -> str:
    names = [m["model"] for m in result["models"]]
    made = Page()
    show, section = made.show, made.section
    section("models", "Models", show(models_chart(result), opened=True), metrics_table(result))
    if result["differences"]:
        section("differences", "Differences", show(differences_chart(result), opened=True))
    section(
        "curves", "Curves", tabs("Curves", [(c, show(c)) for c in curve_charts(names, points, result)])
    )
    cost = tables.costs(result)
    if cost is not None:
        section("cost", "Cost", table("What the models cost, as far as it is known", *cost))
    if result["parts"]:
        section("parts", "On parts of the patches", *parts(result, names, show))
    if len(names) > 1:
        section("agreement", "Agreement", show(agreement_chart(result)))
    if data.features is not None:
        section("patches", *patches(data, data.features, bundle, source))
    if bundle is not None:
        section("families", "The classical model", *(show(c) for c in bundle_charts(bundle)),
                *(f"<p>{escape(one)}.</p>" for one in findings(bundle.manifest)))  # fmt: skip
    if published:
        rows = [tuple(one) for one in SCORES]
        section("published", "Published scores", paragraph(NOTE),
                table("Reported by others", Published._fields, rows))  # fmt: skip
    section("protocol", "Protocol", protocol(result, bundle))
    return made.html(
        "pcam compare: " + ", ".join(names),
        "Which model is better, and by how much",
        result["verdict"],
        tables.notes(result),
    )


def patches(
    data: Data, features: Features, bundle: Bundle | None, source: str | None
) -> tuple[str, str, str, str]:
    """A title, and the patches under it."""
    cards, problem = gallery(data, features, bundle, source)
    square = " The square is the center, where the label is decided."
    if len(data.entries) == 1:
        said, title = "Patches whose probability is farthest from the label.", "Where it is most wrong"
    else:
        said = "Patches that the models place farthest apart when each ranks all patches."
        title = "Where they disagree most"
    return title, paragraph(said + square), paragraph(problem), cards


def models_chart(result: dict[str, Any]) -> Chart:
    models = result["models"]
    figure = charts.forest(
        [m["model"] for m in models],
        (tables.over(result), [m["resampled"] for m in models]),
        (tables.beside(result), [m["delong"] for m in models]),
        "AUC",
        seeds=[m["seeds"]["aucs"] for m in models],
    )
    says = f"Area under the ROC curve with intervals: {tables.over(result)}; thin: "
    says += f"{tables.beside(result)}."
    return Chart("models", "AUC of each model", says, figure, *tables.models(result))


def metrics_table(result: dict[str, Any]) -> str:
    caption = f"Other metrics, with intervals ({tables.over(result)})"
    return table(caption, *tables.metrics(result))


def differences_chart(result: dict[str, Any]) -> Chart:
    pairs, margin = result["differences"], result["margin"]
    figure = charts.forest(
        [f"{d['a']} − {d['b']}" for d in pairs],
        (tables.over(result), [d["resampled"] | {"value": d["difference"]} for d in pairs]),
        (tables.beside(result), [d["delong"] | {"value": d["difference"]} for d in pairs]),
        "difference of AUC",
        marks=[0.0] if margin is None else [0.0, -margin],
    )
    says = "Each pair on the same patches and the same draws; an interval that leaves out 0 is a "
    says += "difference, before p-values are adjusted for the number of pairs."
    if margin is not None:
        says += f" Dotted: the margin of {margin:g}."
    return Chart("differences", "Differences of AUC", says, figure, *tables.differences(result))


def curve_charts(names: list[str], points: dict[str, Any], result: dict[str, Any]) -> list[Chart]:
    band = (
        f"Bands: {result['level']:.0%} of {BAND_DRAWS} draws of {result['resampled_over']}, point by "
    )
    band += "point."
    steps = range(0, len(GRID), 10)

    def rows(which: str) -> list[tuple[str, ...]]:
        return [
            (f"{GRID[k]:.1f}", *(f"{points[name][which]['value'][k]:.4f}" for name in names))
            for k in steps
        ]

    false, true = "false positive rate", "sensitivity"
    reliable = [
        (f"{name}, {one['probability']:.3f}", f"{one['positive']:.3f}", f"{one['patches']:,}")
        for name in names
        for one in points[name]["reliability"]
    ]
    return [
        Chart("roc", "ROC", f"Sensitivity against the rate of false positives. {band}",
              charts.curve_figure(names, points, "roc", false, true), (false, *names), rows("roc")),
        Chart("precision", "Precision and recall", f"How many of those called are positive. {band}",
              charts.curve_figure(names, points, "precision", "recall", "precision"),
              ("recall", *names), rows("precision")),
        Chart("reliability", "Reliability", "Whether a probability is the share of positives; larger "
              "points are more patches.", charts.reliability_figure(names, points),
              ("model, probability", "positive", "patches"), reliable),
    ]  # fmt: skip


def agreement_chart(result: dict[str, Any]) -> Chart:
    found = result["agreement"]
    names = found["models"]
    rows = [
        (
            f"{names[a]} and {names[b]}",
            known(found["spearman"][a][b], "a constant"),
            known(found["kappa"][a][b], "all called the same"),
        )
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]
    return Chart(
        "agreement", "How far models rank patches alike",
        "Spearman's correlation of probabilities; in the numbers Cohen's kappa of calls as well.",
        charts.agreement_figure(found), ("pair", "Spearman", "kappa"), rows,
    )  # fmt: skip


def known(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.3f}"


def parts(result: dict[str, Any], names: list[str], show: Any) -> list[str]:
    shown = []
    for what, found in result["parts"].items():
        if found is None:
            continue
        if "groups" not in found:
            shown.append(paragraph(tables.copies(found)))
            continue
        left_out = tables.left_out(found, what, LEAST)
        if found["groups"]:
            key = f"part-{len(shown)}"
            says = f"AUC within each {what} that has {LEAST} patches of both classes. {left_out}"
            figure = charts.parts_figure(found, names, what)
            columns, rows = tables.part(found, names, what)
            shown.append(show(Chart(key, f"By {what}", says, figure, columns, rows)))
        else:
            shown.append(paragraph(left_out))
    return shown


def bundle_charts(bundle: Bundle) -> list[Chart]:
    scores = bundle.manifest["out_of_fold_auc"]
    importance = bundle.manifest["importance"]
    forest = charts.forest(list(scores), ("out of fold", list(scores.values())), None, "AUC")
    rows = [(name, f"{one['value']:.4f}", span(one)) for name, one in scores.items()]
    moved = [(name, f"{one['contribution']:.3f}") for name, one in importance.items()]
    return [
        Chart("ablation", "Each group of families alone, and combined",
              "Out-of-fold AUC on the model's own training patches, groups resampled.", forest,
              ("model", "AUC", "interval"), rows),
        Chart("families", "What it goes by",
              "By how much each family moves the log-odds of a patch, up or down, in the mean.",
              charts.families_figure(importance), ("family", "log-odds"), moved),
    ]  # fmt: skip


def made_with(bundle: Bundle) -> str:
    manifest = bundle.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return (
        f"The classical model was fitted on {manifest['source']['rows']:,} patches of "
        f"{manifest['source']['path']} with {manifest['folds']['protocol']}; {versions}."
    )


def protocol(result: dict[str, Any], bundle: Bundle | None) -> str:
    chosen_on = result["thresholds_chosen_on"]
    thresholds = f"chosen on {chosen_on}" if chosen_on else f"{PLAIN_THRESHOLD:g} for all"
    said = [
        f"Intervals: {result['level']:.0%}, from {result['resamples']:,} draws of "
        f"{result['resampled_over']} with replacement, within those that hold positive patches and "
        "those that do not; Student's t with the spread of the draws, for shares on the scale of "
        "log-odds. DeLong's intervals take patches for independent.",
        "A model of several seeds is scored by the mean of its seeds; their spread is told apart.",
        f"Balanced accuracy is at each model's threshold, {thresholds}. The "
        "calibration error has no interval: draws do not tell how far to trust it.",
        f"Made with pcam {result['pcam_version']} on {date.today()}, seed {result['seed']}.",
    ]
    files = "; ".join(f"{m['model']}: {', '.join(m['files'])}" for m in result["models"])
    said.append(f"Predictions: {files}.")
    if bundle is not None:
        said.append(made_with(bundle))
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in said) + "</ul>"
