"""Feeds patches to a network: threads read them in any order while the network computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from ..sources.source import Split
from .architectures import Recipe

AHEAD = 2  # batches read in advance


def read_rows(split: Split, rows: np.ndarray) -> np.ndarray:
    """Read the patches of `rows`, in their order, uint8 (n, 96, 96, 3)."""
    return np.concatenate([split.read(row, row + 1) for row in rows.tolist()])


def batches(split: Split, each: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The patches of each array of rows, in order."""
    rows = iter(each)
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting = [pool.submit(read_rows, split, one) for one in islice(rows, AHEAD)]
        while waiting:
            found = waiting.pop(0).result()
            waiting += [pool.submit(read_rows, split, one) for one in islice(rows, 1)]
            yield found


def chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[k : k + size] for k in range(0, len(rows), size)]


def to_light(pixels: np.ndarray, device: str) -> torch.Tensor:
    """Convert uint8 (n, 96, 96, 3) to float32 (n, 3, 96, 96) from 0 to 1."""
    light: torch.Tensor = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
    return light


def normalized(light: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Normalize patches for a network, in the memory layout in which convolutions are fastest."""

    def of_channels(values: Sequence[float]) -> torch.Tensor:
        column: torch.Tensor = torch.tensor(values, device=light.device).view(1, 3, 1, 1)
        return column

    scaled = (light - of_channels(recipe.mean)) / of_channels(recipe.deviation)
    return scaled.contiguous(memory_format=torch.channels_last)
