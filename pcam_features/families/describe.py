"""Descriptions of columns, for `pcam features` and docs/features.md."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

from ..errors import InputError
from ..geometry import CENTER, PATCH_SIZE, REGIONS
from ..store.names import EMBEDDING
from .family import Family
from .planes import PLANES
from .registry import CNN, FAMILIES

HEADER = """# Features

Every column of every family. `make docs` generates this file from the source code, and a test fails if
it is out of date. `pcam features NAME` prints the same description of one family or column.

A column is named `family__feature__region_plane_parameters`.

- **Regions**: `patch` is all {size}×{size} pixels, `center` the middle {center}×{center} pixels, which
  alone decide the label, and `ring` the rest. `center_minus_ring` is the difference of the two.
- **Planes** (see `pcam_features/families/planes.py`): {planes}.
- **Directions**: a column that ends in `_mean` is the mean over directions; one that ends in `_range`
  is the largest minus the smallest value. The tables give the range of the feature; the range of
  a `_range` column starts at 0.

No column changes when the patch is flipped or rotated by 90°.
"""
COLUMNS = ("feature", "meaning", "unit", "range", "on a constant region", "source")


def number(value: float) -> str:
    """A bound of a range as text.

    Examples
    --------
    >>> number(-0.5), number(float("inf"))
    ('−0.5', '∞')
    """
    return f"{value:.4g}".replace("inf", "∞").replace("-", "−")


def column_row(family: Family, column: str) -> dict[str, Any]:
    """The description of one column, as `pcam features --json` prints it.

    Examples
    --------
    >>> column_row(FAMILIES["color"], "color__mean__patch_gray")["high"]
    255
    """
    feature = family.feature(column)
    low, high = family.limits(column)
    return {
        "column": column,
        "meaning": feature.meaning,
        "unit": feature.unit,
        "low": low if isfinite(low) else None,  # JSON has no infinity
        "high": high if isfinite(high) else None,
        "constant": feature.flat,
        "source": feature.source,
    }


def family_of(name: str) -> Family:
    """Find the family of a name.

    Parameters
    ----------
    name
        The name of a family or of a column.

    Raises
    ------
    InputError
        If there is no such family or column; the message lists similar names.

    Examples
    --------
    >>> family_of("color__mean__patch_gray").name
    'color'
    """
    family = FAMILIES.get(name.split("__", maxsplit=1)[0])
    if family is None and EMBEDDING.fullmatch(name.split("__", maxsplit=1)[0]):
        raise InputError(f"{name} is a column of an embedding; pcam features {CNN} describes these.")
    if family is None or ("__" in name and name not in family.columns):
        from difflib import get_close_matches

        known = [*FAMILIES]
        for other in FAMILIES.values():
            known += other.columns
        near = get_close_matches(name, known, n=3)
        hint = f"similar names: {', '.join(near)}" if near else f"families: {', '.join(FAMILIES)}"
        raise InputError(f"there is no family or column {name!r}; {hint}.")
    return family


def rows(name: str | None) -> list[dict[str, Any]]:
    """Describe columns.

    Parameters
    ----------
    name
        A family, a column, or None for all columns of all families.

    Returns
    -------
    list of dict
        One description per column: `column`, `meaning`, `unit`, `low`, `high` (None if unbounded),
        `constant` (the value on a constant region) and `source`.

    Raises
    ------
    InputError
        If there is no family or column with this name.

    Examples
    --------
    >>> rows("color__mean__patch_gray")[0]["unit"]
    'levels'
    """
    if name is None:
        return [column_row(family, c) for family in FAMILIES.values() for c in family.columns]
    family = family_of(name)
    return [column_row(family, c) for c in family.columns if name in (family.name, c)]


def column_texts(name: str) -> list[tuple[str, str]]:
    """The description of a column as headings and texts, as `pcam features` prints it.

    Parameters
    ----------
    name
        The name of a column.

    Raises
    ------
    InputError
        If there is no such column.

    Examples
    --------
    >>> column_texts("color__mean__patch_gray")[3]
    ('range', '0 … 255')
    """
    family = family_of(name)
    feature = family.feature(name)
    low, high = family.limits(name)
    _, meaning, unit, bounds, flat, source = COLUMNS
    return [
        ("column", name),
        (meaning, feature.meaning),
        (unit, feature.unit),
        (bounds, f"{number(low)} … {number(high)}"),
        (flat, feature.flat),
        (source, feature.source),
    ]


def feature_table(family: Family) -> list[tuple[str, ...]]:
    """The features of a family: a row of texts for each, under the headings `COLUMNS`."""
    return [
        (f.name, f.meaning, f.unit, f"{number(f.low)} … {number(f.high)}", f.flat, f.source)
        for f in family.features
    ]


def grids(family: Family) -> list[tuple[list[str], list[str]]]:
    """The features of a family in groups that share regions, planes and parameters, with these."""
    wheres: dict[str, list[str]] = {}
    for column in family.columns:
        _, feature, where = column.split("__")
        wheres.setdefault(feature, []).append(where)
    shared: dict[tuple[str, ...], list[str]] = {}
    for feature, where_list in wheres.items():
        shared.setdefault(tuple(where_list), []).append(feature)
    return [(features, list(where)) for where, features in shared.items()]


def count(family: Family) -> str:
    """The number of columns of a family as text."""
    return f"{len(family.columns):,}"


def cell(text: str) -> str:
    """Escape a text for a cell of a Markdown table.

    Examples
    --------
    >>> cell("a|<b>")
    'a\\\\|&lt;b>'
    """
    return text.replace("|", "\\|").replace("<", "&lt;")


def table(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A Markdown table.

    Parameters
    ----------
    header
        The heading of each column.
    body
        The cells of each row. They are escaped; headings are not.

    Examples
    --------
    >>> print(table(["model", "AUC"], [["stack", "0.95"]]))
    | model | AUC |
    | --- | --- |
    | stack | 0.95 |
    """
    lines = [tuple(header), tuple("---" for _ in header), *(tuple(map(cell, row)) for row in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def family_markdown(family: Family) -> str:
    """The section of a family in docs/features.md."""
    parts = [f"## `{family.name}`: {count(family)} columns", family.about.strip()]
    body = [(f"`{name}`", *rest) for name, *rest in feature_table(family)]
    parts.append(table(COLUMNS, body))
    for features, wheres in grids(family):
        named = (
            "every feature"
            if len(features) == len(family.features)
            else ", ".join(f"`{feature}`" for feature in features)
        )
        listed = ", ".join(f"`{where}`" for where in wheres)
        parts.append(
            f"<details><summary>{len(features) * len(wheres):,} columns "
            f"<code>{family.name}__&lt;feature&gt;__…</code></summary>\n\n"
            f"For {named}: {listed}\n\n</details>"
        )
    return "\n\n".join(parts)


def markdown() -> str:
    """The content of docs/features.md."""
    total = sum(len(family.columns) for family in FAMILIES.values())
    summary = table(
        ("family", "columns", "description"),
        [
            (
                f"[`{name}`](#{name}-{len(family.columns)}-columns)",
                f"{len(family.columns):,}",
                title(family),
            )
            for name, family in FAMILIES.items()
        ],
    )
    header = HEADER.format(
        size=PATCH_SIZE,
        center=CENTER[1] - CENTER[0],
        planes=", ".join(f"`{plane}`" for plane in PLANES),
    )
    assert len(REGIONS) == 3  # the header lists three regions
    parts = [header, f"{total:,} columns in {len(FAMILIES)} families:", summary]
    return "\n\n".join([*parts, *map(family_markdown, FAMILIES.values())]) + "\n"


def title(family: Family) -> str:
    """The first paragraph of a family's description, without its final period."""
    first: str = family.about.strip().split("\n\n")[0]
    return " ".join(first.split()).rstrip(".")
