"""The XGBoost model of the AUC tables.

It has smaller steps and finer bins than the models of `fit`, and takes twice their time, because the
tables use it alone and not in a stack.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost

from pcam_features.learn import boosting

ROUNDS = 300
PARAMETERS = boosting.PARAMETERS | {"eta": 0.06, "subsample": 0.7, "max_bin": 64}


def train(values: np.ndarray, labels: np.ndarray, *, threads: int, seed: int = 0) -> xgboost.Booster:
    """Train a booster on float32 values (rows, columns) and labels of 0 and 1."""
    how: dict[str, Any] = {"rounds": ROUNDS, "parameters": PARAMETERS}
    matrix = xgboost.QuantileDMatrix(values, labels, max_bin=PARAMETERS["max_bin"], nthread=threads)
    return boosting.train(matrix, device="cpu", threads=threads, seed=seed, **how)
