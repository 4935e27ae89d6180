"""Commands that prepare data: fetch, check, convert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..constants import Layout, PublishedDataset
from ..errors import InputError, PcamError
from ..sources.reading import EVERYTHING, Reading
from ..words import counted, form
from . import console, show
from .options import (
    CheckFitOption,
    ClusterOption,
    DryRunOption,
    JsonOption,
    KindOption,
    MppOption,
    OneImageFitOption,
    OverwriteOption,
    SlidesOption,
    SourceArgument,
    SplitsOption,
    ThreadsOption,
    reads_patches,
)


def fetch(
    what: Annotated[
        PublishedDataset,
        typer.Argument(help="Dataset: pcam (PatchCamelyon) or kaggle (Kaggle's competition)."),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to download to.")],
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of a folder on another server with the same files. Default: Zenodo for pcam, "
            "Kaggle's client for kaggle.",
        ),
    ] = None,
    keep_packed: Annotated[
        bool, typer.Option(help="Keep PatchCamelyon's .gz files after unpacking.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(help="Print the size of the download and the disk space it needs, then stop."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Download PatchCamelyon or Kaggle's patches, and verify checksums.

    For kaggle, install the extra kaggle, create an API token and accept the competition's rules.

    If the command is stopped, run it again to continue.
    """
    from ..api.fetching import fetch_dataset
    from ..api.progress import Reporter

    taken = fetch_dataset(
        what,
        folder,
        mirror=mirror,
        keep_packed=keep_packed,
        dry_run=dry_run,
        progress=Reporter(console.progress),
        log=console.say,
    )
    if json:
        asked = {"dataset": what, "folder": str(folder), "dry_run": dry_run}
        console.as_json(asked | taken.to_dict())
    elif not dry_run:
        show.fetched(what, folder)


def check_outputs(report: Path | None, patches: Path | None) -> None:
    """Raise InputError for a file that cannot be written, or that `pcam check` did not write."""
    from ..api.preparing import TABLE_START
    from ..storage.files import check_html, check_output

    if report is not None:
        check_html(report)
    if patches is not None:
        check_output(patches, TABLE_START)
    if report is not None and report == patches:
        raise InputError(f"--report and --patches both name {report}; choose two different files.")


@reads_patches
def check(
    source: SourceArgument,
    against: Annotated[
        str | None, typer.Option(help="Path of another source. Patches that are in both are reported.")
    ] = None,
    split: SplitsOption = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: CheckFitOption = None,
    mpp: MppOption = None,
    threads: ThreadsOption = 0,
    cluster: ClusterOption = None,
    report: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    patches: Annotated[
        Path | None,
        typer.Option(help="CSV to write: one row per patch, with its quality and duplicates."),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit with code 1 if faults are found.")] = False,
    json: JsonOption = False,
) -> None:
    """Check the data before use: faults, duplicates, image quality, class balance, drift, overlap."""
    from ..api.data import open_source
    from ..api.preparing import check_source
    from ..api.progress import Reporter

    check_outputs(report, patches)
    bars = Reporter(console.progress)
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
    other = None
    if against is not None:
        other = open_source(against, fit=fit, mpp=mpp, strict=False, progress=bars)
    result = check_source(
        opened,
        against=other,
        split=split,
        threads=threads,
        cluster=cluster,
        progress=bars,
        log=console.say,
    )
    if patches is not None:
        result.write_patches(patches)
    if report is not None:
        result.report(report)
        console.say(f"report: {report}")
    if json:
        console.as_json(result.to_dict())
    else:
        show.checked(result.result)
    if strict and result.faults:
        raise PcamError(
            f"{source} has {counted(result.faults, 'fault')}; fix "
            f"{form(result.faults, 'it', 'them')}, or leave out --strict."
        )


@reads_patches
def convert(
    source: SourceArgument,
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    to: Annotated[
        Layout,
        typer.Option(
            help="Layout to write: PCam's HDF5 files, a folder of PNG images by split and class, or "
            "Hugging Face's Parquet files."
        ),
    ],
    split: SplitsOption = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    reading: Reading = EVERYTHING,
    fit: OneImageFitOption = None,
    mpp: MppOption = None,
    threads: ThreadsOption = 0,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Convert patches to another layout. Pixels, labels, ids and slides are preserved."""
    from ..api.data import open_source
    from ..api.preparing import Conversion
    from ..api.progress import Reporter

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
    work = Conversion(opened, folder, to, split=split, threads=threads, overwrite=overwrite)
    planned = work.plan()
    show.conversion(planned, folder)
    if not dry_run:
        work.run(bars)
        console.say(f"converted: {folder}; the source is unchanged")
    if json:
        console.as_json(planned.to_dict() | {"dry_run": dry_run, "folder": str(folder)})


COMMANDS: dict[Callable[..., None], str] = {
    fetch: "pcam fetch pcam data/pcam",
    check: "pcam check data/kaggle --slides slides.csv --report check.html",
    convert: "pcam convert data/kaggle data/kaggle-hdf5 --to hdf5",
}
