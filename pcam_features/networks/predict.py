"""Predictions of a trained network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from ..sources.source import Split
from .architectures import Recipe
from .augment import turned
from .feed import batches, chunks, normalized, to_light

ROWS = 64  # patches at a time


def probabilities(
    network: nn.Module,
    recipe: Recipe,
    split: Split,
    rows: np.ndarray,
    device: str,
    views: int,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """The probability of tumor for each of `rows`, float64.

    It is the mean over the first `views` of the eight flips and rotations.
    """
    network.eval()
    found = []
    with torch.inference_mode():
        for pixels in batches(split, chunks(rows, ROWS)):
            light = to_light(pixels, device)
            each = [
                torch.softmax(network(normalized(turned(light, view), recipe)).double(), dim=1)[:, 1]
                for view in range(views)
            ]
            found.append(torch.stack(each).mean(dim=0).cpu().numpy())
            progress(len(pixels))
    return np.concatenate(found)
