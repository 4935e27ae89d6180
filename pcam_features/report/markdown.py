"""A comparison in Markdown."""

from __future__ import annotations

from typing import Any

from ..evaluate.published import NOTE, SCORES, Published
from ..evaluate.subsets import LEAST
from ..families.describe import table
from . import tables


def markdown(result: dict[str, Any], *, published: bool) -> str:
    """The verdict, its tables and notes."""
    names = [m["model"] for m in result["models"]]
    blocks = [f"**{result['verdict']}**", table(*tables.models(result))]
    if result["differences"]:
        blocks.append(table(*tables.differences(result)))
    blocks.append(table(*tables.metrics(result)))
    costs = tables.costs(result)
    if costs is not None:
        blocks.append(table(*costs))
    for what, found in result["parts"].items():
        if found is None:
            continue
        if "groups" not in found:
            blocks.append(tables.copies(found))
            continue
        if found["groups"]:
            blocks.append(table(*tables.part(found, names, what)))
        blocks.append(tables.left_out(found, what, LEAST))
    blocks += [f"- {one}" for one in tables.notes(result)]
    if published:
        blocks += [NOTE, table(Published._fields, [tuple(one) for one in SCORES])]
    blocks.append(f"Made with pcam {result['pcam_version']}, seed {result['seed']}.")
    return "\n\n".join(block for block in blocks if block)
