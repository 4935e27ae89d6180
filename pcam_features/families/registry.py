"""The catalog of families that kernels compute."""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import InputError
from . import (
    color,
    filters,
    glcm,
    glrlm,
    glszm,
    gradient,
    granulometry,
    lbp,
    nuclei,
    planes,
    spectrum,
    stain,
    strata,
    wavelet,
)
from .family import Family
from .measuring import Kernels, Measure

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        color,
        stain,
        strata,
        glcm,
        glrlm,
        glszm,
        lbp,
        wavelet,
        spectrum,
        filters,
        gradient,
        granulometry,
        nuclei,
    )
}

ALL, CNN = "all", "cnn"  # every family in the catalog; embeddings


def listed(names: str) -> list[str]:
    """The names in a comma-separated list."""
    return [name.strip() for name in names.split(",") if name.strip()]


def chosen(names: str | None) -> list[Family]:
    """The families in a comma-separated list, in the catalog's order; all of them for None or `all`.

    Raises InputError for a name that is not in the catalog.
    """
    wanted = list(FAMILIES) if names is None else listed(names)
    if ALL in wanted:
        wanted = [*FAMILIES, *(name for name in wanted if name != ALL)]
    unknown = [name for name in wanted if name not in FAMILIES]
    if unknown or not wanted:
        raise InputError(
            f"no family called {', '.join(unknown) or repr(names)}; there are: {', '.join(FAMILIES)}."
        )
    return [family for name, family in FAMILIES.items() if name in wanted]


def kernels_of(families: Sequence[Family]) -> list[Kernel]:
    """The kernels that measure these families, in the order they run."""
    return [planes.KERNEL, *(family.kernel for family in families)]


def measurer(families: Sequence[Family], target: Target) -> Measure:
    """Compile `families` for `target`: a minute for the first time on a machine."""
    kernels = Kernels([family.kernel for family in families], target, threads=1)
    kernels.prepare()
    return kernels
