"""The page that a demo ends with: result, other pages, model card and commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..evaluate.spread import LEVEL
from ..learn.manifest import ModelManifest
from .card import NOT_FOR
from .html import document, paragraph, table
from .sentences import findings, score_rows

STYLE = """<style>
dt { font-weight: 600; margin-top: .75rem; }
dd { margin: 0; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; }
</style>
"""


@dataclass(frozen=True)
class Link:
    """A file of the demo.

    Parameters
    ----------
    file
        Its path from the page.
    title
        What the link is called.
    says
        What is found there, in a sentence.
    """

    file: str
    title: str
    says: str


def page(
    verdict: str, links: Sequence[Link], sheet: str, model: ModelManifest, commands: Sequence[str]
) -> str:
    """The page as HTML.

    Parameters
    ----------
    verdict
        The result of the comparison, in a sentence.
    links
        The other pages and files, in the order in which they are read.
    sheet
        A picture of patches, as a data URI.
    model
        The manifest of the model.
    commands
        The commands that the demo ran, in their order.
    """
    listed = "".join(
        f'<dt><a href="{escape(link.file)}">{escape(link.title)}</a></dt><dd>{escape(link.says)}</dd>'
        for link in links
    )
    scores = table(
        "AUC out of fold: every patch is scored by a model that saw no patch of its slide",
        ("model", "AUC", f"{LEVEL:.0%} interval across slides", "weight"),
        score_rows(model),
    )
    seen = "".join(f"<li>{escape(one[0].upper())}{escape(one[1:])}.</li>" for one in findings(model))
    body = (
        '<a class="skip" href="#main">Skip to the results</a>'
        '<header><h1>pcam demo</h1></header><main id="main">'
        f'<p class="lead">{escape(verdict)}</p>{paragraph(SYNTHETIC)}'
        f"<h2>Results</h2><dl>{listed}</dl>"
        f'<h2>Patches</h2><img class="sheet" src="{sheet}" alt="Synthetic patches: negative in the '
        'upper half, positive in the lower half">'
        f"{paragraph(PATCHES)}"
        f"<h2>Model card</h2>{paragraph(model.source.protocol)}{scores}<ul>{seen}</ul>"
        f"{paragraph(f'Not intended for {NOT_FOR}')}"
        f"<h2>Commands</h2>{paragraph(COMMANDS)}{listing(commands)}"
        f"<h2>Your own patches</h2>{paragraph(OWN)}{listing(['pcam run FOLDER results'])}"
        "</main><footer><p>Not a medical device.</p></footer>"
    )
    return document("pcam demo", body, head=STYLE)


def listing(commands: Sequence[str]) -> str:
    """Commands, one a line, which scroll on their own on narrow screens."""
    lines = "\n".join(commands)
    return f'<pre tabindex="0">{escape(lines)}</pre>'


SYNTHETIC = (
    "The patches are synthetic: pcam drew them, with a stain of its own for each slide. Scores on them "
    "say that everything works here; they say nothing about tissue."
)
PATCHES = (
    "The upper half is negative, the lower half positive: a tumor nucleus reaches the center 32×32 "
    "pixels. Some negative patches have tumor outside the center."
)
COMMANDS = "The demo ran these commands, which work the same way on your own patches."
OWN = (
    "One command does all of this on a folder, a zip, HDF5 or Parquet files of labeled patches. It "
    "says how long it will take, and continues where it was stopped."
)
