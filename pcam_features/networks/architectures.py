"""The reference networks: small CNNs, a compact ResNet, EfficientNet-Lite, a p4m DenseNet, timm models.

All take patches, float32 (N, 3, 96, 96) in [0, 1], and return two outputs: normal and tumor.

`cnn_one` to `cnn_four` are the Keras networks of the mini-project's notebook, with Keras' initial
weights: 3×3 'same' convolutions with ReLU, global max pooling, Adam at 1e-4. (The notebook resized its
training images to 96×3 pixels by mistake; here they see the whole patch.) `residual` is a ResNet (K. He
et al., CVPR 2016) with 0.7 million weights. It pools over the patch and over its center, and averages
its prediction over the eight flips and rotations. `efficientnet_lite0` to `efficientnet_lite2` start
from ImageNet's weights; see `efficientnet_lite`. `p4m_densenet` is the data set's own baseline; see
`p4m`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..constants import TIMM, Network
from ..errors import InputError
from ..geometry import CENTER, PATCH_SIZE
from .efficientnet_lite import Body, load_published
from .lite_weights import HEAD_WIDTH, MEAN, PUBLISHED, STD
from .p4m import p4m_densenet
from .shapes import HALF, P4M_CHANNELS, QUARTER, RESIDUAL_WIDTHS
from .timm_models import network, pixels

DROPOUT = 0.3
OUTPUTS = 2
HEAD_PREFIX = "head."  # the names of a fine-tuned network's own weights start with this


@dataclass(frozen=True)
class Recipe:
    """A network and its training settings.

    Parameters
    ----------
    build
        Creates the network.
    optimizer, rate
        The optimizer and its learning rate.
    decay
        The weight decay of kernels, not of biases and normalization: an L2 term of the loss with Adam,
        and decoupled with AdamW.
    views
        Number of flips and rotations that a prediction averages.
    mean, deviation
        What pixels in [0, 1] are normalized with.
    body_rate
        The learning rate of all weights but the head's, as a share of `rate`. The names of the head's
        weights start with HEAD_PREFIX.
    smoothing
        Label smoothing: the share of a label that is spread over both classes.
    averaging
        Decay of the exponential moving average of the weights, which predicts; 0 is none.
    """

    build: Callable[[], nn.Module]
    optimizer: type[torch.optim.Optimizer]
    rate: float
    decay: float = 0.0
    views: int = 1
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    deviation: Sequence[float] = (1.0, 1.0, 1.0)
    body_rate: float = 1.0
    smoothing: float = 0.0
    averaging: float = 0.0


class MaxOverMap(nn.Module):
    """Global max pooling: (N, C, H, W) to (N, C)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.amax(dim=(2, 3))


class MeanAndCenter(nn.Module):
    """(N, C, H, W) to (N, 2 C): the mean over the map and over its middle third."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        start, stop = (edge * maps.shape[2] // PATCH_SIZE for edge in CENTER)
        middle = maps[:, :, start:stop, start:stop]
        return torch.cat([maps.mean(dim=(2, 3)), middle.mean(dim=(2, 3))], dim=1)


class Residual(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(maps) + self.shortcut(maps))


def residual() -> nn.Module:
    """A ResNet of three stages with two residual blocks each."""
    first, *_ = RESIDUAL_WIDTHS
    layers: list[nn.Module] = [
        nn.Conv2d(3, first, 3, 2, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
    ]
    inputs = first
    for width in RESIDUAL_WIDTHS:
        layers += [Residual(inputs, width, 1 if width == first else 2), Residual(width, width, 1)]
        inputs = width
    head = [MeanAndCenter(), nn.Dropout(DROPOUT), nn.Linear(2 * inputs, OUTPUTS)]
    return nn.Sequential(*layers, *head)


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3×3 convolution with ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding="same"), nn.ReLU()]


def dense(inputs: int, outputs: int) -> list[nn.Module]:
    """A fully connected layer with ReLU."""
    return [nn.Linear(inputs, outputs), nn.ReLU()]


def keras_initialized(*layers: nn.Module) -> nn.Module:
    """A sequence of layers, initialized as in Keras: Glorot uniform weights, zero biases."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def cnn_one() -> nn.Module:
    """Two convolutions."""
    return keras_initialized(
        *convolution(3, 32),
        nn.MaxPool2d(2),
        *convolution(32, 64),
        MaxOverMap(),
        *dense(64, 128),
        nn.Dropout(DROPOUT),
        nn.Linear(128, OUTPUTS),
    )


