"""One patch explained, as a page: its picture and the columns that moved it."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from .html import document
from .pictures import framed


def sentence(found: dict[str, Any]) -> str:
    truth = {None: "of unknown label", 0: "labeled normal", 1: "labeled tumor"}[found["label"]]
    said, apart = f"probability of tumor {found['probability']:.3f}", found["out_of_fold_probability"]
    if apart is not None:
        said = (
            f"probability of tumor {apart:.3f} out of fold; the model, which has learned from it, says "
            f"{found['probability']:.3f}, and that is what is explained"
        )
    return f"{found['id']} ({found['split']}, {truth}): {said}"


def adding_up(found: dict[str, Any]) -> str:
    """How the columns come to the probability, in a sentence."""
    shown = sum(one["contribution"] for one in found["columns"])
    return (
        f"log-odds: {found['start']:+.3f} for the mean patch, {shown:+.3f} by these columns, "
        f"{found['others']:+.3f} by all others: {found['sum']:+.3f}, calibrated to a probability of "
        f"{found['probability']:.3f}"
    )


def by_family(found: dict[str, Any]) -> str:
    ordered = sorted(found["families"].items(), key=lambda one: -abs(one[1]))
    return "by family: " + ", ".join(f"{name} {share:+.3f}" for name, share in ordered)


STYLE = """<style>
td.bar { width: 30%; min-width: 8rem; }
td.bar div { height: 1rem; }
.up { background: #c2410c; margin-left: 50%; }
.down { background: #1d6fb8; float: right; margin-right: 50%; }
</style>
"""


def page(found: dict[str, Any], patch: np.ndarray | None) -> str:
    """The explanation as an HTML file that needs nothing else."""
    largest = max(abs(one["contribution"]) for one in found["columns"]) or 1.0
    rows = []
    for one in found["columns"]:
        share = 50 * abs(one["contribution"]) / largest
        style = "up" if one["contribution"] > 0 else "down"
        rows.append(
            f"<tr><td><code>{escape(one['column'])}</code><br>{escape(one['meaning'])}</td>"
            f"<td>{one['value']:.4g} {escape(one['unit'])}</td>"
            f"<td>{one['training_mean']:.4g} ({one['deviations']:+.1f} deviations from it)</td>"
            f"<td>{one['contribution']:+.3f}</td>"
            f'<td class="bar"><div class="{style}" style="width:{share:.1f}%"></div></td></tr>'
        )
    figure = "<p>(No picture.)</p>"
    if patch is not None:
        figure = (
            f"<figure>{framed(patch, 'The patch')}"
            "<figcaption>The square is the center, where the label is decided.</figcaption></figure>"
        )
    columns = ("column", "value", "training mean", "log-odds")
    head = "".join(f'<th scope="col">{one}</th>' for one in columns)
    body = (
        f"<main><h1>What moved this patch</h1><p>{escape(sentence(found))}.</p>{figure}"
        f"<table><caption>The {len(rows)} columns that moved it most, in log-odds. To the right: "
        f"toward tumor.</caption><thead><tr>{head}"
        '<th scope="col"><span aria-hidden="true">− 0 +</span></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table><p>{escape(adding_up(found))}.</p>"
        f"<p>{escape(by_family(found))}.</p><p>Not a medical device.</p></main>"
    )
    return document(f"pcam explain: {found['id']}", body, head=STYLE)
