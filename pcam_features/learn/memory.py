"""How much memory there is, and what of a fit's data may stay in it."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")  # what a container may take, in Linux
SHARE = 0.5  # of the machine's memory, unless told otherwise


def machine_bytes() -> int:
    """The memory of this machine, or of the container this runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(CONTAINER.read_text()))
    except (OSError, ValueError):
        return total


def fits(rows: int, columns: int, limit: int) -> tuple[bool, bool]:
    """Whether features, four bytes a value, may be kept in `limit` bytes of memory once they are read;
    and whether their bins may, one byte a value and as much again while they are made."""
    values = rows * columns
    keep = 7 * values <= limit
    return keep, 2 * values <= (limit - 4 * values if keep else limit)
