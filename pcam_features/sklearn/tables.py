"""Images or tables: which of them `X` is, and the families of a table's columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from ..families.registry import FAMILIES
from ..grouping.appearance import FAMILY, Looks, looked_at, looks_of
from ..learn.base_models import ALL, GROUPS

FAMILY_NAME = re.compile("[a-z][a-z0-9_]*")
UNNAMED = "features"  # the family of columns whose names do not name one


def are_images(X: Any) -> bool:
    """Return whether `X` is images rather than a table: by its dimensions, or by its first item."""
    if isinstance(X, str | Path | Image.Image) or callable(getattr(X, "read", None)):
        return True
    if isinstance(X, pd.DataFrame):
        return False
    if isinstance(X, np.ndarray) and X.dtype != object:
        return X.ndim > 2
    if isinstance(X, list | tuple | pd.Series | np.ndarray) and len(X):
        first = X.iloc[0] if isinstance(X, pd.Series) else X[0]
        return isinstance(first, str | Path | Image.Image) or np.ndim(first) == 3
    return False


def families_of(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the families that columns name, with their columns, in order of appearance."""
    found: dict[str, list[str]] = {}
    for column in columns:
        name, separator, _ = column.partition("__")
        if not separator or not FAMILY_NAME.fullmatch(name):
            name = UNNAMED
        elif name not in FAMILIES and name in (*GROUPS, ALL):
            name = UNNAMED  # families and groups name models: a name cannot be both
        found.setdefault(name, []).append(column)
    return {name: tuple(own) for name, own in found.items()}


def arrays_of(
    values: np.ndarray, columns: Sequence[str], families: dict[str, tuple[str, ...]]
) -> dict[str, np.ndarray]:
    """Return the values of each family, float32 (rows, columns of the family).

    They lie in memory as those of a store do, row by row, so that sums round alike.
    """
    place = {name: k for k, name in enumerate(columns)}
    return {
        name: np.ascontiguousarray(values[:, [place[c] for c in own]], np.float32)
        for name, own in families.items()
    }


def appearance_in(arrays: dict[str, np.ndarray], families: dict[str, tuple[str, ...]]) -> Looks | None:
    """Return how patches look, or None where the features of the family color are not complete."""
    if families.get(FAMILY) != tuple(FAMILIES[FAMILY].columns):
        return None
    wanted = looked_at(families[FAMILY])
    return looks_of(arrays[FAMILY][:, wanted], [families[FAMILY][k] for k in wanted])
