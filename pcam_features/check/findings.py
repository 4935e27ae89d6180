"""What a check has found, in sentences: faults first, then what is odd, then what is worth knowing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from ..sources.source import EXAMPLES, Source
from .drift import Drift, marked
from .duplicates import MOST_PAIRS, Copies
from .look import Look
from .quality import black, blank, out_of_focus, pen_marked


class Grade(StrEnum):
    fault = "fault"  # to be mended before the data are used
    odd = "odd"  # to be looked at
    note = "note"


@dataclass(frozen=True)
class Finding:
    """What was found, in how many patches (or slides, or groups), some of them, a sentence, and in
    which split, if it is about one."""

    grade: Grade
    what: str
    count: int
    examples: Sequence[str]
    says: str
    split: str = ""


@dataclass(frozen=True)
class Part:
    """A split that was looked at, what it is called, and whether it is of the source checked."""

    name: str
    look: Look
    own: bool


@dataclass(frozen=True)
class Rows:
    """The rows of all parts, one after the other: of which part each is, its place there, its label (-1
    if it has none), and whether it is of the source that is checked."""

    part: np.ndarray
    place: np.ndarray
    label: np.ndarray
    own: np.ndarray


def rows_of(parts: Sequence[Part]) -> Rows:
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


def ids_of(part: Part, rows: np.ndarray | Sequence[int]) -> list[str]:
    """The ids of some rows of a part."""
    return [part.look.split.ids[row] for row in rows[:EXAMPLES]]


def named(parts: Sequence[Part], rows: Rows, chosen: np.ndarray) -> list[str]:
    """Some of the rows `chosen` of all parts, by part and id."""
    return [f"{parts[rows.part[k]].name}/{parts[rows.part[k]].look.split.ids[rows.place[k]]}"
            for k in chosen[:EXAMPLES]]  # fmt: skip


def some(examples: Sequence[str]) -> str:
    return ", ".join(examples[:3])


def in_source(source: Source) -> Iterator[Finding]:
    for one in source.problems:
        yield Finding(Grade.fault, one.kind, one.count, one.examples, one.says)


def unreadable(parts: Sequence[Part]) -> Iterator[Finding]:
    for part in parts:
        found = sorted(part.look.unreadable)
        if found:
            names = ids_of(part, found)
            says = f"{len(found):,} patch(es) of {part.name} cannot be read, the first: "
            says += part.look.unreadable[found[0]]
            grade = Grade.fault if part.own else Grade.odd
            yield Finding(grade, "unreadable", len(found), names, says, part.name)


def not_their_sum(look: Look) -> np.ndarray:
    """The rows whose id is a SHA-1 but not that of their pixels; none unless most ids are SHA-1s."""
    sums = [re.fullmatch("[0-9a-f]{40}", i) is not None for i in look.split.ids]
    if 2 * sum(sums) <= len(sums):
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(look.there & np.array(sums))
    wrong = [look.sha1[row].tobytes() != bytes.fromhex(look.split.ids[row]) for row in rows]
    return rows[wrong]


def damaged(parts: Sequence[Part]) -> Iterator[Finding]:
    for part in (one for one in parts if one.own):
        found = not_their_sum(part.look)
        if len(found):
            names = ids_of(part, found)
            says = (
                f"{len(found):,} patch(es) of {part.name} are not what their id says, the SHA-1 of a "
                f"patch's pixels: {some(names)}; they are damaged or changed, fetch them anew."
            )
            yield Finding(Grade.fault, "wrong checksum", len(found), names, says, part.name)


def groups_by(group: np.ndarray, tell: Callable[[np.ndarray], bool]) -> list[np.ndarray]:
    """The groups, as rows, of which `tell` says so."""
    order = np.argsort(group, kind="stable")
    order = order[group[order] >= 0]
    if not len(order):
        return []
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return [one for one in np.split(order, starts[1:]) if tell(one)]


def conflicts(group: np.ndarray, rows: Rows) -> list[np.ndarray]:
    """Groups of copies, as rows, that are labeled both ways; not those of the other source alone."""
    known = rows.own & (rows.label >= 0)

    def both_ways(one: np.ndarray) -> bool:
        return {0, 1} <= set(rows.label[one].tolist()) and bool(known[one].any())

    return groups_by(group, both_ways)


def conflicting(parts: Sequence[Part], rows: Rows, copies: Copies) -> Iterator[Finding]:
    exact = conflicts(copies.exact, rows)
    told = {int(row) for one in exact for row in one}
    near = [one for one in conflicts(copies.near, rows) if not told & set(one.tolist())]
    for what, found in (("the same pixels", exact), ("nearly the same pixels", near)):
        if found:
            names = named(parts, rows, np.concatenate(found))
            says = (
                f"{len(found):,} group(s) of patches with {what} are labeled both ways: "
                f"{some(names)}; at least one label of each is wrong."
            )
            yield Finding(Grade.fault, f"labels of {what}", len(found), names, says)


def overlap(parts: Sequence[Part], rows: Rows, group: np.ndarray, a: int, b: int) -> np.ndarray:
    """The rows of part b that have a copy in part a."""
    held = np.unique(group[(rows.part == a) & (group >= 0)])
    return np.flatnonzero((rows.part == b) & np.isin(group, held))


def overlapping(parts: Sequence[Part], rows: Rows, copies: Copies) -> Iterator[Finding]:
    for a, b in combinations(range(len(parts)), 2):
        if not parts[a].own:
            continue
        near = overlap(parts, rows, copies.near, a, b)
        if len(near):
            exact = len(overlap(parts, rows, copies.exact, a, b))
            back = len(overlap(parts, rows, copies.near, b, a))
            names = ids_of(parts[b], rows.place[near])
            says = (
                f"{len(near):,} of {len(parts[b].look.split):,} patches of {parts[b].name} are also in "
                f"{parts[a].name}, {exact:,} with the same pixels, where they are {back:,}: "
                f"{some(names)}; do not train on one and test on the other."
            )
            yield Finding(Grade.fault, "overlap", len(near), names, says, parts[b].name)


def shared_slides(parts: Sequence[Part]) -> Iterator[Finding]:
    known = [{slide for slide in part.look.split.slides if slide} for part in parts]
    for a, b in combinations(range(len(parts)), 2):
        both = sorted(known[a] & known[b])
        if parts[a].own and both:
            says = (
                f"{len(both):,} slide(s) are in {parts[a].name} and in {parts[b].name}: {some(both)}; "
                "what is scored on one after training on the other is not of new slides."
            )
            yield Finding(Grade.fault, "slides in two splits", len(both), both[:EXAMPLES], says)


def further(exact: np.ndarray, group: np.ndarray, own: np.ndarray, *, near: bool) -> np.ndarray:
    """The rows of `own` that repeat an earlier one of their group: pictures that are not the same
    pixels as another of them, if `near`."""
    held = np.flatnonzero(own & (group >= 0))
    if near:  # one of each that are the same
        pixels = np.where(exact[held] >= 0, exact[held], -1 - held)
        held = held[np.sort(np.unique(pixels, return_index=True)[1])]
    return np.delete(held, np.unique(group[held], return_index=True)[1])


def repeated(parts: Sequence[Part], rows: Rows, copies: Copies) -> Iterator[Finding]:
    for k, part in enumerate(parts):
        own = (rows.part == k) & part.own
        for what, group in (("the same pixels", copies.exact), ("nearly the same pixels", copies.near)):
            extra = further(copies.exact, group, own, near=group is copies.near)
            if len(extra):
                names = ids_of(part, rows.place[extra])
                says = (
                    f"{len(extra):,} patch(es) of {part.name} have {what} as another: {some(names)}; "
                    "keep copies in one fold."
                )
                yield Finding(Grade.odd, f"copies with {what}", len(extra), names, says, part.name)
    if copies.too_many:
        says = f"more than {MOST_PAIRS:,} pairs look alike, so near-duplicates were not looked for."
        yield Finding(Grade.odd, "too many alike", 0, [], says)


QUALITY = {
    "blank": (blank, "are blank"),
    "black": (black, "are black, or for the greater part"),
    "out of focus": (out_of_focus, "seem out of focus"),
    "pen-marked": (pen_marked, "have blue or green ink on them"),
}


def poor(parts: Sequence[Part]) -> Iterator[Finding]:
    for what, (tell, says) in QUALITY.items():
        for part in (one for one in parts if one.own):
            found = np.flatnonzero(tell(part.look))
            if len(found):
                names = ids_of(part, found)
                labels = part.look.split.labels
                tumor = ""
                if labels is not None and labels[found].any():
                    tumor = f", {int(labels[found].sum()):,} of them labeled tumor"
                sentence = f"{len(found):,} patch(es) of {part.name} {says}{tumor}: {some(names)}."
                yield Finding(Grade.odd, what, len(found), names, sentence, part.name)


def drifting(drifts: Sequence[Drift]) -> Iterator[Finding]:
    for one in drifts:
        far = marked(one)
        if far:
            how = ", ".join(f"{name} (KS {one.apart[name]:.2f})" for name in far)
            says = f"{one.other} does not look like {one.base}: {how}; expect other scores there."
            yield Finding(Grade.note, "drift", len(far), far, says, one.other)


def slides_known(parts: Sequence[Part]) -> Iterator[Finding]:
    for part in parts:
        unknown = sum(slide is None for slide in part.look.split.slides)
        if unknown and part.own:
            which = (
                "no slide" if unknown == len(part.look.split) else f"no slide of {unknown:,} patches"
            )
            says = (
                f"{which} is known in {part.name}: give --slides if you have them, which scores across "
                "slides need."
            )
            yield Finding(Grade.note, "slides unknown", unknown, [], says, part.name)


def find(
    source: Source, parts: Sequence[Part], copies: Copies, drifts: Sequence[Drift]
) -> list[Finding]:
    """All findings, the worst first."""
    rows = rows_of(parts)
    found = [
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
    return sorted(found, key=lambda one: list(Grade).index(one.grade))
