"""All that the steps of a fit need, in one bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..grouping.folds import Folds
from ..store.values import Values
from .settings import Compute, Settings
from .steps import Work


@dataclass(frozen=True)
class FitContext:
    """The data, folds and settings of a fit, and the folder that keeps its steps.

    Parameters
    ----------
    work
        The unfinished model.
    values
        The features.
    labels
        0 or 1, int8 (rows,).
    folds
        The fold and group of each row.
    compute
        Where the fit is computed.
    settings
        The settings of the base models.
    progress
        Told how many steps have been done since the last call.
    """

    work: Work
    values: Values
    labels: np.ndarray
    folds: Folds
    compute: Compute
    settings: Settings = field(default_factory=Settings)
    progress: Callable[[int], None] = lambda steps: None

    @property
    def fold(self) -> np.ndarray:
        """The fold of each row, (rows,)."""
        return self.folds.fold
