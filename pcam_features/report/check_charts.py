"""The charts of a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from ..check.drift import FAR, Drift
from ..check.findings import CheckedSplit
from ..check.look import LABELS, Look
from ..check.result import BINS, CHANNELS, CLASSES, SplitSummary, of_label
from .charts import COLORS, FAINT, Chart, Figure, color, layout, plain

POINTS = 1500  # patches of a class in a scatter plot
SLIDES = 500  # largest slides of a split that are shown
LEVELS = [256 / BINS * (k + 0.5) for k in range(BINS)]
CHANNEL_COLORS = ("#D0342C", "#2E8B57", "#2F6FDE")
CLASS_COLORS = dict(zip(CLASSES.values(), (COLORS[0], COLORS[1], COLORS[7]), strict=True))


def shares(counts: Sequence[int]) -> list[float]:
    """Counts as proportions of their sum."""
    total = sum(counts)
    return [round(count / total, 5) for count in counts]


def lines(name: str, y: list[float], **style: Any) -> Figure:
    """A histogram as a line; `style` is of the line."""
    hover = "%{x:.0f}: %{y:.1%}<extra>" + escape(name) + "</extra>"
    own = {"type": "scatter", "mode": "lines", "name": escape(name), "x": LEVELS, "y": y}
    return own | {"line": {"width": 2.5} | style, "hovertemplate": hover}


def histogram_rows(series: dict[str, list[float]]) -> list[tuple[str, ...]]:
    """Histograms as cells, a row for each level."""
    return [(f"{LEVELS[k]:.0f}", *(f"{own[k]:.1%}" for own in series.values())) for k in range(BINS)]


def brightness(split: SplitSummary, place: int) -> Chart:
    """The mean gray level of patches, by class, of split number `place`."""
    series = {label: shares(counts) for label, counts in split.brightness.items()}
    data = [lines(label, y, color=CLASS_COLORS[label]) for label, y in series.items()]
    return Chart(
        key=f"brightness-{place}",
        title=f"Brightness, {split.name}",
        caption="If one class is brighter than the other, brightness alone may tell them apart.",
        figure={"data": data, "layout": layout(340, "mean gray level of a patch", "share of patches")},
        columns=("level", *series),
        rows=histogram_rows(series),
    )


def channels(split: SplitSummary, place: int) -> Chart:
    """The levels of pixels, by channel and class, of split number `place`."""
    series: dict[str, list[float]] = {}
    data = []
    for label, own in split.channels.items():
        for channel, hue in zip(CHANNELS, CHANNEL_COLORS, strict=True):
            series[f"{channel}, {label}"] = y = shares(own[channel])
            dash = "dot" if label == CLASSES[1] else "solid"
            data.append(lines(f"{channel}, {label}", y, color=hue, dash=dash))
    return Chart(
        key=f"channels-{place}",
        title=f"Channels, {split.name}",
        caption="Levels of all pixels by channel and class; tumor dotted.",
        figure={"data": data, "layout": layout(380, "level of a pixel", "share of pixels")},
        columns=("level", *series),
        rows=histogram_rows(series),
    )


def stains(look: Look) -> np.ndarray:
    """The mean hematoxylin and eosin level of each patch, (rows, 2)."""
    return np.stack([look.mean("hematoxylin"), look.mean("eosin")], axis=1)


def dots(name: str, at: np.ndarray, k: int, text: list[str], size: list[float] | int) -> Figure:
    """Points `at` hematoxylin and eosin (points, 2) in color number `k`."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": at[:, 0].round(1).tolist(),
        "y": at[:, 1].round(1).tolist(),
        "text": plain(text),
        "marker": {"color": color(k), "size": size, "opacity": 0.7, "line": {"width": 0}},
        "hovertemplate": "%{text}<br>hematoxylin %{x}, eosin %{y}<extra>%{fullData.name}</extra>",
    }


