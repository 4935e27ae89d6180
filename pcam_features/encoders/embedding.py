"""Embeddings: what a network says of a patch, as a family stored beside the hand-made ones.

Columns `<network>_<size>px[_<views>views]__<pool>__<region>_<depth>_<channel>`: the activations of one
channel after a block or the head, pooled over the patch or over the cells in its middle third.
`mean`, `deviation` and `maximum` are theirs; `value` is a number of an encoder that gives vectors.
With several views each is the mean over the patch's turns (4), or over its flips and turns (8).
Which channels there are depends on the encoder and its settings, which a store's manifest names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..errors import InputError
from .runtimes import CARD, Run

TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
SIZES = (32, 1024)  # pixels, the least and the most that make sense
VIEWS = (1, 4, 8)  # as it is; its quarter turns; those of its mirror image too


def family_name(network: str, size: int, views: int, precision: str) -> str:
    """The family's name: what a network is called, in letters that are safe, and how it is fed."""
    safe = re.sub("[^a-z0-9]+", "_", network.lower()).strip("_")[:48].strip("_")
    safe = safe if safe[:1].isalpha() else f"net_{safe}".strip("_")
    views_part = f"_{views}views" if views > 1 else ""
    return f"{safe}_{size}px{views_part}" + ("" if precision == "f32" else f"_{precision}")


class Settings(NamedTuple):
    """What was asked of an encoder; None is its own default."""

    size: int | None
    depths: Sequence[str] | None
    pools: Sequence[str] | None
    views: int | None
    precision: str
    runtime: str | None


def check_choices(given: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    """Those given, without repeats. Raises InputError for one that is not known, or none at all."""
    for name in given:
        if name not in known:
            raise InputError(f"there is no {what} {name!r}; there are: {', '.join(known)}.")
    if not given:
        raise InputError(f"name at least one {what} of: {', '.join(known)}.")
    return tuple(dict.fromkeys(given))


def check_size(size: object, whose: str) -> int:
    """The size, if it is one: an activation's memory grows with its square. Raises InputError."""
    if type(size) is not int or not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"{whose} is {SIZES[0]} to {SIZES[1]} pixels, not {size!r}.")
    return size


def width_of(run: Run, chunk: int, side: int, whose: str) -> int:
    """How many numbers a stranger's network gives for each of `chunk` patches of side×side pixels.

    Raises InputError unless they are finite and each patch's own.
    """
    noise = np.random.default_rng(0).integers(0, 256, (2, chunk, side, side, 3), np.uint8)
    noise[1, ::2] = noise[0, ::2]
    found, with_others = run(noise[0]), run(noise[1])
    if found.ndim != 2 or len(found) != chunk or not found.size:
        raise InputError(
            f"{whose} gives {list(found.shape)} for {chunk} patches, not a vector for each."
        )
    if not np.isfinite(found).all():
        raise InputError(f"{whose} gives NaN or infinity for a patch of noise.")
    if not np.allclose(found[::2], with_others[::2], rtol=1e-3, atol=1e-3 * np.abs(found).max()):
        raise InputError(
            f"{whose} sees the other patches of a batch (as batch normalization does in training); "
            "export it for inference."
        )
    return int(found.shape[1])


@dataclass(frozen=True)
class Embedding:
    """A family of features that a network gives.

    `features` are the columns without the family's name; `facts` is all that decides their values.
    `load(height and width of patches, threads)` gives what embeds `chunk` patches at a time.
    """

    version: int
    features: tuple[str, ...]
    facts: dict[str, Any]
    chunk: int
    load: Callable[[tuple[int, int], int], Run]

    @property
    def name(self) -> str:
        facts = self.facts
        return family_name(facts["network"], facts["size"], facts["views"], facts["precision"])

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.name}__{feature}" for feature in self.features)

    def described(self) -> dict[str, Any]:
        """What a store's manifest says of it."""
        return {"version": self.version, "columns": list(self.columns), "encoder": self.facts}

    def computed_on(self, device: str) -> str:
        """The device that computes it when kernels run on `device`: its runtime's own."""
        return "cuda" if self.facts["runtime"] == CARD else "cpu"

    def measurer(self, source: tuple[int, int], threads: int) -> Callable[[np.ndarray], np.ndarray]:
        """What embeds uint8 (N, *source, 3) as float32 (N, columns); for `threads` at once."""
        run, chunk, count = self.load(source, threads), self.chunk, self.facts["views"]

        def measure(batch: np.ndarray) -> np.ndarray:
            out = np.empty((len(batch), len(self.features)), np.float32)
            pixels = np.zeros((chunk, *batch.shape[1:]), np.uint8)
            for start in range(0, len(batch), chunk):
                rows = batch[start : start + chunk]
                pixels[: len(rows)] = rows
                seen = [run(view)[: len(rows)] for view in views(pixels, count)]
                out[start : start + chunk] = average(seen)
            return out

        return measure


def views(batch: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The batch, uint8 (N, H, W, 3), turned by quarters, and for 8 views also mirrored and turned.

    By OpenCV, which takes a tenth of the time of `numpy.rot90` and a copy.
    """
    mirrored = [batch] if count < 8 else [batch, _each(batch, cv2.flip, 1)]
    for one in mirrored:
        yield one
        if count > 1:
            for quarter in TURNS:
                yield _each(one, cv2.rotate, quarter)


def _each(batch: np.ndarray, turn: Callable[[np.ndarray, int], np.ndarray], how: int) -> np.ndarray:
    return np.stack([turn(one, how) for one in batch])


def average(seen: list[np.ndarray]) -> np.ndarray:
    """The mean over views; in the order of their values, so that it is the same bits for a patch
    that is turned or flipped, whose views come in another order."""
    if len(seen) == 1:
        return seen[0]
    return np.asarray(np.sort(np.stack(seen), axis=0).mean(axis=0, dtype=np.float64), np.float32)
