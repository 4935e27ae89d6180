"""How much memory a fit takes, and which of its data may stay in it.

The estimate is the sum of what the process holds already, of libraries that it still loads, of tables
by patch, and of the largest of three stages that follow each other: dealing folds, binning for the
trees, and the products of the kernel model. LIBRARIES was measured; the other constants are reasoned,
and a test holds their sum to the peak of whole fits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..storage import costs
from ..storage.files import readable
from ..store.layout import PART_ROWS
from . import boosting, kernel_ridge

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # memory limit of a container, on Linux
PAGES = Path("/proc/self/statm")  # on Linux: the second number is the pages in memory
SHARE = 0.5  # default share of the machine's memory
VALUE = 4  # bytes of a feature
BIN = 2  # bytes of a value in XGBoost's bins: by row and by column
PARTS = 6  # parts of the store in memory at once: as Parquet, as an array, side by side, standardized
PATCH = 2_500  # bytes of a patch in tables: ids, folds, groups, margins of all models
LOOK = 4_000  # bytes of a patch while pseudo-slides are formed of its colors, before features are read
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
    """

    rows: int
    columns: int
    folds: int
    threads: int

    @property
    def values(self) -> int:
        """Number of features of all patches."""
        return self.rows * self.columns

    @property
    def kernel(self) -> int:
        """Bytes of the kernel model's products, of its landmarks, and of likenesses of a part."""
        count = kernel_ridge.landmark_count(self.rows)
        squares = (self.folds + 5) * count * count * WIDE  # of each fold; among landmarks; to solve
        likenesses = 3 * min(PART_ROWS, self.rows) * count * WIDE
        return squares + likenesses + count * self.columns * (2 * NARROW + 2 * WIDE)

    @property
    def gathered(self) -> int:
        """Bytes of the columns that are put together at once to be binned."""
        a_block = min(2 * boosting.COLUMNS, self.columns) * self.rows * VALUE
        return max(min(boosting.GATHERED, VALUE * self.values), a_block)

    @property
    def parts(self) -> int:
        """Bytes of the parts of the store that are read and prepared at once."""
        return PARTS * min(PART_ROWS, self.rows) * self.columns * VALUE

    def fixed(self, process: int) -> int:
        """Bytes that a fit takes in any case, except for its stages."""
        return process + LIBRARIES + self.threads * THREAD + self.rows * PATCH


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
        Whether XGBoost's bins stay in memory; otherwise they are in files.
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
        values = self.size.values
        trees = self.size.gathered + (BIN * values if self.bins else 0)
        features = self.size.parts + (VALUE * values if self.keep else 0)
        dealing = LOOK * self.size.rows
        stages = max(dealing, features + trees, features + self.size.kernel)
        return self.size.fixed(self.process) + stages

    def sentence(self) -> str:
        """For the user: how much memory, for what, and what is read again instead."""
        features = "in memory" if self.keep else "read from the store each time"
        bins = "in memory" if self.bins else "on disk"
        return (
            f"memory: at most {readable(self.total)} for {self.size.rows:,} patches and "
            f"{self.size.columns:,} columns (features {features}, bins {bins})"
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
    process = process_bytes()
    plans = [
        MemoryPlan(size, keep, bins, process)
        for keep, bins in ((True, True), (False, True), (False, False))
    ]
    chosen = next((one for one in plans if one.total <= most), plans[-1])
    if limit is not None and chosen.total > limit:
        least = -(-chosen.total * 10 // 2**30) / 10
        raise InputError(
            f"a fit of {size.rows:,} patches and {size.columns:,} columns takes at least "
            f"{readable(chosen.total)}, more than --max-memory {limit / 2**30:g}; give {least:g} or "
            "more, or fewer --families."
        )
    return chosen
