"""How much memory a fit takes, and which of its data may stay in it.

The estimate is the sum of what the process holds already, of libraries that it still loads, of tables
by patch, and of the largest of three stages that follow each other: dealing folds, binning for the
trees, and the products of the kernel model. LIBRARIES was measured; the other constants are reasoned,
and a test holds their sum to the peak of whole fits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..storage import costs
from ..storage.files import readable
from ..store.layout import PART_ROWS
from ..words import counted
from . import boosting, nystroem

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # memory limit of a container, on Linux
PAGES = Path("/proc/self/statm")  # on Linux: the second number is the pages in memory
SHARE = 0.5  # default share of the machine's memory
VALUE = 4  # bytes of a feature
BIN = 2  # bytes of a value in XGBoost's bins: by row and by column
PARTS = 6  # parts of the store in memory at once: as Parquet, as an array, side by side, standardized
PATCH = 2_500  # bytes of a patch in tables: ids, folds, groups, margins of all models
LOOK = 4_000  # bytes of a patch while pseudo-slides are formed of its colors, before features are read
# Of a worker, which makes steps and nothing else: bytes of a patch in tables, and of libraries that it
# has not loaded when it is ready.
STEPS_PATCH, STEPS_LIBRARIES = 500, 40 << 20
LIBRARIES = 150 << 20  # bytes of libraries that are loaded during a fit
THREAD = 12 << 20  # bytes of buffers of a thread
WIDE, NARROW = 8, 4  # bytes of float64 and float32


def machine_bytes() -> int:
    """The memory of this machine, or of the container that this runs in, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CONTAINER.read_text()))
    except (OSError, ValueError):
        return total


