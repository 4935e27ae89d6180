"""Combining the base models: all of them in fixed shares, and a calibration of the result.

No model is chosen because its out-of-fold AUC is the highest. The folds come from the laboratories of
the training set, and what wins there may be what remembers their stain: on patches of other
laboratories, the best single model and the stack lose more than fixed shares (DECISIONS.md has the
figures). Both are still computed, so that their out-of-fold AUCs stand beside.

A model's share is of its standardized log-odds, because log-odds of trees and of kernel models differ
in scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ..evaluate.intervals import auc
from ..storage.fields import Fields
from ..words import quoted

COMBINED = "combined"  # the name of all models together
FIXED, BEST, STACK = "fixed", "best", "stack"  # the ways to combine; only the first is used
LEAST_SPREAD = 0.05  # of the largest deviation among models: below it, a model has learned nothing
Weights = tuple[np.ndarray, float]  # one a model, and an intercept
Shares = Sequence[float] | None  # one a model; None: equal


@dataclass(frozen=True)
class Stack:
    """Combined log-odds are intercept + weights · logits; `low`, `high` and `shift` calibrate them."""

    models: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    low: float
    high: float
    shift: float

    def together(self, logits: np.ndarray) -> np.ndarray:
        """The combined log-odds before calibration, (rows,), from the models' (rows, models)."""
        return np.asarray(logits @ np.array(self.weights) + self.intercept)

    @property
    def weight_of(self) -> dict[str, float]:
        """The weight of each base model by name."""
        return dict(zip(self.models, self.weights, strict=True))

    @property
    def is_calibrated(self) -> bool:
        """Whether the calibration changes probabilities."""
        return (self.low, self.high, self.shift) != PLAIN

    def calibrated(self, together: np.ndarray) -> np.ndarray:
        """Probabilities, float64 (rows,), from the models' log-odds together (rows,)."""
        return calibrated(together, self.low, self.high, self.shift)

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated log-odds, float64 (rows,), from log-odds (rows, models)."""
        return calibrated_log_odds(self.together(logits), self.low, self.high, self.shift)

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities, float64 (rows,), from log-odds (rows, models)."""
        return self.calibrated(self.together(logits))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a model's manifest."""
        return {"choice": FIXED} | self.numbers()

    def numbers(self) -> dict[str, Any]:
        """The JSON object without the name of the choice."""
        return {
            "weights": dict(zip(self.models, self.weights, strict=True)),
            "intercept": self.intercept,
            "calibration": {"low": self.low, "high": self.high, "shift": self.shift},
        }

    @classmethod
    def from_fields(cls, known: Fields, models: tuple[str, ...]) -> Stack:
        """Raises ValueError if it is not a combination of these models."""
        if known.text("choice") != FIXED:
            raise ValueError(f"there is no combination called {quoted(known.text('choice'))}")
        return cls.from_numbers(known, models)

    @classmethod
    def from_numbers(cls, known: Fields, models: tuple[str, ...]) -> Stack:
        """Read what `numbers` gave. Raises ValueError if a number is missing or wrong."""
        each, curve = known.child("weights"), known.child("calibration")
        return cls(
            models,
            tuple(each.number(name, least=0) for name in models),
            known.number("intercept"),
            curve.number("low", least=0),
            curve.number("high", least=0),
            curve.number("shift"),
        )


