"""The pictures on the page of a check: mean patches, samples of each class, and unusual patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .findings import QUALITY, CheckedSplit, conflicts, rows_of
from .look import LABELS
from .result import CLASSES, CheckResult, of_label

SHEET = 24  # patches of a class
SHOWN = 8  # patches with a defect
GROUPS = 6  # groups of duplicates with conflicting labels
OF_GROUP = 4  # patches of such a group


@dataclass(frozen=True)
class MeanPatch:
    """The mean of all patches of a class, uint8 (96, 96, 3), and their number."""

    name: str
    patches: int
    pixels: np.ndarray


@dataclass(frozen=True)
class PatchSheet:
    """A random sample of the patches of a class, each uint8 (96, 96, 3)."""

    name: str
    patches: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class PatchPicture:
    """A patch: its split, class and id, and its pixels, or None if it can no longer be read."""

    split: str
    label: str
    id: str
    pixels: np.ndarray | None


@dataclass(frozen=True)
class UnusualPatches:
    """Patches to inspect, under a heading, in groups that belong together."""

    heading: str
    groups: tuple[tuple[PatchPicture, ...], ...]


@dataclass(frozen=True)
class CheckPictures:
    """All pictures on the page of a check."""

    means: tuple[MeanPatch, ...]
    sheets: tuple[PatchSheet, ...]
    unusual: tuple[UnusualPatches, ...]


def gather(result: CheckResult) -> CheckPictures:
    """Read the pictures to show with the result of a check."""
    return CheckPictures(
        means=tuple(means(result.parts)),
        sheets=tuple(sheets(result.parts)),
        unusual=(*conflicting(result), *defective(result.parts)),
    )


def means(parts: Sequence[CheckedSplit]) -> Iterator[MeanPatch]:
    """The mean patch of each class of each split."""
    for part in parts:
        for k, label in enumerate(LABELS):
            count = int(part.look.count[k])
            if count:
                mean = np.rint(part.look.total[k] / count).astype(np.uint8)
                yield MeanPatch(f"{part.name}, {CLASSES[label]}", count, mean)


def sheets(parts: Sequence[CheckedSplit]) -> Iterator[PatchSheet]:
    """A random sample of each class of each split."""
    for part in parts:
        for label in LABELS:
            rows = np.flatnonzero(of_label(part.look, label))
            rows = np.sort(np.random.default_rng(0).permutation(rows)[:SHEET])
            patches = [pixels_of(part, int(row)) for row in rows]
            readable = tuple(patch for patch in patches if patch is not None)
            if readable:
                yield PatchSheet(f"{part.name}, {CLASSES[label]}", readable)


def pixels_of(part: CheckedSplit, row: int) -> np.ndarray | None:
    """A patch, or None if it can no longer be read."""
    try:
        patch: np.ndarray = part.look.split.read(row, row + 1)[0]
    except InputError:
        return None
    return patch


def picture(part: CheckedSplit, row: int) -> PatchPicture:
    """A patch of a split, with its class and id."""
    labels = part.look.split.labels
    label = CLASSES[None if labels is None else int(labels[row])]
    return PatchPicture(part.name, label, part.look.split.ids[row], pixels_of(part, row))


def conflicting(result: CheckResult) -> Iterator[UnusualPatches]:
    """Duplicates with conflicting labels."""
    rows = rows_of(result.parts)
    groups = conflicts(result.copies.near, rows)[:GROUPS]
    if groups:
        yield UnusualPatches(
            "Duplicates with conflicting labels",
            tuple(
                tuple(picture(result.parts[rows.part[k]], int(rows.place[k])) for k in group[:OF_GROUP])
                for group in groups
            ),
        )


def defective(parts: Sequence[CheckedSplit]) -> Iterator[UnusualPatches]:
    """Patches with each defect of image quality."""
    for what, defect in QUALITY.items():
        rows = [
            (part, int(row))
            for part in parts
            if part.own
            for row in np.flatnonzero(defect.shown_by(part.look))
        ]
        if rows:
            shown = tuple(picture(part, row) for part, row in rows[:SHOWN])
            yield UnusualPatches(f"{what.capitalize()}: {len(rows):,}", (shown,))
