"""The command that does everything: run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..constants import (
    FOLDS,
    LEAST_FOLDS,
    LEAST_MEMORY,
    MOST_FOLDS,
    MOST_MEMORY,
    MOST_TRIALS,
    Adapt,
    Device,
)
from ..sources.reading import EVERYTHING, Reading
from . import console
from .options import (
    AdaptOption,
    ClusterOption,
    CopiesOption,
    DeviceOption,
    DryRunOption,
    FitOption,
    JsonOption,
    KindOption,
    MppOption,
    SeedOption,
    SlidesOption,
    SourceArgument,
    ThreadsOption,
    complete_family,
    reads_patches,
)


@reads_patches
def run(
    source: SourceArgument,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for all results.")],
    families: Annotated[
        str | None,
        typer.Option(
            help="Families to compute and to learn from, comma-separated. all: every handcrafted "
            "family but histogram, which has to be named. cnn: embeddings. Default: all.",
            autocompletion=complete_family,
        ),
    ] = None,
    slides: SlidesOption = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            help="Sample submission, whose ids the submission has in its order. Default: "
            "sample_submission.csv in the source's folder, if there is one."
        ),
    ] = None,
    copies: CopiesOption = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder for --families cnn. Default: efficientnet_lite0.")
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            min=LEAST_FOLDS, max=MOST_FOLDS, help="Number of cross-validation folds, split by slide."
        ),
    ] = FOLDS,
    trials: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_TRIALS,
            help="Trials of the hyperparameter search, for each kind of base model.",
        ),
    ] = 0,
    adapt: AdaptOption = Adapt.none,
    max_memory: Annotated[
        float | None,
        typer.Option(
            min=LEAST_MEMORY,
            max=MOST_MEMORY,
            help="Memory for the whole process in GiB. Default: half of the machine's memory.",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: FitOption = None,
    mpp: MppOption = None,
    cluster: ClusterOption = None,
    strict: Annotated[bool, typer.Option(help="Stop if the check finds faults.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            help="Replace a finished run, or one with other settings. Features of the same patches "
            "are kept."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Do everything: check, extract, fit, predict or submit, and write the model card and reports.

    Prints what it will take before it starts. If the command is stopped, run it again to continue.
    """
    from ..api.data import open_source
    from ..api.progress import Reporter
    from ..api.running import run as run_all

    bars = Reporter(console.progress)
    with console.stops_at_once("stopped; run the same command again to continue"):
        opened = open_source(
            source,
            kind=kind,
            slides=slides,
            **reading.given(),
            fit=fit,
            mpp=mpp,
            strict=False,
            progress=bars,
            log=console.say,
        )
        result = run_all(
            opened,
            folder,
            families=families,
            encoder=encoder,
            sample=sample,
            copies=copies,
            folds=folds,
            trials=trials,
            adapt=adapt,
            max_memory=max_memory,
            device=device,
            threads=threads,
            seed=seed,
            strict=strict,
            cluster=cluster,
            overwrite=overwrite,
            dry_run=dry_run,
            progress=bars,
            log=console.say,
        )
    if json:
        console.as_json({"dry_run": dry_run} | result.to_dict())
        return
    for name, file in result.files.items():
        console.say(f"{name}: {file}")


COMMANDS: dict[Callable[..., None], str] = {
    run: "pcam run data/kaggle results --families all,cnn",
}
