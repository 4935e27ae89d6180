"""Commands on whole slides: slide, synth-slide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..constants import (
    LARGEST_ROWS,
    LARGEST_TEST,
    LEAST_STRIDE,
    LEAST_THRESHOLD,
    MOST_STRIDE,
    MOST_THRESHOLD,
    STRIDE,
    THRESHOLD,
    Device,
    Layout,
)
from ..words import counted
from . import console
from .options import (
    ClusterOption,
    DeviceOption,
    JsonOption,
    ModelArgument,
    OverwriteOption,
    SeedOption,
    ThreadsOption,
)

StrideOption = Annotated[
    int,
    typer.Option(
        min=LEAST_STRIDE,
        max=MOST_STRIDE,
        help="Distance of neighboring patches in pixels of 0.972 µm. With 32, centers touch.",
    ),
]
UnannotatedOption = Annotated[
    bool,
    typer.Option(
        "--unannotated", help="Slides without a file have no tumor. Default: they are refused."
    ),
]
TumorOption = Annotated[
    str | None,
    typer.Option(
        metavar="CLASSES", help="Classes that are tumor, comma-separated. Default: by their names."
    ),
]

EncoderOption = Annotated[
    str | None,
    typer.Option(
        help="If the model takes embeddings of an ONNX file, a timm network or a network of deep fit: "
        "that encoder."
    ),
]

app = typer.Typer(
    name="slide",
    help="Map a model's predictions over whole slides, and cut patches from slides.",
    no_args_is_help=True,
)


@app.command("map", epilog="Example: pcam slide map scan.svs model scan_map")
def map_command(
    slide: Annotated[
        Path,
        typer.Argument(
            help="Slide: a format of OpenSlide (extra slides), or a TIFF, PNG or JPEG file."
        ),
    ],
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create.")],
    mpp: Annotated[
        float | None,
        typer.Option(help="Micrometers per pixel of the slide. Default: as its file tells."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the whole slide that is black where there is no tissue. Default: find "
            "tissue by color."
        ),
    ] = None,
    stride: StrideOption = STRIDE,
    threshold: Annotated[
        float,
        typer.Option(
            min=LEAST_THRESHOLD,
            max=MOST_THRESHOLD,
            help="Least probability of a region in regions.geojson.",
        ),
    ] = THRESHOLD,
    encoder: EncoderOption = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    cluster: ClusterOption = None,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Map where on a slide a model sees tumor: pictures, tables, regions for QuPath, and a page.

    If the command is stopped, run it again to continue.
    """
    from ..api.progress import Reporter
    from ..api.slides import map_slide

    made = map_slide(
        slide,
        model,
        out,
        mpp=mpp,
        mask=mask,
        stride=stride,
        threshold=threshold,
        encoder=encoder,
        device=device,
        threads=threads,
        cluster=cluster,
        overwrite=overwrite,
        progress=Reporter(console.progress),
        log=console.say,
    )
    if json:
        console.as_json(made.to_dict())
        return
    console.data(made.record.sentence())
    console.say(f"page: {out / 'slide.html'}")


