"""Commands that make data ready: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import console, show
from .errors import PcamError
from .options import (
    JsonOption,
    KindOption,
    PositiveOption,
    SlidesOption,
    SourceArgument,
    ThreadsOption,
    cores,
)


def check(
    source: SourceArgument,
    against: Annotated[
        str | None, typer.Option(help="Another source, with which this one must not overlap.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Splits, comma-separated. Default: all.")] = None,
    slides: SlidesOption = None,
    kind: KindOption = None,
    positive: PositiveOption = None,
    threads: ThreadsOption = 0,
    report: Annotated[Path | None, typer.Option(help="A page to look at, HTML.")] = None,
    patches: Annotated[
        Path | None, typer.Option(help="A CSV of what is known of each patch, its copies among it.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit code 1 if there are faults.")] = False,
    json: JsonOption = False,
) -> None:
    """Look at every patch before it is trusted: faults, copies, quality, balance, drift, overlap."""
    from .curate.check import check as run
    from .curate.check import patch_table, summary, verdict
    from .curate.findings import Grade
    from .curate.look import kernels
    from .engine import cpu
    from .files import check_file, whole_file
    from .sources.detect import open_source

    for file in (report, patches):
        if file is not None:
            check_file(file)
    opened, slides_from = open_source(
        source,
        kind=kind,
        slides=slides,
        positive=positive,
        unpacking=console.progress,
        strict=False,
    )
    console.say(slides_from)
    other = None
    if against is not None:
        other, _ = open_source(against, unpacking=console.progress, strict=False)
    splits = opened.only(split)
    total = sum(map(len, splits)) + sum(map(len, other.splits.values() if other else ()))
    if not cpu.compiled_before(kernels()):
        console.say("compiling the kernels of color: some seconds")
    with console.progress("check", total, "patches") as advance:
        checked = run(opened, splits, other, cores(threads), advance)
    if patches is not None:
        with whole_file(patches) as temporary:
            patch_table(checked).to_csv(temporary, index=False)
    if report is not None:
        from .report.check_page import write

        write(report, checked)
        console.say(f"look at {report}")
    if json:
        console.as_json(summary(checked))
    else:
        show.checked(summary(checked), verdict(checked))
    faults = sum(one.grade == Grade.fault for one in checked.findings)
    if strict and faults:
        raise PcamError(f"{source} has {faults} fault(s); mend them, or check without --strict.")


COMMANDS = {check: "pcam check data/kaggle --slides slides.csv --report check.html"}
