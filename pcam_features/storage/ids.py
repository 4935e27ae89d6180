"""Ids of patches that two tables write in other ways: with folders, file endings or spaces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ENDINGS = re.compile(
    r"\.(tiff?|png|jpe?g|jfif|bmp|webp|gif|jp2|j2k|ppm|pgm|qoi|npy|npz|h5|svs)$", re.IGNORECASE
)
FOLDERS = re.compile(r".*[/\\]")
SHOWN = 60  # characters of an id in a message


def stem(patch: str) -> str:
    r"""An id without folders, the ending of an image, and spaces around it.

    Examples
    --------
    >>> [stem(patch) for patch in ("train/p0.tif", r"C:\data\p0.TIF", " p0", "slide1.5_tile")]
    ['p0', 'p0', 'p0', 'slide1.5_tile']
    """
    return ENDINGS.sub("", FOLDERS.sub("", patch.strip()))


def matched(theirs: Sequence[str], wanted: Sequence[str]) -> dict[str, str] | None:
    """The ids that a table has in place of those wanted, by their stems.

    Parameters
    ----------
    theirs
        The ids of the table, each once.
    wanted
        The ids to find, each once.

    Returns
    -------
    dict or None
        The table's id for each id wanted that it has. None if it has none, or if two ids of either have
        one stem, so that it is not clear which is meant.

    Examples
    --------
    >>> matched(["train/p0.tif", "train/p1.tif"], ["p1", "p2"])
    {'p1': 'train/p1.tif'}
    >>> matched(["train/p0.tif", "test/p0.tif"], ["p0"]) is None
    True
    """
    by_stem = {stem(patch): patch for patch in theirs}
    wanted_by_stem = {stem(patch): patch for patch in wanted}
    if len(by_stem) < len(theirs) or len(wanted_by_stem) < len(wanted):
        return None
    return {patch: by_stem[name] for name, patch in wanted_by_stem.items() if name in by_stem} or None


def how_matched(what: str, pairs: dict[str, str]) -> str:
    """A sentence that says how ids were matched, with an example; `what` names the table."""
    patch, other = next(pair for pair in pairs.items() if pair[0] != pair[1])
    return (
        f"The ids of {what} are matched without folders, file endings and spaces: its "
        f"{other[:SHOWN]!r} is {patch[:SHOWN]!r}."
    )


def examples(ids: Iterable[str]) -> str:
    """The first ids, for a message.

    Examples
    --------
    >>> examples(["a", "b", "c", "d"])
    "'a', 'b', 'c'"
    """
    return ", ".join(repr(patch[:SHOWN]) for patch, _ in zip(ids, range(3), strict=False))