def slide_stain(parts: Sequence[CheckedSplit]) -> Chart | None:
    """The stain of each slide, or None if no slide is known."""
    data, rows = [], []
    for k, part in enumerate(parts):
        slides = np.array([slide or "" for slide in part.look.split.slides])
        names = [
            name for name, _ in Counter(slides[part.look.there & (slides != "")]).most_common(SLIDES)
        ]
        if not names:
            continue
        values, sizes = stains(part.look), []
        at = []
        for name in names:
            own = part.look.there & (slides == name)
            at.append(values[own].mean(axis=0))
            sizes.append(int(own.sum()))
            rows.append((f"{part.name}, {name}", f"{sizes[-1]:,}", *(f"{one:.1f}" for one in at[-1])))
        most = max(sizes)
        text = [f"{name}, {size:,} patches" for name, size in zip(names, sizes, strict=True)]
        area = [round(7 + 16 * (size / most) ** 0.5, 1) for size in sizes]
        data.append(dots(part.name, np.array(at), k, text, area))
    if not data:
        return None
    figure = {"data": data, "layout": layout(460, "mean hematoxylin", "mean eosin")}
    caption = (
        "Each point is a slide; larger points have more patches. Slides that are far apart were "
        "stained or scanned differently."
    )
    columns = ("slide", "patches", "hematoxylin", "eosin")
    return Chart("stain", "Stain by slide", caption, figure, columns, rows)


def patch_stain(parts: Sequence[CheckedSplit]) -> Chart:
    """The stain of patches, for data without slides."""
    data: list[Figure] = []
    rows = []
    for part in parts:
        for label in LABELS:
            own = np.flatnonzero(of_label(part.look, label))
            if not len(own):
                continue
            shown = np.sort(np.random.default_rng(0).permutation(own)[:POINTS])
            name = f"{part.name}, {CLASSES[label]}"
            at = stains(part.look)
            ids = [part.look.split.ids[row] for row in shown]
            data.append(dots(name, at[shown], len(data), ids, 5))
            middle = np.median(at[own], axis=0)
            rows.append((name, f"{len(own):,}", *(f"{one:.1f}" for one in middle)))
    figure = {"data": data, "layout": layout(460, "mean hematoxylin", "mean eosin")}
    caption = (
        f"Each point is a patch (at most {POINTS:,} of each class), because slides are unknown. The "
        "table gives medians."
    )
    columns = ("class", "patches", "hematoxylin", "eosin")
    return Chart("stain", "Stain", caption, figure, columns, rows)


def slide_sizes(parts: Sequence[CheckedSplit]) -> Chart | None:
    """The number of patches of each slide, or None if no slide is known."""
    data, rows = [], []
    for k, part in enumerate(parts):
        sizes = Counter(slide for slide in part.look.split.slides if slide)
        if not sizes:
            continue
        ordered = sizes.most_common(SLIDES)
        hover = "%{text}: %{y:,} patches<extra>" + escape(part.name) + "</extra>"
        data.append(
            {
                "type": "bar",
                "name": escape(part.name),
                "x": list(range(1, len(ordered) + 1)),
                "y": [count for _, count in ordered],
                "text": plain([name for name, _ in ordered]),
                "textposition": "none",
                "marker": {"color": color(k)},
                "hovertemplate": hover,
            }
        )
        rows += [(f"{part.name}, {name}", f"{count:,}") for name, count in ordered]
    if not data:
        return None
    figure = {"data": data, "layout": layout(340, "slides, the largest first", "patches")}
    caption = (
        f"Large slides have more weight in a score than small ones. At most {SLIDES} slides are shown."
    )
    return Chart("sizes", "Patches of each slide", caption, figure, ("slide", "patches"), rows)


def drifts(found: Sequence[Drift]) -> Chart:
    """The distance of each split from the first."""
    names = list(found[0].apart)
    data: list[Figure] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": escape(f"{one.other} against {one.base}"),
            "y": names[::-1],
            "x": [round(one.apart[name], 4) for name in names[::-1]],
            "marker": {"color": color(k)},
            "hovertemplate": "%{y}: %{x:.3f}<extra>%{fullData.name}</extra>",
        }
        for k, one in enumerate(found)
    ]
    mark = {"type": "line", "x0": FAR, "x1": FAR, "y0": 0, "y1": 1, "yref": "paper"}
    shapes = [mark | {"line": {"color": FAINT, "dash": "dot"}}]
    height = 120 + 26 * len(names) * max(1, len(found))
    rows = [
        (
            f"{one.other}: {name}",
            f"{one.apart[name]:.3f}",
            *(f"{value:.1f}" for value in one.medians[name]),
        )
        for one in found
        for name in names
    ]
    axis = {"range": [0, 1]}
    figure = {"data": data, "layout": layout(height, "distance", "", xaxis=axis, shapes=shapes)}
    caption = (
        "The Kolmogorov-Smirnov distance of each quantity: 0 for equal distributions, 1 for disjoint "
        f"ones. A distance above {FAR:g} (dotted) is reported, unless chance explains it."
    )
    columns = ("quantity", "distance", f"median of {found[0].base}", "median of the other")
    return Chart(
        "drift", f"Distance of the other splits from {found[0].base}", caption, figure, columns, rows
    )
