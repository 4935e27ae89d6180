"""Predictions as tables `id,label` with a probability: Kaggle's format, and everyone's door in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..files import read_table, whole_file


def read_truth(path: Path) -> pd.DataFrame:
    """`id` and `label` (0 or 1). Raises InputError for anything else, or one class only."""
    table = read_table(path, ("id", "label"), "truth")
    odd = ~table["label"].isin(["0", "1"])
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise InputError(
            f"truth {path}, line {row + 2}: the label of {table['id'][row]} is "
            f"{table['label'][row]!r}, not 0 or 1."
        )
    table["label"] = table["label"].astype(np.int8)
    if table["label"].nunique() < 2:
        raise InputError(f"truth {path} holds one class only; an AUC needs both.")
    return table[["id", "label"]]


def read_predictions(path: Path, ids: Sequence[str]) -> np.ndarray:
    """The probabilities of `ids`, in their order, float64.

    Raises InputError unless the file has exactly these ids with finite probabilities that are
    neither all the same nor bare labels.
    """
    table = read_table(path, ("id", "label"), "predictions")
    values: np.ndarray = pd.to_numeric(table["label"], errors="coerce").to_numpy(np.float64)
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"predictions {path}, line {row + 2}: {table['label'][row]!r} for {table['id'][row]} "
            "is not a probability from 0 to 1."
        )
    position = pd.Series(np.arange(len(table)), index=table["id"])
    missing = [i for i in ids if i not in position.index]
    extra = len(table) - (len(ids) - len(missing))
    if missing or extra:
        raise InputError(
            f"predictions {path} do not match the truth: {len(missing)} of its ids are missing"
            f"{f', the first {missing[0]},' if missing else ''} and {extra} are not in it."
        )
    values = values[position[list(ids)].to_numpy()]
    if np.unique(values).size == 1:
        raise InputError(f"predictions {path} are all {values[0]:g}: there is nothing to compare.")
    if np.isin(values, (0.0, 1.0)).all():
        raise InputError(f"predictions {path} hold bare labels, 0 and 1; give probabilities.")
    return values


def write_predictions(path: Path, ids: Sequence[str], probabilities: np.ndarray) -> None:
    """Write `id,label`. Raises InputError if a probability is not finite or not one."""
    inside = (probabilities >= 0) & (probabilities <= 1)  # false for NaN as well
    if not inside.all():
        raise InputError(f"{int((~inside).sum())} predictions are no probabilities; nothing written.")
    with whole_file(path) as temporary:
        pd.DataFrame({"id": list(ids), "label": probabilities}).to_csv(temporary, index=False)
