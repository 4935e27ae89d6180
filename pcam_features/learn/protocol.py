"""What every kind of base model can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from .context import FitContext


class BaseModel(Protocol):
    """A fitted base model. A new kind implements this and is listed in `base_models.MODEL_CLASSES`."""

    @property
    def width(self) -> int:
        """Number of columns that the model takes."""
        ...

    @property
    def parameters(self) -> int:
        """Number of learned numbers."""
        ...

    def margin(self, values: np.ndarray, threads: int = 1) -> np.ndarray:
        """Log-odds of label 1, float64 (rows,), from float32 (rows, width)."""
        ...

    def contributions(self, values: np.ndarray) -> tuple[np.ndarray, float]:
        """Each column's share of the log-odds, float64 (rows, width), and the log-odds without them."""
        ...

    def gains(self) -> np.ndarray | None:
        """Each column's share of the gain of splits, (width,); None for a model without splits."""
        ...

    def moments(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and deviation of the training columns, (width,) each; None if not kept."""
        ...

    @staticmethod
    def files(folder: Path, group: str) -> Sequence[Path]:
        """The files of a group's model in the model folder."""
        ...

    def save(self, folder: Path, group: str) -> None:
        """Write these files, each whole or not at all."""
        ...

    @classmethod
    def load(cls, folder: Path, group: str) -> Self:
        """Read these files. Raises InputError or ValueError if they hold anything else."""
        ...

    @classmethod
    def fit(cls, context: FitContext, group: str, families: Sequence[str]) -> tuple[Self, np.ndarray]:
        """Fit to all rows; returns the model and its out-of-fold log-odds, (rows,)."""
        ...
