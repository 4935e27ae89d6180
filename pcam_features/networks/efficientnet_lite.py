"""EfficientNet-Lite (M. Tan & Q. Le, ICML 2019; Lite by Google) in PyTorch, to be trained further.

Blocks of expansion, depthwise convolution and projection, without squeeze-and-excitation, and ReLU6
throughout. A convolution is padded as in the original in TensorFlow ('SAME', with the odd row at the
bottom and right). `encoders.efficientnet_lite` builds the same layers as an ONNX graph.
"""

from __future__ import annotations

import torch
from torch import nn

from .lite_weights import (
    EPSILON,
    HEAD_WIDTH,
    NORM,
    STEM_WIDTH,
    BlockShape,
    blocks,
    layers,
    read_weights,
)


class Convolution(nn.Module):
    """A convolution with batch norm, followed by ReLU6 if `active`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        side: int,
        stride: int = 1,
        *,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.active = stride, active
        self.kernel = nn.Conv2d(
            inputs, outputs, side, stride, 0 if stride > 1 else side // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            maps = nn.functional.pad(maps, (*self.pads(maps.shape[3]), *self.pads(maps.shape[2])))
        found: torch.Tensor = self.norm(self.kernel(maps))
        return nn.functional.relu6(found) if self.active else found

    def pads(self, length: int) -> tuple[int, int]:
        """How many zeros TensorFlow's 'SAME' adds before and after a row of this length."""
        side = self.kernel.kernel_size[0]
        odd = max((-(-length // self.stride) - 1) * self.stride + side - length, 0)
        return odd // 2, odd - odd // 2


class Block(nn.Module):
    """Expansion, depthwise convolution and projection; added to the input if both have one shape."""

    def __init__(self, inputs: int, shape: BlockShape) -> None:
        super().__init__()
        wide = inputs * shape.expansion
        self.expand = Convolution(inputs, wide, 1) if shape.expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, shape.side, shape.stride, groups=wide)
        self.project = Convolution(wide, shape.width, 1, active=False)
        self.skips = shape.stride == 1 and inputs == shape.width

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.project(self.depthwise(self.expand(maps)))
        return found + maps if self.skips else found


class Body(nn.Module):
    """All layers of a network up to its last feature maps: (N, 3, H, W) to (N, 1280, H/32, W/32)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM_WIDTH, 3, 2)
        made: list[nn.Module] = []
        inputs = STEM_WIDTH
        for shape in blocks(name):
            made.append(Block(inputs, shape))
            inputs = shape.width
        self.blocks = nn.Sequential(*made)
        self.top = Convolution(inputs, HEAD_WIDTH, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.top(self.blocks(self.stem(pixels)))
        return found


def load_published(body: Body, name: str) -> None:
    """Give a body the weights of ImageNet. Raises InputError if they are not installed or damaged."""
    arrays = {key: torch.tensor(array) for key, array in read_weights(name).items()}
    state = body.state_dict()
    for layer in layers(name):
        state[f"{layer.ours}.kernel.weight"] = arrays[f"{layer.convolution}.weight"]
        for part in NORM:
            state[f"{layer.ours}.norm.{part}"] = arrays[f"{layer.norm}.{part}"]
    body.load_state_dict(state)
