"""Kaggle submissions: exactly the ids of the sample, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import InputError
from ..sources.tree import is_image
from ..storage.costs import Cost
from ..storage.tables import read_table
from ..words import counted
from .predictions import write_predictions


def submit(
    path: Path, ids: list[str], probabilities: np.ndarray, sample: Path | None, cost: Cost
) -> tuple[int, int]:
    """Write a submission, and its costs beside it.

    Parameters
    ----------
    path
        The CSV to write.
    ids
        The ids of the patches predicted.
    probabilities
        The probability of tumor of each, (n,).
    sample
        Kaggle's sample submission, whose ids are written in its order. They may be file names, such as
        `ID.tif`. None: all ids.
    cost
        What the model and the predictions have cost.

    Returns
    -------
    tuple of int
        The number of rows written, and of predictions left out.

    Raises
    ------
    InputError
        If an id of the sample has no prediction.
    """
    wanted = ids if sample is None else read_table(sample, ("id", "label"), "sample")["id"].tolist()
    if not wanted:
        raise InputError(f"sample {sample} has no ids; give Kaggle's sample submission.")
    position = by_file_name({patch_id: k for k, patch_id in enumerate(ids)}, wanted)
    missing = [i for i in wanted if i not in position]
    if missing:
        raise InputError(
            f"sample {sample} has {counted(len(missing), 'id')} that the features lack, the first "
            f"{missing[0]}; extract the competition's whole test folder, or choose "
            "the split of these ids."
        )
    chosen = probabilities[[position[i] for i in wanted]]
    write_predictions(path, wanted, chosen, cost)
    return len(wanted), len(ids) - len(wanted)


def by_file_name(position: dict[str, int], wanted: Sequence[str]) -> dict[str, int]:
    """The positions of ids, also by the file names among `wanted` if no id is written so.

    Examples
    --------
    >>> by_file_name({"a": 0, "b": 1}, ["b.tif", "train/a.tif"])
    {'b.tif': 1, 'train/a.tif': 0}
    >>> by_file_name({"a": 0, "b": 1}, ["a"])
    {'a': 0, 'b': 1}
    """
    if any(name in position for name in wanted):
        return position
    stems = {name: PurePosixPath(name).stem for name in wanted if is_image(name)}
    if len(set(stems.values())) < len(stems):
        return position
    return {name: position[stem] for name, stem in stems.items() if stem in position}
