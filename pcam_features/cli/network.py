"""Commands of the reference networks: deep fit, deep predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..constants import (
    BATCH,
    EPOCHS,
    FOLDS,
    LEAST_FOLDS,
    LEAST_RATE,
    MOST_BATCH,
    MOST_EPOCHS,
    MOST_FOLDS,
    MOST_RATE,
    PATIENCE,
    TIMM,
    Device,
    Network,
)
from ..sources.reading import EVERYTHING, Reading
from ..words import counted
from . import console, show
from .options import (
    DeviceOption,
    FoldsFromOption,
    JsonOption,
    KindOption,
    MppOption,
    OneImageFitOption,
    OverwriteOption,
    SeedOption,
    SlidesOption,
    SourceArgument,
    ThreadsOption,
    reads_patches,
)

app = typer.Typer(
    name="deep",
    help="Train and use reference networks for comparison. Needs PyTorch (the extra deep).",
    no_args_is_help=True,
)
NETWORKS = f"{', '.join(Network)} or {TIMM}NAME[:WEIGHTS]"


def complete_network(incomplete: str) -> list[str]:
    return [name for name in (*Network, TIMM) if name.startswith(incomplete)]


@app.command(
    epilog="Example: pcam deep fit data/kaggle cnn_two --arch cnn_two --folds-from model --epochs 10"
)
@reads_patches
def fit(
    source: SourceArgument,
    network: Annotated[Path, typer.Argument(help="Network folder to create.")],
    arch: Annotated[
        str, typer.Option(help=f"Architecture: {NETWORKS}.", autocompletion=complete_network)
    ] = Network.residual.value,
    split: Annotated[str, typer.Option(help="Split to train on.")] = "train",
    folds_from: FoldsFromOption = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=LEAST_FOLDS,
            max=MOST_FOLDS,
            help=f"Number of cross-validation folds, split by slide. Default: {FOLDS}.",
        ),
    ] = None,
    fold: Annotated[
        int,
        typer.Option(min=0, max=MOST_FOLDS - 1, help="Held-out fold, which chooses the best epoch."),
    ] = 0,
    epochs: Annotated[
        int, typer.Option(min=1, max=MOST_EPOCHS, help="Maximum number of epochs.")
    ] = EPOCHS,
    patience: Annotated[
        int,
        typer.Option(min=1, max=MOST_EPOCHS, help="Stop after this many epochs without improvement."),
    ] = PATIENCE,
    batch: Annotated[int, typer.Option(min=2, max=MOST_BATCH, help="Batch size in patches.")] = BATCH,
    rate: Annotated[
        float | None,
        typer.Option(
            min=LEAST_RATE, max=MOST_RATE, help="Learning rate. Default: depends on the architecture."
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    slides: SlidesOption = None,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: OneImageFitOption = None,
    mpp: MppOption = None,
    seed: SeedOption = 0,
    report: Annotated[
        Path | None, typer.Option(help="HTML report to write: learning curves and settings.")
    ] = None,
    log_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for TensorBoard's logs. Needs the package tensorboard."),
    ] = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train a reference network on all folds but one.

    If the command is stopped, run it again to continue.
    """
    from ..api.data import open_source
    from ..api.networks import check_installed, fit_network
    from ..api.progress import Reporter
    from ..storage.files import check_html

    if report is not None:
        check_html(report)
    check_installed()
    bars = Reporter(console.progress)
    opened = open_source(
        source,
        kind=kind,
        slides=slides,
        **reading.given(),
        fit=fit,
        mpp=mpp,
        progress=bars,
        log=console.say,
    )
    trained = fit_network(
        opened,
        network,
        arch=arch,
        split=split,
        folds=folds,
        folds_from=folds_from,
        fold=fold,
        epochs=epochs,
        patience=patience,
        batch=batch,
        rate=rate,
        device=device,
        threads=threads,
        seed=seed,
        overwrite=overwrite,
        log_dir=log_dir,
        progress=bars,
        log=console.say,
    )
    if report is not None:
        trained.report(report)
        console.say(f"report: {report}")
    manifest = trained.manifest
    if json:
        console.as_json({"network_folder": str(network)} | manifest.public())
        return
    show.learning_curve(manifest)
    console.say(f"network: {network}")


@app.command(epilog="Example: pcam deep predict cnn_two data/kaggle cnn_two.csv --split test")
@reads_patches
def predict(
    network: Annotated[Path, typer.Argument(help="Network folder written by deep fit.")],
    source: SourceArgument,
    out: Annotated[
        Path, typer.Argument(help="CSV to write: columns id and label, the probability of tumor.")
    ],
    split: Annotated[str, typer.Option(help="Split to predict.")] = "test",
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: OneImageFitOption = None,
    mpp: MppOption = None,
) -> None:
    """Predict the probability of tumor for each patch of a split. Training patches are left out."""
    from ..api.data import open_source
    from ..api.networks import open_network
    from ..api.progress import Reporter
    from ..evaluate.predictions import check_outputs
    from ..storage.tables import formula_note

    check_outputs(out)
    bars = Reporter(console.progress)
    trained = open_network(network)
    opened = open_source(
        source, kind=kind, slides="none", **reading.given(), fit=fit, mpp=mpp, progress=bars
    )
    result = trained.predict_split(
        opened, split, device=device, threads=threads, progress=bars, log=console.say
    )
    beside = result.write(out)
    console.say(f"{out}: {counted(len(result.ids), 'prediction')}; {beside.name}: speed and memory")
    console.note(formula_note(result.ids))
