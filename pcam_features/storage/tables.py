"""Reading and validating CSV tables."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..words import counted, form, message_of
from . import urls

if TYPE_CHECKING:
    import pandas as pd

LONGEST_HEADER, MOST_COLUMNS = 1 << 16, 4000  # bytes and columns of a CSV's first line
SEPARATORS = (",", ";", "\t", "|")
FORMULAS = ("=", "+", "-", "@")  # the beginnings of what spreadsheets evaluate
NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d+)?")
PREAMBLE = re.compile(r"(|#[^\n]*|\"?sep=.\"?)\n", re.IGNORECASE)
GZIP = b"\x1f\x8b"
# The first bytes of files that people take for tables, what each is, and how it becomes one.
FORMATS = (
    (b"PAR1", "a Parquet file", "save it as CSV, with pandas.read_parquet(…).to_csv(…, index=False)"),
    (b"ARROW1", "a Feather file", "save it as CSV, with pandas.read_feather(…).to_csv(…, index=False)"),
    (b"PK\x03\x04", "a zip archive, an Excel workbook or a NumPy .npz file", "save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save it as CSV in UTF-8"),
    (b"\x93NUMPY", "a NumPy array, which has no ids", "save a CSV with the columns id and label"),
    (b"\x89HDF", "an HDF5 file", "save its table as CSV"),
    (b"\x80", "a pickle, which is not read because it could run code", "save it as CSV"),
    (b"BZh", "compressed by bzip2", "unpack it, or compress it by gzip"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it, or compress it by gzip"),
    (b"(\xb5/\xfd", "compressed by Zstandard", "unpack it, or compress it by gzip"),
    (b"{", "JSON", "save it as CSV with the columns id and label"),
    (b"[", "JSON", "save it as CSV with the columns id and label"),
    (b"<", "a web page or XML", "download the table itself, as CSV"),
)
PIECE = 1 << 20  # bytes
MOST_NAMED, LONGEST_NAME = 20, 60  # columns, and characters of their names, in a message
LARGEST_TABLE = 1 << 28  # bytes of a CSV that is read into memory


def read_table(path: Path, columns: Sequence[str], what: str) -> pd.DataFrame:
    """Read a table as strings, with unique and nonempty `id`. `what` names the file in error messages.

    The file is a CSV whose cells are separated by commas, semicolons, tabs or bars, in UTF-8 or UTF-16,
    and may be compressed by gzip. A column of `columns` may be written in other case, or with spaces.

    Raises InputError if the file is missing or invalid.
    """
    try:
        if path.is_dir():
            raise InputError(f"{what} {path} is a folder; give a CSV file.")
        if not urls.is_file(path):
            known = path.exists()
            wrong = "is no regular file; save it to one" if known else "does not exist; check the path"
            raise InputError(f"{what} {path} {wrong}.")
    except OSError as error:
        raise InputError(f"{what} {str(path)[:80]} cannot be read: {error.strerror}.") from None
    return parse_table(content_of(path, f"{what} {path}"), columns, f"{what} {path}")


def content_of(path: Path, name: str) -> bytes:
    """The bytes of a table's file, unpacked. Raises InputError if it is damaged or too large."""
    try:
        with opened_file(path) as file, unpacked(file) as opened:
            content = read_at_most(opened, LARGEST_TABLE + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} cannot be unpacked: {error}; replace the file.") from None
    if len(content) > LARGEST_TABLE:
        raise InputError(
            f"{name} is larger than {LARGEST_TABLE >> 20} MiB, too large for a table of patches."
        )
    return content


def opened_file(path: Path) -> io.BufferedIOBase:
    """A file to read from; an object at a URL is read at once."""
    if urls.is_url(path):
        return io.BytesIO(urls.read(path, LARGEST_TABLE))
    return path.open("rb")


@contextmanager
def unpacked(file: io.BufferedIOBase) -> Iterator[io.BufferedIOBase]:
    """What a file holds, which may be compressed by gzip."""
    packed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    with gzip.open(file) if packed else nullcontext(file) as opened:
        yield opened


def read_at_most(stream: io.BufferedIOBase, most: int) -> bytes:
    """The first `most` bytes of a stream, or all if it has fewer.

    It is read piece by piece, because `read` takes memory for as many bytes as it is asked for.
    """
    content = bytearray()
    while piece := stream.read(min(PIECE, most - len(content))):
        content += piece
    return bytes(content)


def text_of(content: bytes, name: str) -> str:
    """The text of a table. Raises InputError unless it is UTF-8, or UTF-16 with a mark of its order."""
    for start, kind, advice in FORMATS:
        if content.startswith(start):
            raise InputError(f"{name} is {kind}, not a CSV; {advice}.")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name} is not UTF-8 text (line {line}), perhaps Latin-1; save it as CSV in UTF-8."
        ) from None


