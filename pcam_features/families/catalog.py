"""The families there are, and how several are measured on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..engine import planes
from ..engine.devices import Target
from ..errors import InputError
from . import color, glcm, lbp, stain
from .family import Family

FAMILIES: dict[str, Family] = {
    family.name: family for family in (color.FAMILY, glcm.FAMILY, lbp.FAMILY, stain.FAMILY)
}

# Measures a batch, uint8 (N, 96, 96, 3), giving float32 (N, columns) for each family named;
# several threads may call it at once.
Measure = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]


def chosen(names: str | None) -> list[Family]:
    """The families in a comma-separated list, in the catalog's order; all of them for None.

    Raises InputError for a name that is not in the catalog.
    """
    wanted = list(FAMILIES) if names is None else [n.strip() for n in names.split(",") if n.strip()]
    unknown = [name for name in wanted if name not in FAMILIES]
    if unknown or not wanted:
        raise InputError(
            f"no family called {', '.join(unknown) or repr(names)}; there are: {', '.join(FAMILIES)}."
        )
    return [family for name, family in FAMILIES.items() if name in wanted]


def measurer(families: Sequence[Family], target: Target) -> Measure:
    """Compile `families` for `target`, for the first time on a machine in some ten seconds."""
    make_planes = target.prepare(planes.KERNEL)
    kernels = {family.name: target.prepare(family.kernel) for family in families}

    def measure(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        with target.batch_stream():
            shared = make_planes(target.to_device(batch))
            measured = {name: kernels[name](shared) for name in names}
            return {name: target.to_host(array) for name, array in measured.items()}

    return measure
