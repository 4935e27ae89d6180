"""The patches in the report of a comparison, with predictions and their reasons."""

from __future__ import annotations

from html import escape

from ..learn.exhibits import Gallery, PatchExhibit
from ..learn.explain_patch import Reasons
from .pictures import framed

SHARES = 3  # families


def gallery(shown: Gallery) -> str:
    """The patches as HTML."""
    return f'<ul class="gallery">{"".join(card(patch) for patch in shown.patches)}</ul>'


def card(patch: PatchExhibit) -> str:
    """A patch with its label, its predictions, and reasons if there are any."""
    truth = "tumor" if patch.label else "normal"
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{probability:.3f}</td></tr>"
        for name, probability in patch.probabilities.items()
    )
    picture = "" if patch.pixels is None else framed(patch.pixels, f"Patch {patch.id}")
    slide = "" if patch.slide is None else f", slide {escape(patch.slide)}"
    return (
        f"<li>{picture}<p><strong>Labeled {truth}</strong>{slide}<br><code>"
        f"{escape(patch.id)}</code></p>"
        f"<table><caption>Probability of tumor</caption><tbody>{rows}</tbody></table>"
        f"{'' if patch.reasons is None else reason(patch.reasons)}</li>"
    )


def reason(why: Reasons) -> str:
    """The families and columns with the largest contribution to the prediction, as HTML."""
    families = ", ".join(f"{name} {share:+.2f}" for name, share in list(why.families.items())[:SHARES])
    columns = "".join(
        f"<li>{escape(one.meaning)}: {one.deviations:+.1f} standard deviations from the training mean, "
        f"{one.contribution:+.2f}<br><code>{escape(one.column)}</code></li>"
        for one in why.columns
    )
    return (
        f"<p>Contributions in the classical model, in log-odds: {escape(families)}</p>"
        f"<details><summary>Columns with the largest contribution</summary><ol>{columns}</ol></details>"
    )
