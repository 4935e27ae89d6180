"""The XGBoost model of the AUC tables.

It is trained on all columns at once, with finer bins than the models of `fit`, and takes several times
their time, because the tables use it alone and not beside other models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost

ROUNDS = 300
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.06,
    "subsample": 0.7,
    "colsample_bynode": 0.1,
    "min_child_weight": 5,
    "lambda": 5,
    "max_bin": 64,
}


def train(values: np.ndarray, labels: np.ndarray, *, threads: int, seed: int = 0) -> xgboost.Booster:
    """Train a booster on float32 values (rows, columns) and labels of 0 and 1."""
    matrix = xgboost.QuantileDMatrix(values, labels, max_bin=PARAMETERS["max_bin"], nthread=threads)
    return xgboost.train(PARAMETERS | {"nthread": threads, "seed": seed}, matrix, ROUNDS)
