"""The charts of a report as plotly.js takes them: plain dictionaries of data and layout.

The colors are those of M. Okabe and K. Ito, which color-blind people can distinguish. Text has the
color of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Any

import numpy as np

from ..evaluate.curves import GRID, CurveBand, ModelCurves
from ..evaluate.intervals import Estimate
from ..evaluate.result import Agreement, PartResult
from ..words import counted, duration

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#8A5FBF", "#7F7F7F")
SYMBOLS = ("diamond", "circle", "square", "triangle-up")  # of points
DASHES = ("solid", "dash", "dot", "dashdot")
FAINT, GRAY = "rgba(128,128,128,0.35)", "#888888"
TIMES = (1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 360000.0)  # seconds that an axis of times marks
ROW = 46  # pixels of a row of a forest plot
Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart with its title, its caption, and its numbers as a table."""

    key: str
    title: str
    caption: str
    figure: Figure
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def plain(names: Sequence[str]) -> list[str]:
    """Names as plain text, with their line breaks: Plotly interprets text as HTML."""
    return [escape(name).replace("\n", "<br>") for name in names]


def layout(height: int, x: str, y: str, **more: Any) -> Figure:
    """A layout of `height` pixels, with titles of the axes, and `more` of its settings."""
    axis = {"gridcolor": FAINT, "zerolinecolor": FAINT, "linecolor": FAINT, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 10, "r": 16, "t": 40, "b": 10},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 14, "family": "system-ui, sans-serif"},
        "xaxis": axis | {"title": {"text": x}} | more.pop("xaxis", {}),
        "yaxis": axis | {"title": {"text": y}} | more.pop("yaxis", {}),
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "dragmode": False,
    } | more


def color(k: int) -> str:
    """The color of model number `k`."""
    return COLORS[k % len(COLORS)]