@app.command(epilog="Example: pcam slide patches slides patches --annotations outlines")
def patches(
    slides: Annotated[Path, typer.Argument(help="Slide, or folder of slides.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create.")],
    annotations: Annotated[
        Path,
        typer.Option(
            help="Folder of outlines of tumor, a file of each slide's name: GeoJSON (QuPath) or XML "
            "(ASAP). Or one file, for one slide."
        ),
    ],
    to: Annotated[Layout, typer.Option(help="Layout to write.")] = Layout.parquet,
    mpp: Annotated[
        float | None,
        typer.Option(help="Micrometers per pixel of all slides. Default: as each file tells."),
    ] = None,
    stride: StrideOption = STRIDE,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced/--complete",
            help="Take as many normal patches of a slide as tumor patches, or take all patches.",
        ),
    ] = True,
    most: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_ROWS, help="Most patches of one slide.")
    ] = None,
    test: Annotated[
        float,
        typer.Option(
            min=0.0, max=LARGEST_TEST, help="Share of slides that go to the split test, at random."
        ),
    ] = 0.0,
    unannotated: UnannotatedOption = False,
    tumor: TumorOption = None,
    hard: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="MODEL",
            help="Take as half of the normal patches those that look most like tumor to this model, "
            "except in the split test. Repeatable: to any of these models.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    device: DeviceOption = Device.auto,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Cut labeled patches like PCam's from slides with outlines of tumor.

    A patch is tumor if an outline reaches its center 32×32. The slide of each patch is written with it.
    """
    from ..api.progress import Reporter
    from ..api.slides import cut_slides

    made = cut_slides(
        slides,
        out,
        annotations,
        to=to,
        mpp=mpp,
        stride=stride,
        balanced=balanced,
        most=most,
        test=test,
        unannotated=unannotated,
        tumor=tumor,
        hard=hard,
        encoder=encoder,
        device=device,
        threads=threads,
        seed=seed,
        overwrite=overwrite,
        progress=Reporter(console.progress),
        log=console.say,
    )
    if json:
        console.as_json(made.to_dict())
        return
    columns = ("slide", "split", "tumor", "normal", "hard", "of tumor", "of normal", "outlines")
    rows = [
        (
            part.slide,
            part.split,
            f"{part.tumor:,}",
            f"{part.normal:,}",
            f"{part.hard:,}",
            f"{part.tumor_found:,}",
            f"{part.normal_found:,}",
            f"{part.outlines:,}",
        )
        for part in made.parts
    ]
    console.table(columns, rows)


@app.command(epilog="Example: pcam slide score maps --annotations outlines")
def score(
    maps: Annotated[Path, typer.Argument(help="Map, or folder of maps, written by slide map.")],
    annotations: Annotated[
        Path,
        typer.Option(help="Folder of outlines of tumor, a file of each slide's name: GeoJSON or XML."),
    ],
    unannotated: UnannotatedOption = False,
    tumor: TumorOption = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Score maps against outlines of tumor: AUC of slides, and FROC as Camelyon16 defines it."""
    from ..api.slides import score_maps
    from ..slides.scoring import sentences

    result = score_maps(maps, annotations, unannotated=unannotated, tumor=tumor, seed=seed)
    if json:
        console.as_json(result.to_dict())
        return
    for sentence in sentences(result):
        console.data(sentence)
    rows = [
        (at, "not defined" if value is None else f"{value:.4f}")
        for at, value in result.sensitivities.items()
    ]
    console.table(("false positives a slide", "sensitivity"), rows)


def synth_slide(
    slide: Annotated[Path, typer.Argument(help="TIFF file to create, such as slide.tif.")],
    width: Annotated[int, typer.Option(help="Width in pixels of 0.486 µm.")] = 20_000,
    height: Annotated[int, typer.Option(help="Height in pixels.")] = 20_000,
    nests: Annotated[
        int, typer.Option(help="Number of nests of tumor; fewer if there is no room for them.")
    ] = 12,
    threads: ThreadsOption = 0,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
) -> None:
    """Create a synthetic slide with nests of tumor, and a GeoJSON file of their outlines beside it."""
    from ..slides.synthesize import block_count, check_numbers, synthesize_slide

    check_numbers(width, height, nests)
    with console.progress("synth-slide", block_count(width, height), "blocks") as advance:
        made = synthesize_slide(
            slide,
            width,
            height,
            nests=nests,
            seed=seed,
            overwrite=overwrite,
            threads=threads,
            progress=advance,
        )
    if json:
        console.as_json(made.to_dict())
        return
    console.say(f"{made.slide}: {width:,}×{height:,} pixels of {made.mpp:g} µm")
    console.say(f"{made.outlines}: {counted(made.nests, 'nest')} of tumor")


COMMANDS: dict[Callable[..., None], str] = {
    synth_slide: "pcam synth-slide slide.tif --width 20000 --height 20000 --seed 0",
}
