"""The patches on which models disagree most, or one is most wrong: what each model says, and why."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluate.inputs import Data, Features
from ..evaluate.subsets import disagreement
from ..learn.bundle import Bundle
from ..learn.explain_patch import reasons
from ..store.pictures import open_pictures
from .pictures import framed

SHOWN = 12
REASONS = 3  # columns
SHARES = 3  # families


def gallery(
    data: Data, features: Features, bundle: Bundle | None, source: str | None
) -> tuple[str, str | None]:
    """The patches as HTML, and why there are no pictures if there are none.

    Raises InputError if the features are not what the model takes, or `source` cannot be used.
    """
    single = len(data.entries) == 1
    apart = abs(data.labels - data.entries[0].mean) if single else disagreement(data.entries)
    chosen = np.argsort(-apart, kind="stable")[:SHOWN]
    rows = features.rows[chosen]
    why = {} if bundle is None else reasons(bundle, features.store, features.split, rows, REASONS)
    pictures, problem = None, None
    try:
        pictures = open_pictures(features.store, features.split, source)
    except InputError as error:
        if source is not None:
            raise
        problem = f"No pictures: {error} --source DIR says where they are."
    cards = []
    for place, row in zip(chosen.tolist(), rows.tolist(), strict=True):
        picture = "" if pictures is None else framed(pictures(row), f"Patch {data.ids[place]}")
        cards.append(card(data, place, picture, why.get(row)))
    return f'<ul class="gallery">{"".join(cards)}</ul>', problem


def card(data: Data, place: int, picture: str, why: dict[str, Any] | None) -> str:
    truth = "tumor" if data.labels[place] else "normal"
    said = "".join(
        f"<tr><th scope='row'>{escape(entry.name)}</th><td>{entry.mean[place]:.3f}</td></tr>"
        for entry in data.entries
    )
    slide = data.slides[place]
    where = "" if slide is None else f", slide {escape(slide)}"
    return (
        f"<li>{picture}<p><strong>Labeled {truth}</strong>{where}<br><code>"
        f"{escape(data.ids[place])}</code></p>"
        f"<table><caption>Probability of tumor</caption><tbody>{said}</tbody></table>"
        f"{'' if why is None else reason(why)}</li>"
    )


def reason(why: dict[str, Any]) -> str:
    """What moved the classical model, as HTML."""
    families = ", ".join(
        f"{name} {share:+.2f}" for name, share in list(why["families"].items())[:SHARES]
    )
    columns = "".join(
        f"<li>{escape(one['meaning'])}: {one['deviations']:+.1f} deviations from the usual, "
        f"{one['contribution']:+.2f}<br><code>{escape(one['column'])}</code></li>"
        for one in why["columns"]
    )
    return (
        f"<p>The classical model, in log-odds: {escape(families)}</p>"
        f"<details><summary>Its columns</summary><ol>{columns}</ol></details>"
    )
