"""Results as tables and sentences for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report.sentences import findings, score_rows
from . import console

if TYPE_CHECKING:
    from ..learn.bundle import Bundle


def extraction(plan: dict[str, Any], features: Path, dry_run: bool) -> None:
    for name, rows in plan["patches"].items():
        console.say(f"{name}: {rows:,} patches × {sum(plan['columns'].values()):,} columns")
    done = "would be" if dry_run else "were"
    size = plan["bytes_to_write"] / 2**20
    console.say(
        f"{plan['patches_to_measure']:,} patches {done} measured on {plan['device']} "
        f"({size:,.0f} MiB of float32); store: {features}"
    )


def conversion(plan: dict[str, Any], folder: Path) -> None:
    """What is to be written, and what room it takes."""
    from ..storage.files import readable

    rows = ", ".join(f"{name} {count:,}" for name, count in plan["patches"].items())
    most, free = readable(plan["bytes_at_most"]), readable(plan["bytes_free"])
    console.say(f"{folder} as {plan['layout']}, patches: {rows}; takes at most {most} of {free} free")


def fetched(what: str, folder: Path) -> None:
    """What is there now, and what to do with it."""
    if what == "kaggle":
        from ..sources.kaggle import ZIP as NAME

        console.say(
            f"each patch's id is the SHA-1 of its pixels: pcam extract {folder / NAME} features "
            "--verify checks that"
        )
    else:
        console.say(f"{folder}: every file had its published sum; {folder}/fetched.json says what")


SAID = (
    *("source", "folds", "seed", "out_of_fold_auc", "candidates", "stack", "calibration", "leakage"),
    *("importance", "settings", "search", "device", "threads", "versions"),
)


def scores(bundle: Bundle, model: Path, json: bool) -> None:
    """What a fit has come to."""
    manifest = bundle.manifest
    if json:
        console.as_json({"model": str(model)} | said(manifest))
        return
    score_table(manifest)
    for sentence in findings(manifest):
        console.say(sentence)
    console.say(f"model: {model}")


def said(manifest: dict[str, Any]) -> dict[str, Any]:
    """What of a manifest is for people and their scripts."""
    return {name: manifest[name] for name in SAID if name in manifest}


def score_table(manifest: dict[str, Any]) -> None:
    from ..evaluate.intervals import LEVEL

    columns = ("model", "out-of-fold AUC", f"{LEVEL:.0%} interval", "weight")
    console.table(columns, score_rows(manifest))


def learning_curve(manifest: dict[str, Any]) -> None:
    """What each epoch of a network came to."""
    console.table(
        ("epoch", "training loss", "held-out AUC", ""),
        [
            (
                str(number),
                f"{one['loss']:.4f}",
                f"{one['auc']:.4f}",
                "taken" if number == manifest["best_epoch"] else "",
            )
            for number, one in enumerate(manifest["curve"], 1)
        ],
    )
    console.say(
        f"AUC of the held-out fold, {manifest['views']} view(s) averaged: "
        f"{manifest['held_out_auc']:.4f}; the best epoch was taken by it, so expect less elsewhere"
    )


def comparison(result: dict[str, Any], *, published: bool) -> None:
    """The verdict, and the tables behind it."""
    from ..evaluate.published import NOTE, SCORES, Published
    from ..evaluate.subsets import LEAST
    from ..report import tables

    names = [m["model"] for m in result["models"]]
    console.table(*tables.models(result))
    if result["differences"]:
        console.table(*tables.differences(result))
    console.table(*tables.turned(tables.metrics(result), "metric"))
    if cost := tables.costs(result):
        console.table(*tables.turned(cost, "cost"))
    for what, found in result["parts"].items():
        if found is not None and found.get("groups"):
            console.table(*tables.part(found, names, what))
    if published:
        console.table(Published._fields, [tuple(one) for one in SCORES], text=True)
        console.say(NOTE)
    for what, found in result["parts"].items():
        if found is not None:
            said = tables.left_out(found, what, LEAST) if "groups" in found else tables.copies(found)
            if said:
                console.say(said)
    for note in (*tables.notes(result), result["verdict"]):
        console.say(note)


def checked(found: dict[str, Any], verdict: str) -> None:
    """What a check found, as tables."""
    from ..report.check_page import split_table

    console.table(*split_table(found))
    said = [(one["grade"], one["says"]) for one in found["findings"]]
    if said:
        console.table(("grade", "found"), said, text=True)
    console.data(verdict)


def timings(result: dict[str, Any]) -> None:
    console.table(
        ("family", "columns", "ms a patch", "library ms", "times faster", "library"),
        [
            (
                row["family"],
                f"{row['columns']:,}",
                f"{row['ms_per_patch']:.3f}",
                f"{row['library_ms_per_patch']:.2f}",
                f"{row['ratio']:.1f}",
                row["library"],
            )
            for row in [*result["families"], result["total"]]
        ],
    )
    every = result["all_cores"]
    console.say(
        f"all families on {every['cores']} cores: {every['ms_per_patch']:.3f} ms a patch, "
        f"{every['speedup']:.2f} times faster than on one"
    )


def reading(result: dict[str, Any]) -> None:
    cores = f"{result['cores']} threads"
    console.table(
        ("layout", "ms a patch", cores, "library ms", "times faster", f"with {cores}", "library"),
        [
            (
                row["layout"],
                *(f"{row[k]:.3f}" for k in ("ms_per_patch", "all_cores_ms_per_patch")),
                f"{row['library_ms_per_patch']:.3f}",
                *(f"{row[k]:.1f}" for k in ("ratio", "all_cores_ratio")),
                row["library"],
            )
            for row in result["layouts"]
        ],
    )
    console.say(f"reading {result['patches']:,} patches; {result['note']}")


def features(name: str | None) -> None:
    """The families, the features of one family, or one column."""
    from ..families import describe
    from ..families.registry import CNN, FAMILIES

    if name == CNN:
        from ..encoders import embedding

        console.data(embedding.__doc__ or "")
    elif name is None:
        rows = [(key, f"{len(one.columns):,}", describe.title(one)) for key, one in FAMILIES.items()]
        console.table(("family", "columns", "what"), rows, text=True)
        console.say("pcam features FAMILY lists one family's features; cnn is embeddings")
    elif name in FAMILIES:
        console.data(FAMILIES[name].about)
        console.table(describe.COLUMNS, describe.feature_table(FAMILIES[name]), text=True)
        for names, wheres in describe.grids(FAMILIES[name]):
            console.data(f"{len(names)} features, each for: {', '.join(wheres)}\n")
    else:
        for key, value in describe.rows(name)[0].items():
            console.data(f"{key}: {value}")


def explanation(found: dict[str, Any]) -> None:
    """The columns that moved a patch."""
    from ..report.explanation_page import adding_up, by_family

    console.table(
        ("column", "value", "training mean", "deviations from it", "log-odds"),
        [
            (
                one["column"],
                f"{one['value']:.4g} {one['unit']}",
                f"{one['training_mean']:.4g}",
                f"{one['deviations']:+.1f}",
                f"{one['contribution']:+.3f}",
            )
            for one in found["columns"]
        ],
    )
    console.data(console.printable(f"{adding_up(found)}\n{by_family(found)}"))
