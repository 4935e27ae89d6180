"""Features for models, read in blocks of patches so that they need not all fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from .layout import part_count, part_span
from .store import Store

Blocks = Iterator[tuple[slice, np.ndarray]]


@dataclass(frozen=True)
class Values:
    """Features of some patches.

    Parameters
    ----------
    rows
        Number of patches.
    widths
        Number of columns of each family, in the order of families.
    part
        `part(family, k)` gives the values of a family in part k, float32 (rows of the part, columns).
    spans
        The rows of each part.
    """

    rows: int
    widths: dict[str, int]
    part: Callable[[str, int], np.ndarray]
    spans: tuple[slice, ...]

    @property
    def families(self) -> list[str]:
        return list(self.widths)

    def width(self, families: Sequence[str]) -> int:
        return sum(self.widths[name] for name in families)

    def places(self) -> dict[str, np.ndarray]:
        """Each family's column indices among those of all families."""
        ends = np.cumsum([0, *self.widths.values()])
        return {name: np.arange(ends[k], ends[k + 1]) for k, name in enumerate(self.widths)}

    def columns(self, families: Sequence[str]) -> np.ndarray:
        """The column indices of some families among those of all families."""
        places = self.places()
        return np.concatenate([places[name] for name in families])

    def blocks(self, families: Sequence[str]) -> Blocks:
        """Yield the rows of each block, and the families' columns side by side, float32."""
        for k, rows in enumerate(self.spans):
            yield rows, self.block(families, k)

    def block(self, families: Sequence[str], k: int) -> np.ndarray:
        """The families' columns side by side in part k, float32 (rows, columns)."""
        parts = [self.part(name, k) for name in families]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def only(self, k: int) -> Values:
        """The rows of part k alone, which stay in memory once they are read."""
        rows = self.spans[k].stop - self.spans[k].start
        read = cache(lambda family: self.part(family, k))
        return replace(self, rows=rows, part=lambda family, only: read(family), spans=(slice(0, rows),))

    def take(self, families: Sequence[str], wanted: np.ndarray) -> np.ndarray:
        """The values of some rows, in ascending order, float32 (wanted, columns).

        Only the parts that hold these rows are read."""
        of_part = np.searchsorted([rows.stop for rows in self.spans], wanted, side="right")
        return np.concatenate(
            [
                self.block(families, k)[wanted[of_part == k] - self.spans[k].start]
                for k in np.unique(of_part).tolist()
            ]
        )


def stored(store: Store, split: str, families: Sequence[str], *, keep: bool) -> Values:
    """The features of a split's patches, read part by part.

    Parameters
    ----------
    store, split, families
        What is read.
    keep
        Whether a part stays in memory once it is read; otherwise it is read each time it is needed.

    Raises
    ------
    InputError
        When a part is read that is missing or damaged.
    """
    widths = {name: len(store.manifest.families[name].columns) for name in families}
    rows = store.manifest.splits[split].rows

    def part(family: str, k: int) -> np.ndarray:
        return store.part(split, family, k)

    return Values(rows, widths, cache(part) if keep else part, spans_of(rows))


def of_arrays(arrays: dict[str, np.ndarray]) -> Values:
    """Features that are in memory: for each family, float32 (rows, columns)."""
    rows = len(next(iter(arrays.values())))
    return Values(
        rows,
        {name: array.shape[1] for name, array in arrays.items()},
        lambda family, k: arrays[family][slice(*part_span(k, rows))],
        spans_of(rows),
    )


def spans_of(rows: int) -> tuple[slice, ...]:
    """The rows of each part of a store."""
    return tuple(slice(*part_span(k, rows)) for k in range(part_count(rows)))


def joined(first: Values, second: Values) -> Values:
    """The rows of `first`, and after them those of `second`, which has the same families."""
    parts = len(first.spans)
    moved = (slice(rows.start + first.rows, rows.stop + first.rows) for rows in second.spans)

    def part(family: str, k: int) -> np.ndarray:
        return first.part(family, k) if k < parts else second.part(family, k - parts)

    return Values(first.rows + second.rows, first.widths, part, (*first.spans, *moved))
