"""Results as tables and sentences for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import console

if TYPE_CHECKING:
    from .learn.bundle import Bundle


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
    from .storage.files import readable

    rows = ", ".join(f"{name} {count:,}" for name, count in plan["patches"].items())
    most, free = readable(plan["bytes_at_most"]), readable(plan["bytes_free"])
    console.say(f"{folder} as {plan['layout']}, patches: {rows}; takes at most {most} of {free} free")


def fetched(what: str, folder: Path) -> None:
    """What is there now, and what to do with it."""
    if what == "kaggle":
        from .sources.kaggle import ZIP as NAME

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
CHOICES = {
    "mean": "the mean of all",
    "best": "the best single model, picked anew for each fold",
    "stack": "a stack",
}


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
    from .evaluate.intervals import LEVEL

    columns = ("model", "out-of-fold AUC", f"{LEVEL:.0%} interval", "weight")
    console.table(columns, score_rows(manifest))


def score_rows(manifest: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Of each model and of all together: name, AUC, its interval, weight."""
    weights = manifest["stack"]["weights"]
    return [
        (name, f"{s['value']:.4f}", span(s), f"{weights[name]:.3f}" if name in weights else "")
        for name, s in manifest["out_of_fold_auc"].items()
    ]


def findings(manifest: dict[str, Any]) -> list[str]:
    """In sentences: what the models are combined by, calibration, the search, the leakage gap."""
    leak = manifest["leakage"]
    return [
        *combination(manifest),
        calibrating(manifest),
        *searched(manifest.get("search", {})),
        f"leakage gap, measured on {leak['model']}: AUC {leak['auc']:.4f} in these folds, "
        f"{leak['auc_at_random']:.4f} in folds dealt at random ({leak['gap']:+.4f})",
    ]


def combination(manifest: dict[str, Any]) -> list[str]:
    aucs, choice = manifest["candidates"], manifest["stack"]["choice"]
    weights: dict[str, float] = manifest["stack"]["weights"]
    taken = max(weights, key=lambda name: weights[name]) if choice == "best" else CHOICES[choice]
    each = ", ".join(f"{CHOICES[name]} {auc:.4f}" for name, auc in aucs.items())
    simpler = "" if choice == "stack" else "; stacking does not help"
    return [
        f"combined is {taken}: AUC across folds of {each}{simpler}",
        "combined's AUC in the table is with that choice and the calibration made anew for each fold: "
        "the one to report",
    ]


def calibrating(manifest: dict[str, Any]) -> str:
    before, after = manifest["calibration"]["before"], manifest["calibration"]["after"]
    names = {"brier": "Brier score", "log_loss": "log loss", "ece": "calibration error"}
    each = ", ".join(f"{name} {before[k]:.4f} → {after[k]:.4f}" for k, name in names.items())
    plain = manifest["stack"]["calibration"] == {"low": 1, "high": 1, "shift": 0}
    without = "; fitted on all folds it does not help, so the model has none" if plain else ""
    return f"calibration across folds, lower is better, before → after: {each}{without}"


def searched(search: dict[str, Any]) -> list[str]:
    said = [
        f"search for {kind} ({one['trials']} trials, mean AUC of folds, all families): defaults "
        f"{one['default']:.4f}, best {one['best']:.4f}, best of the other folds {one['nested']:.4f}: "
        + ("taken" if one["taken"] else "not taken")
        for kind, one in search.items()
    ]
    if any(one["taken"] for one in search.values()):
        said.append("the scores are of settings chosen on these folds: expect a little less elsewhere")
    return said


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


def span(estimate: dict[str, float], sign: str = "") -> str:
    return f"[{estimate['low']:{sign}.4f}, {estimate['high']:{sign}.4f}]"


def comparison(result: dict[str, Any], *, published: bool) -> None:
    """The verdict, and the tables behind it."""
    from .evaluate.published import NOTE, SCORES, Published
    from .evaluate.subsets import LEAST
    from .report import tables

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
    from .report.check_page import split_table

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
    from .families import describe
    from .families.registry import CNN, FAMILIES

    if name == CNN:
        from .encoders import embedding

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
    from .explain import adding_up, by_family

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
