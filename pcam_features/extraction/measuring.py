"""Opens several families together and measures batches of patches with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.devices import Target
from ..engine.kernel import Kernel
from ..families import planes
from ..families.family import FeatureFamily
from ..families.measuring import Opened
from ..sources.source import Split
from .embedding_tables import GROUP as TABLES
from .embedding_tables import OpenTables
from .images import Images
from .tiles import measure_tiles


@dataclass(frozen=True)
class OpenFamilies:
    """Families that are ready to measure. Several threads may measure at once.

    Parameters
    ----------
    families
        The families, in the order of their columns.
    groups
        The opened families of each group, by the group's name.
    """

    families: tuple[FeatureFamily, ...]
    groups: dict[str, Opened]

    @property
    def rows(self) -> int:
        """How many patches a thread should measure at a time."""
        return max(opened.rows for opened in self.groups.values())

    def prepare(self) -> None:
        """Compile kernels that are not compiled yet, about a minute the first time on a machine."""
        for opened in self.groups.values():
            opened.prepare()

    def measure(
        self, images: Images, start: int, stop: int, names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Measure images `start` to `stop`: float32 (stop - start, columns) for each of `names`.

        If patches are cut into tiles, values are means over the tiles of a patch.
        """
        tables = self.groups.get(TABLES)
        looked_up: dict[str, np.ndarray] = {}
        if isinstance(tables, OpenTables) and isinstance(images, Split):
            looked_up = tables.of(images.ids[start:stop], names)
        rest = [name for name in names if name not in looked_up]
        if not rest:
            return looked_up
        if isinstance(images, Split) and images.tiles is not None:
            return looked_up | measure_tiles(images, (start, stop), self._measure, rest, self.rows)
        return looked_up | self._measure(images.read(start, stop), rest)

    def _measure(self, batch: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        for group, opened in self.groups.items():
            wanted = [f.name for f in self.families if f.group == group and f.name in names]
            if wanted:
                values |= opened(batch, wanted)
        return values


def kernels_in(families: Sequence[FeatureFamily]) -> list[Kernel]:
    """The kernels that these families need, in the order they run."""
    kernels = [kernel for family in families for kernel in family.kernels]
    return [planes.KERNEL, *kernels] if kernels else []


def open_families(families: Sequence[FeatureFamily], target: Target, threads: int) -> OpenFamilies:
    """Open families for `threads` threads; kernels run on `target`.

    Raises InputError if a network's weights cannot be used. Kernels are compiled when they are first
    used, or by `prepare`.
    """
    groups: dict[str, list[FeatureFamily]] = {}
    for family in families:
        groups.setdefault(family.group, []).append(family)
    opened = {name: group[0].open(group, target, threads) for name, group in groups.items()}
    return OpenFamilies(tuple(families), opened)


def spans(start: int, stop: int, rows: int) -> list[tuple[int, int]]:
    """The batches of `rows` patches from `start` to `stop`; the last may be smaller.

    Examples
    --------
    >>> spans(0, 5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(first, min(first + rows, stop)) for first in range(start, stop, rows)]
