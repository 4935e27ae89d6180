"""Labels from the texts of a table: `0`, `1.0`, `True`, `tumor`, or a class that the user named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .columns import labels_like
from .reading import Reading
from .slides import NOT_KNOWN, UNKNOWN
from .source import Part, Problem, Split, whole_labels
from .tree import EXCLUDED, NO_FILE, NO_LABEL, NOT_ASKED, left_out, printable
from .vocabulary import alike, as_number, classes_of, is_unlabeled, label_values, split_name

if TYPE_CHECKING:
    import pandas as pd

NO_SPLITS = "the column of splits is not read, because it does not name train, valid or test"
WITHHELD = -1.0  # as Hugging Face marks labels that are not published
SHOWN = 12  # classes in a message


@dataclass(frozen=True)
class ClassLabels:
    """The labels of the rows of a table.

    `labels` has 0, 1 or None for each row, `left_out` the reason why a row is not read or None, and
    `notes` how the texts were understood.
    """

    labels: Sequence[int | None]
    left_out: Sequence[str | None]
    notes: Sequence[str]


def meaning(texts: Sequence[str]) -> dict[str, int | None]:
    """What distinct texts mean: 0, 1, or None without a label; those not understood are left out.

    −1 is no label, except where 1 is the only other one: then it may be the class of normal patches.
    """
    numbers = {as_number(text) for text in texts} - {None}
    withheld = numbers != {-1.0, 1.0}
    told: dict[str, int | None] = {
        text: None
        for text in texts
        if text.strip() in UNKNOWN
        or text.strip().lower() in NOT_KNOWN
        or (withheld and as_number(text) == WITHHELD)
        or is_nan(text)
        or is_unlabeled(text)
    }
    others = [text for text in texts if text not in told]
    named = {text for text in others if as_number(text) in (None, 0, 1)}
    numbered = {text: known if text in named else None for text, known in classes_of(others).items()}
    if all(known is not None and known.label is not None for known in numbered.values()):
        return told | {text: known.label for text, known in numbered.items() if known}
    return told | label_values(others)


def is_nan(text: str) -> bool:
    number = as_number(text)
    return number is not None and math.isnan(number)


def class_labels(
    texts: Sequence[str], reading: Reading, where: str, *, row_name: str = "line", first: int = 2
) -> ClassLabels:
    """The labels that the texts of a column stand for.

    Parameters
    ----------
    texts
        The cells.
    reading
        The class of tumor, and the classes to read.
    where
        The table, for messages.
    row_name, first
        What a row is called in messages, and the number of the first.

    Raises
    ------
    InputError
        If it is not clear what a text stands for.
    """
    texts = [text.strip() for text in texts]
    distinct = list(dict.fromkeys(texts))
    left_out = {text: reason for text in distinct if (reason := reason_left_out(text, reading))}
    read = [text for text in distinct if text not in left_out]
    told = meaning(read)
    classes = [text for text in read if text not in told or told[text] is not None]
    listed = ", ".join(printable(text)[:40] for text in classes[:SHOWN])
    if reading.positive is not None:
        if reading.positive not in classes:
            raise InputError(
                f"--positive {reading.positive}: {where} has no such label; it has: {listed}."
            )
        told |= {text: int(alike(text) == alike(reading.positive)) for text in classes}
    wrong = next((text for text in read if text not in told), None)
    if wrong is not None:
        row = texts.index(wrong) + first
        raise InputError(
            f"{where}, {row_name} {row}: the label is {wrong[:100]!r}, not 0 or 1; "
            f"correct it, or name the class of tumor with --positive CLASS ({listed})."
        )
    labels = [told.get(text) for text in texts]
    return ClassLabels(labels, [left_out.get(text) for text in texts], notes_on(classes, told))


def check_agreement(table: pd.DataFrame, told_by: str, where: str) -> None:
    """Raise InputError if a column of names of classes says the opposite of the labels in every row.

    Such are numbers in the order of the alphabet, by which cancer is 0 and normal is 1.
    """
    own = meaning(table[told_by].str.strip().unique().tolist())
    for other in labels_like(list(table.columns)):
        theirs = meaning(table[other].str.strip().unique().tolist())
        if other == told_by or any(as_number(text) is not None for text in theirs):
            continue
        pairs = [
            (own.get(one.strip()), theirs.get(two.strip()))
            for one, two in zip(table[told_by], table[other], strict=True)
        ]
        if {(0, 1), (1, 0)} == set(pairs):
            raise InputError(
                f"{where}: {told_by} and {other} say the opposite of each other in every row; name the "
                "column of labels with --label-column."
            )


def reason_left_out(text: str, reading: Reading) -> str | None:
    """Why rows of a class are not read; None if they are."""
    if text in reading.exclude:
        return EXCLUDED
    return NOT_ASKED if reading.classes and text not in reading.classes else None


def notes_on(classes: Sequence[str], told: dict[str, int | None]) -> list[str]:
    """Which classes are tumor, unless their names are plain numbers."""
    if all(as_number(text) is not None and told[text] == as_number(text) for text in classes):
        return []
    tumor = ", ".join(printable(text) for text in classes if told[text] == 1) or "none"
    negative = ", ".join(printable(text) for text in classes if told[text] == 0) or "none"
    return [f"tumor: {tumor}; negative: {negative}"]


def labeled(
    split: Split, found: ClassLabels, reading: Reading, where: str
) -> tuple[Split, list[Problem]]:
    """The split with labels, without the rows that are left out, and records of these.

    Where only some rows have labels, the others are left out: as a fault of the source, unless the user
    asked for it.
    """
    reasons = list(found.left_out)
    if any(label is not None for label in found.labels):
        pairs = zip(reasons, found.labels, strict=True)
        reasons = [reason or (NO_LABEL if label is None else None) for reason, label in pairs]
    kept = [row for row, reason in enumerate(reasons) if reason is None]
    labels = whole_labels([found.labels[row] for row in kept])
    unread = []
    for reason in dict.fromkeys(filter(None, reasons)):
        names = [split.ids[row] for row, one in enumerate(reasons) if one == reason]
        unread.append(not_read(reason, names, where, reading))
    return replace(split.taking(kept), labels=labels), unread


def parts_of(
    split: Split, found: ClassLabels, reading: Reading, where: str, told: Sequence[str] | None
) -> list[Part]:
    """The split with labels as `labeled` gives it, or the splits that its rows name.

    `told` is the split that each row names, or None. Names that are not all known as those of splits
    say nothing, which is noted.
    """
    names = [split_name(text) for text in told or ()]
    if told is None or not all(names):
        one, unread = labeled(split, found, reading, where)
        return [Part(one, unread=unread, notes=[] if told is None else [NO_SPLITS])]
    parts = []
    for name in dict.fromkeys(filter(None, names)):
        rows = [row for row, own in enumerate(names) if own == name]
        labels = ClassLabels(
            [found.labels[row] for row in rows], [found.left_out[row] for row in rows], found.notes
        )
        own, unread = labeled(replace(split.taking(rows), name=name), labels, reading, where)
        parts.append(Part(own, unread=unread))
    return parts


def check_once(path: Path, names: Sequence[str]) -> None:
    """Raise InputError if a split is named by a column of one file and by the name of another."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: split {twice[0]} is named by a column of one file and by another file; give one "
            "of the files."
        )


def not_read(reason: str, names: Sequence[str], where: str, reading: Reading) -> Problem:
    """The record of rows that are not read: as the user asked, or because they are not complete."""
    if reason in (NO_LABEL, NO_FILE) and not reading.labeled_only:
        return left_out(reason, names, where)
    return left_out(reason, names, where, "as you asked", fault=False)
