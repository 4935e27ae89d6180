"""Options of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..constants import RESAMPLES, SPECIFICITY

if TYPE_CHECKING:
    from .id_table import Names


@dataclass(frozen=True)
class ComparisonOptions:
    """Options of a comparison.

    Parameters
    ----------
    pairs
        Pairs of models declared beforehand, each `"A:B"` or `("A", "B")`. p-values are adjusted for
        these pairs only. Without any, all pairs are compared.
    by
        Further groupings to show AUC on: `FILE[:COLUMN]` specifications, or a mapping from the name of
        a grouping to a Series, mapping or DataFrame from id to group.
    margin
        Non-inferiority margin: how much lower A's AUC may be than B's. None: not tested.
    specificity
        The specificity, 0 to 1, at which sensitivity is reported.
    resamples
        Number of bootstrap resamples.
    seed
        Seed of the resampling and the clustering.
    threads
        Number of threads.
    """

    pairs: Sequence[str | tuple[str, str]] = ()
    by: Sequence[str] | Mapping[str, Names] = ()
    margin: float | None = None
    specificity: float = SPECIFICITY
    resamples: int = RESAMPLES
    seed: int = 0
    threads: int = 1