def logistic(values: np.ndarray, labels: np.ndarray) -> Weights:
    """Logistic regression on (rows, columns) with an L2 penalty of half the squared weights and
    non-negative weights: no model counts against itself."""
    columns = values.shape[1]

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        weights = point[:-1]
        total = values @ weights + point[-1]
        wrong = expit(total) - labels
        slope = np.append(values.T @ wrong + weights, wrong.sum())
        likelihood = np.logaddexp(0, np.where(labels == 1, -total, total)).sum()
        return float(likelihood + weights @ weights / 2), slope

    start = np.append(np.full(columns, 1 / columns), 0.0)
    bounds = [(0, None)] * columns + [(None, None)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return found[:-1], float(found[-1])


def best(logits: np.ndarray, labels: np.ndarray) -> Weights:
    """All weight on the model of the highest AUC."""
    weights = np.zeros(logits.shape[1])
    weights[np.argmax([auc(labels, column) for column in logits.T])] = 1
    return weights, 0.0


def fixed_shares(logits: np.ndarray, fold: np.ndarray, shares: Shares = None) -> Weights:
    """Fixed shares of the standardized log-odds of some models.

    Deviations are those within folds: what a model says of a whole fold only tells which patches it was
    not trained on. A model that hardly varies has learned nothing and has no share. The result has the
    mean of the others' means and deviations, by their shares, so that it is again like log-odds.

    Parameters
    ----------
    logits
        Log-odds, (rows, models).
    fold
        The fold of each row, (rows,).
    shares
        The share of each model, (models,). None: equal shares.
    """
    share = np.ones(logits.shape[1]) if shares is None else np.asarray(shares, np.float64)
    rows = [fold == k for k in np.unique(fold)]
    variance = sum(own.mean() * logits[own].var(axis=0) for own in rows)
    spread = np.sqrt(np.asarray(variance))
    sharing = spread > LEAST_SPREAD * spread.max()
    if not sharing.any():  # all say the same of every patch
        return share / share.sum(), 0.0
    mean = logits.mean(axis=0)
    weights = np.zeros(len(spread))
    taken = share[sharing] / share[sharing].sum()
    weights[sharing] = (taken @ spread[sharing]) * taken / spread[sharing]
    return weights, float(taken @ mean[sharing] - weights @ mean)


Candidate = Callable[[np.ndarray, np.ndarray, np.ndarray], Weights]


def in_fixed_shares(shares: Shares) -> Candidate:
    """The combination of models in fixed shares, as a candidate."""
    return lambda logits, labels, fold: fixed_shares(logits, fold, shares)


def candidates(shares: Shares) -> dict[str, Candidate]:
    """The ways to combine models: all in fixed shares, the best one, a stack."""
    return {
        FIXED: in_fixed_shares(shares),
        BEST: lambda logits, labels, fold: best(logits, labels),
        STACK: lambda logits, labels, fold: logistic(logits, labels),
    }


def across(
    candidate: Candidate,
    logits: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
) -> np.ndarray:
    """Log-odds (rows,) of each fold by a candidate fitted on the other folds."""
    found = np.empty(len(labels))
    for k in np.unique(fold):
        weights, intercept = candidate(logits[fold != k], labels[fold != k], fold[fold != k])
        found[fold == k] = logits[fold == k] @ weights + intercept
    return found


def curve(together: np.ndarray) -> np.ndarray:
    """The two terms of a beta calibration, ln p and -ln(1 - p), from log-odds: (rows, 2).

    Source: M. Kull, T. Silva Filho and P. Flach, "Beta calibration", AISTATS 2017.
    """
    return np.stack([-np.logaddexp(0, -together), np.logaddexp(0, together)], axis=1)


def calibrated(together: np.ndarray, low: float, high: float, shift: float) -> np.ndarray:
    """Probabilities (rows,) of log-odds by beta calibration, which keeps their order."""
    return np.asarray(expit(calibrated_log_odds(together, low, high, shift)), np.float64)


def calibrated_log_odds(together: np.ndarray, low: float, high: float, shift: float) -> np.ndarray:
    """Log-odds (rows,) of the probabilities of `calibrated`."""
    return np.asarray(curve(together) @ np.array([low, high]) + shift, np.float64)


def calibrate(together: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """The `low`, `high` and `shift` that make log-odds (rows,) of unseen patches calibrated."""
    (low, high), shift = logistic(curve(together), labels)
    return float(low), float(high), shift


PLAIN = (1.0, 1.0, 0.0)  # no calibration


def needs_calibration(together: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> bool:
    """Whether calibration fitted on the other folds lowers the log loss."""
    found = np.empty((2, len(labels)))
    for k in np.unique(fold):
        own = fold == k
        found[0, own] = calibrated(together[own], *PLAIN)
        found[1, own] = calibrated(together[own], *calibrate(together[~own], labels[~own]))
    chances = np.clip(np.where(labels == 1, found, 1 - found), 1e-15, None)
    before, after = -np.log(chances).mean(axis=1)
    return bool(after < before)


def fit_stack(
    models: tuple[str, ...],
    logits: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    shares: Shares = None,
) -> Stack:
    """Combine base models, and fit the calibration.

    Parameters
    ----------
    models
        Names of the base models.
    logits
        Their out-of-fold log-odds, (rows, models).
    labels
        0 or 1, (rows,).
    fold
        The fold of each row, (rows,).
    shares
        The share of each model, (models,). None: equal shares.
    """
    weights, intercept = fixed_shares(logits, fold, shares)
    together = across(in_fixed_shares(shares), logits, labels, fold)
    calibration = calibrate(together, labels) if needs_calibration(together, labels, fold) else PLAIN
    return Stack(models, tuple(map(float, weights)), intercept, *calibration)


def candidate_aucs(
    logits: np.ndarray, labels: np.ndarray, fold: np.ndarray, shares: Shares = None
) -> dict[str, float]:
    """The out-of-fold AUC of each way to combine models; see `fit_stack`."""
    return {
        name: auc(labels, across(candidate, logits, labels, fold))
        for name, candidate in candidates(shares).items()
    }


def out_of_fold(
    logits: np.ndarray, labels: np.ndarray, fold: np.ndarray, shares: Shares = None
) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold probabilities (rows,) of the combination, without and with calibration.

    For each fold, all of `fit_stack` is done on the other folds. The base models of those folds have
    seen this fold's patches; avoiding that would take a model for each pair of folds.

    Calibrations of folds differ: in whether there is one, and in their shift, which is the lower the
    more positive patches the fold has. So these probabilities score the calibration, but they do not
    rank patches of different folds as the model does; see `pooled`.
    """
    before, after = np.empty(len(labels)), np.empty(len(labels))
    models = tuple(str(k) for k in range(logits.shape[1]))
    for k in np.unique(fold):
        rest, own = fold != k, fold == k
        stack = fit_stack(models, logits[rest], labels[rest], fold[rest], shares)
        before[own] = expit(stack.together(logits[own]))
        after[own] = stack.probability(logits[own])
    return before, after


def pooled(
    stack: Stack, logits: np.ndarray, labels: np.ndarray, fold: np.ndarray, shares: Shares = None
) -> np.ndarray:
    """Out-of-fold probabilities (rows,) in one order for all folds.

    The weights of each fold come from the other folds. The calibration is that of the model, `stack`,
    for all folds, so it changes no order and no AUC. Its three numbers are fitted to all folds: use
    `out_of_fold` to score probabilities.
    """
    return stack.calibrated(across(in_fixed_shares(shares), logits, labels, fold))
