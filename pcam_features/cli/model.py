"""The commands that make and use models: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..constants import FOLDS, LEAST_FOLDS, MOST_FOLDS, RESAMPLES, SPECIFICITY, Device
from ..errors import InputError
from ..evaluate.comparison import run
from . import console, show
from .options import (
    DeviceOption,
    FoldsFromOption,
    JsonOption,
    OverwriteOption,
    SeedOption,
    SlidesOption,
    ThreadsOption,
    complete_family,
    cores,
)

if TYPE_CHECKING:
    from ..store.store import Store

FOLDS_HELP = f"Folds across slides. Default: {FOLDS}."
ModelArgument = Annotated[Path, typer.Argument(help="The fitted model.")]
FeaturesArgument = Annotated[Path, typer.Argument(help="The feature store.")]


def fit(
    features: FeaturesArgument,
    model: Annotated[Path, typer.Argument(help="The model to make, a folder.")],
    split: Annotated[str, typer.Option(help="The split to learn from.")] = "train",
    families: Annotated[
        str | None,
        typer.Option(
            help="Families, comma-separated; all: by hand, cnn: embeddings. Default: all there are.",
            autocompletion=complete_family,
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=LEAST_FOLDS, max=MOST_FOLDS, help=FOLDS_HELP)] = None,
    folds_from: FoldsFromOption = None,
    groups: Annotated[
        str | None,
        typer.Option(metavar="FILE[:COLUMN]", help="CSV of what to keep together instead of slides."),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=0, max=10_000, help="Trials of a search for better settings, by kind.")
    ] = 0,
    max_memory: Annotated[
        float | None,
        typer.Option(min=0.1, max=1e6, help="GiB for features. Default: half of the machine's."),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train XGBoost and a kernel model per group of families; stack them, scored across slides.

    A fit that was stopped goes on where it was: run it again.
    """
    from ..engine.devices import choose
    from ..grouping.folds import read_folds
    from ..learn import fit as learning
    from ..learn.bundle import check_free
    from ..learn.steps import kept_steps
    from ..learn.training import How, steps
    from ..sources.slides import read_slides
    from ..storage.resumable import unfinished
    from ..store.store import open_store

    if folds_from is not None and (folds is not None or groups is not None):
        raise InputError("--folds-from says it all; leave out --folds and --groups.")
    store = open_store(features)
    check_free(model, overwrite=overwrite)
    names = learning.families_to_use(store, split, families)
    target, why = choose(device)
    console.say(why)
    if folds_from is not None:
        dealt = read_folds(folds_from, store.patches(split))
    else:
        known = None if groups is None else (unit_of(groups), read_slides(groups))
        dealt = learning.deal(store, split, folds or FOLDS, seed, known)
    console.say(f"folds: {dealt.count}, {dealt.protocol}")
    if kept := kept_steps(model):
        console.say(f"going on with {unfinished(model)}: {kept} steps of an earlier fit are kept")
    with (
        console.stops_at_once("stopped; run it again to go on from here"),
        console.progress("fit", steps(names, dealt.count, trials), "steps") as advance,
    ):
        bundle = learning.fit(
            store,
            model,
            split=split,
            families=names,
            folds=dealt,
            how=How(target.NAME, cores(threads), seed),
            limit=None if max_memory is None else int(max_memory * 2**30),
            trials=trials,
            overwrite=overwrite,
            progress=advance,
        )
    show.scores(bundle, model, json)


def unit_of(spec: str) -> str:
    """What a table's groups are called: the column that was named, or slides."""
    from ..sources.slides import parse

    return parse(spec)[1] or "slide"


def predicted(model: Path, store: Store, split: str, threads: int) -> tuple[list[str], Any, bool]:
    """Ids, probabilities, and whether these are new rather than out of fold."""
    from ..learn.bundle import read
    from ..learn.predict import fitted_on, out_of_fold, seen_before
    from ..learn.predict import predict as run

    bundle = read(model)
    if fitted_on(bundle, store, split):
        console.say("the model was fitted on these patches: these are its out-of-fold predictions")
        return *out_of_fold(model, store, split), False
    if seen := seen_before(model, store, split):
        console.say(
            f"the model has learned from {seen:,} of these patches: expect less of it elsewhere"
        )
    return *run(bundle, store, split, cores(threads)), True


def predict(
    model: ModelArgument,
    features: FeaturesArgument,
    out: Annotated[Path, typer.Argument(help="The CSV to write: id,label with a probability.")],
    split: Annotated[str, typer.Option(help="The split to predict.")] = "test",
    threads: ThreadsOption = 0,
) -> None:
    """Predict the probability of tumor for each patch of a split."""
    import time

    from ..evaluate.predictions import write_predictions
    from ..learn.predict import cost
    from ..storage import costs
    from ..store.store import open_store

    began = time.monotonic()
    ids, probabilities, new = predicted(model, open_store(features), split, threads)
    seconds = (time.monotonic() - began) / len(ids) if new else None
    write_predictions(out, ids, probabilities)
    costs.write(costs.beside(out), cost(model, features, seconds, cores(threads)))
    console.say(f"{out}: {len(ids):,} predictions; {costs.beside(out).name}: what they cost")


