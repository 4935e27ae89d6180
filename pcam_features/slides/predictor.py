"""What predicts patches of slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import Adapt, Device
from ..extraction.images import ArrayImages
from ..extraction.streaming import streamed
from ..families.family import FeatureFamily
from ..learn.bundle import Bundle
from ..learn.explain_patch import Reasons, reasons_of
from ..learn.predict import ThisProcess, predict_patches
from .grid import SlidePatches

REASONS = 3  # columns
UNREADABLE = np.nan


def begun_once(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Progress of work in several parts, each of which begins with 0: only the first 0 is told.

    Examples
    --------
    >>> told = []
    >>> progress = begun_once(told.append)
    >>> for done in (0, 5, 0, 3):
    ...     progress(done)
    >>> told
    [0, 5, 3]
    """
    begun = False

    def told(done: int) -> None:
        nonlocal begun
        if done or not begun:
            progress(done)
        begun = True

    return told


@dataclass(frozen=True)
class Predictor:
    """What predicts patches.

    Parameters
    ----------
    path, bundle
        The model.
    needed
        The families that its predictions depend on.
    families
        All of its families, for reasons.
    threads
        Number of threads.
    device
        Where kernels run.
    """

    path: Path
    bundle: Bundle
    needed: Sequence[FeatureFamily]
    families: Sequence[FeatureFamily]
    threads: int
    device: Device

    def probabilities(self, patches: SlidePatches, progress: Callable[[int], None]) -> np.ndarray:
        """The probability of tumor of each patch, float64 (patches,); NaN where it is unreadable.

        As `pcam predict` computes it: values are the same to the bit if a call has the patches of one
        part of that source.
        """
        values = streamed(
            patches, self.needed, threads=self.threads, device=self.device, progress=progress
        )
        names = ["all"] * len(patches)
        here = ThisProcess(self.bundle, values, self.threads)
        tumor = predict_patches(here, self.bundle, names, Adapt.none).probabilities
        tumor[sorted(patches.unreadable)] = UNREADABLE
        return tumor

    def reasons(self, pixels: np.ndarray) -> list[Reasons]:
        """What moved the predictions of some patches, uint8 (patches, 96, 96, 3)."""
        rows = np.arange(len(pixels))
        values = streamed(ArrayImages(pixels), self.families, threads=self.threads, device=self.device)
        found = reasons_of(self.bundle, values, rows, REASONS)
        return [found[row] for row in rows.tolist()]
