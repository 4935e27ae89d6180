"""Tables of embeddings that somebody else made, as families of a store.

A table is a Parquet file with a column of ids and columns of numbers, or one column of lists of them;
or an .npz file with the arrays `ids` (rows,) and another one (rows, columns). Nothing is unpickled. The
manifest of the store records the SHA-256 of the table for each split, so that rows of two tables are
never mixed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..constants import LARGEST_ROWS
from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import InputError
from ..families.family import FeatureFamily
from ..families.registry import ALL, CNN, FAMILIES
from ..sources import arrays
from ..sources.columns import IDS, LABELS, SLIDES, SPLITS, find
from ..sources.ids import examples, how_matched, matched
from ..sources.source import Split
from ..storage import parquet
from ..storage.files import readable
from ..storage.sums import signature
from ..storage.tables import check_ids, plain
from ..store.layout import PATCHES
from ..store.names import EMBEDDING, HAND_MADE, LONGEST_NAME, THUMBNAIL
from ..words import counted, form, is_one_line, message_of

ENDINGS = (".parquet", ".npz")
GROUP = "tables"
VERSION = 1
# Names of families and of groups of them, and of what else is in the folder of a store or a model.
RESERVED = (*FAMILIES, ALL, CNN, "texture", PATCHES, THUMBNAIL, "steps", "lock")
NOT_EMBEDDED = (*LABELS, *SLIDES, *SPLITS, "fold", "group", "dup_group")  # what no embedding is called
MOST_COLUMNS = 1 << 13
LARGEST_VALUES = 1 << 33  # bytes of float32 values: Kaggle's 277,483 patches with 7,700 columns
LONGEST_COLUMN = 100  # characters of a column's name
CHUNK = 1 << 14  # rows that are checked at a time
SHOWN = 5  # columns in a message
UNREADABLE = (OSError, TypeError, ValueError, KeyError, OverflowError, pa.ArrowException)


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """A table of embeddings as a family of features.

    Parameters
    ----------
    name, columns
        What it is called as a family, and its columns.
    path, sha256
        The file, and the SHA-256 of its content.
    place
        The row of each id.
    values
        The embeddings, numbers (rows, columns).
    """

    name: str
    columns: tuple[str, ...]
    path: Path
    sha256: str
    place: Mapping[str, int]
    values: np.ndarray
    group: str = GROUP
    kernels: tuple[Kernel, ...] = ()
    trained_on: None = None  # only the author knows

    def describe(self) -> dict[str, Any]:
        """The entry in a store's manifest."""
        return {"version": VERSION, "columns": list(self.columns), "table": True}

    def computed_on(self, device: str) -> str:
        """Where the values come from: the table, by its SHA-256."""
        return f"table of SHA-256 {self.sha256}"

    def open(self, members: Sequence[EmbeddingTable], target: Target, threads: int) -> OpenTables:
        """Make ready to look up embeddings."""
        return OpenTables(tuple(members))

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The embeddings of some patches, float32 (len(ids), columns)."""
        try:
            rows = [self.place[patch] for patch in ids]
        except KeyError as error:
            raise InputError(f"{self.path} has no embedding of {error.args[0]!r}; add it.") from None
        return np.ascontiguousarray(self.values[rows], dtype=np.float32)

    def of(self, ids: Sequence[str], log: Callable[[str], None]) -> EmbeddingTable:
        """The table for patches with these ids, which it must have; `log` is told what is not used.

        Raises InputError if it lacks some.
        """
        place, notes = dict(self.place), []
        lacking = [patch for patch in ids if patch not in place]
        pairs = matched(list(place), ids) if lacking else None
        if pairs is not None and len(pairs) == len(ids):
            notes.append(how_matched(str(self.path), pairs))
            place, lacking = {patch: self.place[theirs] for patch, theirs in pairs.items()}, []
        if lacking:
            raise InputError(
                f"{self.path} lacks the embeddings of {len(lacking):,} of "
                f"{counted(len(ids), 'patch')}, the first {lacking[0][:100]}; add them, or leave these "
                f"patches out with --exclude "
                f"(the patches have ids such as {examples(ids)}, the table {examples(self.place)})."
            )
        if extra := len(self.place) - len(ids):
            unused = form(extra, "is", "are")
            notes.append(f"{self.path}: {counted(extra, 'row')} of other patches {unused} not used")
        for note in notes:
            log(note)
        return replace(self, place=place)


@dataclass(frozen=True)
class OpenTables:
    """Tables, ready to look up embeddings; see `families.measuring.Opened`."""

    tables: tuple[EmbeddingTable, ...]
    rows: int = 256  # enough to be fast, where nothing else is measured

    def prepare(self) -> None:
        """Nothing has to be compiled."""

    def __call__(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Raises InputError: pixels do not tell the embeddings of a table."""
        raise InputError(
            f"{', '.join(names)} {form(len(names), 'is', 'are')} read from a table by the ids of "
            "patches; give patches of a source instead of images."
        )

    def of(self, ids: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
        """The embeddings of patches by their ids: float32 (len(ids), columns) for each of `names`."""
        return {table.name: table.rows(ids) for table in self.tables if table.name in names}


def is_table(word: str) -> bool:
    """Whether a word among names of families names a table: FILE or NAME=FILE."""
    return word.lower().endswith(ENDINGS)


def tables_among(families: Sequence[FeatureFamily]) -> list[EmbeddingTable]:
    """The families that are tables."""
    return [family for family in families if isinstance(family, EmbeddingTable)]


def for_splits(
    families: Sequence[FeatureFamily], splits: Sequence[Split], log: Callable[[str], None]
) -> list[FeatureFamily]:
    """Families of which each table has the embeddings of these splits' patches.

    Raises InputError if a table lacks some.
    """
    ids = list(dict.fromkeys(patch for split in splits for patch in split.ids))
    return [
        family.of(ids, log) if isinstance(family, EmbeddingTable) else family for family in families
    ]


def open_table(word: str) -> EmbeddingTable:
    """Open a table of embeddings.

    Parameters
    ----------
    word
        `FILE` or `NAME=FILE`. Without a name, the family is called by the stem of the file.

    Raises
    ------
    InputError
        If the file is no such table, is too large or holds a value that is not finite, or the name is
        not fit or is taken.
    """
    given, equals, file = word.partition("=")
    if not equals or Path(word).exists():
        given, file = "", word
    path = Path(file)
    if not path.is_file():
        raise InputError(f"the table of embeddings {path} does not exist; check the path.")
    name = family_name(path, given)
    before = signature(path)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    read = read_npz if path.suffix.lower() == ".npz" else read_parquet
    ids, columns, values = read(path)
    check_ids(ids, str(path))
    check_finite(path, values, columns, ids)
    if signature(path) != before:
        raise InputError(f"{path} was changed while it was read; run the command again.")
    place = {patch: row for row, patch in enumerate(ids)}
    return EmbeddingTable(
        name, tuple(f"{name}__{column}" for column in columns), path, digest, place, values
    )


def family_name(path: Path, given: str) -> str:
    """What a table is called as a family: as given, or by the stem of its file.

    Raises InputError if that is not fit or is taken.

    Examples
    --------
    >>> family_name(Path("UNI-2.parquet"), ""), family_name(Path("x.npz"), "virchow")
    ('uni_2', 'virchow')
    """
    name = given or re.sub("[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    fit = HAND_MADE.fullmatch(name) and not EMBEDDING.fullmatch(name) and len(name) <= LONGEST_NAME
    if not fit or name in RESERVED:
        why = "is the name of something else" if name in RESERVED else "cannot name a family"
        raise InputError(
            f"{name[:LONGEST_NAME]!r} {why}; give the table {path} a name of small letters, digits and "
            f"_, as NAME={path}."
        )
    return name


def check_size(path: Path, rows: int, columns: int) -> None:
    """Raise InputError unless a table of this size is taken."""
    if not 0 < rows < LARGEST_ROWS or not 0 < columns <= MOST_COLUMNS:
        raise InputError(
            f"{path} has {counted(rows, 'row')} and {counted(columns, 'column')} of embeddings; give 1 "
            f"to {LARGEST_ROWS - 1:,} rows and 1 to {MOST_COLUMNS:,} columns."
        )
    if 4 * rows * columns > LARGEST_VALUES:
        raise InputError(
            f"{path} holds {readable(4 * rows * columns)} of embeddings, more than "
            f"{readable(LARGEST_VALUES)}; give fewer columns, such as principal components."
        )


def check_finite(path: Path, values: np.ndarray, columns: Sequence[str], ids: Sequence[str]) -> None:
    """Raise InputError for a value that is missing, not finite, or too large for float32."""
    for start in range(0, len(values), CHUNK):
        with np.errstate(over="ignore"):
            finite = np.isfinite(values[start : start + CHUNK].astype(np.float32))
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            raise InputError(
                f"{path} has a value that is missing or not finite in column {columns[column]} of "
                f"{ids[start + row][:100]}; correct it."
            )


Content = tuple[list[str], list[str], np.ndarray]  # ids, columns, values (rows, columns)


def read_npz(path: Path) -> Content:
    """The ids, columns and embeddings of an .npz file."""
    listed = arrays.arrays_of(path)
    named = [one for one in listed if plain(one.name) in (*IDS, *(f"{name}s" for name in IDS))]
    wide = [one for one in listed if len(one.shape) == 2 and one not in named]
    if len(named) != 1 or len(wide) != 1 or wide[0].dtype.kind not in "fiu":
        shapes = ", ".join(f"{one.name} {one.shape} {one.dtype}" for one in listed[:SHOWN])
        raise InputError(
            f"{path} has to hold the arrays ids (rows,) and one of numbers (rows, columns), and holds "
            f"{shapes or 'none'}; save these two with numpy.savez."
        )
    chosen = wide[0]
    rows, columns = chosen.shape
    check_size(path, rows, columns)
    ids = arrays.texts_of(named[0], rows, "id")
    assert chosen.archive is not None  # of an .npz
    at = chosen.archive.position(chosen.member)
    order: Any = "F" if chosen.by_column else "C"
    if at is None:
        data = chosen.archive.read(chosen.member, chosen.start + 2 * LARGEST_VALUES)
        flat = np.frombuffer(data, chosen.dtype, rows * columns, chosen.start)
        values = flat.reshape(chosen.shape, order=order)
    else:
        start = at + chosen.start
        values = np.memmap(path, chosen.dtype, "r", start, chosen.shape, order)
    return ids, [f"{k:04d}" for k in range(columns)], values


def read_parquet(path: Path) -> Content:
    """The ids, columns and embeddings of a Parquet file."""
    try:
        file, schema = parquet.open_file(path)
        rows = file.metadata.num_rows
        key = find(schema.names, IDS, None, "column of ids")
        if key is None:
            raise InputError(f"{path} has no column id; its columns are {few(schema.names)}.")
        kinds = {name: schema.field(name).type for name in dict.fromkeys(schema.names)}
        check_columns(path, kinds, schema.names, key)
        names = [name for name in schema.names if name != key]
        lists = [name for name in names if is_list(kinds[name])]
        if not lists:
            check_size(path, rows, len(names))
        parquet.check_counts(file, [key, *(name for name in names if name not in lists)], rows)
        blocks = list(blocks_of(path, file, key, names))
    except UNREADABLE as error:
        reason = message_of(error, 300)
        raise InputError(f"{path} cannot be read as Parquet: {reason}; save it again.") from None
    if len({block.shape[1] for _, block in blocks}) != 1:
        raise InputError(f"{path} has no rows, or lists of different lengths; save it again.")
    values = np.concatenate([block for _, block in blocks])
    columns = [f"{k:04d}" for k in range(values.shape[1])] if lists else names
    return [patch for ids, _ in blocks for patch in ids], columns, values


def check_columns(path: Path, kinds: Mapping[str, Any], names: Sequence[str], key: str) -> None:
    """Raise InputError unless a table's columns are ids and numbers, none of which tells the label."""
    if len(kinds) != len(names):
        raise InputError(f"{path} has two columns of one name; rename one.")
    told = [name for name in names if name != key and plain(name) in NOT_EMBEDDED]
    if told:
        raise InputError(
            f"{path} has columns that are no embeddings by their names, {few(told)}, from which a "
            "model could read the label; remove them."
        )
    others = [name for name in names if name != key and not is_number(kinds[name])]
    lists = [name for name in others if is_list(kinds[name])]
    if others and (others != lists or len(names) != 2):
        raise InputError(
            f"{path} has to hold ids and columns of numbers, or one column of lists of numbers, and "
            f"has {few(others)} of other kinds; remove these."
        )
    odd = [name for name in names if not is_one_line(name) or not 0 < len(name) <= LONGEST_COLUMN]
    if odd:
        raise InputError(
            f"{path} has the column name {odd[0][:LONGEST_COLUMN]!r}; give names of 1 to "
            f"{LONGEST_COLUMN} characters on one line."
        )


def few(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    return ", ".join(repr(name[:50]) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def is_number(kind: pa.DataType) -> bool:
    """Whether values are numbers."""
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of numbers."""
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and is_number(kind.value_type))


def blocks_of(
    path: Path, file: Any, key: str, names: Sequence[str]
) -> Iterator[tuple[list[str], np.ndarray]]:
    """The ids and embeddings, float32 (rows, columns), of each group of rows."""
    check_groups(path, file)
    for k in range(file.metadata.num_row_groups):
        group = file.read_row_group(k, columns=[key, *names])
        keys = group[key]
        if pa.types.is_dictionary(keys.type):
            keys = keys.cast(keys.type.value_type)
        ids = ["" if one is None else str(one) for one in keys.to_pylist()]
        if max(map(len, ids), default=0) > parquet.LONGEST:
            raise InputError(f"{path} has an id of more than {parquet.LONGEST} characters; correct it.")
        with np.errstate(over="ignore"):
            if is_list(group.schema.field(names[0]).type):
                yield ids, rows_of_lists(path, group[names[0]], len(ids))
            else:
                columns = [group[name].to_numpy().astype(np.float32) for name in names]
                yield ids, np.column_stack(columns)


def check_groups(path: Path, file: Any) -> None:
    """Raise InputError if a group of rows declares more values than are taken."""
    for k, described in enumerate(file.described):
        rows = max(file.metadata.row_group(k).num_rows, 1)
        check_size(path, rows, max(sum(one.values for one in described) // rows - 1, 1))


def rows_of_lists(path: Path, column: pa.ChunkedArray, rows: int) -> np.ndarray:
    """Lists of numbers as float32 (rows, length). Raises InputError unless all have one length."""
    flat = [np.asarray(chunk.flatten().to_numpy(zero_copy_only=False)) for chunk in column.chunks]
    values = np.concatenate(flat).astype(np.float32)
    lengths = {len(one) if one is not None else 0 for chunk in column.chunks for one in chunk}
    if lengths != {len(values) // max(rows, 1)} or 0 in lengths:
        raise InputError(
            f"{path} has lists of different lengths, or none; give each patch one of as many."
        )
    check_size(path, rows, len(values) // rows)
    return values.reshape(rows, -1)