def submit(
    model: ModelArgument,
    features: FeaturesArgument,
    submission: Annotated[Path, typer.Argument(help="The CSV to write.")],
    sample: Annotated[
        Path | None, typer.Option(help="sample_submission.csv: whose ids, in whose order.")
    ] = None,
    split: Annotated[str, typer.Option(help="The split to predict.")] = "test",
    threads: ThreadsOption = 0,
) -> None:
    """Write a Kaggle submission: exactly the sample's ids, in its order."""
    from ..evaluate.submission import submit as run
    from ..store.store import open_store

    ids, probabilities, _ = predicted(model, open_store(features), split, threads)
    rows, left_out = run(submission, ids, probabilities, sample)
    extra = f"; {left_out:,} predictions are not in the sample" if left_out else ""
    console.say(f"{submission}: {rows:,} rows{extra}")


def compare(
    truth: Annotated[Path, typer.Argument(help="CSV of id,label with 0 and 1.")],
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE[,FILE…]",
            help="Models: CSVs of id,label with a probability; several files or columns are seeds.",
        ),
    ],
    slides: SlidesOption = None,
    features: Annotated[
        Path | None,
        typer.Option(help="A feature store of these patches: slides or pseudo-slides, stains, copies."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="An HTML file to write: everything, to look at.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="For the report: the classical model, to give its reasons. Needs --features."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="For the report: where the pictures are. Default: as --features says."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:COLUMN]", help="CSV of other groups to show on; repeatable."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(metavar="A:B", help="A pair declared beforehand; repeatable. Default: all."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=1e-6, max=0.5, help="Loss of AUC that A of A:B may have: non-inferiority."),
    ] = None,
    specificity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="At which sensitivity is shown.")
    ] = SPECIFICITY,
    validation_truth: Annotated[
        Path | None, typer.Option(help="Truth of a validation set, to choose thresholds on.")
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE[,FILE…]", help="Its predictions: once for each model."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Show what others report on these data, beside.")
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=100, max=1_000_000, help="Draws of slides for the intervals.")
    ] = RESAMPLES,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare models: AUC and more, with intervals across slides; which is better, at what cost."""
    if (validation_truth is None) != (validation is None):
        raise InputError("--validation-truth and --validation go together.")
    if json and markdown:
        raise InputError("--json and --markdown both print to stdout; give one of them.")
    if report is None and (model or source):
        raise InputError("--model and --source are for the report; add --report FILE.")
    if features is None and (model or source):
        raise InputError("--model and --source need --features, the store of these patches.")
    from ..evaluate import inputs
    from ..storage.files import check_file

    if report is not None:
        check_file(report)
    tuned_on = (validation_truth, validation) if validation_truth and validation else None
    data = inputs.gather(
        truth, predictions, slides=slides, features=features, tuned_on=tuned_on, seed=seed
    )
    with console.progress("compare", resamples, "draws") as advance:
        result = run(
            data,
            pairs=pair or (),
            by=by or (),
            margin=margin,
            specificity=specificity,
            resamples=resamples,
            seed=seed,
            threads=cores(threads),
            progress=advance,
        )
    if report is not None:
        from ..report.comparison_page import write

        write(
            report,
            data,
            result,
            model=model,
            source=source,
            published=published,
            threads=cores(threads),
        )
        console.say(f"report: {report}")
    if json:
        from ..evaluate.published import SCORES

        console.as_json(result | ({"published": [s._asdict() for s in SCORES]} if published else {}))
    elif markdown:
        from ..report.markdown import markdown as text

        console.data(console.printable(text(result, published=published)))
    else:
        show.comparison(result, published=published)


def explain(
    model: ModelArgument,
    features: FeaturesArgument,
    patch: Annotated[str, typer.Option("--id", help="The patch.")],
    split: Annotated[str | None, typer.Option(help="Its split. Default: whichever has it.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where its picture is. Default: as when it was measured.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="An HTML file to write, with the picture.")] = None,
    json: JsonOption = False,
) -> None:
    """Show one patch: its probability and the ten columns that moved it most; a picture with --out."""
    from ..learn.bundle import read
    from ..learn.explain_patch import explain as run
    from ..report.explanation_page import page, sentence
    from ..storage.files import write_text
    from ..store.pictures import open_pictures
    from ..store.store import open_store

    store = open_store(features)
    found = run(read(model), model, store, patch, split)
    pixels = None
    try:
        pixels = open_pictures(store, found["split"], source)(found["row"])
    except InputError as error:
        if source is not None:
            raise
        console.say(f"no picture: {error} --source DIR says where it is")
    if out is not None:
        write_text(out, page(found, pixels))
        console.say(f"page: {out}")
    if json:
        console.as_json(found)
        return
    if pixels is not None:
        console.picture(pixels)
    console.data(console.printable(sentence(found)))
    show.explanation(found)


def model(
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="The fitted model.")],
    json: JsonOption = False,
) -> None:
    """Print a model's card: data, protocol, scores, what it goes by, and what it is not for."""
    from ..learn.bundle import read
    from ..report.card import card

    manifest = read(path).manifest
    if json:
        console.as_json(show.said(manifest))
        return
    try:
        text = card(manifest)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"model {path} is damaged (no {error} for its card); fit it anew.") from None
    console.data(console.printable(text))


COMMANDS: dict[Callable[..., None], str] = {
    fit: "pcam fit features model --folds 5",
    predict: "pcam predict model features valid.csv --split valid",
    submit: "pcam submit model features submission.csv --sample sample_submission.csv",
    compare: "pcam compare truth.csv classical.csv network.csv --slides slides.csv --report out.html",
    explain: "pcam explain model features --id 00001b2b5609af42ab0ab276dd4cd41c3e7745b5 --out why.html",
    model: "pcam model model",
}
