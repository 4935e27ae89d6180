"""Tables of patches by id, from files and from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ..errors import InputError
from ..sources.columns import IDS, PATHS, find, read_by_id
from ..sources.slides import is_unknown
from ..storage.tables import check_ids
from ..words import counted

Given: TypeAlias = "str | Path | pd.Series[float] | pd.DataFrame | np.ndarray"
Names: TypeAlias = "pd.Series[str] | Mapping[str, str] | pd.DataFrame"
LABEL, SEED = "label", "seed"


@dataclass(frozen=True)
class IdTable:
    """A table with a column `id` of unique text, and its name in error messages.

    `text` is true if all cells are text, as in a CSV file.
    """

    name: str
    cells: pd.DataFrame
    text: bool

    @property
    def ids(self) -> list[str]:
        """The ids, in order."""
        ids: list[str] = self.cells["id"].tolist()
        return ids

    def at(self, row: int) -> str:
        """The place of a row, for an error message."""
        return f"{self.name}, line {row + 2}" if self.text else f"{self.name}, row {row}"


@singledispatch
def id_table(given: object, what: str, ids: Sequence[str] | None = None) -> IdTable:
    """A table by id.

    Parameters
    ----------
    given
        The path of a CSV with a column `id`; a DataFrame with such a column, which is found by its name
        as in a CSV unless rows are indexed by id; a Series indexed by id, whose values become the
        column `label`; an array (n,) or (n, seeds), in the order of `ids`; or anything that has a
        method `to_pandas`, such as a Polars DataFrame.
    what
        The name of the table in error messages, such as `truth` or `predictions 'name'`.
    ids
        The ids of an array's rows. None: arrays are refused.

    Raises
    ------
    InputError
        If this is not such a table, or an id is missing or not unique.
    """
    to_pandas = getattr(given, "to_pandas", None)
    if to_pandas is None:
        raise InputError(
            f"{what} is given as {type(given).__name__}; give a path, a DataFrame with a column id, or "
            f"a Series indexed by id{'' if ids is None else ', or an array in the order of the truth'}."
        )
    return id_table(to_pandas(), what, ids)


@id_table.register(str)
@id_table.register(Path)
def _(given: str | Path, what: str, ids: Sequence[str] | None = None) -> IdTable:
    return IdTable(f"{what} {given}", read_by_id(Path(given), (), what), text=True)


@id_table.register(pd.Series)
def _(given: pd.Series[float], what: str, ids: Sequence[str] | None = None) -> IdTable:
    return in_memory(pd.DataFrame({LABEL: given.to_numpy()}), given.index, what)


@id_table.register(pd.DataFrame)
def _(given: pd.DataFrame, what: str, ids: Sequence[str] | None = None) -> IdTable:
    if given.columns.nlevels > 1:
        raise InputError(f"{what} has column names of several levels; give each column one name.")
    given = given.rename(columns=str)
    if not given.columns.is_unique:
        twice = given.columns[given.columns.duplicated()][0]
        raise InputError(f"{what} has two columns named {twice}; keep one.")
    own = column_of_ids(given, what)
    if own is None:
        return in_memory(given.reset_index(drop=True), given.index, what)
    return in_memory(given.drop(columns=own).reset_index(drop=True), pd.Index(given[own]), what)


def column_of_ids(given: pd.DataFrame, what: str) -> str | None:
    """The column of ids; None if rows are indexed by id, or have none."""
    columns: list[str] = given.columns.tolist()
    if "id" in columns:
        return "id"
    indexed = given.index.name is not None or not pd.api.types.is_integer_dtype(given.index)
    return None if indexed else find(columns, (*IDS, *PATHS), None, what)


@id_table.register(np.ndarray)
@id_table.register(list)
def _(given: np.ndarray, what: str, ids: Sequence[str] | None = None) -> IdTable:
    if np.ma.is_masked(given):
        raise InputError(f"{what} is an array with masked values; give a value for each patch.")
    try:
        values = np.asarray(given)
    except ValueError:
        raise InputError(
            f"{what} is a list of lists of different lengths; give lists of equal length."
        ) from None
    if ids is None:
        raise InputError(f"{what} is an array and has no ids; give a Series indexed by id.")
    if values.ndim not in (1, 2) or len(values) != len(ids):
        raise InputError(
            f"{what} is an array of shape {values.shape}; give ({len(ids)},), a probability for each "
            f"patch of the truth in its order, or ({len(ids)}, seeds)."
        )
    if values.ndim == 1:
        return in_memory(pd.DataFrame({LABEL: values}), pd.Index(ids), what)
    if values.shape[1] == 2 and np.allclose(values.sum(axis=1), 1):
        raise InputError(
            f"{what} has two columns that add up to 1, as those of predict_proba; give the second, "
            "[:, 1]."
        )
    columns = [f"{SEED}_{k}" for k in range(values.shape[1])]
    return in_memory(pd.DataFrame(values, columns=columns), pd.Index(ids), what)


def in_memory(cells: pd.DataFrame, index: pd.Index, what: str) -> IdTable:
    """A table of `cells` whose rows have the ids of `index`."""
    if index.nlevels > 1:
        raise InputError(f"{what} is indexed on several levels; index it by id alone.")
    missing = np.asarray(index.isna())
    if missing.any():
        raise InputError(f"{what} has no id in row {int(np.flatnonzero(missing)[0])}.")
    ids = [str(patch) for patch in index]
    check_ids(ids, what)
    return IdTable(what, cells.assign(id=ids), text=False)


def with_ids(given: Any, what: str) -> Names:
    """Names by id as a pandas object or mapping. Raises InputError if `given` has no ids."""
    if isinstance(given, pd.Series | pd.DataFrame | Mapping):
        return given
    to_pandas = getattr(given, "to_pandas", None)
    if to_pandas is None:
        raise InputError(
            f"{what} is given as {type(given).__name__}, without ids; give a Series or mapping from id "
            "to name, or a DataFrame with a column id."
        )
    names: Names = to_pandas()
    return names


def by_id(given: Names, what: str, columns: Sequence[str] = ()) -> dict[str, str | None]:
    """Names by id; None where a name is missing or empty.

    Parameters
    ----------
    given
        A Series or mapping from id to name; or a DataFrame with a column `id`, or indexed by id, and
        one further column or one of `columns`.
    what
        The name of the table in error messages.
    columns
        The columns of a DataFrame that names are taken from, the first that it has.

    Raises
    ------
    InputError
        If `given` is none of these, or a DataFrame has no such column.
    """
    given = with_ids(given, what)
    if isinstance(given, pd.DataFrame):
        table = id_table(given, what)
        others = [name for name in table.cells.columns if name != "id"]
        known = [name for name in columns if name in others] or others
        if len(known) != 1 and not set(columns) & set(known):
            raise InputError(
                f"{what} has {counted(len(others), 'column')} beside id ({', '.join(others)}); "
                "keep one."
            )
        given = table.cells.set_index("id")[known[0]]
    elif isinstance(given, pd.Series):
        given = id_table(given, what).cells.set_index("id")[LABEL]
    return {str(patch): name_in(cell, what) for patch, cell in given.items()}


def name_in(cell: Any, what: str) -> str | None:
    """The name in a cell; None if it is missing or empty. Raises InputError for several values."""
    if not pd.api.types.is_scalar(cell):
        raise InputError(
            f"{what} holds {type(cell).__name__} in place of a name; give text or a number."
        )
    return None if pd.isna(cell) or is_unknown(str(cell)) else str(cell)
