"""A DenseNet that is equivariant to quarter turns and flips: the data set's own baseline.

Source: B. Veeling, J. Linmans, J. Winkens, T. Cohen and M. Welling, "Rotation equivariant CNNs for
digital pathology", MICCAI 2018, with the convolutions of T. Cohen and M. Welling, "Group equivariant
convolutional networks", ICML 2016. The group p4m has eight elements, one for each view of a square, and
element g acts as `augment.turned(…, g)`. Maps are (N, 8 C, H, W): C channels for each element, element
after element. If a patch is turned by g, its maps are turned by g and their elements change places.

A map for element g is what a filter turned by g finds. Filters on maps turn, too, and permute elements.
Batch norm has the same parameters for all elements. The mean over elements is invariant in the middle
and in the mean of the map, and so is the output.
"""

from __future__ import annotations

import torch
from torch import nn

from .shapes import ELEMENTS, GROWTH, PAIRS, places


class GroupConvolution(nn.Module):
    """A convolution on a patch (`lifts`) or on maps, (N, inputs, H, W) or (N, 8 inputs, H, W).

    It returns (N, 8 outputs, H, W).
    """

    places: torch.Tensor

    def __init__(self, inputs: int, outputs: int, side: int, *, lifts: bool = False) -> None:
        super().__init__()
        elements = 1 if lifts else ELEMENTS
        self.side = side
        # Not of four or five dimensions, because PyTorch would move channels last in memory.
        self.weight = nn.Parameter(torch.empty(outputs, inputs, elements * side * side))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.register_buffer("places", torch.from_numpy(places(side, lifts=lifts)), persistent=False)

    def kernel(self) -> torch.Tensor:
        """The filters of all elements, (8 outputs, inputs or 8 inputs, side, side)."""
        found = self.weight[:, :, self.places]  # (outputs, inputs, 8, elements * side²)
        found = found.unflatten(3, (-1, self.side, self.side)).permute(2, 0, 3, 1, 4, 5)
        return found.flatten(0, 1).flatten(1, 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(maps, self.kernel(), padding=self.side // 2)


def by_element(maps: torch.Tensor) -> torch.Tensor:
    """(N, 8 C, H, W) as (N, H, W, 8, C), without a copy if channels are last in memory."""
    return maps.permute(0, 2, 3, 1).unflatten(3, (ELEMENTS, -1))


def of_elements(maps: torch.Tensor) -> torch.Tensor:
    """The inverse of `by_element`."""
    return maps.flatten(3).permute(0, 3, 1, 2)


class GroupNorm(nn.Module):
    """Batch norm with ReLU, with one mean, deviation, gain and shift for all elements of a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        apart = by_element(maps)
        # Elements side by side are a wider map.
        wide = apart.flatten(2, 3).permute(0, 3, 1, 2)
        found = torch.relu(self.norm(wide)).permute(0, 2, 3, 1)
        return of_elements(found.unflatten(2, (-1, ELEMENTS)))


class Dense(nn.Module):
    """A layer of a dense block: its maps are added to those that it was given."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm, self.kernel = GroupNorm(inputs), GroupConvolution(inputs, GROWTH, 3)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        more = self.kernel(self.norm(maps))
        return of_elements(torch.cat([by_element(maps), by_element(more)], dim=4))


class Transition(nn.Module):
    """Mixes channels and halves the map: 1×1 convolution and mean of 2×2 cells.

    The order of these two does not matter, and the mean first costs less.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.kernel = GroupNorm(channels), GroupConvolution(channels, channels, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.kernel(nn.functional.avg_pool2d(self.norm(maps), 2))
        return found


class MeanOfElements(nn.Module):
    """(N, 8 C, H, W) to (N, C, H, W)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return by_element(maps).mean(dim=3).permute(0, 3, 1, 2)


def p4m_densenet(*head: nn.Module) -> nn.Module:
    """The network of the paper; `head` takes its maps, (N, 54, H/32, W/32), and is invariant itself."""
    channels = GROWTH
    layers: list[nn.Module] = [GroupConvolution(3, channels, 3, lifts=True)]
    for _ in range(PAIRS):
        layers.append(Dense(channels))
        channels += GROWTH
        layers.append(Transition(channels))
    return nn.Sequential(*layers, GroupNorm(channels), MeanOfElements(), *head)
