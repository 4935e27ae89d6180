"""Options on what of a source is read, and how its tables are understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import InputError

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")  # suffixes of tables
LIST = ".txt"  # a suffix of lists of ids
Names = str | list[str] | tuple[str, ...] | None  # comma-separated, or a list


@dataclass(frozen=True)
class Reading:
    """What of a source is read, and how its tables are understood. By default, all that is clear.

    Parameters
    ----------
    positive
        The class of tumor: a folder's name, or a label's in a table.
    classes
        The classes to read; others are left out. Empty for all.
    exclude
        Names of classes or folders to leave out, and tables (CSV) of ids to leave out.
    labeled_only
        Whether patches without a label, and labels without a patch, are left out; otherwise they are
        faults of the source.
    label_column, id_column, path_column
        Columns of a table, where their names do not say what they are.
    skip_unreadable
        Whether patches that cannot be read are left out. Every patch is read for it once.
    """

    positive: str | None = None
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    labeled_only: bool = False
    label_column: str | None = None
    id_column: str | None = None
    path_column: str | None = None
    skip_unreadable: bool = False

    @property
    def excluded_tables(self) -> tuple[str, ...]:
        """The items of `exclude` that are tables or lists of ids."""
        return tuple(name for name in self.exclude if name.lower().endswith((*TABLES, LIST)))

    def without_tables(self) -> Reading:
        """The same, with names of classes and folders alone in `exclude`."""
        tables = set(self.excluded_tables)
        return replace(self, exclude=tuple(name for name in self.exclude if name not in tables))

    def given(self) -> dict[str, Any]:
        """The options that are not at their default."""
        default = EVERYTHING
        return {
            one.name: value
            for one in fields(self)
            if (value := asdict(self)[one.name]) != getattr(default, one.name)
        }


EVERYTHING = Reading()


def recorded(record: Mapping[str, Any]) -> Reading:
    """The options that `Reading.given` gave, from JSON. Raises InputError if they are damaged."""
    known = {one.name: getattr(EVERYTHING, one.name) for one in fields(Reading)}
    options: dict[str, Any] = {}
    for name, value in record.items():
        listed = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        expected = (
            listed
            if isinstance(known.get(name), tuple)
            else isinstance(value, bool if isinstance(known.get(name), bool) else str)
        )
        if name not in known or not expected:
            raise InputError(
                "the record of how the source was read is damaged; extract again with --overwrite."
            )
        options[name] = tuple(value) if listed else value
    return Reading(**options)


def reading_of(
    *,
    classes: Names = None,
    exclude: Names = None,
    **others: Any,
) -> Reading:
    """The options of a reading as the command line and functions take them."""
    return Reading(classes=names(classes), exclude=names(exclude), **others)


def names(listed: Names) -> tuple[str, ...]:
    """Names from a comma-separated list, or a list.

    Examples
    --------
    >>> names("normal, tumor"), names(None)
    (('normal', 'tumor'), ())
    """
    if listed is None:
        return ()
    parts = listed.split(",") if isinstance(listed, str) else listed
    return tuple(dict.fromkeys(name.strip() for name in parts if name.strip()))
