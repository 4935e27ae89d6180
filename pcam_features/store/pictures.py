"""The patches that a store's features were computed from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..constants import Kind
from ..errors import InputError
from .store import Store


def open_pictures(store: Store, split: str, source: str | None) -> Callable[[int], np.ndarray]:
    """What gives the patch of a row, uint8 (96, 96, 3): from `source`, or from where the features were
    measured.

    Raises InputError unless the source is of the kind, and has the ids, that the store says.
    """
    from ..sources.detect import open_source

    known = store.manifest["source"]
    kind = next((one for one in Kind if one == known["kind"]), None)
    opened, _ = open_source(source or str(known["path"]), kind=None if source else kind, slides="none")
    found = opened.splits.get(split)
    wanted = store.manifest["splits"][split]["fingerprint"]["ids"]
    if found is None or found.fingerprint()["ids"] != wanted:
        raise InputError(f"{opened.path} has other patches than {store.path} was made from.")
    patches = found

    def picture(row: int) -> np.ndarray:
        pixels: np.ndarray = patches.read(row, row + 1)[0]
        return pixels

    return picture
