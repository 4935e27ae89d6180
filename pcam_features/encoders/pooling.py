"""Pools maps of activations to one value per channel, inside the graph.

It uses only operators that have not changed since ONNX opset 11, so that it can also be appended to
other models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # an extra brings onnx
    import onnx

    from .graph import Graph

POOLS = {
    "mean": "mean__patch",
    "center": "mean__center",
    "deviation": "deviation__patch",
    "maximum": "maximum__patch",
}


FIRST = "cls"  # of tokens: the first, which stands for the whole image; `mean` is over the others


class Maps(NamedTuple):
    """Maps of activations in a graph, (N, channels, side, side), by the name of their value."""

    value: str
    channels: int
    side: int

    def become(self, value: str) -> Maps:
        """Maps of the same shape."""
        return self._replace(value=value)


def third(cells: int) -> tuple[int, int]:
    """The range of cells of a row whose centers are in its middle third, at least one."""
    start = min(-(-(2 * cells - 3) // 6), (cells - 1) // 2)
    return start, cells - start


def columns_of(
    channels: Mapping[str, int], depths: Sequence[str], pools: Sequence[str]
) -> tuple[str, ...]:
    """The columns of maps at some depths, whose channels are given, without the family's name."""
    return tuple(
        f"{POOLS[pool]}_{depth}_{channel:04d}"
        for depth in depths
        for pool in pools
        for channel in range(channels[depth])
    )


def pooled_model(
    graph: Graph, source: tuple[int, int], maps: Sequence[Maps], pools: tuple[str, ...]
) -> onnx.ModelProto:
    """The model of a graph whose outputs are its maps, pooled, in this order."""
    vectors = [vector for one in maps for vector in pool(graph, one.value, (one.side, one.side), pools)]
    graph.name_output(graph.add("Concat", *vectors, axis=1))
    return graph.model(source, len(pools) * sum(one.channels for one in maps))


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