def process_bytes() -> int:
    """The memory that this process holds now, in bytes; its peak where only that is known."""
    try:
        return int(PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return int((costs.peak_memory_mib() or 0) * 2**20)


@dataclass(frozen=True)
class FitSize:
    """What decides how much memory a fit takes.

    Parameters
    ----------
    rows
        Number of patches, changed copies included.
    columns
        Number of columns of features.
    folds
        Number of folds.
    threads
        Number of threads.
    tables, look
        Bytes of a patch in tables, and while pseudo-slides are formed.
    libraries
        Bytes of libraries that are still to be loaded.
    """

    rows: int
    columns: int
    folds: int
    threads: int
    tables: int = PATCH
    look: int = LOOK
    libraries: int = LIBRARIES

    @property
    def values(self) -> int:
        """Number of features of all patches."""
        return self.rows * self.columns

    def kernel(self, *, on_disk: bool) -> int:
        """Bytes of the kernel model's products, of its landmarks, and of likenesses of a part.

        `on_disk`: whether the products of each fold are on disk.
        """
        count = nystroem.landmark_count(self.rows)
        square = count * count * WIDE
        held = square if on_disk else (self.folds + 1) * square  # of each fold, and among landmarks
        likenesses = 2 * min(PART_ROWS, self.rows) * count * WIDE
        solved = square + square // 4  # the products to solve, and what is made to check them
        return held + max(likenesses, solved) + count * self.columns * (NARROW + WIDE)

    def gathered(self, *, on_disk: bool) -> int:
        """Bytes of the columns that are put together at once to be binned.

        `on_disk`: whether bins are on disk.
        """
        a_block = min(2 * boosting.COLUMNS, self.columns) * self.rows * VALUE
        return a_block if on_disk else max(min(boosting.GATHERED, VALUE * self.values), a_block)

    @property
    def parts(self) -> int:
        """Bytes of the parts of the store that are read and prepared at once."""
        return PARTS * min(PART_ROWS, self.rows) * self.columns * VALUE

    def fixed(self, process: int) -> int:
        """Bytes that a fit takes in any case, except for its stages."""
        return process + self.libraries + self.threads * THREAD + self.rows * self.tables


@dataclass(frozen=True)
class MemoryPlan:
    """What stays in memory during a fit, and how much the process takes at most.

    Parameters
    ----------
    size
        The size of the fit.
    keep
        Whether features stay in memory once they are read; otherwise they are read each time.
    bins
        Whether XGBoost's bins and the kernel model's products stay in memory; otherwise they are in
        files.
    process
        Bytes that the process held before.
    """

    size: FitSize
    keep: bool
    bins: bool
    process: int

    @property
    def total(self) -> int:
        """The peak of the whole process, in bytes."""
        values, on_disk = self.size.values, not self.bins
        trees = self.size.gathered(on_disk=on_disk) + (BIN * values if self.bins else 0)
        features = self.size.parts + (VALUE * values if self.keep else 0)
        dealing = self.size.look * self.size.rows
        kernel = self.size.kernel(on_disk=on_disk)
        stages = max(dealing, features + trees, features + kernel)
        return self.size.fixed(self.process) + stages

    def sentence(self) -> str:
        """For the user: how much memory, for what, and what is read again instead."""
        features = "in memory" if self.keep else "read from the store each time"
        bins = "in memory" if self.bins else "on disk"
        return (
            f"memory: at most {readable(self.total)} for {self.size.rows:,} patches and "
            f"{self.size.columns:,} columns (features {features}, bins and sums {bins})"
        )


def plan(size: FitSize, limit: int | None = None) -> MemoryPlan:
    """Decide what stays in memory, so that the process stays below a limit.

    Parameters
    ----------
    size
        The size of the fit.
    limit
        Bytes of memory for the whole process. None: SHARE of the machine's, or what the fit takes at
        least if that is more, which `MemoryPlan.total` tells.

    Returns
    -------
    MemoryPlan
        The first that fits: all in memory, only bins, nothing.

    Raises
    ------
    InputError
        If the fit takes more than `limit` in any case.
    """
    most = int(SHARE * machine_bytes()) if limit is None else limit
    chosen = first_that_fits(size, most)
    if limit is not None and chosen.total > limit:
        least = -(-chosen.total * 10 // 2**30) / 10
        raise InputError(
            f"a fit of {size.rows:,} patches and {size.columns:,} columns takes at least "
            f"{readable(chosen.total)}, more than --max-memory {limit / 2**30:g}; give {least:g} or "
            "more, or fewer --families."
        )
    return chosen


def first_that_fits(size: FitSize, most: int) -> MemoryPlan:
    """The first plan of at most so many bytes; the one that takes least if none is."""
    process = process_bytes()
    plans = [
        MemoryPlan(size, keep, bins, process)
        for keep, bins in ((True, True), (False, True), (False, False))
    ]
    return next((one for one in plans if one.total <= most), plans[-1])


def plan_of_worker(size: FitSize, limit: int | None, units: int) -> MemoryPlan:
    """Decide what stays in memory of one of several units that a worker makes at the same time.

    Parameters
    ----------
    size
        The size of the fit.
    limit
        Bytes of memory of the worker's process; None: SHARE of the machine's.
    units
        The number of units at the same time.

    Returns
    -------
    MemoryPlan
        See `plan`.

    Raises
    ------
    InputError
        If the units take more than `limit` in any case.
    """
    process = process_bytes()
    size = replace(size, tables=STEPS_PATCH, look=0, libraries=STEPS_LIBRARIES)
    room = int(SHARE * machine_bytes()) if limit is None else limit
    chosen = first_that_fits(size, process + (room - process) // units)
    total = process + (chosen.total - process) * units
    if limit is not None and total > limit:
        raise InputError(
            f"a fit of {size.rows:,} patches and {size.columns:,} columns takes at least "
            f"{total / 2**20:,.0f} MiB on a worker of {counted(units, 'thread')}, more than the "
            f"{limit / 2**20:,.0f} MiB that it may take; give workers more memory (--memory-limit, "
            "--max-memory), fewer threads (--nthreads), or fewer --families"
        )
    return chosen
