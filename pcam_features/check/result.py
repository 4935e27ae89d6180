"""The result of a check as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sources.vocabulary import NORMAL, TUMOR, UNLABELED
from ..words import counted
from .drift import Drift
from .duplicates import Copies
from .findings import QUALITY, CheckedSplit, Finding, Grade
from .look import LABELS, Look

if TYPE_CHECKING:
    import pandas as pd

BINS = 32  # of a histogram of gray or color levels
CLASSES = {0: NORMAL, 1: TUMOR, None: UNLABELED}
CHANNELS = ("red", "green", "blue")
Histogram = tuple[int, ...]  # counts in BINS bins of equal width over 0 … 256


@dataclass(frozen=True)
class SplitSummary:
    """The patches of a split by label, its slides, and histograms by class.

    `brightness` counts patches by their mean gray level, for each class that has any; `channels` counts
    pixels by their level, for each such class and each of CHANNELS.
    """

    name: str
    patches: int
    unreadable: int
    positive: int
    negative: int
    unlabeled: int
    slides: int
    slide_unknown: int
    brightness: Mapping[str, Histogram]
    channels: Mapping[str, Mapping[str, Histogram]]

    @classmethod
    def of(cls, part: CheckedSplit) -> SplitSummary:
        """The summary of a measured split."""
        look = part.look
        labels, slides = look.split.labels, [slide for slide in look.split.slides if slide]
        rows = len(look.split)
        positive = 0 if labels is None else int(labels.sum())
        return cls(
            name=part.name,
            patches=rows,
            unreadable=len(look.unreadable),
            positive=positive,
            negative=0 if labels is None else rows - positive,
            unlabeled=rows if labels is None else 0,
            slides=len(set(slides)),
            slide_unknown=rows - len(slides),
            brightness=brightness(look),
            channels=channels(look),
        )

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON has it, without the name."""
        return {
            "patches": self.patches,
            "unreadable": self.unreadable,
            "positive": self.positive,
            "negative": self.negative,
            "unlabeled": self.unlabeled,
            "slides": self.slides,
            "slide_unknown": self.slide_unknown,
            "brightness": {label: list(counts) for label, counts in self.brightness.items()},
            "channels": {
                label: {channel: list(counts) for channel, counts in own.items()}
                for label, own in self.channels.items()
            },
        }


@dataclass(frozen=True)
class CheckResult:
    """What a check of a source found.

    `parts` has the measurements of each patch, split by split, those of the source checked first and
    then those of the source it was checked against. `copies` has groups of duplicates over all parts.
    """

    pcam_version: str
    source: str
    kind: str
    protocol: str
    parts: tuple[CheckedSplit, ...]
    copies: Copies
    splits: tuple[SplitSummary, ...]
    drifts: tuple[Drift, ...]
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> int:
        """The number of faults found."""
        return sum(finding.grade == Grade.fault for finding in self.findings)

    @property
    def verdict(self) -> str:
        """Whether the data can be used, in a sentence."""
        kinds = {
            grade: ", ".join(dict.fromkeys(one.what for one in self.findings if one.grade == grade))
            for grade in Grade
        }
        checked = f"{counted(sum(split.patches for split in self.splits), 'patch')} checked"
        if self.faults:
            return f"{checked}: {counted(self.faults, 'fault')} to correct first: {kinds[Grade.fault]}"
        if kinds[Grade.odd]:
            return f"{checked}: no faults; to inspect: {kinds[Grade.odd]}"
        return f"{checked}: no faults, nothing unusual"

    def to_dict(self) -> dict[str, Any]:
        """The result as `pcam check --json` prints it."""
        return {
            "pcam_version": self.pcam_version,
            "source": self.source,
            "kind": self.kind,
            "protocol": self.protocol,
            "verdict": self.verdict,
            "faults": self.faults,
            "findings": [asdict(finding) for finding in self.findings],
            "splits": {split.name: split.to_dict() for split in self.splits},
            "drift": [asdict(drift) for drift in self.drifts],
        }

    def to_frame(self) -> pd.DataFrame:
        """The patches as `pcam check --patches` writes them.

        Returns
        -------
        pandas.DataFrame
            A row for each patch: `id`, `split`, `label`, `slide`, whether it is `readable`, a column
            for each defect of image quality, and the groups of duplicates it is in, `exact` and `near`,
            missing where it has none. Patches of one `near` group belong in one fold.
        """
        import pandas as pd

        whole = pd.concat([patch_table(part) for part in self.parts], ignore_index=True)
        for name, codes in (("exact", self.copies.exact), ("near", self.copies.near)):
            group = pd.Series(codes, dtype="Int64")
            whole[name] = group.where(group >= 0)
        return whole

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows: the verdict and the findings."""
        from html import escape

        import pandas as pd

        rows = [(one.grade, one.what, one.count, one.says) for one in self.findings]
        table = pd.DataFrame(rows, columns=["grade", "what", "count", "finding"])
        with pd.option_context("display.max_colwidth", None):
            findings = table.to_html(index=False, border=0, escape=True) if rows else ""
        return f"<p><strong>{escape(self.verdict)}</strong></p>{findings}"


def patch_table(part: CheckedSplit) -> pd.DataFrame:
    """A row for each patch of a split: its label and slide, whether it is readable, its quality."""
    import pandas as pd

    look = part.look
    labels = [None] * len(look.split) if look.split.labels is None else look.split.labels.tolist()
    columns: dict[str, Any] = {
        "id": look.split.ids,
        "split": part.name,
        "label": pd.array(labels, dtype="Int64"),
        "slide": look.split.slides,
        "readable": look.there,
    }
    for what, defect in QUALITY.items():
        columns[what.replace(" ", "_").replace("-", "_")] = defect.shown_by(look)
    return pd.DataFrame(columns)


def brightness(look: Look) -> dict[str, Histogram]:
    """Histograms of the mean gray level of patches, by class."""
    edges = np.linspace(0, 256, BINS + 1)
    histograms = {}
    for label in LABELS:
        own = of_label(look, label)
        if own.any():
            histograms[CLASSES[label]] = tuple(np.histogram(look.gray[own], edges)[0].tolist())
    return histograms


def channels(look: Look) -> dict[str, dict[str, Histogram]]:
    """Histograms of the levels of pixels, by class and channel."""
    histograms = {}
    for k, label in enumerate(LABELS):
        if of_label(look, label).any():
            counts = look.histogram[k].reshape(len(CHANNELS), BINS, -1).sum(axis=2).tolist()
            histograms[CLASSES[label]] = {
                channel: tuple(own) for channel, own in zip(CHANNELS, counts, strict=True)
            }
    return histograms


def of_label(look: Look, label: int | None) -> np.ndarray:
    """Which patches were read and have a label, or None of them, bool (rows,)."""
    labels = look.split.labels
    if labels is None:
        return look.there & (label is None)
    chosen: np.ndarray = look.there & (labels == label) if label is not None else look.there & False
    return chosen
