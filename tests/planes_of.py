"""Planes and features of a batch, computed by the CPU target."""

from functools import cache

import numpy as np

from pcam_features.engine import cpu
from pcam_features.families import planes
from pcam_features.families.measuring import Measure
from pcam_features.families.registry import FAMILIES, measurer


def planes_of(batch: np.ndarray) -> np.ndarray:
    return np.asarray(cpu.prepare(planes.KERNEL)(batch))


@cache
def _measure() -> Measure:
    return measurer(list(FAMILIES.values()), cpu)


def features_of(batch: np.ndarray, family: str) -> dict[str, np.ndarray]:
    """Each column's values, by name."""
    values = _measure()(batch, [family])[family]
    return dict(zip(FAMILIES[family].columns, values.T, strict=True))
