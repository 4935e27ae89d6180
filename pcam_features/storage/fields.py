"""Reading JSON objects field by field. Each value is checked once, when the file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..words import is_one_line, quoted

LARGEST_WHOLE = 1 << 53  # other readers of JSON round larger numbers
LARGEST_NUMBER = 1e100  # its square is finite
LONGEST_TEXT = 4096  # characters, as many as a path may have
LONGEST_NAME = 300  # characters of an entry's name


@dataclass(frozen=True)
class Fields:
    """A JSON object whose values are read by kind.

    Every method raises ValueError, naming the field, if the value is missing or of another kind. Texts
    and the names of entries are one line each and steer no terminal.

    Parameters
    ----------
    content
        The parsed object.
    name
        Its place in the file, for error messages; empty for the whole file.

    Raises
    ------
    ValueError
        If it is not an object, or an entry has no fit name.
    """

    content: Any
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise ValueError(f"{self.name or 'the file'} is not an object")
        for key in self.content:
            if not is_text(key, LONGEST_NAME):
                raise ValueError(f"{self.name or 'the file'} has an entry {quoted(str(key))}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key

    def _value(self, key: str) -> Any:
        if key not in self.content:
            raise ValueError(f"{self._path(key)} is missing")
        return self.content[key]

    def _of(self, key: str, kind: type, what: str) -> Any:
        value = self._value(key)
        if type(value) is not kind:
            raise ValueError(f"{self._path(key)} is not {what}")
        return value

    def text(self, key: str) -> str:
        """A string of one line."""
        value = str(self._of(key, str, "text"))
        if not is_text(value):
            raise ValueError(f"{self._path(key)} is not one line of text")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        return bool(self._of(key, bool, "true or false"))

    def whole(self, key: str, least: int = 0, most: int = LARGEST_WHOLE) -> int:
        """A whole number from `least` to `most`, both included."""
        value = int(self._of(key, int, "a whole number"))
        if not least <= value <= most:
            raise ValueError(f"{self._path(key)} is out of range")
        return value

    def number(self, key: str, least: float = -LARGEST_NUMBER, most: float = LARGEST_NUMBER) -> float:
        """A finite number from `least` to `most`, both included."""
        value = self._value(key)
        if type(value) not in (int, float):
            raise ValueError(f"{self._path(key)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if not isfinite(number):
            raise ValueError(f"{self._path(key)} is not finite")
        if not least <= number <= most:
            raise ValueError(f"{self._path(key)} is out of range")
        return number

    def share(self, key: str) -> float:
        """A number from 0 to 1, both included."""
        return self.number(key, 0, 1)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings of one line."""
        values = self._of(key, list, "a list")
        if not all(is_text(value) for value in values):
            raise ValueError(f"{self._path(key)} is not a list of texts of one line")
        return tuple(values)

    def texts_or_none(self, key: str, most: int) -> tuple[str | None, ...]:
        """A list of at most `most` strings or nulls."""
        values = self._of(key, list, "a list")
        if len(values) > most or not all(value is None or isinstance(value, str) for value in values):
            raise ValueError(f"{self._path(key)} is not a list of at most {most:,} texts")
        return tuple(values)

    def numbers(self, key: str) -> dict[str, float]:
        """An object of finite numbers."""
        child = self.child(key)
        return {name: child.number(name) for name in child}

    def series(self, key: str, most: int) -> tuple[float, ...]:
        """A list of at most `most` finite numbers."""
        values = self._of(key, list, "a list")
        if len(values) > most:
            raise ValueError(f"{self._path(key)} is longer than {most}")
        items = Fields({str(k): value for k, value in enumerate(values)}, self._path(key))
        return tuple(items.number(k) for k in items)

    def child(self, key: str) -> Fields:
        """An object."""
        return Fields(self._value(key), self._path(key))

    def children(self, key: str) -> dict[str, Fields]:
        """An object of objects."""
        child = self.child(key)
        return {name: child.child(name) for name in child}

    def optional(self, key: str) -> Fields | None:
        """An object, or None if the field is missing."""
        return self.child(key) if key in self.content else None

    def items(self, key: str) -> list[Fields]:
        """A list of objects."""
        values = self._of(key, list, "a list")
        return [Fields(value, f"{self._path(key)}[{k}]") for k, value in enumerate(values)]


def is_text(value: Any, longest: int = LONGEST_TEXT) -> bool:
    """Whether a value is a text of one line that is not too long."""
    return isinstance(value, str) and len(value) <= longest and is_one_line(value)
