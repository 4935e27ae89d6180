"""Checks that bytes are Universal Binary JSON as XGBoost writes it, before XGBoost reads them.

XGBoost does not check lengths and nesting itself. Source: https://ubjson.org, draft 12.
"""

from __future__ import annotations

import struct

DEEPEST = 16  # an XGBoost model is 7 levels deep
SIZES = {b"i": 1, b"U": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8, b"C": 1}  # bytes of a value
BARE = (b"T", b"F", b"Z")
WHOLE = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}


class Reader:
    """A position in some bytes. Raises ValueError if they end too early."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.content) - self.at:
            raise ValueError("longer than its file")
        self.at += count
        return self.content[self.at - count : self.at]

    def peek(self) -> bytes:
        return self.content[self.at : self.at + 1]

    def whole(self) -> int:
        kind = self.take(1)
        if kind not in WHOLE:
            raise ValueError("a length that is no whole number")
        return int(struct.unpack(WHOLE[kind], self.take(SIZES[kind]))[0])

    def text(self) -> None:
        self.take(self.whole())


def check(content: bytes) -> None:
    """Raises ValueError unless `content` is exactly one complete object."""
    reader = Reader(content)
    if reader.peek() != b"{":
        raise ValueError("no object")
    open_now: list[list[object]] = []  # of each container: its kind, and how many values are to come
    while True:
        if open_now and closes(reader, open_now[-1]):
            open_now.pop()
        elif (
            opened := value(reader, in_object=bool(open_now and open_now[-1][0] == b"{"))
        ) is not None:
            open_now.append(opened)
        if len(open_now) > DEEPEST:
            raise ValueError("nested too deep")
        if not open_now:
            break
    if reader.at != len(content):
        raise ValueError("something after its end")


def value(reader: Reader, *, in_object: bool) -> list[object] | None:
    """Skip a value, and its key in an object; returns the container that begins here, if one does."""
    if in_object:
        reader.text()
    kind = reader.take(1)
    if kind in (b"{", b"["):
        return begin(reader, kind)
    if kind == b"S":
        reader.text()
    elif kind not in BARE:
        reader.take(size_of(kind))
    return None


def size_of(kind: bytes) -> int:
    if kind not in SIZES:
        raise ValueError("a value of no known kind")
    return SIZES[kind]


def begin(reader: Reader, kind: bytes) -> list[object] | None:
    """Begin a container: returns its kind and its number of values, which is None if an end marker
    follows. An array of numbers is skipped, and None is returned."""
    typed = None
    if reader.peek() == b"$":
        reader.take(1)
        typed = reader.take(1)
        if kind == b"{" or reader.peek() != b"#":
            raise ValueError("values of one kind without their number")
    if reader.peek() != b"#":
        return [kind, None]
    reader.take(1)
    count = reader.whole()
    if typed is not None:
        reader.take(count * size_of(typed))
        return None
    if count < 0:
        raise ValueError("a number of values below zero")
    return [kind, count]


def closes(reader: Reader, container: list[object]) -> bool:
    """Whether a container has no more values; counts one down otherwise."""
    kind, left = container
    if left is None:
        if reader.peek() != (b"}" if kind == b"{" else b"]"):
            return False
        reader.take(1)
        return True
    assert isinstance(left, int)
    container[1] = left - 1
    return left == 0
