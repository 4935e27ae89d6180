"""Predicts with a network."""

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
    """Predict the probability of tumor.

    Parameters
    ----------
    network, recipe
        The network and its recipe.
    split, rows
        A split and the rows to predict.
    device
        "cpu" or "cuda".
    views
        How many of the eight flips and rotations to average over.
    progress
        Called with the number of patches predicted since the last call.

    Returns
    -------
    numpy.ndarray
        float64 (rows,).
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
