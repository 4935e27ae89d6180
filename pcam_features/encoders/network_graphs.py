"""The maps of `residual` and `p4m_densenet` as ONNX graphs, from weights of `pcam deep fit`.

They compute the same as the layers in `networks`, in inference: batch norm is folded into convolutions
where it follows one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..networks.lite_weights import NORM
from ..networks.shapes import ELEMENTS, EPSILON, GROWTH, PAIRS, RESIDUAL_WIDTHS, places
from .graph import Graph, folded
from .pooling import Maps


@dataclass(frozen=True)
class Weights:
    """The arrays of a network by name, each of which is taken with the shape that it must have.

    Parameters
    ----------
    arrays
        The arrays.
    whose
        What they are of, for error messages.
    """

    arrays: Mapping[str, np.ndarray]
    whose: str

    def take(self, name: str, *shape: int) -> np.ndarray:
        """An array, float64. Raises InputError if it is missing or has another shape."""
        found = self.arrays.get(name)
        if found is None or found.shape != shape:
            told = "is missing" if found is None else f"has the shape {list(found.shape)}"
            raise InputError(
                f"the weights of {self.whose} do not fit its network: {name} {told} instead of "
                f"{list(shape)}; train it again."
            )
        return found.astype(np.float64)

    def norm(self, name: str, channels: int, epsilon: float = EPSILON) -> tuple[np.ndarray, np.ndarray]:
        """The gain and the shift of a batch norm, (channels,) each."""
        return folded((self.take(f"{name}.{part}", channels) for part in NORM), epsilon)


@dataclass
class Layers:
    """A graph under construction, with its weights and the maps that it has come to."""

    graph: Graph
    weights: Weights
    maps: Maps

    def convolve(self, kernel: np.ndarray, bias: np.ndarray | None = None, stride: int = 1) -> None:
        """Add a convolution, padded so that a stride of 1 keeps the size of the maps."""
        side = kernel.shape[-1]
        constants = [self.graph.constant(kernel)]
        constants += [] if bias is None else [self.graph.constant(bias)]
        value = self.graph.add(
            "Conv",
            self.maps.value,
            *constants,
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
        )
        self.maps = Maps(value, kernel.shape[0], -(-self.maps.side // stride))

    def convolve_and_norm(
        self, kernel: str, norm: str, outputs: int, side: int, stride: int = 1
    ) -> None:
        """Add a convolution of these names, with the batch norm after it folded in."""
        values = self.weights.take(kernel, outputs, self.maps.channels, side, side)
        gain, shift = self.weights.norm(norm, outputs)
        self.convolve(values * gain[:, None, None, None], shift, stride)

    def relu(self) -> None:
        self.maps = self.maps.become(self.graph.add("Relu", self.maps.value))

    def residual(self, name: str, outputs: int, stride: int) -> None:
        """Add two convolutions beside a shortcut."""
        before = self.maps
        self.convolve_and_norm(f"{name}.body.0.weight", f"{name}.body.1", outputs, 3, stride)
        self.relu()
        self.convolve_and_norm(f"{name}.body.3.weight", f"{name}.body.4", outputs, 3)
        found, self.maps = self.maps, before
        if stride > 1 or before.channels != outputs:
            self.convolve_and_norm(
                f"{name}.shortcut.0.weight", f"{name}.shortcut.1", outputs, 1, stride
            )
        self.maps = found.become(self.graph.add("Add", found.value, self.maps.value))
        self.relu()

    def group_convolve(
        self, name: str, inputs: int, outputs: int, side: int, *, lifts: bool = False
    ) -> None:
        """Add a convolution of p4m: with the filters turned by each element."""
        elements = 1 if lifts else ELEMENTS
        filters = self.weights.take(name, outputs, inputs, elements * side * side)
        kernel = filters[:, :, places(side, lifts=lifts)].reshape(
            outputs, inputs, ELEMENTS, elements, side, side
        )
        kernel = kernel.transpose(2, 0, 3, 1, 4, 5)
        self.convolve(kernel.reshape(ELEMENTS * outputs, elements * inputs, side, side))

    def group_norm(self, name: str, channels: int) -> None:
        """Add batch norm with ReLU, alike for all elements of a channel."""
        gain, shift = (np.tile(part, ELEMENTS) for part in self.weights.norm(name, channels))
        columns = [self.graph.constant(part.reshape(1, -1, 1, 1)) for part in (gain, shift)]
        value = self.graph.add("Mul", self.maps.value, columns[0])
        self.maps = self.maps.become(self.graph.add("Add", value, columns[1]))
        self.relu()

    def by_element(self, maps: Maps) -> str:
        """Maps (N, 8 C, H, W) as (N, 8, C, H, W)."""
        shape = [-1, ELEMENTS, maps.channels // ELEMENTS, maps.side, maps.side]
        return self.graph.add("Reshape", maps.value, self.graph.constant(shape, "int64"))

    def dense(self, name: str, channels: int) -> None:
        """Add a layer of a dense block, whose maps follow those that it takes, in each element."""
        before = self.maps
        self.group_norm(f"{name}.norm.norm", channels)
        self.group_convolve(f"{name}.kernel.weight", channels, GROWTH, 3)
        parts = [self.by_element(before), self.by_element(self.maps)]
        total = before.channels + self.maps.channels
        shape = self.graph.constant([-1, total, before.side, before.side], "int64")
        value = self.graph.add("Reshape", self.graph.add("Concat", *parts, axis=2), shape)
        self.maps = Maps(value, total, before.side)

    def transition(self, name: str, channels: int) -> None:
        """Add a mean of 2×2 cells and a 1×1 convolution."""
        self.group_norm(f"{name}.norm.norm", channels)
        value = self.graph.add("AveragePool", self.maps.value, kernel_shape=[2, 2], strides=[2, 2])
        self.maps = Maps(value, self.maps.channels, self.maps.side // 2)
        self.group_convolve(f"{name}.kernel.weight", channels, channels, 1)


def residual(graph: Graph, pixels: Maps, weights: Weights) -> Maps:
    """The last maps of `residual`. Raises InputError if the weights are of another network."""
    layers = Layers(graph, weights, pixels)
    layers.convolve_and_norm("0.weight", "1", RESIDUAL_WIDTHS[0], 3, stride=2)
    layers.relu()
    number = 3  # of a layer in the sequence: convolution, norm and activation come before
    for width in RESIDUAL_WIDTHS:
        for stride in (1 if width == RESIDUAL_WIDTHS[0] else 2, 1):
            layers.residual(str(number), width, stride)
            number += 1
    return layers.maps


def p4m_densenet(graph: Graph, pixels: Maps, weights: Weights) -> Maps:
    """The last maps of `p4m_densenet`, the mean over elements, which turn as the patch does.

    Raises InputError if the weights are of another network."""
    layers, channels = Layers(graph, weights, pixels), GROWTH
    layers.group_convolve("0.weight", pixels.channels, channels, 3, lifts=True)
    for pair in range(PAIRS):
        layers.dense(f"{2 * pair + 1}", channels)
        channels += GROWTH
        layers.transition(f"{2 * pair + 2}", channels)
    layers.group_norm(f"{2 * PAIRS + 1}.norm", channels)
    mean = graph.add("ReduceMean", layers.by_element(layers.maps), axes=[1], keepdims=0)
    return Maps(mean, channels, layers.maps.side)
