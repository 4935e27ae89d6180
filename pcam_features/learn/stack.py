"""The stack: a non-negative logistic regression on the base models' log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit


@dataclass(frozen=True)
class Stack:
    """Probability = expit(intercept + weights · logits)."""

    models: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, float64 (rows,), from log-odds (rows, models)."""
        return np.asarray(expit(logits @ np.array(self.weights) + self.intercept), np.float64)

    def as_dict(self) -> dict[str, Any]:
        return {
            "weights": dict(zip(self.models, self.weights, strict=True)),
            "intercept": self.intercept,
        }


def fit_stack(models: tuple[str, ...], logits: np.ndarray, labels: np.ndarray) -> Stack:
    """Logistic regression on out-of-fold log-odds (rows, models), with an L2 penalty of half the
    weights' squares and no negative weights: a model may not count against itself. One model
    alone is left as it is."""
    if len(models) == 1:
        return Stack(models, (1.0,), 0.0)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = values[:-1]
        total = logits @ weights + values[-1]
        wrong = expit(total) - labels
        slope = np.append(logits.T @ wrong + weights, wrong.sum())
        likelihood = np.logaddexp(0, np.where(labels == 1, -total, total)).sum()
        return float(likelihood + weights @ weights / 2), slope

    start = np.append(np.full(len(models), 1 / len(models)), 0.0)
    bounds = [(0, None)] * len(models) + [(None, None)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Stack(models, tuple(float(w) for w in found[:-1]), float(found[-1]))


def out_of_fold(
    models: tuple[str, ...], logits: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Each fold's probabilities by a stack fitted on the other folds, with the base models' folds."""
    result = np.empty(len(labels))
    for k in np.unique(fold):
        stack = fit_stack(models, logits[fold != k], labels[fold != k])
        result[fold == k] = stack.probability(logits[fold == k])
    return result
