"""Checks of sources by the workers of a cluster. A unit of work is the rows of a part of a store.

A worker opens the source itself, measures the rows with the code of one machine, and sends what it
measured back: some 180 bytes of each patch, and sums of the pixels by label.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from .. import __version__
from ..check.look import SpanLook, color_measure, kernels, look_at_rows, spans_together
from ..engine import cpu
from ..execution.cluster import Dask
from ..extraction.on_cluster import (
    PACKAGES,
    SAME,
    SplitToSee,
    check_same_pcam,
    compile_in_turn,
    kept,
    opening_of,
    ready_workers,
    split_to_see,
)
from ..sources.detect import reopen
from ..sources.opening import Opening
from ..sources.source import Source, Split
from ..store.layout import part_count, part_span


@dataclass(frozen=True)
class LookJob:
    """What the units of a check have in common, for each source.

    Parameters
    ----------
    run
        Tells runs apart, so that a worker opens the source anew for each.
    version
        The version of pcam.
    opening, splits
        How the source is opened, and what is then seen.
    threads
        Number of threads of a unit.
    """

    run: str
    version: str
    opening: Opening
    splits: tuple[SplitToSee, ...]
    threads: int


@dataclass(frozen=True)
class RowsToLookAt:
    """A unit of work: some rows of a split."""

    job: LookJob
    split: str
    rows: range


@kept(2)  # the source that is checked, and the other one
def open_job(job: LookJob) -> dict[str, Split]:
    """The splits of a job. Raises InputError if this worker sees another source."""
    check_same_pcam(job.version)
    source = reopen(job.opening)
    splits = {known.name: split_to_see(source, known) for known in job.splits}
    compile_in_turn(cpu, kernels())
    return splits


async def get_ready(jobs: Sequence[LookJob]) -> None:
    """Open the sources on a worker, beside its event loop."""
    for job in jobs:
        await asyncio.to_thread(open_job, job)


def look_at_part(unit: RowsToLookAt) -> SpanLook:
    """Measure rows on a worker."""
    split = open_job(unit.job)[unit.split]
    return spans_together(
        list(look_at_rows(split, color_measure(), unit.rows, unit.job.threads)),
    )


@dataclass(frozen=True)
class ClusterCrew:
    """The workers of a cluster; see `check.check.Crew`. There is a job for each source."""

    executor: Dask
    jobs: tuple[tuple[Source, LookJob], ...]

    def look(self, source: Source, split: Split) -> Generator[SpanLook]:
        """See `check.check.Crew`. What cannot be read is named by the path that the user gave."""
        job = next(job for known, job in self.jobs if known is source)
        parts = (range(*part_span(k, len(split))) for k in range(part_count(len(split))))
        units = (RowsToLookAt(job, split.name, rows) for rows in parts)
        with closing(self.executor.map(look_at_part, units)) as results:
            for span in results:
                unreadable = {
                    row: reason.replace(job.opening.path, opening_of(source).path)
                    for row, reason in span.unreadable.items()
                }
                yield replace(span, unreadable=unreadable)


def ready_crew(
    executor: Dask, sources: Sequence[tuple[Source, Sequence[Split]]], threads: int
) -> ClusterCrew:
    """The workers of a cluster, ready to check sources.

    Raises InputError if a worker has another version, or sees other patches.
    """
    jobs = tuple((source, job_of(source, splits, threads)) for source, splits in sources)
    ready_workers(executor, PACKAGES, get_ready, [job for _, job in jobs], SAME)
    return ClusterCrew(executor, jobs)


def job_of(source: Source, splits: Sequence[Split], threads: int) -> LookJob:
    """The job of a source. Raises InputError if another process cannot open it."""
    seen = tuple(SplitToSee.of(source, split) for split in splits)
    opening = opening_of(source).absolute()
    return LookJob(secrets.token_hex(8), __version__, opening, seen, threads)
