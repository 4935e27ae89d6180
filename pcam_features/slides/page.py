"""The page of a map: the slide with the map over it, the highest patches with reasons, the protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from typing import Any

import numpy as np

from ..learn.explain_patch import Reasons
from ..report.charts import COLORS, Chart, layout
from ..report.gallery import reason
from ..report.html import Page, paragraph, table
from ..report.pictures import framed, jpeg, png
from ..words import counted
from .outputs import OPACITY, colors, in_bytes
from .tissue import Overview

BINS = 20
SHOWN_REGIONS = 20
REGION_COLUMNS = ("region", "area in mm²", "mean", "maximum", "x", "y")


@dataclass(frozen=True)
class TopPatch:
    """A patch of high probability: pixels, the middle in pixels of level 0, and what moved it."""

    pixels: np.ndarray
    probability: float
    x: int
    y: int
    reasons: Reasons


@dataclass(frozen=True)
class MapPage:
    """What the page shows.

    Parameters
    ----------
    record
        The map's record, as `map.json` has it.
    verdict
        The result in a sentence, without a period.
    seen
        The slide at the resolution of a screen.
    scores
        The map, float32 (rows, columns); NaN where there is no probability.
    patches
        The patches of highest probability.
    """

    record: Mapping[str, Any]
    verdict: str
    seen: Overview
    scores: np.ndarray
    patches: Sequence[TopPatch]


def page(shown: MapPage) -> str:
    """The page as HTML."""
    record = shown.record
    made = Page()
    made.section("map", "Map", viewer(shown))
    made.section("histogram", "Probabilities", made.show(histogram(shown.scores)))
    made.section("regions", "Regions", regions(record))
    made.section("patches", "Highest patches", paragraph(PATCHES), gallery(shown.patches))
    made.section("protocol", "Protocol", protocol(record))
    name = PurePath(str(record["slide"])).name
    return made.html(
        f"pcam slide map: {name}",
        name,
        f"{shown.verdict[0].upper()}{shown.verdict[1:]}.",
        notes(record),
    )


PATCHES = (
    "The patches of highest probability that do not overlap, with what moved the prediction. x and y "
    "are the middle in pixels of the slide's level 0. The square marks the center, which is scored."
)


def notes(record: Mapping[str, Any]) -> list[str]:
    """What was left out, in sentences."""
    found = []
    if record["unreadable"]:
        found.append(
            f"{counted(record['unreadable'], 'center')} could not be read and "
            f"{'has' if record['unreadable'] == 1 else 'have'} no probability."
        )
    if record["overview_unreadable"]:
        found.append(
            f"{record['overview_unreadable']:.1%} of the overview could not be read, so tissue there "
            "was not found."
        )
    return found


def viewer(shown: MapPage) -> str:
    """The slide with the map over it, and its controls."""
    record = shown.record
    levels = in_bytes(shown.scores)
    known = np.where(np.isfinite(shown.scores), 255, 0).astype(np.uint8)
    data = png(np.dstack([levels, known, np.zeros_like(levels)]))
    place = {
        "left": 100 * record["x"] / record["width"],
        "top": 100 * record["y"] / record["height"],
        "width": 100 * record["columns"] * record["pixel"] / record["width"],
        "height": 100 * record["rows"] * record["pixel"] / record["height"],
    }
    style = ";".join(f"{name}:{value:.4f}%" for name, value in place.items())
    facts = {"um": record["width"] * record["mpp"], "colors": colors().tolist()}
    return (
        f"<style>{STYLE}</style>"
        '<div class="controls">'
        + slider("opacity", "Opacity", 100, round(100 * OPACITY))
        + slider("least", "Hide below", 100, 0)
        + slider("zoom", "Zoom", 800, 100, least=100)
        + "</div>"
        '<div class="viewer" id="viewer" tabindex="0" role="region" aria-label="Slide with its map">'
        f'<div id="stage"><img id="slide" src="{jpeg(shown.seen.pixels)}" '
        f'alt="The slide at low resolution"><canvas id="layer" style="{style}" '
        f'width="{record["columns"]}" height="{record["rows"]}" role="img" '
        'aria-label="Probability of tumor of each center"></canvas></div></div>'
        '<p class="scale"><span id="bar" aria-hidden="true"></span> <span id="length"></span> '
        f'<span class="ramp" style="background:{ramp()}" aria-hidden="true"></span> '
        "probability of tumor from 0 to 1</p>"
        f'<img id="values" src="{data}" alt="" hidden>'
        f'<script type="application/json" id="facts">{json.dumps(facts)}</script>'
        f"<script>{SCRIPT}</script>"
    )


def slider(key: str, name: str, most: int, value: int, least: int = 0) -> str:
    """A slider in percent, with its label and value."""
    return (
        f'<label for="{key}">{escape(name)} <output id="{key}-told" for="{key}">{value}%</output>'
        f'<input id="{key}" type="range" min="{least}" max="{most}" value="{value}"></label>'
    )


def ramp() -> str:
    """The colors of a map from low to high, as CSS."""
    steps = colors()[::51]
    return f"linear-gradient(90deg,{','.join('rgb({},{},{})'.format(*step) for step in steps)})"


STYLE = """
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; }
.controls label { display: flex; flex-direction: column; min-width: 10rem; flex: 1; }
.viewer { overflow: auto; max-height: 80vh; border: 1px solid var(--line); margin: .5rem 0; }
#stage { position: relative; width: 100%; line-height: 0; }
#slide { width: 100%; height: auto; }
#layer { position: absolute; image-rendering: pixelated; }
.scale { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
#bar { display: inline-block; height: .4rem; background: currentColor; }
.ramp { display: inline-block; width: 8rem; height: .8rem; }
"""

SCRIPT = """
(() => {
  const at = id => document.getElementById(id);
  const facts = JSON.parse(at('facts').textContent);
  const layer = at('layer'), stage = at('stage'), viewer = at('viewer'), values = at('values');
  let levels = null;
  function paint() {
    if (!levels) return;
    const pen = layer.getContext('2d');
    const image = pen.createImageData(layer.width, layer.height);
    const least = at('least').value / 100;
    for (let k = 0; k < image.data.length; k += 4) {
      const level = levels.data[k];
      const [r, g, b] = facts.colors[level];
      image.data.set([r, g, b, levels.data[k + 1] && level / 255 >= least ? 255 : 0], k);
    }
    pen.putImageData(image, 0, 0);
  }
  function measure() {
    const perPixel = facts.um / stage.clientWidth;
    let length = 1;
    for (const nice of [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000]) {
      if (nice / perPixel <= 200) length = nice;
    }
    at('bar').style.width = `${length / perPixel}px`;
    at('length').textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  }
  function tell(id) { at(`${id}-told`).textContent = `${at(id).value}%`; }
  at('opacity').addEventListener('input', () => {
    layer.style.opacity = at('opacity').value / 100;
    tell('opacity');
  });
  at('least').addEventListener('input', () => { paint(); tell('least'); });
  at('zoom').addEventListener('input', () => {
    const x = (viewer.scrollLeft + viewer.clientWidth / 2) / stage.clientWidth;
    const y = (viewer.scrollTop + viewer.clientHeight / 2) / stage.clientHeight;
    stage.style.width = `${at('zoom').value}%`;
    viewer.scrollLeft = x * stage.clientWidth - viewer.clientWidth / 2;
    viewer.scrollTop = y * stage.clientHeight - viewer.clientHeight / 2;
    measure();
    tell('zoom');
  });
  layer.style.opacity = at('opacity').value / 100;
  values.decode().then(() => {
    const canvas = document.createElement('canvas');
    canvas.width = layer.width;
    canvas.height = layer.height;
    const pen = canvas.getContext('2d', {willReadFrequently: true});
    pen.drawImage(values, 0, 0);
    levels = pen.getImageData(0, 0, canvas.width, canvas.height);
    paint();
    layer.dataset.painted = 'yes';
  });
  addEventListener('resize', measure);
  addEventListener('load', measure);
})();
"""


def histogram(scores: np.ndarray) -> Chart:
    """How many centers have which probability."""
    counts, edges = np.histogram(scores[np.isfinite(scores)], bins=BINS, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    data = {
        "type": "bar",
        "x": np.round(middles, 4).tolist(),
        "y": counts.tolist(),
        "marker": {"color": COLORS[0]},
        "hovertemplate": "%{x:.3f}: %{y:,}<extra></extra>",
    }
    return Chart(
        key="histogram",
        title="Probabilities of centers",
        caption="Number of centers by probability of tumor, on a logarithmic scale.",
        figure={
            "data": [data],
            "layout": layout(320, "probability of tumor", "centers", yaxis={"type": "log"}),
        },
        columns=("probability", "centers"),
        rows=[
            (f"{low:.2f} to {high:.2f}", f"{count:,}")
            for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        ],
    )


def regions(record: Mapping[str, Any]) -> str:
    """The regions as a table."""
    found = record["regions"]
    if not found:
        return paragraph(f"No center has a probability of {record['threshold']:g} or above.")
    rows = [
        (
            str(k),
            f"{region['area_mm2']:.3f}",
            f"{region['mean']:.3f}",
            f"{region['maximum']:.3f}",
            f"{region['x']:,}",
            f"{region['y']:,}",
        )
        for k, region in enumerate(found[:SHOWN_REGIONS], 1)
    ]
    caption = f"Regions at {record['threshold']:g} or above; x and y of the highest center"
    left = len(found) - len(rows)
    more = f"{counted(left, 'further region')} in regions.geojson." if left else None
    return table(caption, REGION_COLUMNS, rows) + paragraph(more)


def gallery(patches: Sequence[TopPatch]) -> str:
    """The patches of highest probability."""
    items = [
        f"<li>{framed(one.pixels, f'Patch at {one.x}, {one.y}')}"
        f"<p><strong>{one.probability:.3f}</strong> at {one.x:,}, {one.y:,}</p>"
        f"{reason(one.reasons)}</li>"
        for one in patches
    ]
    return f'<ul class="gallery">{"".join(items)}</ul>'


def protocol(record: Mapping[str, Any]) -> str:
    """How the map was made, as a table."""
    rows = [
        ("slide", str(record["slide"])),
        (
            "level 0",
            f"{record['width']:,}×{record['height']:,} pixels of {record['mpp']:g} µm",
        ),
        ("read by", str(record["reader"])),
        ("model", str(record["model"])),
        ("SHA-256 of its manifest", str(record["model_sum"])),
        ("tissue", str(record["tissue"])),
        ("patches", f"96×96 pixels at 0.972 µm, every {record['stride']} pixels, within the slide"),
        ("centers on tissue", f"{record['centers']:,}"),
        ("centers that could not be read", f"{record['unreadable']:,}"),
        ("slide score", f"{record['score']:.4f}, the maximum of means over 3×3 centers"),
        ("pcam", str(record["pcam_version"])),
    ]
    return table("How the map was made", ("what", "value"), rows)
