"""Features of images as values for models, measured part by part as they are read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np

from ..constants import Device
from ..errors import InputError
from ..execution.executor import Threads
from ..families.family import FeatureFamily
from ..storage.files import readable
from ..store.values import Values, spans_of
from .images import Images
from .measuring import OpenFamilies, spans
from .transformer import kept_open

VALUE_BYTES = 4


@dataclass
class Streamed:
    """Measures the parts of images that are asked for.

    Parameters
    ----------
    images
        The patches.
    opened
        The families, ready to measure.
    widths
        Number of columns of each family.
    threads
        Number of threads.
    progress
        Called with the number of images measured.
    kept
        Arrays on the disk, float32 (images, columns) of each family, from which parts are read again;
        empty to measure a part again whenever it is asked for after another.
    """

    images: Images
    opened: OpenFamilies
    widths: dict[str, int]
    threads: int
    progress: Callable[[int], None]
    kept: dict[str, np.memmap]
    _measured: set[int] = field(default_factory=set)
    _number: int = -1
    _part: dict[str, np.ndarray] = field(default_factory=dict)

    def part(self, family: str, k: int) -> np.ndarray:
        """The values of a family in part k, float32 (rows of the part, columns)."""
        if k == self._number:
            return self._part[family]
        rows = spans_of(len(self.images))[k]
        if self.kept and k in self._measured:
            return np.array(self.kept[family][rows])
        self._number, self._part = -1, {}  # a part at a time in memory
        self._part = self.measure(rows)
        self._number = k
        self._measured.add(k)
        for name, array in self.kept.items():
            array[rows] = self._part[name]
        return self._part[family]

    def measure(self, rows: slice) -> dict[str, np.ndarray]:
        """Measure some rows of all families. Raises InputError for values without an end."""
        count, names = rows.stop - rows.start, list(self.widths)
        values = {name: np.empty((count, width), np.float32) for name, width in self.widths.items()}

        def work(span: tuple[int, int]) -> int:
            measured = self.opened.measure(self.images, *span, names)
            for name, array in values.items():
                array[span[0] - rows.start : span[1] - rows.start] = measured[name]
            return span[1] - span[0]

        at_once = max(1, min(self.opened.rows, -(-count // self.threads)))
        batches = spans(rows.start, rows.stop, at_once)
        for done in Threads(min(self.threads, len(batches))).map(work, batches):
            self.progress(done)
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"{name} features of these patches hold NaN or infinity; run pcam doctor."
                )
        return values


def streamed(
    images: Images,
    families: Sequence[FeatureFamily],
    *,
    threads: int = 0,
    device: Device = Device.auto,
    progress: Callable[[int], None] = lambda done: None,
    folder: Path | None = None,
) -> Values:
    """The features of images, measured when they are read, so that memory holds one part of them.

    Kernels are compiled at once, if they are not compiled yet.

    Parameters
    ----------
    images
        The patches: a split of a source, or what `images_of` gives.
    families
        The families.
    threads
        Number of threads; 0 is one for each core.
    device
        Where kernels run.
    progress
        Called with the number of images measured, and with 0 when measuring can begin.
    folder
        An empty folder in which measured values are kept, to be read several times. None measures
        values each time that they are read.

    Returns
    -------
    Values
        Values that are the same to the bit as those that a store holds. One thread may read them.

    Raises
    ------
    InputError
        If a family cannot be used, or the disk of `folder` is too small. When values are read: if an
        image is not a patch.
    """
    workers = threads or joblib.cpu_count()
    opened = kept_open(families, workers, device)
    widths = {family.name: len(family.columns) for family in families}
    kept = {} if folder is None else arrays_in(folder, len(images), widths)
    opened.prepare()
    progress(0)
    parts = Streamed(images, opened, widths, workers, progress, kept)
    return Values(len(images), widths, parts.part, spans_of(len(images)))


def arrays_in(folder: Path, rows: int, widths: dict[str, int]) -> dict[str, np.memmap]:
    """Arrays on the disk, float32 (rows, columns) of each family; none without rows.

    Raises InputError if the disk has too little space.
    """
    if not rows:
        return {}
    needed, free = rows * sum(widths.values()) * VALUE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"features that are read twice take {readable(needed)} in {folder.parent}, which has "
            f"{readable(free)} free; name another folder with TMPDIR, or leave out --adapt."
        )
    return {
        name: np.memmap(folder / f"{name}.f32", np.float32, "w+", shape=(rows, width))
        for name, width in widths.items()
    }