def line(k: int) -> dict[str, Any]:
    """The line of model number `k`."""
    return {"color": color(k), "width": 2.5, "dash": DASHES[k // len(COLORS) % len(DASHES)]}


def band_color(k: int) -> str:
    """The color of model number `k`, transparent."""
    red, green, blue = (int(color(k)[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def whiskers(name: str, estimates: Sequence[Estimate], offset: float, style: dict[str, Any]) -> Figure:
    """Estimates with their intervals, one below the other."""
    values = [one.value for one in estimates]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": values,
        "y": [-k + offset for k in range(len(values))],
        "marker": {"size": style["size"], "color": style["color"], "symbol": style["symbol"]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.value for one in estimates],
            "arrayminus": [one.value - one.low for one in estimates],
            "color": style["color"],
            "thickness": style["width"],
            "width": 5,
        },
        "customdata": [[one.low, one.high] for one in estimates],
        "hovertemplate": "%{x:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<extra>"
        + name
        + "</extra>",
    }


STRONG = {"size": 11, "color": COLORS[0], "symbol": "diamond", "width": 3}
THIN = {"size": 6, "color": COLORS[7], "symbol": "circle", "width": 1.2}


def named_rows(names: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with a row for each name."""
    return {
        "tickvals": [-k for k in range(len(names))],
        "ticktext": plain(names),
        "range": [-len(names) + 0.4, 0.6],
        "showgrid": False,
        "zeroline": False,
    }


def forest(
    names: Sequence[str],
    main: tuple[str, Sequence[Estimate]],
    beside: tuple[str, Sequence[Estimate]] | None,
    x: str,
    seeds: Sequence[Sequence[float]] = (),
    marks: Sequence[float] = (),
) -> Figure:
    """Estimates with intervals, a row for each of `names`.

    `main` and `beside` each have what the intervals are called and the estimates; those of `beside` are
    drawn thin and below. `seeds` are drawn as single points, `marks` as vertical lines.
    """
    data = [whiskers(main[0], main[1], 0.0, STRONG)]
    if beside is not None:
        data.append(whiskers(beside[0], beside[1], -0.22, THIN))
    if any(len(one) > 1 for one in seeds):
        points = [(v, -k + 0.2) for k, own in enumerate(seeds) if len(own) > 1 for v in own]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "each seed",
                "x": [p[0] for p in points],
                "y": [p[1] for p in points],
                "marker": {"symbol": "circle-open", "size": 7, "color": COLORS[1]},
                "hovertemplate": "%{x:.4f}<extra>seed</extra>",
            }
        )
    lines = [
        {
            "type": "line",
            "x0": mark,
            "x1": mark,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "line": {"color": COLORS[1] if mark else GRAY, "dash": "dot" if mark else "solid"},
        }
        for mark in marks
    ]
    height = 130 + ROW * len(names)
    return {"data": data, "layout": layout(height, x, "", yaxis=named_rows(names), shapes=lines)}


def best_at(seconds: Sequence[float], values: Sequence[float]) -> list[int]:
    """The models that are better than every model that takes less time, by number, in order of time.

    Examples
    --------
    >>> best_at([60, 10, 30], [0.9, 0.8, 0.7])
    [1, 0]
    """
    found: list[int] = []
    for k in sorted(range(len(seconds)), key=lambda k: (seconds[k], -values[k])):
        if not found or values[k] > values[found[-1]]:
            found.append(k)
    return found


def budget_figure(names: Sequence[str], seconds: Sequence[float], aucs: Sequence[Estimate]) -> Figure:
    """The AUC of each model, with its interval, by the duration of its training in seconds.

    A line shows the best AUC at each budget, and the models on it are named beside their points.
    """
    values = [one.value for one in aucs]
    best = best_at(seconds, values)
    # Names to the left of points need room, and the line goes on beyond the last of them.
    low, high = min(seconds) / 8, max(seconds) * 2
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best at this budget",
            "x": [*(seconds[k] for k in best), high],
            "y": [*(values[k] for k in best), values[best[-1]]],
            "line": {"color": GRAY, "dash": "dot", "shape": "hv"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    for k, (name, time, one) in enumerate(zip(plain(names), seconds, aucs, strict=True)):
        named = {"text": [name], "textposition": "top left", "cliponaxis": False}
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text" if k in best else "markers",
                "name": name,
                "legendgroup": name,  # so that short names take little room
                "x": [time],
                "y": [one.value],
                "marker": {
                    "size": STRONG["size"],
                    "color": color(k),
                    "symbol": SYMBOLS[k // len(COLORS) % len(SYMBOLS)],
                },
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [one.high - one.value],
                    "arrayminus": [one.value - one.low],
                    "color": color(k),
                    "thickness": 1.2,
                    "width": 5,
                },
                "hovertemplate": f"{duration(time)}, AUC %{{y:.4f}}<extra>{name}</extra>",
            }
            | (named if k in best else {})
        )
    times = [time for time in TIMES if low <= time <= high]
    axis = {
        "type": "log",
        "range": [log10(low), log10(high)],
        "tickvals": times,
        "ticktext": [duration(time) for time in times],
    }
    return {"data": data, "layout": layout(500, "training time", "AUC", xaxis=axis)}


def curve_figure(curves: Sequence[tuple[str, CurveBand]], x: str, y: str) -> Figure:
    """A curve with its band for each model, by name; `x` and `y` are the titles of the axes."""
    data: list[Figure] = []
    for k, (name, curve) in enumerate(curves):
        own = {"type": "scatter", "mode": "lines", "legendgroup": escape(name), "name": escape(name)}
        data.append(
            own
            | {
                "x": np.r_[GRID, GRID[::-1]].round(4).tolist(),
                "y": np.r_[curve.high, curve.low[::-1]].round(4).tolist(),
                "fill": "toself",
                "fillcolor": band_color(k),
                "line": {"width": 0},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
        data.append(
            own
            | {
                "x": GRID.round(4).tolist(),
                "y": curve.value.round(4).tolist(),
                "line": line(k),
                "hovertemplate": f"{x} %{{x:.2f}}, {y} %{{y:.3f}}<extra>%{{fullData.name}}</extra>",
            }
        )
    return {
        "data": data,
        "layout": layout(460, x, y, xaxis={"range": [0, 1]}, yaxis={"range": [0, 1.01]}),
    }


def reliability_figure(curves: Sequence[ModelCurves]) -> Figure:
    """The share of positives against the predicted probability, of each model."""
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": GRAY, "dash": "dot"},
            "name": "perfectly calibrated",
            "hoverinfo": "skip",
        }
    ]
    for k, model in enumerate(curves):
        bins = model.reliability
        most = max(one.patches for one in bins)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(model.name),
                "x": [round(one.probability, 4) for one in bins],
                "y": [round(one.positive, 4) for one in bins],
                "line": line(k) | {"width": 1.5},
                "marker": {
                    "color": color(k),
                    "size": [round(5 + 15 * (one.patches / most) ** 0.5, 1) for one in bins],
                },
                "customdata": [one.patches for one in bins],
                "hovertemplate": "predicted %{x:.2f}, positive %{y:.2f}, %{customdata} patches"
                "<extra>%{fullData.name}</extra>",
            }
        )
    ranges = {"range": [-0.02, 1.02]}
    shown = layout(460, "predicted probability", "share of positives", xaxis=ranges, yaxis=ranges)
    return {"data": data, "layout": shown}


def agreement_figure(agreement: Agreement) -> Figure:
    """The rank correlation of each two models."""
    names = plain(agreement.models)
    known = [value for row in agreement.spearman for value in row if value is not None]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": names,
                "y": names,
                "z": [list(row) for row in agreement.spearman],
                "zmin": min([0.0, *known]),
                "zmax": 1,
                "colorscale": [[0, "#f7fbff"], [1, "#3182bd"]],
                "texttemplate": "%{z:.2f}",
                "hovertemplate": "%{y} and %{x}: %{z:.3f}<extra></extra>",
                "showscale": False,
            }
        ],
        "layout": layout(150 + 44 * len(names), "", "", yaxis={"autorange": "reversed"}),
    }


def parts_figure(part: PartResult, names: Sequence[str]) -> Figure:
    """The AUC of each model in each group: groups side by side or, if they are many, a box a model."""
    groups = part.groups
    labels = plain([group.group for group in groups])
    data: list[Figure] = []
    many = len(groups) > 12
    for k, name in enumerate(names):
        aucs = [round(group.aucs[name], 4) for group in groups]
        own = {"name": escape(name), "marker": {"color": color(k), "size": 6 if many else 10}}
        if many:
            box = {"type": "box", "boxpoints": "all", "jitter": 0.5, "pointpos": 0}
            hover = {"hovertemplate": "%{text}: %{y:.3f}<extra>%{fullData.name}</extra>"}
            data.append(own | box | hover | {"y": aucs, "text": labels})
        else:
            size = [
                f"{counted(group.patches, 'patch')}, {group.positive:,} positive" for group in groups
            ]
            hover = {"hovertemplate": "%{x}: %{y:.3f} (%{text})<extra>%{fullData.name}</extra>"}
            dots = {"type": "scatter", "mode": "markers", "x": labels, "y": aucs, "text": size}
            data.append(own | dots | hover)
    x = "" if many else escape(part.name)
    shown = layout(420, x, "AUC", xaxis={"type": "category"}, showlegend=not many)
    return {"data": data, "layout": shown}


def families_figure(contributions: Mapping[str, float]) -> Figure:
    """The mean absolute contribution of each family, in log-odds."""
    ordered = sorted(contributions.items(), key=lambda family: family[1])
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": plain([name for name, _ in ordered]),
                "x": [round(contribution, 4) for _, contribution in ordered],
                "marker": {"color": COLORS[0]},
                "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
            }
        ],
        "layout": layout(
            90 + 26 * len(ordered), "mean absolute contribution to a patch's log-odds", ""
        ),
    }
