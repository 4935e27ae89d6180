"""Gradient-boosted trees: XGBoost, with settings that need no search."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# XGBoost's threads spin while they wait; on a machine that others use, that halves its speed.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import xgboost

ROUNDS = 180
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.5,
    "colsample_bynode": 0.1,
    "min_child_weight": 5,
    "lambda": 5,
    "max_bin": 32,
}


def train(
    values: np.ndarray,
    labels: np.ndarray,
    *,
    device: str,
    threads: int,
    seed: int,
    rounds: int = ROUNDS,
    parameters: Mapping[str, Any] = PARAMETERS,
) -> xgboost.Booster:
    """A booster for float32 values (rows, columns) and labels of 0 and 1."""
    given = dict(parameters) | {"device": device, "nthread": threads, "seed": seed}
    matrix = xgboost.QuantileDMatrix(values, labels, max_bin=given["max_bin"], nthread=threads)
    return xgboost.train(given, matrix, num_boost_round=rounds)


def logit(booster: xgboost.Booster, values: np.ndarray, *, threads: int) -> np.ndarray:
    """Log-odds of label 1 for each row, float64."""
    booster.set_param({"nthread": threads, "device": "cpu"})
    return np.asarray(booster.inplace_predict(values, predict_type="margin"), np.float64)
