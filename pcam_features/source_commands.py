"""The commands about patches themselves: parse, call, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from . import console, show
from .choices import Layout
from .options import (
    DryRunOption,
    JsonOption,
    KindOption,
    OverwriteOption,
    PositiveOption,
    SlidesOption,
    SourceArgument,
    SplitsOption,
    ThreadsOption,
    cores,
)


def convert(
    source: SourceArgument,
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    to: Annotated[
        Layout,
        typer.Option(
            help="PCam's HDF5, a folder of PNG images by split and class, Hugging Face's Parquet."
        ),
    ],
    split: SplitsOption = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    positive: PositiveOption = None,
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Write patches in another layout; pixels, labels, ids and slides stay as they are."""
    from .curate.convert import convert as run
    from .curate.convert import plan
    from .sources.detect import open_source

    opened, slides_from = open_source(
        source, kind=kind, slides=slides, positive=positive, unpacking=console.progress
    )
    console.say(slides_from)
    splits = opened.only(split)
    planned = plan(opened, splits, folder, to, overwrite=overwrite)
    show.conversion(planned, folder)
    if not dry_run:
        with console.progress("convert", sum(map(len, splits)), "patches") as advance:
            run(opened, splits, folder, to, cores(threads), overwrite=overwrite, progress=advance)
        console.say(f"{folder} is there; nothing of the source was changed")
    if json:
        console.as_json(planned | {"dry_run": dry_run, "folder": str(folder)})


COMMANDS: dict[Callable[..., None], str] = {
    convert: "pcam convert data/kaggle data/kaggle-hdf5 --to hdf5",
}
