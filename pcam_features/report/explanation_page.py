"""The page that explains the prediction of one patch: its picture and the columns that moved it."""

from __future__ import annotations

from html import escape

import numpy as np

from ..learn.explain_patch import ColumnShare, PatchExplanation
from .html import document
from .pictures import framed

LABELS = {None: "of unknown label", 0: "labeled normal", 1: "labeled tumor"}


def sentence(record: PatchExplanation) -> str:
    """The patch and its probability, in a sentence."""
    prediction = f"probability of tumor {record.probability:.3f}"
    out_of_fold = record.out_of_fold_probability
    if out_of_fold is not None:
        prediction = (
            f"probability of tumor {out_of_fold:.3f} out of fold; explained is the final model, which "
            f"was fitted on this patch and predicts {record.probability:.3f}"
        )
    return f"{record.id} ({record.split}, {LABELS[record.label]}): {prediction}"


def adding_up(record: PatchExplanation) -> str:
    """How the columns add up to the probability, in a sentence."""
    shown = sum(column.contribution for column in record.columns)
    calibration = " after calibration" if record.is_calibrated else ""
    return (
        f"log-odds: {record.start:+.3f} baseline, {shown:+.3f} from these columns, "
        f"{record.others:+.3f} from all others, {record.sum:+.3f} in total, which is a "
        f"probability of {record.probability:.3f}{calibration}"
    )


def by_family(record: PatchExplanation) -> str:
    """The contribution of each family, largest first."""
    ordered = sorted(record.families.items(), key=lambda family: -abs(family[1]))
    return "by family: " + ", ".join(f"{name} {share:+.3f}" for name, share in ordered)


STYLE = """<style>
td.bar { width: 30%; min-width: 8rem; }
td.bar div { height: 1rem; }
.up { background: #c2410c; margin-left: 50%; }
.down { background: #1d6fb8; float: right; margin-right: 50%; }
</style>
"""


def row(column: ColumnShare, largest: float) -> str:
    """A column as a row of the table; `largest` is the largest contribution of any."""
    share = 50 * abs(column.contribution) / largest
    style = "up" if column.contribution > 0 else "down"
    return (
        f"<tr><td><code>{escape(column.column)}</code><br>{escape(column.meaning)}</td>"
        f"<td>{column.value:.4g} {escape(column.unit)}</td>"
        f"<td>{column.training_mean:.4g} ({column.deviations:+.1f} SD)</td>"
        f"<td>{column.contribution:+.3f}</td>"
        f'<td class="bar"><div class="{style}" style="width:{share:.1f}%"></div></td></tr>'
    )


def page(record: PatchExplanation, patch: np.ndarray | None) -> str:
    """The explanation as a self-contained HTML file.

    Parameters
    ----------
    record
        The explanation.
    patch
        Its pixels, uint8 (96, 96, 3), or None.
    """
    largest = max(abs(column.contribution) for column in record.columns) or 1.0
    rows = [row(column, largest) for column in record.columns]
    figure = "<p>(No picture.)</p>"
    if patch is not None:
        figure = (
            f"<figure>{framed(patch, 'The patch')}"
            "<figcaption>The square marks the center, which decides the label.</figcaption></figure>"
        )
    columns = ("column", "value", "training mean (distance)", "contribution")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = (
        f"<main><h1>Explanation of one patch</h1><p>{escape(sentence(record))}.</p>{figure}"
        f"<table><caption>The {len(rows)} columns with the largest contribution to log-odds. Bars to "
        f"the right: toward tumor.</caption><thead><tr>{head}"
        '<th scope="col"><span aria-hidden="true">− 0 +</span></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table><p>{escape(adding_up(record))}.</p>"
        f"<p>{escape(by_family(record))}.</p><p>Not a medical device.</p></main>"
    )
    return document(f"pcam explain: {record.id}", body, head=STYLE)
