"""How much memory there is, and which data of a fit may stay in it."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # memory limit of a container, on Linux
SHARE = 0.5  # default share of the machine's memory
PER_VALUE = 7  # bytes of a feature that stays in memory: itself, and room for its bins and copies


def machine_bytes() -> int:
    """The memory of this machine, or of the container that this runs in, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CONTAINER.read_text()))
    except (OSError, ValueError):
        return total


def fits(rows: int, columns: int, limit: int) -> tuple[bool, bool]:
    """Decide what stays in memory.

    Parameters
    ----------
    rows, columns
        The size of the features.
    limit
        Bytes of memory.

    Returns
    -------
    keep, bins
        Whether features stay in memory once they are read (four bytes per value), and whether XGBoost's
        bins do (one byte per value, and another while they are made).
    """
    values = rows * columns
    keep = PER_VALUE * values <= limit
    return keep, 2 * values <= (limit - 4 * values if keep else limit)
