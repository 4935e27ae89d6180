"""Embeddings: pooled activations of a network, stored as a family beside the handcrafted ones.

Columns are named `<network>_<size>px[_<views>views]__<pool>__<region>_<depth>_<channel>`. A column is
the activations of one channel after a block or the head, pooled over the patch or over the cells in its
middle third. The pools are `mean`, `deviation` (standard deviation) and `maximum`; `value` is one
output of an encoder that returns vectors. With several views, a column is the mean over the rotations
of the patch (4), or over its flips and rotations (8). The channels depend on the encoder and its
settings, which the manifest of a store records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import InputError
from ..geometry import PATCH_SIZE
from ..store.trained_on import TrainedOn
from .options import EncoderFacts, EncoderOptions
from .runtimes import CARD, Run

TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
SMALLEST_BATCH = 32  # minimum number of patches that a thread embeds at a time
SIZES = (32, 1024)  # the smallest and the largest input size in pixels
VIEWS = (1, 4, 8)  # unchanged; rotations by 90°; these and those of the mirror image


def family_name(network: str, size: int, views: int, precision: str) -> str:
    """The name of an embedding as a family: its network in safe characters, and its input settings.

    Parameters
    ----------
    network
        The network's name.
    size
        Side of its input in pixels.
    views
        Number of orientations that are averaged.
    precision
        "f32" or "bf16".

    Examples
    --------
    >>> family_name("ResNet-10t", 96, 4, "f32")
    'resnet_10t_96px_4views'
    """
    safe = re.sub("[^a-z0-9]+", "_", network.lower()).strip("_")[:48].strip("_")
    safe = safe if safe[:1].isalpha() else f"net_{safe}".strip("_")
    views_part = f"_{views}views" if views > 1 else ""
    return f"{safe}_{size}px{views_part}" + ("" if precision == "f32" else f"_{precision}")


def check_size(size: object, whose: str) -> int:
    """Return an input size in pixels, if valid: memory grows with its square. Raises InputError."""
    if type(size) is not int or not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"{whose} must be {SIZES[0]} to {SIZES[1]} pixels, not {size!r}.")
    return size


def width_of(run: Run, chunk: int, side: int, whose: str) -> int:
    """The number of outputs of an untrusted network for patches of side×side pixels.

    Raises InputError unless the outputs are finite, and those of a patch do not depend on other
    patches.
    """
    noise = np.random.default_rng(0).integers(0, 256, (2, chunk, side, side, 3), np.uint8)
    noise[1, ::2] = noise[0, ::2]
    found, with_others = run(noise[0]), run(noise[1])
    if found.ndim != 2 or len(found) != chunk or not found.size:
        raise InputError(
            f"{whose} returns {list(found.shape)} for {chunk} patches; it must return one vector each."
        )
    if not np.isfinite(found).all():
        raise InputError(f"{whose} returns NaN or infinity for a patch of noise; check its weights.")
    if not np.allclose(found[::2], with_others[::2], rtol=1e-3, atol=1e-3 * np.abs(found).max()):
        raise InputError(
            f"{whose} mixes the patches of a batch (as batch normalization does in training); "
            "export it for inference."
        )
    return int(found.shape[1])


@dataclass(frozen=True)
class Embedding:
    """A family of features that a network computes.

    Parameters
    ----------
    version
        Increases whenever the same facts give different values.
    features
        The columns' names without the family's name.
    facts
        Everything that determines the values.
    chunk
        How many patches the network takes at a time.
    load
        Called with the height and width of patches and the number of threads; returns what embeds
        `chunk` patches.
    given
        The options that it was opened with, so that another process can open it too; None if it was not
        opened by them.
    trained_on
        For a network of `pcam deep fit`, the patches that it was trained on; None for others.
    """

    version: int
    features: tuple[str, ...]
    facts: EncoderFacts
    chunk: int
    load: Callable[[tuple[int, int], int], Run]
    given: EncoderOptions | None = None
    trained_on: TrainedOn | None = None

    @property
    def name(self) -> str:
        facts = self.facts
        return family_name(facts.network, facts.size, facts.views, facts.precision)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.name}__{feature}" for feature in self.features)

    @property
    def group(self) -> str:
        """The group of the family: its own, because networks share no work with other families."""
        return self.name

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Empty: a network has no kernels."""
        return ()

    def describe(self) -> dict[str, Any]:
        """The family's entry in a store's manifest."""
        return {
            "version": self.version,
            "columns": list(self.columns),
            "encoder": self.facts.to_dict(),
        }

    def computed_on(self, device: str) -> str:
        """The device that computes the family when kernels run on `device`: its runtime's own."""
        return "cuda" if self.facts.runtime == CARD else "cpu"

    def open(self, members: Sequence[Embedding], target: Target, threads: int) -> OpenEmbedding:
        """Load the network for several threads. Raises InputError if its weights cannot be used."""
        return OpenEmbedding(
            self.name,
            max(SMALLEST_BATCH, self.chunk),
            self.measurer((PATCH_SIZE, PATCH_SIZE), threads),
        )

    def measurer(self, source: tuple[int, int], threads: int) -> Callable[[np.ndarray], np.ndarray]:
        """Load the network for `threads` threads.

        The returned function embeds patches, uint8 (N, *source, 3), as float32 (N, columns). It pads
        batches to `chunk` patches, so that a patch's values do not depend on how many there are.
        """
        run, chunk, count = self.load(source, threads), self.chunk, self.facts.views

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


@dataclass(frozen=True)
class OpenEmbedding:
    """A loaded network, as `families.measuring.Opened` describes it."""

    name: str
    rows: int
    measure: Callable[[np.ndarray], np.ndarray]

    def prepare(self) -> None:
        """Do nothing: the network is loaded."""

    def __call__(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {self.name: self.measure(batch)}


def views(batch: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield the batch, uint8 (N, H, W, 3), rotated by 90°, and for 8 views also mirrored and rotated.

    OpenCV takes a tenth of the time of `numpy.rot90` with a copy.
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
    """The mean over views, added in ascending order of values.

    A rotated or flipped patch has the same views in another order. The fixed order of addition makes
    its mean equal to the bit.
    """
    if len(seen) == 1:
        return seen[0]
    return np.asarray(np.sort(np.stack(seen), axis=0).mean(axis=0, dtype=np.float64), np.float32)
