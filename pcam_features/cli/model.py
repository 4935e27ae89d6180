"""Commands that create and use models: fit, predict, submit, compare, blend, explain, model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..constants import (
    FOLDS,
    LEAST_FOLDS,
    LEAST_MARGIN,
    LEAST_MEMORY,
    LEAST_RESAMPLES,
    MOST_FOLDS,
    MOST_MARGIN,
    MOST_MEMORY,
    MOST_RESAMPLES,
    MOST_TRIALS,
    RESAMPLES,
    SPECIFICITY,
    Device,
    Shares,
)
from ..errors import InputError
from ..words import counted, form
from . import console, show
from .options import (
    ClusterOption,
    DeviceOption,
    FoldsFromOption,
    JsonOption,
    ModelArgument,
    OverwriteOption,
    PatchSlidesOption,
    Prediction,
    SeedOption,
    SharesOption,
    ThreadsOption,
    VouchOption,
    complete_family,
    predicts_patches,
)

if TYPE_CHECKING:
    from ..api.predicting import SplitPredictions

FOLDS_HELP = f"Number of cross-validation folds, split by slide. Default: {FOLDS}."
FeaturesArgument = Annotated[Path, typer.Argument(help="Feature store written by extract.")]
PatchesArgument = Annotated[
    str,
    typer.Argument(
        metavar="FEATURES|SOURCE",
        help="Feature store written by extract; or a source, whose features are then computed.",
    ),
]


def fit(
    features: FeaturesArgument,
    model: Annotated[Path, typer.Argument(help="Model folder to create.")],
    split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    families: Annotated[
        str | None,
        typer.Option(
            help="Families to use, comma-separated. all: every handcrafted family. cnn: every "
            "embedding. Default: every family in the store. histogram is used only if it is named: "
            "all,histogram.",
            autocompletion=complete_family,
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(min=LEAST_FOLDS, max=MOST_FOLDS, help=FOLDS_HELP)] = None,
    folds_from: FoldsFromOption = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="FILE[:COLUMN]",
            help="CSV of groups to use instead of slides, such as patients: columns id and slide, wsi "
            "or COLUMN.",
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_TRIALS,
            help="Trials of the hyperparameter search, for each kind of base model.",
        ),
    ] = 0,
    max_memory: Annotated[
        float | None,
        typer.Option(
            min=LEAST_MEMORY,
            max=MOST_MEMORY,
            help="Memory for the whole process in GiB, or on a cluster for that of each worker. "
            "Features that do not fit are read again when needed. Default: half of the machine's "
            "memory, or nine tenths of a worker's limit.",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    copies: Annotated[
        bool,
        typer.Option(
            "--copies/--no-copies",
            help="Whether to learn from the changed copies that extract made, if any.",
        ),
    ] = True,
    outside: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=FILE[,FILE…]",
            help="Out-of-fold predictions of another model, to combine with: a CSV of id, label (a "
            "probability) and fold; or a CSV for each fold; or the folder of another model that fit "
            "wrote. predict and submit then need --with too. Repeatable.",
        ),
    ] = None,
    shares: SharesOption = Shares.equal,
    vouch: VouchOption = False,
    cluster: ClusterOption = None,
    json: JsonOption = False,
) -> None:
    """Train base models out of fold across slides, then combine, calibrate and score them.

    Each group of families gets a kernel ridge model, and all families together an XGBoost model. If the
    command is stopped, run it again to continue.
    """
    from ..api.fitting import fit as run
    from ..api.progress import Reporter

    with console.stops_at_once("stopped; run the same command again to continue"):
        fitted = run(
            features,
            model,
            split=split,
            families=families,
            folds=folds,
            folds_from=folds_from,
            groups=groups,
            trials=trials,
            max_memory=max_memory,
            device=device,
            threads=threads,
            seed=seed,
            overwrite=overwrite,
            copies=copies,
            outside=outside or None,
            shares=shares,
            vouch=vouch,
            cluster=cluster,
            progress=Reporter(console.progress),
            log=console.say,
        )
    show.scores(fitted.bundle, model, json)


def predictions(model: Path, patches: str, asked: Prediction) -> SplitPredictions:
    """Predict a split of a feature store or a source, as asked.

    Raises InputError for options on how a source is read if a feature store is given.
    """
    from ..api.model import is_store, open_model
    from ..api.progress import Reporter

    opened = open_model(model)
    bars = Reporter(console.progress)
    how: dict[str, Any] = {
        "adapt": asked.adapt,
        "outside": asked.outside or None,
        "encoder": asked.encoder,
        "device": asked.device,
        "threads": asked.threads,
        "cluster": asked.cluster,
        "progress": bars,
        "log": console.say,
    }
    read = {
        "slides": asked.slides,
        "kind": asked.kind,
        **asked.reading.given(),
        "fit": asked.fit,
        "mpp": asked.mpp,
    }
    if is_store(patches):
        given = [f"--{name.replace('_', '-')}" for name, value in read.items() if value is not None]
        if given:
            raise InputError(
                f"{', '.join(given)} {form(len(given), 'is', 'are')} for a source, and {patches} is a "
                f"feature store; leave {form(len(given), 'it', 'them')} out."
            )
        return opened.predict_split(patches, asked.split, **how)
    source = opened.open_source(patches, **read, progress=bars, log=console.say)
    return opened.predict_split(source, asked.split, **how)


@predicts_patches
def predict(
    model: ModelArgument,
    patches: PatchesArgument,
    out: Annotated[
        Path, typer.Argument(help="CSV to write: columns id and label, the probability of tumor.")
    ],
    asked: Prediction,
) -> None:
    """Predict the probability of tumor for each patch of a split of a feature store or a source.

    Patches that the model was fitted on get their out-of-fold prediction. Features of a source are
    computed batch by batch and not stored.
    """
    from ..evaluate.predictions import check_outputs
    from ..storage.tables import formula_note

    check_outputs(out)
    result = predictions(model, patches, asked)
    beside = result.write(out)
    console.say(f"{out}: {counted(len(result.ids), 'prediction')}; {beside.name}: speed and memory")
    console.note(formula_note(result.ids))


@predicts_patches
def submit(
    model: ModelArgument,
    patches: PatchesArgument,
    submission: Annotated[Path, typer.Argument(help="Submission CSV to write.")],
    asked: Prediction,
    sample: Annotated[
        Path | None,
        typer.Option(help="Kaggle's sample_submission.csv. The submission has its ids, in its order."),
    ] = None,
) -> None:
    """Write a Kaggle submission with exactly the ids of the sample submission, in its order."""
    from ..evaluate.predictions import check_outputs
    from ..storage import costs
    from ..storage.tables import formula_note

    check_outputs(submission)
    result = predictions(model, patches, asked)
    rows, left_out = result.submit(submission, sample, log=console.say)
    extra = (
        f"; {counted(left_out, 'prediction')} left out, because the sample lacks their ids"
        if left_out
        else ""
    )
    beside = costs.beside(submission).name
    console.say(f"{submission}: {counted(rows, 'row')}{extra}; {beside}: speed and memory")
    console.note(formula_note(result.ids))


def compare(
    truth: Annotated[
        Path, typer.Argument(help="CSV with columns id and label (0 or 1, or words such as tumor).")
    ],
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE[,FILE…]",
            help="Predictions of each model: a CSV with columns id and label, a probability. Several "
            "files, or several columns named seed… or by numbers, are several seeds of one model.",
        ),
    ],
    slides: PatchSlidesOption = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Feature store of these patches. It supplies slides or pseudo-slides, stain clusters "
            "and near-duplicates."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML report to write, with all tables and charts.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model folder: scores are also given without near-duplicates of its training "
            "patches, and the report explains its predictions. Needs --features."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Source of the report's pictures. Default: the source of the feature store."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:COLUMN]",
            help="CSV of further groups to report AUC by: columns id and COLUMN. Repeatable.",
        ),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A:B",
            help="Pair of models to compare; choose it before you see results. Repeatable. "
            "Default: all pairs.",
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=LEAST_MARGIN,
            max=MOST_MARGIN,
            help="Non-inferiority margin: A is not inferior if its AUC is at most this much below B's.",
        ),
    ] = None,
    specificity: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Specificity at which sensitivity is reported.")
    ] = SPECIFICITY,
    validation_truth: Annotated[
        Path | None,
        typer.Option(help="CSV of id and label of a validation set, on which thresholds are chosen."),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE[,FILE…]",
            help="Predictions for the validation set. Give one for each model.",
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Also show published results on these data.")
    ] = False,
    resamples: Annotated[
        int,
        typer.Option(
            min=LEAST_RESAMPLES, max=MOST_RESAMPLES, help="Number of bootstrap resamples of slides."
        ),
    ] = RESAMPLES,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")] = False,
    json: JsonOption = False,
) -> None:
    """Compare models: AUC and other metrics with confidence intervals across slides, and cost."""
    if (validation_truth is None) != (validation is None):
        raise InputError("--validation-truth and --validation must be given together; add the other.")
    if json and markdown:
        raise InputError("--json and --markdown both print to stdout; leave one out.")
    if report is None and source:
        raise InputError("--source applies only to the report; add --report FILE.")
    if features is None and (model or source):
        raise InputError(
            "--model and --source need the feature store of these patches; add --features."
        )
    from ..api.comparing import compare as run
    from ..api.progress import Reporter
    from ..storage.files import check_html

    if report is not None:
        check_html(report)
    compared = run(
        truth,
        predictions,
        slides=slides,
        features=features,
        model=model,
        by=by or (),
        pairs=pair or (),
        margin=margin,
        specificity=specificity,
        validation_truth=validation_truth,
        validation=validation,
        resamples=resamples,
        threads=threads,
        seed=seed,
        progress=Reporter(console.progress),
    )
    result = compared.result
    if report is not None:
        compared.report(report, model=model, source=source, published=published)
        console.say(f"report: {report}")
    if json:
        from ..evaluate.published import SCORES

        scores = {"published": [score._asdict() for score in SCORES]} if published else {}
        console.as_json(result.to_dict() | scores)
    elif markdown:
        from ..report.markdown import markdown as text

        console.data(text(result, published=published))
    else:
        show.comparison(result, published=published)


def blend(
    predictions: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]FILE[,FILE…]",
            help="Out-of-fold predictions of each model: a CSV of id, label (a probability) and fold; "
            "or a CSV for each fold; or the folder of a model that fit wrote. Several files of "
            "the same patches are seeds.",
        ),
    ],
    truth: Annotated[
        Path, typer.Option(help="CSV with columns id and label (0 or 1, or words such as tumor).")
    ],
    slides: PatchSlidesOption = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Feature store of these patches. It supplies slides or pseudo-slides."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE[,FILE…]",
            help="Predictions of other patches by each model, to blend into --out: with the same "
            "names, or in the same order. Repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write: the blended predictions of --test or, without it, the blended "
            "out-of-fold predictions."
        ),
    ] = None,
    shares: SharesOption = Shares.equal,
    vouch: VouchOption = False,
    folds: Annotated[
        int, typer.Option(min=LEAST_FOLDS, max=MOST_FOLDS, help="Number of folds to score across.")
    ] = FOLDS,
    folds_from: FoldsFromOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Combine predictions of several models, and report what each adds: AUC with and without it.

    Each model has a share of the standardized log-odds. Intervals are across slides.
    """
    if test and out is None:
        raise InputError("the predictions of --test are blended into a file; add --out FILE.")
    from ..api.blending import blend as run
    from ..evaluate.predictions import check_outputs

    if out is not None:
        check_outputs(out)
    result = run(
        truth,
        predictions,
        slides=slides,
        features=features,
        folds=folds,
        folds_from=folds_from,
        shares=shares,
        vouch=vouch,
        seed=seed,
        log=console.say,
    )
    rows = None if out is None else result.write(out, test or None)
    if json:
        console.as_json(result.to_dict())
    else:
        show.blend(result)
    if out is not None and rows is not None:
        kind = "prediction" if test else "out-of-fold prediction"
        console.say(f"{out}: {counted(rows, kind)}")


