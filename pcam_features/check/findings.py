"""The findings of a check, in sentences: first faults, then oddities, then notes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from ..sources.source import EXAMPLES, Source
from ..words import counted, form
from .drift import Drift, marked
from .duplicates import MOST_PAIRS, Copies
from .look import Look
from .quality import black, blank, out_of_focus, pen_marked

SHOWN = 3  # examples in a sentence


class Grade(StrEnum):
    """How serious a finding is."""

    fault = "fault"  # must be corrected before the data are used
    odd = "odd"  # should be inspected
    note = "note"


@dataclass(frozen=True)
class Finding:
    """A finding.

    `what` is its kind, `count` the number of patches, slides or groups concerned, and `examples` are
    some of these. `says` is the finding in a sentence. `split` is the split concerned, empty for
    several.
    """

    grade: Grade
    what: str
    count: int
    examples: Sequence[str]
    says: str
    split: str = ""


@dataclass(frozen=True)
class CheckedSplit:
    """A measured split, its name, and whether it belongs to the source that is checked."""

    name: str
    look: Look
    own: bool


@dataclass(frozen=True)
class Rows:
    """The rows of all parts, one part after the other: the part of each, its row there, its label (-1:
    none), and whether it belongs to the source checked."""

    part: np.ndarray
    place: np.ndarray
    label: np.ndarray
    own: np.ndarray


def rows_of(parts: Sequence[CheckedSplit]) -> Rows:
    """The rows of all parts."""
    sizes = [len(part.look.split) for part in parts]
    labels = [
        np.full(size, -1, np.int8) if part.look.split.labels is None else part.look.split.labels
        for part, size in zip(parts, sizes, strict=True)
    ]
    return Rows(
        np.repeat(np.arange(len(parts)), sizes),
        np.concatenate([np.arange(size) for size in sizes]),
        np.concatenate(labels),
        np.repeat([part.own for part in parts], sizes),
    )


def ids_of(part: CheckedSplit, rows: np.ndarray | Sequence[int]) -> list[str]:
    """The ids of the first few rows given, of a part."""
    return [part.look.split.ids[row] for row in rows[:EXAMPLES]]


def named(parts: Sequence[CheckedSplit], rows: Rows, chosen: np.ndarray) -> list[str]:
    """The names of some of the rows `chosen`, as part and id."""
    names = []
    for k in chosen[:EXAMPLES]:
        part = parts[rows.part[k]]
        names.append(f"{part.name}/{part.look.split.ids[rows.place[k]]}")
    return names


def some(examples: Sequence[str]) -> str:
    """A few examples."""
    return ", ".join(examples[:SHOWN])


def in_source(source: Source) -> Iterator[Finding]:
    """Problems that the source itself reports, what of it is not read, and how it was understood."""
    for problem in (*source.problems, *source.unread):
        grade = Grade.fault if problem.serious else Grade.odd
        yield Finding(grade, problem.kind, problem.count, problem.examples, problem.says)
    for note in source.notes:
        yield Finding(Grade.note, "layout", 0, [], f"{note}.")


def unreadable(parts: Sequence[CheckedSplit]) -> Iterator[Finding]:
    """Patches that cannot be read."""
    for part in parts:
        rows = sorted(part.look.unreadable)
        if rows:
            reason, ids = part.look.unreadable[rows[0]], ids_of(part, rows)
            which = f" ({some(ids)}{', …' if len(ids) > SHOWN else ''})" if len(ids) > 1 else ""
            says = f"{counted(len(rows), 'patch')} of {part.name} cannot be read{which}; the first: "
            says += reason
            grade = Grade.fault if part.own else Grade.odd
            yield Finding(grade, "unreadable", len(rows), ids, says, part.name)


def not_their_sum(look: Look) -> np.ndarray:
    """The rows whose id is a SHA-1 sum, but not of their pixels; none unless most ids are such sums."""
    sums = [re.fullmatch("[0-9a-f]{40}", i) is not None for i in look.split.ids]
    if 2 * sum(sums) <= len(sums):
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(look.there & np.array(sums))
    wrong = [look.sha1[row].tobytes() != bytes.fromhex(look.split.ids[row]) for row in rows]
    return rows[wrong]


def damaged(parts: Sequence[CheckedSplit]) -> Iterator[Finding]:
    """Patches whose pixels do not match the checksum in their id."""
    for part in parts:
        rows = not_their_sum(part.look) if part.own else np.zeros(0, np.int64)
        if len(rows):
            names = ids_of(part, rows)
            says = (
                f"{counted(len(rows), 'patch')} of {part.name} {form(len(rows), 'does', 'do')} not "
                "match "
                f"the id, which is the SHA-1 of the pixels: {some(names)}; damaged or altered "
                "files have "
                "to be downloaded again."
            )
            yield Finding(Grade.fault, "wrong checksum", len(rows), names, says, part.name)


def groups_by(group: np.ndarray, wanted: Callable[[np.ndarray], bool]) -> list[np.ndarray]:
    """The groups, each as its rows, for which `wanted` is true."""
    order = np.argsort(group, kind="stable")
    order = order[group[order] >= 0]
    if not len(order):
        return []
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return [rows for rows in np.split(order, starts[1:]) if wanted(rows)]


def conflicts(group: np.ndarray, rows: Rows) -> list[np.ndarray]:
    """Groups of copies with conflicting labels, each as rows; not those in the other source alone."""
    known = rows.own & (rows.label >= 0)

    def both_ways(group: np.ndarray) -> bool:
        return {0, 1} <= set(rows.label[group].tolist()) and bool(known[group].any())

    return groups_by(group, both_ways)


def conflicting(parts: Sequence[CheckedSplit], rows: Rows, copies: Copies) -> Iterator[Finding]:
    """Copies with conflicting labels."""
    exact = conflicts(copies.exact, rows)
    reported = {int(row) for group in exact for row in group}
    near = [group for group in conflicts(copies.near, rows) if not reported & set(group.tolist())]
    for what, groups in (("the same pixels", exact), ("nearly the same pixels", near)):
        if groups:
            names = named(parts, rows, np.concatenate(groups))
            says = (
                f"{counted(len(groups), 'group')} of patches with {what} "
                f"{form(len(groups), 'has', 'have')} conflicting labels: "
                f"{some(names)}; at least one label in each group is wrong."
            )
            yield Finding(Grade.fault, f"labels of {what}", len(groups), names, says)


def overlap(parts: Sequence[CheckedSplit], rows: Rows, group: np.ndarray, a: int, b: int) -> np.ndarray:
    """The rows of part b that have a copy in part a."""
    held = np.unique(group[(rows.part == a) & (group >= 0)])
    return np.flatnonzero((rows.part == b) & np.isin(group, held))


def overlapping(parts: Sequence[CheckedSplit], rows: Rows, copies: Copies) -> Iterator[Finding]:
    """Patches of one split that are in another."""
    for a, b in combinations(range(len(parts)), 2):
        if not parts[a].own:
            continue
        near = overlap(parts, rows, copies.near, a, b)
        if len(near):
            exact = len(overlap(parts, rows, copies.exact, a, b))
            back = len(overlap(parts, rows, copies.near, b, a))
            names = ids_of(parts[b], rows.place[near])
            says = (
                f"{len(near):,} of {counted(len(parts[b].look.split), 'patch')} of {parts[b].name} "
                f"{form(len(near), 'is a duplicate', 'are duplicates')} of "
                f"{counted(back, 'patch')} of {parts[a].name}, {exact:,} of them with the same "
                f"pixels: {some(names)}; do not train on one split and test on the other."
            )
            yield Finding(Grade.fault, "overlap", len(near), names, says, parts[b].name)


def shared_slides(parts: Sequence[CheckedSplit]) -> Iterator[Finding]:
    """Slides that occur in two splits."""
    known = [{slide for slide in part.look.split.slides if slide} for part in parts]
    for a, b in combinations(range(len(parts)), 2):
        both = sorted(known[a] & known[b])
        if parts[a].own and both:
            says = (
                f"{counted(len(both), 'slide')} {form(len(both), 'is', 'are')} both in "
                f"{parts[a].name} and "
                f"in {parts[b].name}: "
                f"{some(both)}; scores on one split after training on the other do not apply to new "
                "slides."
            )
            yield Finding(Grade.fault, "slides in two splits", len(both), both[:EXAMPLES], says)


def further(exact: np.ndarray, group: np.ndarray, own: np.ndarray, *, near: bool) -> np.ndarray:
    """The rows of `own` that repeat an earlier row of their group. With `near`, rows with the same
    pixels count once."""
    held = np.flatnonzero(own & (group >= 0))
    if near:  # one row of each set with the same pixels
        pixels = np.where(exact[held] >= 0, exact[held], -1 - held)
        held = held[np.sort(np.unique(pixels, return_index=True)[1])]
    return np.delete(held, np.unique(group[held], return_index=True)[1])


def repeated(parts: Sequence[CheckedSplit], rows: Rows, copies: Copies) -> Iterator[Finding]:
    """Copies within a split."""
    for k, part in enumerate(parts):
        own = (rows.part == k) & part.own
        for what, group in (("the same pixels", copies.exact), ("nearly the same pixels", copies.near)):
            extra = further(copies.exact, group, own, near=group is copies.near)
            if len(extra):
                names = ids_of(part, rows.place[extra])
                says = (
                    f"{counted(len(extra), 'patch')} of {part.name} {form(len(extra), 'has', 'have')} "
                    f"{what} as another patch: "
                    f"{some(names)}; keep copies in one fold."
                )
                yield Finding(Grade.odd, f"copies with {what}", len(extra), names, says, part.name)
    if copies.too_many:
        says = (
            f"near-duplicates were not searched for, because more than {MOST_PAIRS:,} pairs look alike."
        )
        yield Finding(Grade.odd, "too many alike", 0, [], says)


@dataclass(frozen=True)
class Defect:
    """A defect of image quality: the function that finds it, and its words for one patch and more."""

    shown_by: Callable[[Look], np.ndarray]
    says_of_one: str
    says_of_many: str


QUALITY = {
    "blank": Defect(blank, "is blank", "are blank"),
    "black": Defect(black, "is entirely or mostly black", "are entirely or mostly black"),
    "out of focus": Defect(out_of_focus, "seems out of focus", "seem out of focus"),
    "pen-marked": Defect(pen_marked, "has blue or green ink on it", "have blue or green ink on them"),
}


def poor(parts: Sequence[CheckedSplit]) -> Iterator[Finding]:
    """Patches of poor image quality."""
    for what, defect in QUALITY.items():
        for part in parts:
            rows = np.flatnonzero(defect.shown_by(part.look)) if part.own else np.zeros(0, np.int64)
            if len(rows):
                names = ids_of(part, rows)
                labels = part.look.split.labels
                tumor = ""
                if labels is not None and labels[rows].any():
                    tumor = f", {int(labels[rows].sum()):,} of them labeled tumor"
                found = form(len(rows), defect.says_of_one, defect.says_of_many)
                many = counted(len(rows), "patch")
                says = f"{many} of {part.name} {found}{tumor}: {some(names)}."
                yield Finding(Grade.odd, what, len(rows), names, says, part.name)


def drifting(drifts: Sequence[Drift]) -> Iterator[Finding]:
    """Splits whose distribution differs from that of the first."""
    for drift in drifts:
        far = marked(drift)
        if far:
            distances = ", ".join(f"{name} (KS {drift.apart[name]:.2f})" for name in far)
            says = (
                f"{drift.other} differs from {drift.base} in {distances}; scores there may differ too."
            )
            yield Finding(Grade.note, "drift", len(far), far, says, drift.other)


def slides_known(parts: Sequence[CheckedSplit]) -> Iterator[Finding]:
    """Splits whose slides are unknown."""
    for part in parts:
        unknown = sum(slide is None for slide in part.look.split.slides)
        if unknown and part.own:
            every = unknown == len(part.look.split)
            which = "all patches" if every else counted(unknown, "patch")
            says = (
                f"the slides of {which} of {part.name} are unknown; cross-validation across slides "
                "needs them, so give them with --slides."
            )
            yield Finding(Grade.note, "slides unknown", unknown, [], says, part.name)


def find(
    source: Source, parts: Sequence[CheckedSplit], copies: Copies, drifts: Sequence[Drift]
) -> list[Finding]:
    """All findings, the most serious first."""
    rows = rows_of(parts)
    findings = [
        *in_source(source),
        *unreadable(parts),
        *damaged(parts),
        *conflicting(parts, rows, copies),
        *overlapping(parts, rows, copies),
        *shared_slides(parts),
        *repeated(parts, rows, copies),
        *poor(parts),
        *drifting(drifts),
        *slides_known(parts),
    ]
    return sorted(findings, key=lambda finding: list(Grade).index(finding.grade))
