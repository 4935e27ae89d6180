"""A comparison in Markdown."""

from __future__ import annotations

from ..evaluate.published import NOTE
from ..evaluate.result import Comparison
from ..families.describe import table
from . import tables


def markdown(result: Comparison, *, published: bool) -> str:
    """The verdict, its tables and notes."""
    blocks = [f"**{result.verdict}**", table(*tables.models(result))]
    if result.differences:
        blocks.append(table(*tables.differences(result)))
    blocks.append(table(*tables.metrics(result)))
    costs = tables.costs(result)
    if costs is not None:
        blocks.append(table(*costs))
    blocks += [table(*tables.part(one, result.names)) for one in result.parts if one.groups]
    blocks += tables.part_notes(result)
    blocks += [f"- {note}" for note in tables.notes(result)]
    if published:
        blocks += [NOTE, table(*tables.published())]
    blocks.append(f"Made with pcam {result.pcam_version}, seed {result.seed}.")
    return "\n\n".join(blocks)
