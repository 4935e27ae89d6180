"""Whether the pixels of a source are still those that a store was made from.

A run that adds to a store reads only the patches of the parts that are missing. A file that changed
without changing its size would not be noticed, so a few patches of parts that are there are read again,
and their thumbnails compared with the stored ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sources.source import Split
from ..storage import parquet
from ..store.layout import part_path, part_span
from ..store.manifest import ADVICE
from ..store.names import THUMBNAIL
from ..words import counted, form
from .thumbnails import COLUMNS, OpenThumbnails

PARTS, ROWS = 4, 8  # of each split that are looked at: parts, and patches of each
SAME = 1.0  # gray level; decoders of JPEG differ by so much


def check_pixels(path: Path, folder: Path, split: Split, parts: Sequence[int]) -> None:
    """Compare some patches of a split with their thumbnails.

    Parameters
    ----------
    path
        The store, for messages.
    folder
        Where its files are.
    split
        The patches.
    parts
        The numbers of the parts whose thumbnails are there and whole.

    Raises
    ------
    InputError
        If a patch looks otherwise now.
    """
    chosen = np.unique(np.linspace(0, len(parts) - 1, min(PARTS, len(parts))).astype(int))
    seen, changed = 0, list[str]()
    for number in chosen:
        for patch, same in compared(folder, split, parts[number]):
            seen += 1
            changed += [] if same else [patch]
    if changed:
        raise InputError(
            f"feature store {path} was made from other pixels: of {counted(seen, 'patch')} of split "
            f"{split.name!r} that were read again, {len(changed):,} {form(len(changed), 'is', 'are')} "
            f"not as before, the first {changed[0]}; {ADVICE}"
        )


def compared(folder: Path, split: Split, part: int) -> Iterator[tuple[str, bool]]:
    """Yield the id of each of ROWS patches of a part, and whether it looks as it did."""
    start, stop = part_span(part, len(split))
    file, _ = parquet.open_file(part_path(folder, split.name, THUMBNAIL, part))
    table = parquet.read(file, COLUMNS, rows=stop - start)
    rows = np.unique(np.linspace(0, stop - start - 1, min(ROWS, stop - start)).astype(int))
    before = np.stack([table[name].to_numpy()[rows] for name in COLUMNS], axis=1)
    for row, known in zip(rows.tolist(), before, strict=True):
        pixels = split.read(start + row, start + row + 1)
        now = OpenThumbnails()(pixels, (THUMBNAIL,))[THUMBNAIL][0]
        yield split.ids[start + row], bool(np.abs(now - known).max() <= SAME)
