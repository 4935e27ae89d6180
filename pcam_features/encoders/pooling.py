"""Pools maps of activations to one value per channel, inside the graph.

It uses only operators that have not changed since ONNX opset 11, so that it can also be appended to
other models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it imports onnx, which an extra brings
    from .graph import Graph

POOLS = {
    "mean": "mean__patch",
    "center": "mean__center",
    "deviation": "deviation__patch",
    "maximum": "maximum__patch",
}


FIRST = "cls"  # of tokens: the first, which stands for the whole image; `mean` is over the others


def third(cells: int) -> tuple[int, int]:
    """The range of cells of a row whose centers are in its middle third, at least one."""
    start = min(-(-(2 * cells - 3) // 6), (cells - 1) // 2)
    return start, cells - start


def pool(graph: Graph, maps: str, cells: tuple[int, int], pools: tuple[str, ...]) -> list[str]:
    """Pool maps (N, channels, *cells) to a vector (N, channels) for each of `pools`."""
    return [graph.add("Flatten", _pooled(graph, maps, cells, name), axis=1) for name in pools]


def _pooled(graph: Graph, maps: str, cells: tuple[int, int], name: str) -> str:
    if name == "maximum":
        return graph.add("GlobalMaxPool", maps)
    if name == "mean":
        return _mean(graph, maps, cells)
    if name == "center":
        starts, stops = zip(*(third(n) for n in cells), strict=True)
        places = [graph.constant(values, "int64") for values in (starts, stops, (2, 3))]
        inside = (stops[0] - starts[0], stops[1] - starts[1])
        return _mean(graph, graph.add("Slice", maps, *places), inside)
    # Not the mean of squares minus the square of the mean, whose difference would be lost to rounding.
    off = graph.add("Sub", maps, _mean(graph, maps, cells))
    return graph.add("Sqrt", _mean(graph, graph.add("Mul", off, off), cells))


def _mean(graph: Graph, maps: str, cells: tuple[int, int]) -> str:
    """The mean over each row, then over the rows.

    A single sum over the 12,544 cells of a large map would lose the last digits.
    """
    rows = graph.add("AveragePool", maps, kernel_shape=[1, cells[1]])
    return graph.add("GlobalAveragePool", rows)
