"""Builds ONNX graphs node by node, including the conversion of pixels to the network's input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import InputError

OPSET = 17
IR_VERSION = 8  # supported by the runtimes of recent years
PIXELS, FEATURES = "pcam_pixels", "pcam_features"


def folded(parts: Iterable[np.ndarray], epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """The gain and the shift, (channels,), of a batch norm in inference.

    `parts` are its weight, bias, mean and variance, float64, in the order of `lite_weights.NORM`.
    """
    weight, bias, mean, variance = parts
    gain = weight / np.sqrt(variance + epsilon)
    return gain, bias - mean * gain


class Graph:
    """Nodes and constants of a graph. The single output of each node is named by a number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"pcam_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant. Raises InputError if it is too large for its type, as odd weights may be."""
        name = f"pcam_constant_{len(self.constants)}"
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(values, dtype)
        if not np.isfinite(array).all():
            raise InputError("the weights of this network are too large to compute with; use another.")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def name_output(self, output: str) -> None:
        self.nodes.append(helper.make_node("Identity", [output], [FEATURES]))

    def model(self, source: tuple[int, int], width: int) -> onnx.ModelProto:
        """The model from pixels, uint8 (N, *source, 3), to features, float32 (N, width)."""
        pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["N", *source, 3])
        features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", width])
        graph = helper.make_graph(self.nodes, "pcam", [pixels], [features], self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )


def pixels_in(
    graph: Graph, source: tuple[int, int], size: int, mean: Sequence[float], std: Sequence[float]
) -> str:
    """Add the conversion of pixels to the input of a network.

    The input is float (N, 3, size, size), resized bilinearly between pixel centers, and normalized to
    (level / 255 - mean) / std.
    """
    planes = graph.add("Transpose", PIXELS, perm=[0, 3, 1, 2])
    value = graph.add("Cast", planes, to=TensorProto.FLOAT)
    if source != (size, size):
        scales = graph.constant([1, 1, size / source[0], size / source[1]])
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        value = graph.add("Resize", value, "", scales, **how)
    low = 255 * np.array(mean, np.float64).reshape(1, 3, 1, 1)
    scale = 1 / (255 * np.array(std, np.float64).reshape(1, 3, 1, 1))
    return graph.add("Mul", graph.add("Sub", value, graph.constant(low)), graph.constant(scale))
