"""The command line: parse, call, print. Heavy imports wait inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..constants import Device, Timed
from ..errors import PcamError
from . import console, data, model, network, show
from .options import (
    DeviceOption,
    DryRunOption,
    FamiliesOption,
    JsonOption,
    KindOption,
    OverwriteOption,
    PositiveOption,
    SeedOption,
    SlidesOption,
    SourceArgument,
    SplitsOption,
    ThreadsOption,
    complete_family,
    cores,
)

app = typer.Typer(
    name="pcam",
    help="The classical baseline for histopathology patches: features, boosted trees, comparison.",
    epilog="Start with: pcam demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ENCODER_HELP = (
    "What --families cnn embeds with: efficientnet_lite0, _lite1, _lite2, FILE.onnx or "
    "timm:NAME[:WEIGHTS]. Default: efficientnet_lite0."
)


def show_version(wanted: bool) -> None:
    if wanted:
        console.data(f"pcam {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """What every command shares."""


@app.command(epilog="Example: pcam synth data/synthetic --patches 2000 --slides 20 --seed 0")
def synth(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    patches: Annotated[
        int, typer.Option(help="Training patches; a quarter more are for testing.")
    ] = 2000,
    slides: Annotated[
        int, typer.Option(help="Training slides; half as many more are for testing.")
    ] = 20,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make synthetic H&E patches in Kaggle's layout, with slides.csv and a contact sheet."""
    from ..convert.synthesize import synthesize
    from ..sources.synthetic import test_share

    total = patches + test_share(patches, slides)[0]
    with console.progress("synth", total, "patches") as advance:
        counts = synthesize(folder, patches, slides, seed, overwrite=overwrite, progress=advance)
    console.say(f"{folder}: {counts['train']:,} train and {counts['test']:,} test patches")
    console.say(f"look at {folder / 'contact_sheet.png'}: negatives above, positives below")


@app.command(epilog="Example: pcam extract data/kaggle features --slides slides.csv")
def extract(
    source: SourceArgument,
    features: Annotated[Path, typer.Argument(help="The feature store to make or go on with.")],
    families: FamiliesOption = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    split: SplitsOption = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    positive: PositiveOption = None,
    verify: Annotated[
        bool, typer.Option(help="Check that each id is the SHA-1 of its pixels.")
    ] = False,
    encoder: Annotated[str | None, typer.Option(help=ENCODER_HELP)] = None,
    size: Annotated[int | None, typer.Option(help="Pixels cnn takes. Default: 96.")] = None,
    depths: Annotated[
        str | None, typer.Option(help="Where cnn is read: block00 … head. Default: block02 to block10.")
    ] = None,
    pools: Annotated[
        str | None,
        typer.Option(help="mean, center, deviation, maximum of cnn's maps. Default: mean,deviation."),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Flips and turns: 1, 4 (default) or 8.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="How cnn computes: f32 (default), bf16.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="openvino (default), onnxruntime, or cuda.")
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compute features of patches into a Parquet store; run again to go on where it stopped."""
    from ..engine.devices import choose
    from ..extraction.extract import extract as run
    from ..extraction.extract import families_named, forecast, kernels_in, left_to_cpu
    from ..extraction.extract import verify as check
    from ..sources.detect import open_source

    given = {"encoder": encoder, "size": size, "depths": depths, "pools": pools, "views": views}
    wanted = families_named(families, given | {"precision": precision, "runtime": runtime})
    target, why = choose(device)
    console.say(why)
    for name in left_to_cpu(wanted, target.NAME):
        console.say(f"{name} is embedded by the CPU all the same; --runtime cuda takes the card")
    opened, slides_from = open_source(
        source, kind=kind, slides=slides, positive=positive, unpacking=console.progress
    )
    console.say(slides_from)
    splits = opened.only(split)
    if verify:
        total = sum(len(part) for part in splits)
        with console.progress("verify", total, "patches") as advance:
            check(splits, cores(threads), advance)
    plan = forecast(features, opened, splits, wanted, target.NAME, overwrite=overwrite)
    if not dry_run:
        kernels = kernels_in(wanted)
        if plan["patches_to_measure"] and not target.compiled_before(kernels):
            console.say(f"compiling {len(kernels)} kernels for {target.NAME}: about a minute")
        with console.progress("extract", plan["patches_to_measure"], "patches") as advance:
            run(
                features,
                opened,
                splits,
                wanted,
                target,
                cores(threads),
                overwrite=overwrite,
                progress=advance,
            )
    if json:
        console.as_json(plan | {"dry_run": dry_run, "features": str(features)})
        return
    show.extraction(plan, features, dry_run)


app.add_typer(network.app)
for function, example in (data.COMMANDS | model.COMMANDS).items():
    app.command(epilog=f"Example: {example}")(function)


@app.command(epilog="Example: pcam demo demo --patches 2000")
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put what it makes.")] = Path("demo"),
    patches: Annotated[int, typer.Option(help="Synthetic training patches.")] = 2000,
    seed: SeedOption = 0,
) -> None:
    """Run the whole road on synthetic patches: synth, extract, fit, predict, submit, compare."""
    from .demo import run

    run(folder, patches, seed, lambda words: app(words, standalone_mode=False))


@app.command(epilog="Example: pcam bench data/kaggle --json")
def bench(
    source: Annotated[str, typer.Argument(help="A source of patches.")] = "synthetic:256",
    patches: Annotated[
        int | None, typer.Option(min=16, help="Patches to time on. Default: 128; 512 for reading.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="Interleaved runs; medians are shown.")] = 5,
    only: Annotated[Timed | None, typer.Option(help="What to time. Default: both.")] = None,
    json: JsonOption = False,
) -> None:
    """Time each family, and reading from each layout, beside the libraries people use for it."""
    result: dict[str, Any] = {"source": source}
    if only != Timed.reading:
        from ..diagnostics.bench_families import run

        result |= run(source, patches or 128, repeats, say=console.say)
        if not json:
            show.timings(result)
    if only != Timed.families:
        from ..diagnostics.bench_reading import run as read

        result["reading"] = read(source, patches or 512, repeats, say=console.say)
        if not json:
            show.reading(result["reading"])
    if json:
        console.as_json(result)


@app.command(epilog="Example: pcam features glcm")
def features(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A family or a column. Default: the families.", autocompletion=complete_family
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/features.md.")] = False,
    json: JsonOption = False,
) -> None:
    """Say what each column is: meaning, unit, range and source."""
    from ..families import describe

    if markdown:
        console.data(describe.markdown().rstrip("\n"))
    elif json:
        console.as_json(describe.rows(name))
    else:
        show.features(name)


@app.command(epilog="Example: pcam doctor --device cuda")
def doctor(device: DeviceOption = Device.auto, json: JsonOption = False) -> None:
    """Check that pcam works here: every family's numbers, on the device, beside a second source."""
    from ..diagnostics.doctor import Check, Verdict, checks

    seen: list[Check] = []
    for check in checks(device):
        seen.append(check)
        if not json:
            console.data(f"{check.verdict}  {check.name}: {check.detail}")
    if json:
        console.as_json([vars(check) for check in seen])
    failed = [check.name for check in seen if check.verdict == Verdict.FAIL]
    if failed:
        raise PcamError(f"{len(failed)} of {len(seen)} checks failed: {', '.join(failed)}.")


def main() -> None:
    """Run the command line; what we can name ends in one sentence and its exit code."""
    try:
        app()
    except PcamError as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        console.error(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}.")
        sys.exit(PcamError.exit_code)
