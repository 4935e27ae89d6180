"""Print results as tables and sentences."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..constants import Device
from ..words import counted
from . import console

if TYPE_CHECKING:
    from ..api.blending import Blend
    from ..check.result import CheckResult
    from ..convert.convert import ConversionPlan
    from ..diagnostics.bench_families import FamilyBenchmark
    from ..diagnostics.bench_reading import ReadingBenchmark
    from ..diagnostics.integrity import Integrity
    from ..evaluate.result import Comparison
    from ..extraction.extract import ExtractionPlan
    from ..learn.bundle import Bundle
    from ..learn.explain_patch import PatchExplanation
    from ..learn.manifest import ModelManifest
    from ..networks.manifest import NetworkManifest


def extraction(plan: ExtractionPlan, features: Path, dry_run: bool) -> None:
    """Print what is computed, and its size."""
    from ..storage.files import readable

    columns = sum(plan.columns.values())
    for name, rows in plan.patches.items():
        console.say(f"{name}: {counted(rows, 'patch')} × {counted(columns, 'column')}")
    done = "would be computed" if dry_run else "computed"
    size = readable(plan.bytes_to_write)
    # Only the workers of a cluster choose for themselves; elsewhere the choice is made by now.
    where = "the device of each worker" if plan.device == Device.auto else plan.device
    console.say(
        f"features of {counted(plan.patches_to_measure, 'patch')} {done} on {where} "
        f"({size} before compression); store: {features}"
    )
    if not dry_run:
        first = next(iter(plan.patches))
        console.say(
            f"one row per patch: pcam.open_store({str(features)!r}).frame({first!r}); pandas reads one "
            f"family at a time, such as {features / first / next(iter(plan.columns))}"
        )


def integrity(found: Integrity) -> None:
    """Print the damaged files of a folder, one a line, and how many were verified."""
    from ..storage.files import readable

    for damage in found.damaged:
        console.data(f"damaged  {damage.file}: {damage.reason}")
    if found.unfinished:
        console.say(f"not complete yet: {', '.join(found.unfinished)}; run pcam extract to finish them")
    if not found.damaged:
        console.data(
            f"{found.kind} {found.path}: {counted(found.files, 'file')}, {readable(found.bytes)}; all "
            "have their sums"
        )


def conversion(plan: ConversionPlan, folder: Path) -> None:
    """Print what will be written and the disk space it needs."""
    from ..storage.files import readable

    rows = ", ".join(f"{name} {count:,}" for name, count in plan.patches.items())
    most, free = readable(plan.bytes_at_most), readable(plan.bytes_free)
    console.say(
        f"writing {folder} as {plan.layout}; patches: {rows}; needs at most {most} of disk space, "
        f"{free} are free"
    )


def fetched(what: str, folder: Path) -> None:
    """Print what was downloaded and how to use it."""
    if what == "kaggle":
        from ..sources.kaggle import ZIP as NAME

        console.say(
            f"next: pcam extract {folder / NAME} features --verify (this checks that each id is the "
            "SHA-1 of the patch's pixels)"
        )
    else:
        console.say(
            f"{folder}: every file has its published checksum; {folder}/fetched.json lists the files"
        )


# The entries of a model's manifest that --json prints.
PUBLIC = (
    "source",
    "folds",
    "seed",
    "out_of_fold_auc",
    "candidates",
    "copies",
    "elsewhere",
    "elsewhere_auc",
    "leaky_columns",
    "stack",
    "outside",
    "blend",
    "calibration",
    "leakage",
    "importance",
    "settings",
    "search",
    "device",
    "threads",
    "versions",
)


def scores(bundle: Bundle, model: Path, json: bool) -> None:
    """Print the scores of a fitted model."""
    from ..report.sentences import findings

    manifest = bundle.manifest
    if json:
        console.as_json({"model": str(model)} | public(manifest))
        return
    score_table(manifest)
    for sentence in findings(manifest):
        console.say(sentence)
    console.say(f"model: {model}")


def public(manifest: ModelManifest) -> dict[str, Any]:
    """The entries of a manifest that are for users and their scripts, and what follows from them."""
    from ..report.sentences import findings, is_above_chance

    content = manifest.to_dict()
    entries = {name: content[name] for name in PUBLIC if name in content}
    return entries | {"above_chance": is_above_chance(manifest), "findings": findings(manifest)}


def score_table(manifest: ModelManifest) -> None:
    """Print the out-of-fold AUC and the weight of each base model."""
    from ..evaluate.spread import LEVEL
    from ..report.sentences import score_rows

    columns = ("model", "out-of-fold AUC", f"{LEVEL:.0%} interval", "weight")
    console.table(columns, score_rows(manifest))


def blend(result: Blend) -> None:
    """Print the scores of a blend and of its parts, what each part adds, and notes."""
    from ..evaluate.spread import LEVEL

    scores = [
        (
            str(name),
            f"{row['auc']:.4f}",
            f"[{row['low']:.4f}, {row['high']:.4f}]",
            "" if isnan(row["share"]) else f"{row['share']:.2f}",
        )
        for name, row in result.scores.to_dict("index").items()
    ]
    console.table(("model", "out-of-fold AUC", f"{LEVEL:.0%} interval", "share"), scores)
    gains = [
        (
            f"{part} added to {row['others']}",
            f"{row['difference']:+.4f}",
            f"[{row['low']:+.4f}, {row['high']:+.4f}]",
            "" if isnan(row["p_holm"]) else f"{row['p_holm']:.2g}",
        )
        for part, row in result.gains.to_dict("index").items()
    ]
    console.table(("gain", "AUC", f"{LEVEL:.0%} interval", "p (Holm)"), gains)
    for sentence in result.findings:
        console.say(sentence)


def learning_curve(manifest: NetworkManifest) -> None:
    """Print the learning curve of a network, one row per epoch."""
    console.table(
        ("epoch", "training loss", "training AUC", "held-out AUC", ""),
        [
            (
                str(number),
                f"{epoch.loss:.4f}",
                f"{epoch.training_auc:.4f}",
                f"{epoch.auc:.4f}",
                "best" if number == manifest.best_epoch else "",
            )
            for number, epoch in enumerate(manifest.curve, 1)
        ],
    )
    console.say(
        f"AUC on the held-out fold, averaged over {counted(manifest.views, 'view')}: "
        f"{manifest.held_out_auc:.4f}; this fold chose the best epoch, so the AUC is slightly "
        "optimistic"
    )


def comparison(result: Comparison, *, published: bool) -> None:
    """The tables of a comparison, notes on them, and the verdict."""
    from ..evaluate.published import NOTE
    from ..report import tables

    console.table(*tables.models(result))
    if result.differences:
        console.table(*tables.differences(result))
    console.table(*tables.turned(tables.metrics(result), "metric"))
    if cost := tables.costs(result):
        console.table(*tables.turned(cost, "cost"))
    for part in result.parts:
        if part.groups:
            console.table(*tables.part(part, result.names))
    if published:
        console.table(*tables.published(), text=True)
        console.say(NOTE)
    for note in (*tables.part_notes(result), *tables.notes(result), result.verdict):
        console.say(note)


def checked(result: CheckResult) -> None:
    """Print the results of a check as tables, then its verdict."""
    from ..report.check_page import split_table

    columns, rows = split_table(result)
    console.table(columns, rows)
    if result.findings:
        findings = [(finding.grade, finding.says) for finding in result.findings]
        console.table(("grade", "finding"), findings, text=True)
    console.data(result.verdict)


def timings(result: FamilyBenchmark) -> None:
    """Print the speed of each family beside its library."""
    console.table(
        ("family", "columns", "ms per patch", "library ms", "times faster", "library"),
        [
            (
                row.family,
                f"{row.columns:,}",
                f"{row.ms_per_patch:.3f}",
                f"{row.library_ms_per_patch:.2f}",
                f"{row.ratio:.1f}",
                row.library,
            )
            for row in [*result.families, result.total]
        ],
    )
    every = result.all_cores
    console.say(
        f"all families on {every.cores} cores: {every.ms_per_patch:.3f} ms per patch, "
        f"{every.speedup:.2f} times as fast as on one core"
    )


def reading(result: ReadingBenchmark) -> None:
    """Print the speed of reading each layout beside its library."""
    cores = counted(result.cores, "thread")
    console.table(
        ("layout", "ms per patch", cores, "library ms", "times faster", f"with {cores}", "library"),
        [
            (
                row.layout,
                f"{row.ms_per_patch:.3f}",
                f"{row.all_cores_ms_per_patch:.3f}",
                f"{row.library_ms_per_patch:.3f}",
                f"{row.ratio:.1f}",
                f"{row.all_cores_ratio:.1f}",
                row.library,
            )
            for row in result.layouts
        ],
    )
    console.say(f"{counted(result.patches, 'patch')} were read; {result.note}")


def features(name: str | None) -> None:
    """Print the list of families, the features of one family, or one column."""
    from ..families import describe
    from ..families.registry import CNN, FAMILIES
    from ..report import travel

    if name == CNN:
        from ..encoders import embedding

        console.data(embedding.__doc__ or "")
    elif name is None:
        rows = [
            (key, f"{len(family.columns):,}", describe.title(family))
            for key, family in FAMILIES.items()
        ]
        console.table(("family", "columns", "description"), rows, text=True)
        console.say(
            "to list the features of one family, run: pcam features FAMILY; for embeddings: pcam "
            "features cnn"
        )
    elif name in FAMILIES:
        console.data(FAMILIES[name].about)
        console.table(describe.COLUMNS, describe.feature_table(FAMILIES[name]), text=True)
        for names, wheres in describe.grids(FAMILIES[name]):
            console.data(f"{', '.join(names)}: each for {', '.join(wheres)}\n")
    else:
        for heading, text in describe.column_texts(name):
            console.data(f"{heading}: {text}")
        if name in (figures := travel.known()):
            console.data(f"between laboratories: {figures[name].sentence()}")


def explanation(record: PatchExplanation) -> None:
    """Print the columns that contributed most to the prediction for a patch."""
    from ..report.explanation_page import adding_up, by_family

    console.table(
        ("column", "value", "training mean", "standard deviations from it", "log-odds"),
        [
            (
                share.column,
                f"{share.value:.4g} {share.unit}",
                f"{share.training_mean:.4g}",
                f"{share.deviations:+.1f}",
                f"{share.contribution:+.3f}",
            )
            for share in record.columns
        ],
    )
    console.data(f"{adding_up(record)}\n{by_family(record)}")
