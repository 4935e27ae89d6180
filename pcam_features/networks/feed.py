"""Feeds patches to a network; threads read them while it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from ..execution.executor import Threads
from ..sources.source import Split
from .architectures import Recipe

READERS = 2  # threads that read batches ahead


def read_rows(split: Split, rows: np.ndarray) -> np.ndarray:
    """Read the patches of `rows`, in their order, uint8 (n, 96, 96, 3)."""
    return np.concatenate([split.read(row, row + 1) for row in rows.tolist()])


def batches(split: Split, each: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the patches of each array of rows, uint8 (n, 96, 96, 3), in order."""
    return Threads(READERS).map(partial(read_rows, split), each)


def chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Split rows into chunks of `size`; the last may be smaller.

    Examples
    --------
    >>> chunks(np.arange(5), 2)
    [array([0, 1]), array([2, 3]), array([4])]
    """
    return [rows[k : k + size] for k in range(0, len(rows), size)]


def to_light(pixels: np.ndarray, device: str) -> torch.Tensor:
    """Convert uint8 (n, 96, 96, 3) to float32 (n, 3, 96, 96) in [0, 1]."""
    light: torch.Tensor = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    return light


def normalized(light: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Normalize channels as the network expects, in the memory layout that convolves fastest."""

    def of_channels(values: Sequence[float]) -> torch.Tensor:
        column: torch.Tensor = torch.tensor(values, device=light.device).view(1, 3, 1, 1)
        return column

    scaled = (light - of_channels(recipe.mean)) / of_channels(recipe.deviation)
    return scaled.contiguous(memory_format=torch.channels_last)
