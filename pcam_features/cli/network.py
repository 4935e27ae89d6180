"""Commands of the reference networks: deep fit, deep predict."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..constants import FOLDS, LEAST_FOLDS, MOST_FOLDS, TIMM, Device, Kind, Network, OneImageFitting
from ..errors import InputError
from . import console, show
from .options import (
    DeviceOption,
    FoldsFromOption,
    JsonOption,
    KindOption,
    MppOption,
    OneImageFitOption,
    OverwriteOption,
    PositiveOption,
    SeedOption,
    SlidesOption,
    SourceArgument,
    ThreadsOption,
    cores,
)

if TYPE_CHECKING:
    from ..sources.source import Source

app = typer.Typer(
    name="deep",
    help="Train and use reference networks for comparison. Needs PyTorch (the extra deep).",
    no_args_is_help=True,
)
NETWORKS = f"{', '.join(Network)} or {TIMM}NAME[:WEIGHTS]"


def complete_network(incomplete: str) -> list[str]:
    return [name for name in (*Network, TIMM) if name.startswith(incomplete)]


def check_installed() -> None:
    """Raise InputError if PyTorch or safetensors is not installed."""
    for module in ("torch", "safetensors"):
        if find_spec(module) is None:
            raise InputError(f"{module} is not installed; run pip install 'pcam-features[deep]'.")


def opened(
    path: str,
    *,
    kind: Kind | None,
    slides: str | None,
    positive: str | None,
    fit: OneImageFitting | None,
    mpp: float | None,
) -> Source:
    from ..sources.detect import open_source

    source, slides_from = open_source(
        path,
        kind=kind,
        slides=slides,
        positive=positive,
        fit=fit,
        mpp=mpp,
        unpacking=console.progress,
    )
    console.say(slides_from)
    return source


@app.command(
    epilog="Example: pcam deep fit data/kaggle cnn_two --arch cnn_two --folds-from model --epochs 10"
)
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
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of epochs.")] = 12,
    patience: Annotated[
        int, typer.Option(min=1, max=1000, help="Stop after this many epochs without improvement.")
    ] = 5,
    batch: Annotated[int, typer.Option(min=2, max=4096, help="Batch size in patches.")] = 64,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-7, max=10, help="Learning rate. Default: depends on the architecture."),
    ] = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    slides: SlidesOption = None,
    kind: KindOption = None,
    positive: PositiveOption = None,
    fit: OneImageFitOption = None,
    mpp: MppOption = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Train a reference network on all folds but one.

    If the command is stopped, run it again to continue.
    """
    check_installed()
    from ..grouping.folds import read_folds
    from ..networks import fit as deep
    from ..networks.manifest import TrainingOptions

    if folds_from is not None and folds is not None:
        raise InputError("--folds-from already defines the number of folds; leave out --folds.")
    data = opened(source, kind=kind, slides=slides, positive=positive, fit=fit, mpp=mpp)
    (part,) = data.only(split)
    where, why = deep.choose(device)
    console.say(why)
    if folds_from is not None:
        dealt = read_folds(folds_from, deep.labeled(part))
    else:
        dealt = deep.deal(part, folds or FOLDS, seed, cores(threads))
    console.say(f"folds: {dealt.count}, {dealt.protocol}; fold {fold} is held out")
    learned = int((dealt.fold != fold).sum())
    how = TrainingOptions(epochs, batch, patience, seed, where, cores(threads), rate)
    task = deep.TrainingTask(data, part, arch, dealt, held_out=fold)
    with console.progress(f"train {arch}", -(-learned // batch) * epochs, "steps") as advance:
        manifest = deep.fit(
            task,
            network,
            how,
            overwrite=overwrite,
            progress=advance,
            say=console.say,
        )
    if json:
        console.as_json({"network_folder": str(network)} | manifest.public())
        return
    show.learning_curve(manifest)
    console.say(f"network: {network}")


@app.command(epilog="Example: pcam deep predict cnn_two data/kaggle cnn_two.csv --split test")
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
    positive: PositiveOption = None,
    fit: OneImageFitOption = None,
    mpp: MppOption = None,
) -> None:
    """Predict the probability of tumor for each patch of a split. Training patches are left out."""
    check_installed()
    import time

    import torch

    from ..evaluate.predictions import write_predictions
    from ..networks import fit as deep
    from ..networks.bundle import read
    from ..networks.predict import probabilities
    from ..sources.detect import open_source
    from ..storage import costs

    where, why = deep.choose(device)
    console.say(why)
    trained = read(network)
    known = costs.read(network / costs.FILE)
    data, _ = open_source(
        source,
        kind=kind,
        slides="none",
        positive=positive,
        fit=fit,
        mpp=mpp,
        unpacking=console.progress,
    )
    (part,) = data.only(split)
    rows, of_held, learned = deep.unseen(network, trained.manifest, part)
    if learned or of_held:
        console.say(
            f"{learned:,} of these patches were used for training and are left out; {of_held:,} of the "
            "rest were used to choose the best epoch"
        )
    if not len(rows):
        raise InputError(f"{network} was trained on all of these patches; predict other patches.")
    torch.set_num_threads(cores(threads))
    model = trained.network.to(where, memory_format=torch.channels_last)
    with console.progress("predict", len(rows), "patches") as advance:
        began = time.monotonic()
        found = probabilities(
            model, trained.recipe, part, rows, where, trained.recipe.views, progress=advance
        )
        seconds = time.monotonic() - began
    write_predictions(out, [part.ids[k] for k in rows], found)
    memory = deep.card_memory_mib() if where == "cuda" else costs.peak_memory_mib()
    cost = replace(
        known,
        predict_patches_per_second=round(len(rows) / seconds, 2),
        predict_memory_mib=memory,
        predict_device=deep.device_name(where, cores(threads)),
    )
    costs.write(costs.beside(out), cost)
    console.say(f"{out}: {len(rows):,} predictions; {costs.beside(out).name}: speed and memory")
