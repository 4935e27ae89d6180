"""The frame of all HTML pages of pcam.

A page is one self-contained file that loads nothing from the network. It suits light and dark screens,
phones and print.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from ..storage.files import PAGE
from .charts import Chart

# The browser refuses to load anything, whatever the file contains.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)

STYLE = """
:root { color-scheme: light dark; font: 16px/1.55 system-ui, sans-serif; --line: #8886;
  --accent: #0b5cad; --soft: #8881; background: #fff; color: #111; }
@media (prefers-color-scheme: dark) { :root { --accent: #7db8f0; background: #121212; color: #eee; } }
@media print { :root { background: none; color: #000; } }
body { max-width: 68rem; margin: 0 auto; padding: 1rem; }
a { color: var(--accent); }
h1 { line-height: 1.2; margin: 1rem 0 .5rem; }
h2 { margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
.lead { font-size: 1.2rem; }
.skip { position: absolute; left: -100vw; }
.skip:focus { left: 1rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
caption { text-align: left; padding: .25rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
.scroll td, .scroll th { font-variant-numeric: tabular-nums; }
/* On a phone a table scrolls sideways, and lines broken in every cell would make its rows tall. */
@media screen and (max-width: 40rem) { .scroll td { white-space: nowrap; } }
figure { margin: 1rem 0; }
figure.chart figcaption { margin-top: .25rem; }
.plot { min-height: 8rem; }
.plot .xtick text, .plot .ytick text, .plot .legendtext, .plot .g-xtitle text,
.plot .g-ytitle text, .plot .annotation text { fill: currentColor !important; }
details { margin: .25rem 0 1rem; }
summary { cursor: pointer; color: var(--accent); }
[role=tablist] { display: flex; flex-wrap: wrap; gap: .25rem; }
[role=tab] { font: inherit; color: inherit; padding: .4rem .9rem; border: 1px solid var(--line);
  background: none; border-radius: .4rem .4rem 0 0; cursor: pointer; }
[role=tab][aria-selected=true] { background: var(--soft); font-weight: 600;
  border-bottom: 3px solid var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
code { overflow-wrap: anywhere; }
.patch { position: relative; width: 192px; margin: 0; }
.patch img { width: 192px; height: 192px; image-rendering: pixelated; display: block; }
.patch span { position: absolute; box-sizing: border-box; border: 2px solid #ffd400; }
.sheet { max-width: 100%; height: auto; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.5rem;
  padding: 0; list-style: none; }
.gallery ol { padding-left: 1.2rem; margin: .25rem 0; }
.gallery p { margin: .4rem 0; }
@media print { body { max-width: none; } nav, [role=tablist], summary { display: none; }
  figure, tr, .gallery > li { break-inside: avoid; } }
"""


SCRIPT = """
const charts = JSON.parse(document.getElementById('charts').textContent);
const drawn = new Set();
function draw(box) {
  const key = box.dataset.chart;
  if (drawn.has(key)) { Plotly.Plots.resize(box); return; }
  drawn.add(key);
  Plotly.newPlot(box, charts[key].data, charts[key].layout, {displayModeBar: false, responsive: true});
}
function select(tab) {
  for (const other of tab.parentElement.children) {
    const chosen = other === tab;
    other.setAttribute('aria-selected', chosen);
    other.tabIndex = chosen ? 0 : -1;
    const panel = document.getElementById(other.getAttribute('aria-controls'));
    panel.hidden = !chosen;
    if (chosen) panel.querySelectorAll('.plot').forEach(draw);
  }
}
document.querySelectorAll('[role=tablist]').forEach(list => {
  const tabs = [...list.children];
  list.hidden = false;
  tabs.forEach((tab, k) => {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      const next = tabs[(k + step + tabs.length) % tabs.length];
      select(next);
      next.focus();
    });
  });
  select(tabs[0]);
});
document.querySelectorAll('.plot').forEach(box => { if (box.offsetParent) draw(box); });
addEventListener('beforeprint', () => {
  document.querySelectorAll('[role=tabpanel]').forEach(panel => { panel.hidden = false; });
  document.querySelectorAll('.plot').forEach(draw);
});
addEventListener('afterprint', () => {
  document.querySelectorAll('[role=tab][aria-selected=true]').forEach(select);
});
"""


def document(title: str, body: str, head: str = "", end: str = "") -> str:
    """A page; `head` and `end` are further elements, as HTML."""
    return (
        f'{PAGE}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{head}</head>\n<body>\n"
        f"{body}\n{end}</body>\n</html>\n"
    )


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls on its own on narrow screens."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def paragraph(text: str | None) -> str:
    """A paragraph; nothing for no text."""
    return f"<p>{escape(text)}</p>" if text else ""


def tabs(name: str, panels: Sequence[tuple[Chart, str]]) -> str:
    """Charts in tabs, one visible at a time."""
    buttons = "".join(
        f'<button role="tab" id="tab-{chart.key}" aria-controls="panel-{chart.key}" '
        f'aria-selected="{str(k == 0).lower()}">{escape(chart.title)}</button>'
        for k, (chart, _) in enumerate(panels)
    )
    shown = "".join(
        f'<div role="tabpanel" id="panel-{chart.key}" aria-labelledby="tab-{chart.key}">{html}</div>'
        for chart, html in panels
    )
    return f'<div role="tablist" aria-label="{escape(name)}" hidden>{buttons}</div>{shown}'


class Page:
    """A page of sections with charts."""

    def __init__(self) -> None:
        self._sections: list[tuple[str, str, str]] = []
        self._charts: dict[str, Chart] = {}

    def show(self, chart: Chart, *, opened: bool = False) -> str:
        """A chart as HTML, with its numbers as a table below, unfolded if `opened`."""
        self._charts[chart.key] = chart
        return (
            f'<figure class="chart"><div class="plot" data-chart="{chart.key}" role="img" '
            f'aria-label="{escape(chart.title)}. {escape(chart.caption)}"></div>'
            f"<figcaption><strong>{escape(chart.title)}.</strong> {escape(chart.caption)}</figcaption>"
            f"<details{' open' if opened else ''}><summary>{escape(chart.title)}: the numbers</summary>"
            f"{table(chart.title, chart.columns, chart.rows)}</details></figure>"
        )

    def section(self, key: str, title: str, *content: str) -> None:
        """Add a section; `key` is its anchor."""
        self._sections.append((key, title, "\n".join(one for one in content if one)))

    def html(self, title: str, heading: str, lead: str, notes: Sequence[str]) -> str:
        """The whole page; `lead` and `notes` come before the sections."""
        from plotly.offline import get_plotlyjs

        figures = {key: chart.figure for key, chart in self._charts.items()}
        inlined = json.dumps(figures, allow_nan=False).replace("<", "\\u003c")  # no tag, no comment
        end = (
            f'<script type="application/json" id="charts">{inlined}</script>\n'
            f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script>\n"
        )
        links = "".join(
            f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in self._sections
        )
        parts = "".join(
            f'<section aria-labelledby="{key}"><h2 id="{key}">{escape(name)}</h2>{content}</section>'
            for key, name, content in self._sections
        )
        body = (
            '<a class="skip" href="#main">Skip to the results</a>'
            f"<header><h1>{escape(heading)}</h1></header>"
            f'<nav aria-label="Sections"><ul>{links}</ul></nav><main id="main">'
            f'<p class="lead">{escape(lead)}</p>'
            + "".join(paragraph(one) for one in notes)
            + parts
            + "</main><footer><p>Not a medical device.</p></footer>"
        )
        return document(title, body, end=end)
