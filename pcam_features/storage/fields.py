"""Reading JSON objects field by field. Each value is checked once, when the file is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

LARGEST_WHOLE = 1 << 53  # other readers of JSON round larger numbers


@dataclass(frozen=True)
class Fields:
    """A JSON object whose values are read by kind.

    Every method raises ValueError, naming the field, if the value is missing or of another kind.

    Parameters
    ----------
    content
        The parsed object.
    name
        Its place in the file, for error messages; empty for the whole file.
    """

    content: Any
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise ValueError(f"{self.name or 'the file'} is not an object")

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
        """A string."""
        return str(self._of(key, str, "text"))

    def flag(self, key: str) -> bool:
        """True or false."""
        return bool(self._of(key, bool, "true or false"))

    def whole(self, key: str, least: int = 0, most: int = LARGEST_WHOLE) -> int:
        """A whole number from `least` to `most`, both included."""
        value = int(self._of(key, int, "a whole number"))
        if not least <= value <= most:
            raise ValueError(f"{self._path(key)} is out of range")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._value(key)
        if type(value) not in (int, float):
            raise ValueError(f"{self._path(key)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if not isfinite(number):
            raise ValueError(f"{self._path(key)} is not finite")
        return number

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._of(key, list, "a list")
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self._path(key)} is not a list of texts")
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