def body_of(text: str) -> str:
    r"""The text of a table from the line that names its columns on, with line ends of one kind.

    Before that line there may be empty lines, comments, and Excel's hint on the separator.

    Examples
    --------
    >>> body_of("sep=;\r\n# of 2024\r\nid;label\r\na;1\r\n")
    'id;label\na;1\n'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while PREAMBLE.match(text):
        text = text.partition("\n")[2]
    return text


def parse_table(content: bytes, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Like `read_table`, for the bytes of a table, which errors call `name`."""
    import pandas as pd

    text = body_of(text_of(content, name))
    first = text.partition("\n")[0]
    check_header(first, name)
    separator = separator_of(first)
    headers = first.split(separator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row with too many cells
            table = pd.read_csv(
                io.StringIO(text),
                dtype=str,
                keep_default_na=False,
                index_col=False,
                sep=separator,
                skipinitialspace=any(header.startswith(" ") for header in headers[1:]),
            )
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(f"{name} cannot be read as CSV: {reason_of(error)}.") from None
    table = without_blank_rows(table)
    table = table.rename(columns=spelled(list(table.columns), columns))
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(without_column(" or ".join(missing), list(table.columns), name))
    if "id" in columns:
        check_ids(table["id"].tolist(), name)
    return table


def without_blank_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table without rows of empty cells at its end, which spreadsheets leave there."""
    rows = len(table)
    while rows and not any(cell.strip() for cell in table.iloc[rows - 1]):
        rows -= 1
    return table.iloc[:rows]


def without_column(wanted: str, columns: Sequence[str], name: str) -> str:
    """The message on a table that lacks a column, or whose first line does not name its columns.

    Examples
    --------
    >>> without_column("id", ["p1", "0.25"], "t.csv")
    't.csv has no column id; its first line is: p1, 0.25; add a line before it that names the columns.'
    """
    listed = ", ".join(column[:LONGEST_NAME] for column in columns[:MOST_NAMED])
    listed += ", …" if len(columns) > MOST_NAMED else ""
    if any(NUMBER.fullmatch(column) for column in columns):
        advice = "add a line before it that names the columns"
        return f"{name} has no column {wanted}; its first line is: {listed}; {advice}."
    return f"{name} has no column {wanted}; its columns are: {listed}."


def reason_of(error: Exception) -> str:
    """What is wrong with a CSV, from the words that pandas has for it.

    Examples
    --------
    >>> reason_of(ValueError("Error tokenizing data. C error: Expected 2 fields in line 3, saw 4"))
    'line 3 has 4 cells, and lines before it 2; quote cells that contain the separator'
    """
    text = message_of(error)
    if cells := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        before, line, here = cells.groups()
        return (
            f"line {line} has {here} cells, and lines before it {before}; quote cells that contain the "
            "separator"
        )
    if "Length of header" in text:
        return "a line has more cells than the first line has columns; quote cells with the separator"
    if "EOF inside string" in text:
        return "a quote is opened and never closed; correct the quotes"
    if "No columns to parse" in text or "Empty" in text:
        return "it is empty; give a table whose first line names the columns"
    return "its lines are not those of a table; save it again as CSV in UTF-8"


def separator_of(header: str) -> str:
    """What separates the cells of a table, by its first line: a comma, a semicolon, a tab or a bar.

    Examples
    --------
    >>> separator_of("id,label"), separator_of("id;label"), separator_of("id")
    (',', ';', ',')
    """
    return max(SEPARATORS, key=header.count)


def plain(header: str) -> str:
    """A column's name in lower case, without spaces around it, and with `_` in place of ` ` and `-`.

    Examples
    --------
    >>> plain(" Slide ID")
    'slide_id'
    """
    return re.sub(r"[\s-]+", "_", header.strip().lower())


def spelled(there: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """The names to give to columns that are wanted and spelled in another way, if only one is."""
    renamed = {}
    for name in wanted:
        alike = [column for column in there if plain(column) == plain(name)]
        if name not in there and len(alike) == 1:
            renamed[alike[0]] = name
    return renamed


def check_header(first: str, name: str) -> None:
    """Raise InputError for a table with an excessive first line, because every column takes time."""
    if len(first) > LONGEST_HEADER or max(map(first.count, SEPARATORS)) > MOST_COLUMNS:
        raise InputError(
            f"the first line of {name} is too long, or has too many columns, for a table of patches."
        )


def header_of(path: Path) -> list[str]:
    """The names of a table's columns, from the start of its file; empty if it is no table."""
    try:
        with path.open("rb") as file, unpacked(file) as opened:
            start = opened.read(LONGEST_HEADER + 1)
        # A character may be cut at the end of what was read.
        wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = start.decode("utf-16" if wide else "utf-8-sig", errors="ignore")
    except (OSError, EOFError, ValueError, zlib.error):
        return []
    first = body_of(text).partition("\n")[0]
    if len(first) >= LONGEST_HEADER // 2:
        return []
    return [column.strip().strip('"') for column in first.split(separator_of(first))]


def check_ids(ids: list[str], where: str) -> None:
    """Raise InputError if an id is empty or occurs twice."""
    if len(set(ids)) != len(ids):
        ((twice, _),) = Counter(ids).most_common(1)
        raise InputError(f"{where} has the id {twice[:100]} more than once; keep one row per id.")
    if "" in ids:
        raise InputError(f"{where} has an empty id in line {ids.index('') + 2}; fill it in.")


def formula_note(ids: Iterable[str]) -> str:
    """A warning of ids that a spreadsheet takes for formulas; empty if there are none.

    Ids are written as they are, as pandas and others do: an apostrophe before them would keep Excel
    from evaluating them, but no other program would find its patches again.

    Examples
    --------
    >>> formula_note(["a", "-5", "=1+1"])
    'warning: 1 id begins with =, +, - or @, such as =1+1: import this table into a spreadsheet as text'
    >>> formula_note(["-5", "+1.5", "0a"])
    ''
    """
    found = [i for i in ids if i.startswith(FORMULAS) and not NUMBER.fullmatch(i)]
    if not found:
        return ""
    begin = form(len(found), "begins", "begin")
    return (
        f"warning: {counted(len(found), 'id')} {begin} with =, +, - or @, "
        f"such as {found[0][:50]}: import this table into a spreadsheet as text"
    )
