"""What the footer of a Parquet file says of its columns, without asking Arrow for them.

Arrow ends the whole process where it is asked for the description of a column that contradicts itself,
as in one of some thousand damaged files. The footer is therefore read here: Thrift in its compact form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

TYPES = (
    *("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY"),
    "FIXED_LEN_BYTE_ARRAY",
)
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
NUMBERS = (4, 5, 6)  # of 16, 32 and 64 bits, all written alike
LONG = 15  # in place of the number of items of a list: it follows
DEEPEST = 16  # structures within each other
LONGEST = 10  # bytes of a number
# The numbers of the fields, as Parquet's definition has them.
ROW_GROUPS, COLUMNS, META = 4, 1, 3
TYPE, PATH, VALUES, SIZE, PACKED = 1, 3, 5, 6, 7
MAGIC = b"PAR1"  # at the start and the end of a file; before the end is the size of the footer
TAIL = 4 + len(MAGIC)  # bytes after the footer
LARGEST = 1 << 28  # bytes of a footer


@dataclass(frozen=True)
class Column:
    """A column of a group of rows: its name, its type, its number of values, and its bytes, unpacked
    and as they are stored."""

    name: str
    kind: str
    values: int
    size: int
    packed: int


class Thrift:
    """Reads a structure in Thrift's compact form. Every method raises ValueError or IndexError on
    damage."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def count(self) -> int:
        """A number of 0 or more, seven bits a byte."""
        found = 0
        for k in range(LONGEST):
            byte = self.byte()
            found |= (byte & 127) << 7 * k
            if byte < 128:
                return found
        raise ValueError("a number of its footer is too long")

    def number(self) -> int:
        """A number with a sign, which is its last bit."""
        found = self.count()
        return found >> 1 ^ -(found & 1)

    def text(self) -> bytes:
        """Bytes with their number before them."""
        size = self.count()
        self.at += size
        if self.at > len(self.data):
            raise ValueError("its footer is cut off")
        return self.data[self.at - size : self.at]

    def items(self) -> tuple[int, int]:
        """The number of items of a list, and their type."""
        head = self.byte()
        size = head >> 4
        size = self.count() if size == LONG else size
        if size > len(self.data) - self.at:  # each takes a byte or more
            raise ValueError("its footer is cut off")
        return size, head & 15

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and type of each field of a structure; the caller reads or passes over each."""
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.number()
            yield number, head & 15

    def structures(self) -> Iterator[None]:
        """Stop before each item of a list of structures. Raises ValueError for a list of others."""
        size, kind = self.items()
        if size and kind != STRUCT:
            raise ValueError("its footer has a list of another type")
        for _ in range(size):
            yield

    def pass_over(self, kind: int, depth: int = 0) -> None:
        """Go past a value."""
        if depth > DEEPEST:
            raise ValueError("its footer is too deep")
        if kind in NUMBERS:
            self.count()
        elif kind == BINARY:
            self.text()
        elif kind in (LIST, SET):
            size, inner = self.items()
            for _ in range(size):
                self.pass_over(BYTE if inner in (TRUE, FALSE) else inner, depth + 1)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.pass_over(inner, depth + 1)
        elif kind in (BYTE, DOUBLE):
            self.at += 1 if kind == BYTE else 8
        elif kind not in (TRUE, FALSE):  # of maps, Parquet has none
            raise ValueError("its footer has a value of an unknown type")


def column(footer: Thrift) -> Column:
    """Read the description of a column."""
    path: list[bytes] = []
    numbers: dict[int, int] = {}
    for number, kind in footer.fields():
        if number == PATH and kind == LIST:
            size, _ = footer.items()
            path = [footer.text() for _ in range(size)]
        elif kind in NUMBERS:
            numbers[number] = footer.number()
        else:
            footer.pass_over(kind)
    try:
        kind_name = TYPES[numbers[TYPE]]
        sizes = (numbers[VALUES], numbers[SIZE], numbers[PACKED])
    except (KeyError, IndexError):
        raise ValueError("a column of its footer is not described") from None
    return Column(b".".join(path).decode("utf-8", errors="replace"), kind_name, *sizes)


def columns_of(stream: BinaryIO) -> list[list[Column]]:
    """The columns of each group of rows of a file. Raises ValueError if its footer is damaged."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - TAIL, 0))
    tail = stream.read(TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > min(size - TAIL - len(MAGIC), LARGEST):
        raise ValueError("it has no footer of Parquet")
    stream.seek(size - TAIL - length)
    try:
        return list(groups_in(Thrift(stream.read(length))))
    except IndexError:
        raise ValueError("its footer is cut off") from None


def groups_in(footer: Thrift) -> Iterator[list[Column]]:
    """Read the columns of each group of rows."""
    for number, kind in footer.fields():
        if number != ROW_GROUPS:
            footer.pass_over(kind)
            continue
        for _ in footer.structures():
            yield list(columns_in(footer))


def columns_in(footer: Thrift) -> Iterator[Column]:
    """Read the columns of a group of rows."""
    for number, kind in footer.fields():
        if number != COLUMNS:
            footer.pass_over(kind)
            continue
        for _ in footer.structures():
            found = None
            for inner, inner_kind in footer.fields():
                if inner == META and inner_kind == STRUCT:
                    found = column(footer)
                else:
                    footer.pass_over(inner_kind)
            if found is None:
                raise ValueError("a column of its footer is not described")
            yield found
