"""Options on what of a source is read, and how its tables are understood."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

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
        Names of classes or folders to leave out.
    labeled_only
        Whether patches without a label, and labels without a patch, are left out; otherwise they are
        faults of the source.
    label_column, id_column, path_column
        Columns of a table, where their names do not say what they are.
    """

    positive: str | None = None
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    labeled_only: bool = False
    label_column: str | None = None
    id_column: str | None = None
    path_column: str | None = None

    def given(self) -> dict[str, Any]:
        """The options that are not at their default."""
        default = EVERYTHING
        return {
            one.name: value
            for one in fields(self)
            if (value := asdict(self)[one.name]) != getattr(default, one.name)
        }


EVERYTHING = Reading()


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
