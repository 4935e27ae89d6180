"""From a map of activations to one value a channel, inside the graph, for every encoder.

Written with operators that have meant the same since ONNX opset 11, so that they can also be put
at the end of a stranger's model.
"""

from __future__ import annotations

from .graph import Graph

POOLS = {
    "mean": "mean__patch",
    "center": "mean__center",
    "deviation": "deviation__patch",
    "maximum": "maximum__patch",
}


def third(cells: int) -> tuple[int, int]:
    """The cells of a row whose middles lie in the row's middle third, at least one."""
    start = min(-(-(2 * cells - 3) // 6), (cells - 1) // 2)
    return start, cells - start


def pool(graph: Graph, maps: str, cells: tuple[int, int], pools: tuple[str, ...]) -> list[str]:
    """A vector (N, channels) for each of `pools`, of maps (N, channels, *cells)."""
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
    # Not mean of squares minus square of mean: their difference would be lost to rounding.
    off = graph.add("Sub", maps, _mean(graph, maps, cells))
    return graph.add("Sqrt", _mean(graph, graph.add("Mul", off, off), cells))


def _mean(graph: Graph, maps: str, cells: tuple[int, int]) -> str:
    """Over a row, then over the rows: added up one after the other, the 12,544 cells of a large
    map would lose their last digits."""
    rows = graph.add("AveragePool", maps, kernel_shape=[1, cells[1]])
    return graph.add("GlobalAveragePool", rows)
