"""Markdown: a comparison, and untrusted text."""

from __future__ import annotations

from collections.abc import Iterable

from ..evaluate.published import NOTE
from ..evaluate.result import Comparison
from ..families.describe import cell
from ..families.describe import table as plain_table
from . import tables


def escaped(text: str) -> str:
    """Text on one line of Markdown, in which names from files form neither HTML elements nor links.

    Parameters
    ----------
    text
        Plain text, such as the path of a source.

    Returns
    -------
    str
        The text with HTML elements and links escaped, and line breaks as spaces.

    Examples
    --------
    >>> escaped("<b>a</b> [link](b)")
    '&lt;b>a&lt;/b> \\\\[link](b)'
    """
    return " ".join(text.split()).replace("<", "&lt;").replace("[", "\\[")


def table(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A Markdown table whose headings and cells may be names from files; each stays on its line."""
    rows = [[" ".join(text.split()) for text in row] for row in body]
    return plain_table([cell(" ".join(text.split())) for text in header], rows)


def markdown(result: Comparison, *, published: bool) -> str:
    """A comparison in Markdown: its verdict, tables and notes.

    Parameters
    ----------
    result
        The comparison.
    published
        Whether to add scores published by others.
    """
    blocks = [f"**{escaped(result.verdict)}**", table(*tables.models(result))]
    if result.differences:
        blocks.append(table(*tables.differences(result)))
    blocks.append(table(*tables.metrics(result)))
    costs = tables.costs(result)
    if costs is not None:
        blocks.append(table(*costs))
    blocks += [table(*tables.part(one, result.names)) for one in result.parts if one.groups]
    blocks += map(escaped, tables.part_notes(result))
    blocks += [f"- {escaped(note)}" for note in tables.notes(result)]
    if published:
        blocks += [NOTE, table(*tables.published())]
    blocks.append(f"Made with pcam {result.pcam_version}, seed {result.seed}.")
    return "\n\n".join(blocks)
