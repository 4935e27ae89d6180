"""Kaggle submissions: exactly the ids of the sample, in its order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sources.columns import read_by_id
from ..sources.ids import examples, how_matched, matched
from ..storage.costs import Cost
from ..words import counted
from .predictions import write_predictions


def submit(
    path: Path,
    ids: list[str],
    probabilities: np.ndarray,
    sample: Path | None,
    cost: Cost,
    log: Callable[[str], None] = lambda text: None,
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
    log
        Is told if ids are matched without folders and file endings.

    Returns
    -------
    tuple of int
        The number of rows written, and of predictions left out.

    Raises
    ------
    InputError
        If an id of the sample has no prediction.
    """
    wanted = ids if sample is None else read_by_id(sample, (), "sample")["id"].tolist()
    if not wanted:
        raise InputError(f"sample {sample} has no ids; give Kaggle's sample submission.")
    position = {patch_id: k for k, patch_id in enumerate(ids)}
    missing = [i for i in wanted if i not in position]
    if missing and (pairs := matched(ids, wanted)) is not None and len(pairs) == len(wanted):
        position = {patch: position[own] for patch, own in pairs.items()}
        missing = []
        log(how_matched(f"sample {sample}", {own: patch for patch, own in pairs.items()}))
    if missing:
        raise InputError(
            f"sample {sample} has {counted(len(missing), 'id')} that the features lack, the first "
            f"{missing[0]!r}, while theirs are such as {examples(ids)}; extract the competition's "
            "whole test folder, or choose the split of these ids."
        )
    chosen = probabilities[[position[i] for i in wanted]]
    write_predictions(path, wanted, chosen, cost)
    return len(wanted), len(ids) - len(wanted)
