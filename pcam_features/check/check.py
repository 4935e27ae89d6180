"""Checking a source of patches before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .. import __version__
from ..sources import kaggle, manifest
from ..sources.source import Source, Split
from . import drift, duplicates, findings
from .findings import CheckedSplit
from .look import Measure, color_measure, look_at
from .result import CheckResult, SplitSummary


def check(
    source: Source,
    splits: Sequence[Split],
    against: Source | None = None,
    threads: int = 1,
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
    threads
        Number of threads.
    progress
        Called with the number of patches done.

    Returns
    -------
    CheckResult
        Faults, duplicates, image quality, balance and drift.
    """
    measure = color_measure()
    progress(0)
    own, other = prefixes(source, against)
    parts = look_at_splits(own, splits, measure, threads, progress, own=True)
    if against is not None:
        others = [split for split in against.splits.values() if len(split)]
        parts += look_at_splits(other, others, measure, threads, progress, own=False)
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
    splits: Sequence[Split],
    measure: Measure,
    threads: int,
    progress: Callable[[int], None],
    *,
    own: bool,
) -> list[CheckedSplit]:
    """Measure every patch of some splits, whose names get a prefix."""
    return [
        CheckedSplit(prefix + split.name, look_at(split, measure, threads, progress), own)
        for split in splits
    ]
