"""Commands on whole slides: slide, synth-slide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..words import counted
from . import console
from .options import JsonOption, OverwriteOption, SeedOption, ThreadsOption


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
