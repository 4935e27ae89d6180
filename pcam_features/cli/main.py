"""The `pcam` command. Heavy modules are imported inside each command, so that `--help` is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..constants import Device, Timed
from ..errors import InputError, PcamError
from ..sources.reading import EVERYTHING, Reading
from ..words import counted, form
from . import console, data, failures, model, network, running, show, slide
from .options import (
    ClusterOption,
    CopiesOption,
    DeviceOption,
    DryRunOption,
    FamiliesOption,
    FitOption,
    JsonOption,
    KindOption,
    MppOption,
    OverwriteOption,
    SeedOption,
    SlidesOption,
    SourceArgument,
    SplitsOption,
    ThreadsOption,
    complete_family,
    reads_patches,
)

app = typer.Typer(
    name="pcam",
    help="A classical baseline for 96×96 histopathology patches: features, models, and comparison "
    "with other models.",
    epilog="Start with: pcam demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ENCODER_HELP = (
    "Encoder for --families cnn: efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, "
    "FILE.onnx, timm:NAME[:WEIGHTS], or the folder of a network that deep fit trained. Default: "
    "efficientnet_lite0."
)


def show_version(wanted: bool) -> None:
    if wanted:
        console.data(f"pcam {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of `pcam` itself."""


@app.command(epilog="Example: pcam synth data/synthetic --patches 2000 --slides 20 --seed 0")
def synth(
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    patches: Annotated[
        int, typer.Option(help="Number of training patches. A quarter as many test patches are added.")
    ] = 2000,
    slides: Annotated[
        int, typer.Option(help="Number of training slides. Half as many test slides are added.")
    ] = 20,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Create synthetic H&E patches in Kaggle's layout, with slides.csv and a contact sheet."""
    from ..convert.synthesize import synthesize
    from ..sources.synthetic import test_share

    total = patches + test_share(patches, slides)[0]
    with console.progress("synth", total, "patches") as advance:
        counts = synthesize(folder, patches, slides, seed, overwrite=overwrite, progress=advance)
    console.say(f"{folder}: {counts['train']:,} train and {counts['test']:,} test patches")
    console.say(
        f"contact sheet: {folder / 'contact_sheet.png'} (negatives in the upper half, positives in the "
        "lower half)"
    )


@app.command(epilog="Example: pcam extract data/kaggle features --slides slides.csv")
@reads_patches
def extract(
    source: SourceArgument,
    features: Annotated[Path, typer.Argument(help="Feature store to create or to continue.")],
    families: FamiliesOption = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    cluster: ClusterOption = None,
    split: SplitsOption = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: FitOption = None,
    mpp: MppOption = None,
    verify: Annotated[
        bool, typer.Option(help="First check that each id is the SHA-1 of the patch's pixels.")
    ] = False,
    copies: CopiesOption = None,
    encoder: Annotated[str | None, typer.Option(help=ENCODER_HELP)] = None,
    unseen: Annotated[
        bool,
        typer.Option(
            "--unseen",
            help="Leave out the patches that the network of --encoder was trained on. fit refuses "
            "their embeddings, because they tell the labels.",
        ),
    ] = False,
    size: Annotated[
        int | None, typer.Option(help="Input size of the encoder in pixels. Default: 96.")
    ] = None,
    depths: Annotated[
        str | None,
        typer.Option(
            help="Encoder blocks to read, comma-separated: block00 … head. Default: block02 to block10."
        ),
    ] = None,
    pools: Annotated[
        str | None,
        typer.Option(
            help="Pooling of the encoder's feature maps, comma-separated: mean, center, deviation, "
            "maximum. Default: mean,deviation. Of an ONNX file that returns tokens: cls or mean."
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(
            help="Orientations to average the embedding over: 1 (none), 4 (quarter turns) or 8 (with "
            "flips). Default: 4."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Numeric precision of the encoder: f32 or bf16. Default: f32.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="Runtime of the encoder: openvino, onnxruntime or cuda. Default: openvino."),
    ] = None,
    encoder_output: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Output of an ONNX file to use, if it has several."),
    ] = None,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Compute features of patches and save them as Parquet.

    If the command is stopped, run it again to continue.
    """
    from ..api.data import Extraction, open_source
    from ..api.progress import Reporter
    from ..encoders.options import EncoderOptions, names_in
    from ..extraction.selection import families_named

    asked = EncoderOptions(
        encoder,
        size,
        names_in(depths),
        names_in(pools),
        views,
        precision,
        runtime,
        encoder_output,
    )
    wanted = families_named(families, asked)
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
    work = Extraction(
        features,
        opened,
        wanted,
        split=split,
        device=device,
        threads=threads,
        copies=copies,
        unseen=unseen,
        cluster=cluster,
        overwrite=overwrite,
        log=console.say,
    )
    if verify:
        work.verify(bars)
    plan = work.plan() if dry_run else work.run(bars)
    if json:
        console.as_json(plan.to_dict() | {"dry_run": dry_run, "features": str(features)})
        return
    show.extraction(plan, features, dry_run)


app.add_typer(network.app)
app.add_typer(slide.app)
for function, example in (running.COMMANDS | data.COMMANDS | model.COMMANDS | slide.COMMANDS).items():
    app.command(epilog=f"Example: {example}")(function)


@app.command(epilog="Example: pcam demo demo --patches 2000")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for all results.")] = Path("demo"),
    patches: Annotated[int, typer.Option(help="Number of synthetic training patches.")] = 2000,
    seed: SeedOption = 0,
) -> None:
    """Run the whole workflow on synthetic patches: synth, check, extract, fit, predict, compare."""
    from .demo import run

    run(folder, patches, seed, lambda words: app(words, standalone_mode=False))


@app.command(epilog="Example: pcam bench data/kaggle --json")
def bench(
    source: Annotated[
        str, typer.Argument(help="Source of patches, in any layout that extract reads.")
    ] = "synthetic:256",
    patches: Annotated[
        int | None,
        typer.Option(min=16, help="Number of patches. Default: 128 for families, 512 for reading."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=3, help="Number of interleaved runs. The median is reported.")
    ] = 5,
    only: Annotated[
        Timed | None, typer.Option(help="Time only the families or only reading. Default: both.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure the speed of feature extraction and of reading, side by side with common libraries."""
    result: dict[str, Any] = {"source": source}
    if only != Timed.reading:
        from ..diagnostics.bench_families import run

        families = run(source, patches or 128, repeats, say=console.say)
        result |= families.to_dict()
        if not json:
            show.timings(families)
    if only != Timed.families:
        from ..diagnostics.bench_reading import run as read

        reading = read(source, patches or 512, repeats, say=console.say)
        result["reading"] = reading.to_dict()
        if not json:
            show.reading(reading)
    if json:
        console.as_json(result)


@app.command(epilog="Example: pcam features glcm")
def features(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a family or column. Default: list all families.",
            autocompletion=complete_family,
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference of all columns as Markdown.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Describe the feature columns: meaning, unit, range and source."""
    from ..families import describe

    if markdown:
        console.data(describe.markdown().rstrip("\n"))
    elif json:
        from ..report.travel import with_travel

        console.as_json(with_travel(describe.rows(name)))
    else:
        show.features(name)


@app.command(epilog="Example: pcam copy features s3://bucket/features")
def copy(
    source: Annotated[str, typer.Argument(help="Feature store, model or network: a folder or a URL.")],
    target: Annotated[str, typer.Argument(help="Folder or URL of the copy.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Copy a feature store, a model or a network to a URL, from a URL, or from folder to folder.

    Every file has to have its sum, and the copy is complete or absent. URLs, such as s3://BUCKET/NAME,
    need the extra remote; credentials are those of other programs, such as AWS_PROFILE.
    """
    from ..api.copying import copy as copied
    from ..api.progress import Reporter

    bars = Reporter(console.progress)
    copied(source, target, overwrite=overwrite, progress=bars, log=console.say)


@app.command(epilog="Example: pcam doctor features")
def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Feature store, model or network to verify. Default: check the installation."
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    report: Annotated[
        Path | None, typer.Option(help="Markdown file for the result, to paste into an issue.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the installation, or verify all files of a feature store, a model or a network.

    The installation is checked by comparing the features of every family, embeddings and models with
    an independent reference: on CUDA with the CPU, otherwise with other libraries.
    """
    from ..diagnostics.doctor import Check, Verdict, as_markdown, checks
    from ..storage.files import check_file, write_text

    if path is not None:
        if report is not None:
            raise InputError("--report is for checks of the installation; leave it out, or use --json.")
        verify(path, json)
        return
    if report is not None:
        check_file(report)
    seen: list[Check] = []
    for check in checks(device):
        seen.append(check)
        if not json:
            console.data(f"{check.verdict}  {check.name}: {check.detail}")
    if json:
        console.as_json([vars(check) for check in seen])
    if report is not None:
        write_text(report, as_markdown(seen))
        console.say(f"report: {report}")
    failed = [check.name for check in seen if check.verdict == Verdict.FAIL]
    if failed:
        raise PcamError(
            f"{len(failed)} of {counted(len(seen), 'check')} failed: {', '.join(failed)}; see the "
            "FAIL lines."
        )


def verify(path: Path, json: bool) -> None:
    """Verify the files of a folder and list what is damaged. Raises PcamError if anything is."""
    from ..diagnostics.integrity import verify as verified

    found = verified(path)
    if json:
        console.as_json(found.to_dict())
    else:
        show.integrity(found)
    if found.damaged:
        raise PcamError(
            f"{counted(len(found.damaged), 'file')} of {found.kind} {path} "
            f"{form(len(found.damaged), 'is', 'are')} damaged or missing; {found.remedy}."
        )


def main() -> None:
    """Run the command line. A failure for a known reason is one sentence, and sets the exit code."""
    with failures.handled():
        app()
