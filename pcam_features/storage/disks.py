"""Full disks: whatever library was writing, one sentence says which disk is full."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import PcamError

FULL = (errno.ENOSPC, errno.EDQUOT)
# HDF5 and XGBoost repeat the system's words, SQLite has its own, and NumPy counts numbers.
WORDS = re.compile(
    r"No space left on device|disk is full|Disk quota exceeded|\d requested and \d+ written"
)


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full.

    Examples
    --------
    >>> is_full(OSError("204568 requested and 15328 written")), is_full(ValueError("empty"))
    (True, False)
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return WORDS.search(str(error)) is not None


def full_disk(path: Path) -> PcamError:
    """The error that the disk of a path is full; the path need not exist."""
    folder = next((one for one in (path, *path.absolute().parents) if one.is_dir()), Path())
    free = shutil.disk_usage(folder).free
    return PcamError(
        f"the disk of {folder} is full ({free / 2**20:,.1f} MiB free), so not everything could be "
        "written; free some space and run the same command again."
    )


@contextmanager
def telling_full(path: Path) -> Iterator[None]:
    """Raise PcamError, which names the disk of `path`, instead of an error that it is full."""
    try:
        yield
    except PcamError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise full_disk(path) from None
