"""A submission: exactly the sample's ids, in the sample's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..storage.tables import read_table
from .predictions import write_predictions


def submit(
    path: Path, ids: list[str], probabilities: np.ndarray, sample: Path | None
) -> tuple[int, int]:
    """Write the submission; returns how many rows it has and how many predictions it leaves out.

    Without a sample it has all ids in their order. Raises InputError if an id of the sample has
    no prediction.
    """
    wanted = ids if sample is None else read_table(sample, ("id", "label"), "sample")["id"].tolist()
    if not wanted:
        raise InputError(f"sample {sample} has no ids.")
    position = {patch_id: k for k, patch_id in enumerate(ids)}
    missing = [i for i in wanted if i not in position]
    if missing:
        raise InputError(
            f"sample {sample} has {len(missing)} id(s) that the features lack, the first "
            f"{missing[0]}; extract the competition's whole test folder."
        )
    chosen = probabilities[[position[i] for i in wanted]]
    write_predictions(path, wanted, chosen)
    return len(wanted), len(ids) - len(wanted)
