"""What a family of features is, and what a column's name says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from ..engine.kernel import Kernel


@dataclass(frozen=True)
class Feature:
    """One thing that is measured, whatever the region, plane and parameters.

    Over a constant region its value is `flat`. `source` is a paper, or the library function
    whose value it equals.
    """

    name: str
    meaning: str
    unit: str
    low: float
    high: float
    flat: str
    source: str


@dataclass(frozen=True)
class Family:
    """Columns that are computed together, from the planes of one patch.

    A column is named `family__feature__region_plane_parameters`, the last two where they apply;
    it may end in `_mean` or `_range` (largest minus smallest) over directions. `version` goes up
    whenever a column's value changes for the same patch: stored features of another version are
    never mixed in.
    """

    version: int
    columns: tuple[str, ...]
    features: tuple[Feature, ...]
    kernel: Kernel

    @property
    def name(self) -> str:
        return self.kernel.name

    @property
    def about(self) -> str:
        """What the family's file says at its top."""
        return sys.modules[self.kernel.measure.__module__].__doc__ or ""

    def described(self) -> dict[str, Any]:
        """What a store's manifest says of it."""
        return {"version": self.version, "columns": list(self.columns)}

    def computed_on(self, device: str) -> str:
        """The device that computes it when kernels run on `device`: the same."""
        return device

    def feature(self, column: str) -> Feature:
        """The feature that a column is of. Raises KeyError for a column of another family."""
        return {feature.name: feature for feature in self.features}[column.split("__")[1]]

    def limits(self, column: str) -> tuple[float, float]:
        """The range in which a column's values lie."""
        feature = self.feature(column)
        width = feature.high - feature.low
        if column.endswith("_range"):
            return 0.0, width
        if "_minus_" in column:
            return -width, width
        return feature.low, feature.high
