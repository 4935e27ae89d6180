"""HTML of results for notebooks: tables, and a small chart as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .intervals import Estimate

if TYPE_CHECKING:
    import pandas as pd

WIDTH, LEFT, RIGHT, ROW = 640, 200, 20, 26  # pixels
LONGEST = 26  # characters of a name


def table_html(frame: pd.DataFrame) -> str:
    """A table as HTML, names escaped."""
    html: str = frame.to_html(border=0, float_format=lambda value: f"{value:.4g}", escape=True)
    return html


def shortened(name: str) -> str:
    """A name that fits beside the chart."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def forest_svg(names: Sequence[str], estimates: Sequence[Estimate], title: str) -> str:
    """Estimates with their intervals, a row each, as inline SVG.

    Parameters
    ----------
    names
        The name of each row.
    estimates
        The value and interval of each row.
    title
        The name of the values, as the title of the axis.
    """
    low = min(one.low for one in estimates)
    high = max(one.high for one in estimates)
    span = (high - low) or 1.0

    def x(value: float) -> str:
        return f"{LEFT + (value - low) / span * (WIDTH - LEFT - RIGHT):.1f}"

    rows = []
    for k, (name, one) in enumerate(zip(names, estimates, strict=True)):
        y = ROW * k + ROW // 2
        rows.append(
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(shortened(name))}</text>'
            f'<line x1="{x(one.low)}" x2="{x(one.high)}" y1="{y}" y2="{y}" stroke="#0072B2" '
            f'stroke-width="3"/><circle cx="{x(one.value)}" cy="{y}" r="5" fill="#0072B2"/>'
        )
    bottom = ROW * len(names) + 14
    rows.append(
        f'<text x="{LEFT}" y="{bottom}">{low:.3f}</text>'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{bottom}" text-anchor="middle">'
        f"{escape(title)}</text>"
        f'<text x="{WIDTH - RIGHT}" y="{bottom}" text-anchor="end">{high:.3f}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 8}" role="img" '
        f'aria-label="{escape(title)} of each, with its interval" font-size="13" '
        f'font-family="sans-serif" fill="currentColor">{"".join(rows)}</svg>'
    )
