"""The patches that a store's features were computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ..constants import Kind
from ..errors import InputError
from ..sources.fitting import Fit
from ..sources.source import UNPACK
from .store import Store


def open_pictures(store: Store, split: str, source: str | None) -> Callable[[int], np.ndarray]:
    """Open the patches of a split to show them.

    Parameters
    ----------
    store, split
        The store and the split.
    source
        The path of the patches; None for the source that the features were computed from.

    Returns
    -------
    Callable
        Gives the patch of a row, uint8 (96, 96, 3), brought to that size as the store records.

    Raises
    ------
    InputError
        If the source cannot be opened, or has other ids than the store. If `source` is None: also if
        the store names a source that would have to be unpacked, or to be rendered with more patches
        than the store has. Whoever wrote the manifest decides neither what is written nor how long it
        takes.
    """
    from ..sources.detect import open_source, silent
    from ..sources.reading import recorded

    known = store.manifest.source
    if source is None and known.kind == Kind.synthetic:
        check_rendering(known.path, store, split)
    fit = None if known.fit is None else Fit.from_dict(known.fit)
    opened, _ = open_source(
        source or known.path,
        kind=None if source else Kind(known.kind),
        slides="none",
        reading=recorded(known.reading or {}),
        fit=None if fit is None else fit.how,
        mpp=None if fit is None else fit.mpp,
        unpacking=silent if source else only_reading,
    )
    found = opened.splits.get(split)
    wanted = store.manifest.splits[split].fingerprint.ids
    if found is None or found.fingerprint()["ids"] != wanted:
        raise InputError(
            f"{opened.path} does not have the patches that {store.path} was made from; give their "
            "source with --source."
        )
    patches = found

    def picture(row: int) -> np.ndarray:
        pixels: np.ndarray = patches.read(row, row + 1)[0]
        return pixels

    return picture


def check_rendering(path: str, store: Store, split: str) -> None:
    """Raise InputError if a synthetic source has more patches than the store was made from."""
    from ..sources.synthetic import rows_of

    if rows_of(path).get(split) != store.split(split).rows:
        raise InputError(
            f"{path} does not have the patches that {store.path} was made from; give their source with "
            "--source."
        )


@contextmanager
def only_reading(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show no progress, and raise InputError instead of unpacking a file."""
    if title.startswith(f"{UNPACK} "):
        raise InputError(
            f"{title.removeprefix(f'{UNPACK} ')} would have to be unpacked to show a picture; unpack "
            "it with gunzip --keep, or name its folder with --source."
        )
    yield lambda done: None