def explain(
    model: ModelArgument,
    features: FeaturesArgument,
    patch: Annotated[str, typer.Option("--id", help="Id of the patch.")],
    split: Annotated[
        str | None, typer.Option(help="Split of the patch. Default: the split that has the id.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Source of the picture. Default: the source the features were computed from."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML page to write, with a picture of the patch.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Explain one prediction: the probability and the ten feature columns that contributed most."""
    from ..api.model import open_model
    from ..report.explanation_page import sentence
    from ..storage.files import check_html, write_text

    if out is not None:
        check_html(out)
    explanation = open_model(model).explain(
        patch, store=features, split=split, source=source, log=console.say
    )
    if out is not None:
        write_text(out, explanation.page())
        console.say(f"page: {out}")
    if json:
        console.as_json(explanation.record.to_dict())
        return
    if explanation.picture is not None:
        console.picture(explanation.picture)
    console.data(sentence(explanation.record))
    show.explanation(explanation.record)


def model(
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder written by fit.")],
    json: JsonOption = False,
) -> None:
    """Print a model card: data, validation protocol, scores, important features, and limits of use."""
    from ..api.model import open_model

    opened = open_model(path)
    if json:
        console.as_json(show.public(opened.bundle.manifest))
        return
    console.data(str(opened.card))


COMMANDS: dict[Callable[..., None], str] = {
    fit: "pcam fit features model --folds 5",
    predict: "pcam predict model features valid.csv --split valid",
    submit: "pcam submit model features submission.csv --sample sample_submission.csv",
    compare: "pcam compare truth.csv classical.csv network.csv --slides slides.csv --report out.html",
    blend: "pcam blend classical=model network=network.csv --truth truth.csv --slides slides.csv",
    explain: "pcam explain model features --id 00001b2b5609af42ab0ab276dd4cd41c3e7745b5 --out why.html",
    model: "pcam model model",
}
