"""The training patches of a model, as far as it keeps them: thumbnails, by which copies are found.

A copy of a training patch among those that are scored says little of new patches. The thumbnails come
from the feature store, so a model fitted on a store without them cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..check.duplicates import copies_among
from ..errors import InputError
from ..geometry import THUMBNAIL_SIDE
from ..storage.sums import FileSum
from ..words import counted, form
from .bundle import read_file
from .manifest import ModelManifest
from .names import THUMBNAILS
from .safe_files import parse_array, write_array

CELLS = THUMBNAIL_SIDE**2
KINDS = "the same pixels, turned, flipped or compressed anew"


@dataclass(frozen=True)
class TrainingCopies:
    """Which of some patches are near-duplicates of training patches.

    Parameters
    ----------
    is_copy
        bool (rows,); None if they were not looked for.
    problem
        Why they were not looked for; empty if they were.
    """

    is_copy: np.ndarray | None
    problem: str = ""

    def sentence(self) -> str:
        """For the user."""
        if self.is_copy is None:
            return f"near-duplicates of training patches were not looked for: {self.problem}"
        count, rows = int(self.is_copy.sum()), len(self.is_copy)
        if not count:
            return "there are no near-duplicates of training patches among these patches"
        return (
            f"warning: {count:,} of these {counted(rows, 'patch')} {form(count, 'is a', 'are')} "
            f"{form(count, 'near-duplicate', 'near-duplicates')} of training patches ({KINDS}); scores "
            "on them are too optimistic"
        )


def write_thumbnails(folder: Path, small: np.ndarray) -> FileSum:
    """Write the thumbnails of the training patches, uint8 (rows, 8, 8); returns the file's sum."""
    return write_array(folder, folder / THUMBNAILS, small.reshape(len(small), CELLS))


def read_thumbnails(path: Path, manifest: ModelManifest) -> np.ndarray | None:
    """Read what `write_thumbnails` wrote, if the model at `path` has it.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if THUMBNAILS not in manifest.files:
        return None
    try:
        cells = parse_array(read_file(path, manifest, THUMBNAILS), "|u1")
        if cells.shape != (manifest.source.rows, CELLS):
            raise ValueError(f"{THUMBNAILS} does not hold the training patches")
    except ValueError as error:
        raise InputError(f"model {path} is damaged ({error}); fit it anew.") from None
    return cells.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)


def training_copies(path: Path, manifest: ModelManifest, small: np.ndarray | None) -> TrainingCopies:
    """Look for near-duplicates of a model's training patches.

    Parameters
    ----------
    path, manifest
        The model's folder and its manifest.
    small
        Thumbnails of the patches in question, uint8 (rows, 8, 8); None if there are none.
    """
    known = read_thumbnails(path, manifest)
    if known is None:
        return TrainingCopies(None, "the model was fitted on a store without thumbnails of its patches")
    if small is None:
        return TrainingCopies(None, "the feature store has no thumbnails of these patches")
    found = copies_among(small, known)
    if found is None:
        return TrainingCopies(None, "too many patches look alike")
    return TrainingCopies(found)
