"""The catalog of handcrafted families, which kernels compute."""

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
    histogram,
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
        histogram,
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
    """The names in a comma-separated list.

    Examples
    --------
    >>> listed("color, lbp,")
    ['color', 'lbp']
    """
    return [name.strip() for name in names.split(",") if name.strip()]


def chosen(names: str | None) -> list[Family]:
    """Select families of the catalog.

    Parameters
    ----------
    names
        Comma-separated names. None or `all` selects every family.

    Returns
    -------
    list of Family
        The families, in the order of the catalog.

    Raises
    ------
    InputError
        If a name is not in the catalog, or there is no name.

    Examples
    --------
    >>> [family.name for family in chosen("lbp,color")]
    ['color', 'lbp']
    """
    wanted = list(FAMILIES) if names is None else listed(names)
    if ALL in wanted:
        wanted = [*FAMILIES, *(name for name in wanted if name != ALL)]
    unknown = [name for name in wanted if name not in FAMILIES]
    if unknown or not wanted:
        raise InputError(
            f"there is no family {', '.join(unknown) or repr(names)}; choose from: "
            f"{', '.join(FAMILIES)}."
        )
    return [family for name, family in FAMILIES.items() if name in wanted]


def kernels_of(families: Sequence[Family]) -> list[Kernel]:
    """The kernels that compute families, in the order in which they run.

    Examples
    --------
    >>> [kernel.name for kernel in kernels_of(chosen("color"))]
    ['planes', 'color']
    """
    return [planes.KERNEL, *(family.kernel for family in families)]


def measurer(families: Sequence[Family], target: Target) -> Measure:
    """Compile families, which takes about a minute the first time on a machine.

    Parameters
    ----------
    families
        The families to compute.
    target
        Where they are computed: `engine.cpu` or `engine.cuda`.

    Returns
    -------
    Measure
        A function of a batch, uint8 (N, 96, 96, 3), and names of families. It returns float32
        (N, columns) for each name.
    """
    kernels = Kernels([family.kernel for family in families], target, threads=1)
    kernels.prepare()
    return kernels
