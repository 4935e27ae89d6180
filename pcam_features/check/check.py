"""Checking a source of patches before it is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from .. import __version__
from ..sources import kaggle, manifest
from ..sources.source import Source, Split
from . import drift, duplicates, findings
from .findings import CheckedSplit
from .look import Measure, SpanLook, color_measure, gathered, look_at_rows
from .result import CheckResult, SplitSummary


class Crew(Protocol):
    """Those who measure patches: threads of this process, or workers of a cluster."""

    def look(self, source: Source, split: Split) -> Generator[SpanLook]:
        """Measure every patch of a split of a source, span by span in their order."""
        ...


@dataclass(frozen=True)
class ThreadCrew:
    """Threads of this process."""

    measure: Measure
    threads: int

    def look(self, source: Source, split: Split) -> Generator[SpanLook]:
        return look_at_rows(split, self.measure, range(len(split)), self.threads)


def check(
    source: Source,
    splits: Sequence[Split],
    against: Source | None = None,
    crew: Crew | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> CheckResult:
    """Check every patch of a source.

    Parameters
    ----------
    source
        The source to check.
    splits
        The splits of `source` to check.
    against
        Another source, which should not share patches or slides with this one. None for no other.
    crew
        Who measures patches. Default: this thread.
    progress
        Called with the number of patches done.

    Returns
    -------
    CheckResult
        Faults, duplicates, image quality, balance and drift.
    """
    measuring = crew or ThreadCrew(color_measure(), 1)
    progress(0)
    own, other = prefixes(source, against)
    parts = look_at_splits(own, source, splits, measuring, progress)
    if against is not None:
        others = [split for split in against.splits.values() if len(split)]
        looked = look_at_splits(other, against, others, measuring, progress)
        parts += [replace(part, own=False) for part in looked]
    copies = duplicates.find([part.look for part in parts])
    first = parts[0]
    drifts = [drift.between(first.name, first.look, part.name, part.look) for part in parts[1:]]
    measured = tuple(one for one in drifts if one is not None)
    return CheckResult(
        pcam_version=__version__,
        source=source.path,
        kind=source.kind,
        protocol=source.protocol,
        parts=tuple(parts),
        copies=copies,
        splits=tuple(SplitSummary.of(part) for part in parts),
        drifts=measured,
        findings=tuple(findings.find(source, parts, copies, measured)),
    )


def prefixes(source: Source, against: Source | None) -> tuple[str, str]:
    """Prefixes of split names that distinguish two sources."""
    if against is None:
        return "", ""
    own, other = (
        path.parent.name if path.name in (manifest.NAME, kaggle.ZIP) else path.name
        for path in (Path(source.path), Path(against.path))
    )
    return f"{own}:", f"{other}:" if other != own else f"other {other}:"


def look_at_splits(
    prefix: str,
    source: Source,
    splits: Sequence[Split],
    crew: Crew,
    progress: Callable[[int], None],
) -> list[CheckedSplit]:
    """Have every patch of some splits of a source measured; their names get a prefix."""
    parts = []
    for split in splits:
        with closing(crew.look(source, split)) as spans:
            parts.append(CheckedSplit(prefix + split.name, gathered(split, spans, progress), own=True))
    return parts
