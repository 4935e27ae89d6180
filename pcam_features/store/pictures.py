"""The patches that a store's features were computed from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..constants import Kind
from ..errors import InputError
from ..sources.fitting import Fit
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
        If the source cannot be opened, or has other ids than the store.
    """
    from ..sources.detect import open_source
    from ..sources.reading import recorded

    known = store.manifest.source
    kind = next((one for one in Kind if one == known.kind), None)
    fit = None if known.fit is None else Fit.from_dict(known.fit)
    opened, _ = open_source(
        source or known.path,
        kind=None if source else kind,
        slides="none",
        reading=recorded(known.reading or {}),
        fit=None if fit is None else fit.how,
        mpp=None if fit is None else fit.mpp,
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
