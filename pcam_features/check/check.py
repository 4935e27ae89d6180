"""The look at the data that every project starts with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..sources import kaggle, manifest
from ..sources.image_folder import NORMAL, TUMOR, UNLABELED
from ..sources.source import Source, Split
from . import drift, findings
from .drift import Drift
from .duplicates import Copies
from .duplicates import find as find_copies
from .findings import QUALITY, Finding, Grade, Part
from .look import LABELS, Look, Measure, color_measure, look_at

if TYPE_CHECKING:
    import pandas as pd

BINS = 32  # of a histogram of levels
CLASSES = {0: NORMAL, 1: TUMOR, None: UNLABELED}
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Checked:
    """What was looked at and found."""

    source: Source
    parts: list[Part]
    copies: Copies
    drifts: list[Drift]
    findings: list[Finding]


def check(
    source: Source,
    splits: Sequence[Split],
    against: Source | None,
    threads: int,
    progress: Callable[[int], None],
) -> Checked:
    """Look at every patch of `splits`, and of the source that they must not overlap with.

    `progress` is told of patches as they are looked at.
    """
    measure = color_measure()
    progress(0)
    own, other = names_of(source, against)
    parts = looked(own, splits, measure, threads, progress, own=True)
    if against is not None:
        others = [split for split in against.splits.values() if len(split)]
        parts += looked(other, others, measure, threads, progress, own=False)
    copies = find_copies([part.look for part in parts])
    first = parts[0]
    drifts = [drift.between(first.name, first.look, one.name, one.look) for one in parts[1:]]
    known = [one for one in drifts if one is not None]
    return Checked(source, parts, copies, known, findings.find(source, parts, copies, known))


def names_of(source: Source, against: Source | None) -> tuple[str, str]:
    """What stands before the names of splits, to tell those of two sources apart."""
    if against is None:
        return "", ""
    own, other = (
        path.parent.name if path.name in (manifest.NAME, kaggle.ZIP) else path.name
        for path in (Path(source.path), Path(against.path))
    )
    return f"{own}:", f"{other}:" if other != own else f"other {other}:"


def looked(
    before: str,
    splits: Sequence[Split],
    measure: Measure,
    threads: int,
    progress: Callable[[int], None],
    *,
    own: bool,
) -> list[Part]:
    return [Part(before + s.name, look_at(s, measure, threads, progress), own) for s in splits]


def summary(checked: Checked) -> dict[str, Any]:
    """What was found, as JSON has it."""
    return {
        "pcam_version": __version__,
        "source": checked.source.path,
        "kind": checked.source.kind,
        "protocol": checked.source.protocol,
        "verdict": verdict(checked),
        "faults": faults(checked),
        "findings": [asdict(one) for one in checked.findings],
        "splits": {part.name: counts(part.look) | levels(part.look) for part in checked.parts},
        "drift": [asdict(one) for one in checked.drifts],
    }


def faults(checked: Checked) -> int:
    return sum(one.grade == Grade.fault for one in checked.findings)


def patch_table(checked: Checked) -> pd.DataFrame:
    """What is known of each patch: whether it was read, its quality, and its groups of copies, empty
    where it has none. Patches of one `near` belong in one fold."""
    import pandas as pd

    tables = []
    for part in checked.parts:
        look = part.look
        flags = {
            what.replace(" ", "_").replace("-", "_"): tell(look) for what, (tell, _) in QUALITY.items()
        }
        labels = [None] * len(look.split) if look.split.labels is None else look.split.labels.tolist()
        known = {"label": pd.array(labels, dtype="Int64"), "slide": look.split.slides}
        columns = {"id": look.split.ids, "split": part.name} | known | {"readable": look.there} | flags
        tables.append(pd.DataFrame(columns))
    whole = pd.concat(tables, ignore_index=True)
    for name in ("exact", "near"):
        group = pd.Series(getattr(checked.copies, name), dtype="Int64")
        whole[name] = group.where(group >= 0)
    return whole


def counts(look: Look) -> dict[str, Any]:
    """Patches of a split by label, and its slides."""
    labels, slides = look.split.labels, [slide for slide in look.split.slides if slide]
    positive = 0 if labels is None else int(labels.sum())
    return {
        "patches": len(look.split),
        "unreadable": len(look.unreadable),
        "positive": positive,
        "negative": 0 if labels is None else len(labels) - positive,
        "unlabeled": len(look.split) if labels is None else 0,
        "slides": len(set(slides)),
        "slide_unknown": len(look.split) - len(slides),
    }


def levels(look: Look) -> dict[str, Any]:
    """Histograms by class: of patches by their mean gray, of pixels by red, green and blue."""
    edges = np.linspace(0, 256, BINS + 1)
    brightness, channels = {}, {}
    for k, label in enumerate(LABELS):
        own = of_label(look, label)
        if own.any():
            brightness[CLASSES[label]] = np.histogram(look.gray[own], edges)[0].tolist()
            binned = look.histogram[k].reshape(3, BINS, -1).sum(axis=2)
            channels[CLASSES[label]] = dict(zip(CHANNELS, binned.tolist(), strict=True))
    return {"brightness": brightness, "channels": channels}


def of_label(look: Look, label: int | None) -> np.ndarray:
    """Which patches were read and have a label (rows,)."""
    labels = look.split.labels
    if labels is None:
        return look.there & (label is None)
    found: np.ndarray = look.there & (labels == label) if label is not None else look.there & False
    return found


def verdict(checked: Checked) -> str:
    """In a sentence whether the data can be used."""
    kinds = {
        grade: ", ".join(dict.fromkeys(one.what for one in checked.findings if one.grade == grade))
        for grade in Grade
    }
    said = f"{sum(len(part.look.split) for part in checked.parts):,} patches looked at"
    if count := faults(checked):
        return f"{said}: {count} fault(s) to mend first ({kinds[Grade.fault]})"
    if kinds[Grade.odd]:
        return f"{said}: no faults, but look at {kinds[Grade.odd]}"
    return f"{said}: no faults, nothing odd"
