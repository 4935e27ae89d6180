"""What decides a fit: the settings of the base models, and where it is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..storage.fields import Fields

ROUNDS = 360  # trees
PARAMETERS: dict[str, Any] = {  # XGBoost's own, for trees of a block of columns
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 7,
    "eta": 0.05,
    "subsample": 0.7,
    "colsample_bynode": 1.0,
    "min_child_weight": 5,
    "lambda": 5,
    "max_bin": 32,
}
WIDTH = 1 / 3  # of the kernel exp(-WIDTH d²), d² being the mean over columns of squared differences
PENALTY = 0.05


@dataclass(frozen=True)
class Settings:
    """The settings that a search may change.

    Parameters
    ----------
    trees
        XGBoost's parameters.
    rounds
        The largest number of trees; the folds choose how many are used.
    width
        The width of the Gaussian kernel.
    penalty
        The ridge penalty of the kernel model.
    """

    trees: dict[str, Any] = field(default_factory=lambda: dict(PARAMETERS))
    rounds: int = ROUNDS
    width: float = WIDTH
    penalty: float = PENALTY

    @classmethod
    def from_fields(cls, known: Fields) -> Settings:
        """Raises ValueError if a field is missing or wrong."""
        trees, kernel = known.child("trees"), known.child("kernel")
        parameters = {name: value for name, value in trees.content.items() if name != "rounds"}
        for name, value in parameters.items():
            if isinstance(value, str):
                trees.text(name)
            else:
                trees.number(name)
        return cls(
            parameters,
            trees.whole("rounds", least=1),
            kernel.number("width", least=0),
            kernel.number("penalty", least=0),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a model's manifest."""
        return {
            "trees": self.trees | {"rounds": self.rounds},
            "kernel": {"width": self.width, "penalty": self.penalty},
        }


@dataclass(frozen=True)
class Compute:
    """Where a fit is computed. Only `seed` should change the result.

    Parameters
    ----------
    device
        "cpu" or "cuda".
    threads
        Number of threads.
    seed
        Seed of everything random.
    on_disk
        Whether XGBoost's bins and the sums of kernel models are kept on disk.
    """

    device: str
    threads: int
    seed: int
    on_disk: bool = False

    @property
    def xp(self) -> Any:
        """The array module to compute with: NumPy or CuPy."""
        if self.device != "cuda":
            return np
        import cupy

        return cupy
