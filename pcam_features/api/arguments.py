"""Checks of arguments that functions share. The limits of numbers are the command line's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from .. import constants
from ..errors import InputError


@dataclass(frozen=True)
class Limits:
    """The least and the most that a number may be, and whether it is whole."""

    least: float
    most: float
    whole: bool = True

    def sentence(self) -> str:
        """What to give, for a message."""
        return f"a {'whole ' if self.whole else ''}number from {self.least:,g} to {plain(self.most)}"


def plain(number: float) -> str:
    """A number with all of its digits."""
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


LIMITS = {
    "batch": Limits(2, constants.MOST_BATCH),
    "copies": Limits(0, constants.LARGEST_ROWS - 1),
    "epochs": Limits(1, constants.MOST_EPOCHS),
    "fold": Limits(0, constants.MOST_FOLDS - 1),
    "folds": Limits(constants.LEAST_FOLDS, constants.MOST_FOLDS),
    "margin": Limits(constants.LEAST_MARGIN, constants.MOST_MARGIN, whole=False),
    "max_memory": Limits(constants.LEAST_MEMORY, constants.MOST_MEMORY, whole=False),
    "n_splits": Limits(constants.LEAST_FOLDS, constants.MOST_FOLDS),
    "most": Limits(1, constants.LARGEST_ROWS),
    "patience": Limits(1, constants.MOST_EPOCHS),
    "random_state": Limits(0, constants.MOST_SEED),
    "rate": Limits(constants.LEAST_RATE, constants.MOST_RATE, whole=False),
    "resamples": Limits(constants.LEAST_RESAMPLES, constants.MOST_RESAMPLES),
    "rounds": Limits(1, constants.MOST_ROUNDS),
    "seed": Limits(0, constants.MOST_SEED),
    "specificity": Limits(0, 1, whole=False),
    "stride": Limits(constants.LEAST_STRIDE, constants.MOST_STRIDE),
    "test": Limits(0, constants.LARGEST_TEST, whole=False),
    "threads": Limits(0, constants.MOST_THREADS),
    "threshold": Limits(constants.LEAST_THRESHOLD, constants.MOST_THRESHOLD, whole=False),
    "trials": Limits(0, constants.MOST_TRIALS),
}
OPTIONAL = ("copies", "folds", "margin", "max_memory", "most", "rate")  # which may be None


def check_numbers(**given: Any) -> None:
    """Raises InputError for an argument that is not a number within its `LIMITS`."""
    for name, value in given.items():
        limits = LIMITS[name]
        if value is None and name in OPTIONAL:
            continue
        kind = Integral if limits.whole else Real
        if not is_number(value, kind) or not limits.least <= value <= limits.most:
            raise InputError(f"{name}= is {told(value)}; give {limits.sentence()}.")


def check_flags(**given: Any) -> None:
    """Raises InputError for an argument that is neither True nor False."""
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise InputError(f"{name}= is {told(value)}; give True or False.")


def is_number(value: Any, kind: type = Real) -> bool:
    """Whether this is a number, of Python or NumPy, and not True or False."""
    return isinstance(value, kind) and not isinstance(value, bool)


def told(value: Any) -> str:
    """A wrong argument in a message: a number or a short text as it is, or else its type."""
    if is_number(value):
        return f"{value}"
    if value is None or isinstance(value, str | bool):
        return repr(value) if len(str(value)) < 80 else "a long text"
    return f"of type {type(value).__name__}"


def check_scale(mpp: Any) -> None:
    """Raises InputError if this is neither a number nor None; its range is checked where it is used."""
    if mpp is not None and not is_number(mpp):
        raise InputError(f"mpp= is {told(mpp)}; give micrometers per pixel, a number.")


def check_path(name: str, value: Any, what: str = "a path") -> None:
    """Raises InputError if this is no path; `what` says what the argument takes."""
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name}= is {told(value)}; give {what}.")
    try:
        usable = bool(str(value)) and "\0" not in str(value)
        Path(value).exists()
    except (OSError, ValueError):
        usable = False
    if not usable:
        raise InputError(f"{name}= is {told(str(value))}, which cannot be a path; give {what}.")


def check_text(**given: Any) -> None:
    """Raises InputError for an argument that is neither a text nor None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name}= is {told(value)}; give a text.")


def check_named(**given: Any) -> None:
    """Raises InputError for an argument that is no text."""
    for name, value in given.items():
        if not isinstance(value, str):
            raise InputError(f"{name}= is {told(value)}; give a name.")


def check_texts(**given: Any) -> None:
    """Raises InputError for an argument that is neither a text, nor a list of texts, nor None."""
    for name, value in given.items():
        listed = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        if value is not None and not isinstance(value, str) and not listed:
            raise InputError(f"{name}= is {told(value)}; give names, comma-separated or in a list.")


def check_families(families: Any) -> None:
    """Raises InputError if this is neither a text, nor a list of texts or families, nor None."""
    if families is None or isinstance(families, str):
        return
    listed = isinstance(families, Iterable) and not isinstance(families, bytes | Mapping)
    odd = [one for one in families if not is_family(one)] if listed else [families]
    if odd:
        raise InputError(
            f"families= {'holds an item' if listed else 'is'} {told(odd[0])}; give names, "
            "comma-separated or in a list."
        )


def is_family(one: Any) -> bool:
    """Whether this is the name of a family, or a family."""
    return isinstance(one, str) or (hasattr(one, "name") and hasattr(one, "columns"))


def check_progress(progress: Any) -> None:
    """Raises InputError if this is neither "bar", nor None, nor a function."""
    if progress is not None and progress != "bar" and not callable(progress):
        raise InputError(f"progress= is {told(progress)}; give 'bar', None or a function.")


def check_log(log: Any) -> None:
    """Raises InputError if this is no function."""
    if not callable(log):
        raise InputError(f"log= is {told(log)}; give a function, such as print.")


def check_groupings(by: Any) -> None:
    """Raises InputError if this is neither a mapping nor a list of texts."""
    if isinstance(by, Mapping):
        return
    if not isinstance(by, list | tuple) or not all(isinstance(one, str) for one in by):
        raise InputError(
            'by= takes a mapping from a grouping\'s name to groups by id, or a list of "FILE:COLUMN".'
        )


def check_pairs(pairs: Any) -> None:
    """Raises InputError if this is no list of pairs of names."""
    if not isinstance(pairs, list | tuple) or not all(is_pair(one) for one in pairs):
        raise InputError('pairs= takes a list of pairs of names, ("A", "B") or "A:B".')


def is_pair(one: Any) -> bool:
    """Whether this is a pair of names, or a text that may name one."""
    if isinstance(one, str):
        return ":" in one
    return isinstance(one, list | tuple) and len(one) == 2 and all(isinstance(k, str) for k in one)
