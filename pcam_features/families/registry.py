"""The families there are, and how several are measured on one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..errors import InputError, PcamError
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

ALL, CNN = "all", "cnn"  # every hand-made family; embeddings


# Measures a batch, uint8 (N, 96, 96, 3), giving float32 (N, columns) for each family named;
# several threads may call it at once.
Measure = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]


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


def batch_rows(families: Sequence[Family], target: Target, threads: int) -> int:
    """How many patches each of `threads` should measure at a time on `target`."""
    bytes_per_patch = sum(kernel.bytes_per_patch for kernel in kernels_of(families))
    return target.batch_rows(bytes_per_patch, threads)


def measurer(families: Sequence[Family], target: Target) -> Measure:
    """Compile `families` for `target`, for the first time on a machine in a minute.

    A batch that does not fit in the card's memory is measured in halves. What is returned raises
    PcamError if a single patch does not fit.
    """
    target.compile_ahead(kernels_of(families))
    make_planes = target.prepare(planes.KERNEL)
    kernels = {family.name: target.prepare(family.kernel) for family in families}

    def at_once(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        with target.batch_stream():
            shared = make_planes(target.to_device(batch))
            return target.to_host({name: kernels[name](shared) for name in names})

    def measure(batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        try:
            return at_once(batch, names)
        except target.out_of_memory():
            if len(batch) == 1:
                raise PcamError(
                    "the card has no memory left for one patch; use --device cpu."
                ) from None
        target.release()
        half = len(batch) // 2
        first, second = measure(batch[:half], names), measure(batch[half:], names)
        return {name: np.concatenate([first[name], second[name]]) for name in names}

    return measure
