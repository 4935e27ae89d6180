"""The protocol of a family of features, and the families that kernels compute."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..store.trained_on import TrainedOn
from .measuring import Kernels, Opened


class FeatureFamily(Protocol):
    """Columns that are computed together: by a kernel, or by a network.

    Families of one `group` are opened together, because they share work.
    """

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def group(self) -> str: ...
    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels that have to be compiled; none for a network."""
        ...

    @property
    def trained_on(self) -> TrainedOn | None:
        """The patches that a network of `pcam deep fit` was trained on; None for any other family."""
        ...

    def describe(self) -> dict[str, Any]:
        """The family's entry in a store's manifest."""
        ...

    def computed_on(self, device: str) -> str:
        """The device that computes the family when kernels run on `device`."""
        ...

    def open(self, members: Sequence[Any], target: Target, threads: int) -> Opened:
        """Open the `members` of this family's group, this one among them, for several threads.

        Raises InputError if a file they need, such as a network's weights, cannot be used.
        """
        ...


@dataclass(frozen=True)
class Feature:
    """One quantity, whatever the region, plane and parameters.

    `flat` is its value over a constant region. `source` is a paper, or the library function that
    returns the same value.
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
    """A family that a kernel computes from the planes of one patch.

    A column is named `family__feature__region_plane_parameters`, the last two where they apply.
    It may end in `_mean` or `_range` (largest minus smallest) over directions. `version` goes up
    whenever a column's value changes for the same patch: stored features of different versions
    are never mixed.
    """

    version: int
    columns: tuple[str, ...]
    features: tuple[Feature, ...]
    kernel: Kernel

    @property
    def name(self) -> str:
        return self.kernel.name

    @property
    def group(self) -> str:
        """All kernels share the planes of a patch, so they are one group."""
        return "kernels"

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return (self.kernel,)

    @property
    def trained_on(self) -> None:
        """None: a kernel has learned nothing."""

    @property
    def about(self) -> str:
        """The docstring of the family's module."""
        return sys.modules[self.kernel.measure.__module__].__doc__ or ""

    def describe(self) -> dict[str, Any]:
        """The family's entry in a store's manifest."""
        return {"version": self.version, "columns": list(self.columns)}

    def computed_on(self, device: str) -> str:
        """The device that computes the family when kernels run on `device`: the same."""
        return device

    def open(self, members: Sequence[Family], target: Target, threads: int) -> Opened:
        """Open families for `target`; their kernels are compiled by `prepare`, or when first used."""
        return Kernels([member.kernel for member in members], target, threads)

    def feature(self, column: str) -> Feature:
        """The feature of a column. Raises KeyError for a column of another family."""
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