def cnn_two(second_dropout: float = 0.0) -> nn.Module:
    """Three convolutions and two dense layers."""
    return keras_initialized(
        *convolution(3, 32),
        nn.MaxPool2d(2),
        *convolution(32, 64),
        nn.MaxPool2d((2, 1)),
        *convolution(64, 128),
        nn.MaxPool2d((2, 1)),
        MaxOverMap(),
        *dense(128, 256),
        nn.Dropout(DROPOUT),
        *dense(256, 128),
        nn.Dropout(second_dropout),
        nn.Linear(128, OUTPUTS),
    )


def cnn_three() -> nn.Module:
    """`cnn_two` with a second dropout layer."""
    return cnn_two(DROPOUT)


def cnn_four() -> nn.Module:
    """Six convolutions with dropout after each pair."""
    return keras_initialized(
        *convolution(3, 32),
        *convolution(32, 32),
        nn.MaxPool2d((2, 1)),
        nn.Dropout(DROPOUT),
        *convolution(32, 64),
        *convolution(64, 64),
        nn.MaxPool2d((2, 1)),
        nn.Dropout(DROPOUT),
        *convolution(64, 128),
        *convolution(128, 128),
        nn.Dropout(DROPOUT),
        MaxOverMap(),
        *dense(128, 256),
        nn.Dropout(DROPOUT),
        nn.Linear(256, OUTPUTS),
    )


def p4m() -> nn.Module:
    """The p4m DenseNet with a head on the mean of its invariant maps and on their center."""
    return p4m_densenet(MeanAndCenter(), nn.Linear(2 * P4M_CHANNELS, OUTPUTS))


class FineTuned(nn.Module):
    """EfficientNet-Lite with a new head on the mean of its last maps and on their center."""

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        self.body = Body(name)
        if pretrained:
            load_published(self.body, name)
        self.head = nn.Sequential(
            MeanAndCenter(), nn.Dropout(DROPOUT), nn.Linear(2 * HEAD_WIDTH, OUTPUTS)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(pixels))
        return found


L2 = 1e-4  # factor of the squared weights in the loss, as in Keras; the gradient has twice this factor
RECIPES = {
    Network.cnn_one: Recipe(cnn_one, torch.optim.Adam, 1e-4),
    Network.cnn_two: Recipe(cnn_two, torch.optim.Adam, 1e-4),
    Network.cnn_three: Recipe(cnn_three, torch.optim.Adam, 1e-4, decay=2 * L2),
    Network.cnn_four: Recipe(cnn_four, torch.optim.Adam, 1e-4),
    Network.residual: Recipe(
        residual,
        torch.optim.AdamW,
        2e-3,
        decay=0.05,
        views=8,
        mean=HALF,
        deviation=QUARTER,
    ),
    Network.p4m_densenet: Recipe(
        p4m,
        torch.optim.Adam,
        1e-3,
        mean=HALF,
        deviation=QUARTER,
    ),
} | {
    Network(name): Recipe(
        partial(FineTuned, name, pretrained=False),
        torch.optim.AdamW,
        2e-3,
        decay=0.05,
        views=8,
        mean=MEAN,
        deviation=STD,
        body_rate=0.25,
        smoothing=0.05,
        averaging=0.995,
    )
    for name in PUBLISHED
}


def recipe(name: str, *, pretrained: bool) -> Recipe:
    """Look up a network by its name.

    Parameters
    ----------
    name
        One of `constants.Network`, or `timm:NAME[:WEIGHTS]`.
    pretrained
        Whether a network that starts from pretrained weights has these rather than random ones.

    Raises
    ------
    InputError
        If the name is unknown, or the weights cannot be used.

    Examples
    --------
    >>> recipe("residual", pretrained=False).views
    8
    """
    if name.startswith(TIMM):
        return of_timm(name.removeprefix(TIMM), pretrained=pretrained)
    if name not in RECIPES:
        raise InputError(f"there is no network {name}; choose from: {', '.join(RECIPES)}, {TIMM}NAME.")
    known = RECIPES[Network(name)]
    if pretrained and name in PUBLISHED:
        return replace(known, build=partial(FineTuned, name, pretrained=True))
    return known


def of_timm(name: str, *, pretrained: bool) -> Recipe:
    """A timm model with two outputs; see `timm_models.network`."""
    model: Any = network(name, classes=OUTPUTS, pretrained=pretrained)
    how = pixels(model)
    return Recipe(
        lambda: model,
        torch.optim.AdamW,
        3e-4,
        decay=0.05,
        views=8,
        mean=tuple(how["mean"]),
        deviation=tuple(how["std"]),
    )


def weights(network: nn.Module) -> int:
    """The number of trainable parameters of a network.

    Examples
    --------
    >>> weights(nn.Linear(3, 2))
    8
    """
    return sum(one.numel() for one in network.parameters())
