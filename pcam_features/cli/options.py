"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..constants import Device, Kind

SourceArgument = Annotated[
    str,
    typer.Argument(
        help="Kaggle's folder or zip, PCam's HDF5, a folder of images, a CSV of paths, Parquet, WILDS, "
        "or synthetic:PATCHES."
    ),
]
KindOption = Annotated[
    Kind | None, typer.Option(help="The source's layout. Default: told from the path.")
]
PositiveOption = Annotated[str | None, typer.Option(help="The class folder that is tumor.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to compute; auto says what it chose.")]
ThreadsOption = Annotated[int, typer.Option(min=0, max=1024, help="Threads; 0 is one for each core.")]
SlidesOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE[:COLUMN]",
        help="CSV with id and slide (or wsi, or COLUMN); none: leave what is known.",
    ),
]
FoldsFromOption = Annotated[
    Path | None,
    typer.Option(help="Folds of another model, or a CSV or Parquet file with id, fold, group."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SplitsOption = Annotated[
    str | None, typer.Option("--split", help="Splits, comma-separated. Default: all.")
]
DryRunOption = Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace what is there.")]


def complete_family(incomplete: str) -> list[str]:
    """The families that the last of a comma-separated list may become."""
    from ..families.registry import ALL, CNN, FAMILIES

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in (*FAMILIES, ALL, CNN) if name.startswith(last)]


FamiliesOption = Annotated[
    str | None,
    typer.Option(
        help="Families, comma-separated; cnn is embeddings. Default: all (by hand).",
        autocompletion=complete_family,
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything random.")]


def cores(threads: int) -> int:
    import joblib

    return threads or joblib.cpu_count()
