"""JSON as anybody may have written it, checked before a value of it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

LARGEST = 1 << 24  # bytes; a store of 10,000 columns takes a thirtieth
DEEPEST = 32  # objects and lists inside each other
LARGEST_WHOLE = 1 << 63
LONGEST_WHOLE = 20  # digits and a sign


def parse(content: bytes | str) -> Any:
    """The value of a JSON text.

    Parameters
    ----------
    content
        The text, in UTF-8 if it is bytes.

    Returns
    -------
    Any
        Objects, lists, texts, numbers, true, false and null. Every number is finite, every text can
        be written in UTF-8, no object has a name twice, and nothing is nested deeper than `DEEPEST`.

    Raises
    ------
    ValueError
        With the reason, for anything else.

    Examples
    --------
    >>> parse('{"rows": 3}')
    {'rows': 3}
    >>> parse('{"rows": 1e999}')
    Traceback (most recent call last):
    ValueError: the number 1e999 is out of range
    """
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(
            text,
            parse_constant=_no_number,
            parse_float=_number,
            parse_int=_whole,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    _check(value)
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _number(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"the number {digits[:LONGEST_WHOLE]} is out of range")
    return number


def _whole(digits: str) -> int:
    # Python takes minutes for a number of millions of digits, so their count is looked at first.
    if len(digits) > LONGEST_WHOLE or abs(int(digits)) > LARGEST_WHOLE:
        raise ValueError(f"the number {digits[:LONGEST_WHOLE]} is out of range")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the entry {twice[:100]!a} is there twice")
    return content


def _check(value: Any) -> None:
    """Raise ValueError for what is nested too deeply, and for text that is no text."""
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _inside(outer)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        for one in level:
            if isinstance(one, str) and not one.isascii():
                _check_text(one)


def _inside(value: Any) -> Iterator[Any]:
    """The names and values of an object, or the values of a list."""
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the text {text[:100]!a} is not Unicode") from None
