"""Ids of patches that two tables write in other ways: with folders, file endings, spaces or zeros."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from .vocabulary import split_name

ENDINGS = re.compile(
    r"\.(tiff?|png|jpe?g|jfif|bmp|webp|gif|jp2|j2k|ppm|pgm|qoi|npy|npz|h5|svs)$", re.IGNORECASE
)
FOLDERS = re.compile(r".*[/\\]")
LONGEST_NUMBER = 40  # digits
SHOWN = 60  # characters of an id in a message


def stem(patch: str) -> str:
    r"""An id without folders, the ending of an image, and spaces around it.

    Examples
    --------
    >>> [stem(patch) for patch in ("train/p0.tif", r"C:\data\p0.TIF", " p0", "slide1.5_tile")]
    ['p0', 'p0', 'p0', 'slide1.5_tile']
    """
    return ENDINGS.sub("", FOLDERS.sub("", patch.strip()))


def number(patch: str) -> str | None:
    """The number that an id is, without zeros at its start; None if it is none.

    Examples
    --------
    >>> [number(patch) for patch in ("0007", "test/7.png", "7.0", "p7")]
    ['7', '7', '7', None]
    """
    text = stem(patch).removesuffix(".0")
    return str(int(text)) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def matched(theirs: Sequence[str], wanted: Sequence[str]) -> dict[str, str] | None:
    """The ids that a table has in place of those wanted, by their stems or as numbers.

    Spreadsheets and pandas take zeros off ids that are numbers, so where all ids are numbers they are
    also matched without these.

    Parameters
    ----------
    theirs
        The ids of the table, each once.
    wanted
        The ids to find, each once.

    Returns
    -------
    dict or None
        The table's id for each id wanted that it has. None if it has none, if two ids of either are
        alike, so that it is not clear which is meant, or if they are of two splits.

    Examples
    --------
    >>> matched(["train/p0.tif", "train/p1.tif"], ["p1", "p2"])
    {'p1': 'train/p1.tif'}
    >>> matched(["7", "10"], ["0007", "0010"])
    {'0007': '7', '0010': '10'}
    >>> matched(["train/p0.tif", "test/p0.tif"], ["p0"]) is None
    True
    >>> matched(["valid/p0.tif"], ["test/p0.tif"]) is None
    True
    """
    pairs = max((matched_by(key, theirs, wanted) for key in (stem, number)), key=len)
    of_two = any(map(of_two_splits, pairs.keys(), pairs.values()))
    return None if of_two else pairs or None


def of_two_splits(patch: str, other: str) -> bool:
    r"""Whether the folders of two ids name different splits.

    Examples
    --------
    >>> of_two_splits("test/p0", r"D:\pcam\valid\p0.tif"), of_two_splits("test/p0", "png/p0.png")
    (True, False)
    """
    named = [{split_name(name) for name in re.split(r"[/\\]", one)[:-1]} for one in (patch, other)]
    first, second = (splits - {None} for splits in named)
    return bool(first) and bool(second) and first.isdisjoint(second)


def matched_by(
    key: Callable[[str], str | None], theirs: Sequence[str], wanted: Sequence[str]
) -> dict[str, str]:
    """The ids of a table for those wanted that have the same key; empty if keys are not clear."""
    own = {key(patch): patch for patch in theirs}
    by_key = {key(patch): patch for patch in wanted}
    if None in own or None in by_key or len(own) < len(theirs) or len(by_key) < len(wanted):
        return {}
    return {patch: own[name] for name, patch in by_key.items() if name in own}


def how_matched(what: str, pairs: dict[str, str]) -> str:
    """A sentence that says how ids were matched, with an example; `what` names the table."""
    patch, other = next(pair for pair in pairs.items() if pair[0] != pair[1])
    how = (
        "without folders, file endings and spaces"
        if stem(patch) == stem(other)
        else "as numbers, without zeros at their start"
    )
    return f"The ids of {what} are matched {how}: its {other[:SHOWN]!r} is {patch[:SHOWN]!r}."


def examples(ids: Iterable[str]) -> str:
    """The first ids, for a message.

    Examples
    --------
    >>> examples(["a", "b", "c", "d"])
    "'a', 'b', 'c'"
    """
    return ", ".join(repr(patch[:SHOWN]) for patch, _ in zip(ids, range(3), strict=False))
