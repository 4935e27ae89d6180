"""The stack: a logistic regression on the base models' log-odds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
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
    """Fit on out-of-fold log-odds (rows, models)."""
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression(C=1.0).fit(logits, labels)
    return Stack(models, tuple(float(w) for w in made.coef_[0]), float(made.intercept_[0]))


def out_of_fold(
    models: tuple[str, ...], logits: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """Each fold's probabilities by a stack fitted on the other folds, with the base models' folds."""
    result = np.empty(len(labels))
    for k in np.unique(fold):
        stack = fit_stack(models, logits[fold != k], labels[fold != k])
        result[fold == k] = stack.probability(logits[fold == k])
    return result
