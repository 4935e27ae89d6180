"""What moved a prediction: each column's share of the log-odds, for the models together.

Trees: SHAP values by XGBoost's own TreeSHAP (S. M. Lundberg et al., "From local explanations to
global understanding with explainable AI for trees", Nature Machine Intelligence 2020), from what is
expected of the training patches. The kernel model: integrated gradients (M. Sundararajan, A. Taly and
Q. Yan, "Axiomatic attribution for deep networks", ICML 2017) from the mean patch. Both add up to what
they explain.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import xgboost

from ..store.values import Values
from . import kernel_ridge
from .base_models import Model, base_models
from .stack import Stack

NODES = 16  # of Gauss and Legendre, between the mean patch and a patch
SAMPLE = 2000  # patches, evenly over the data, that importance is the mean of


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    points, weights = np.polynomial.legendre.leggauss(NODES)
    return (points + 1) / 2, weights / 2


def of_kernel(model: kernel_ridge.Rbf, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Integrated gradients (rows, columns) of the kernel model's log-odds, and the mean patch's.

    The gradient's integral takes no more of a path than likenesses at its nodes, and these follow
    from one product of patches and landmarks."""
    rows = kernel_ridge.standardize(values, model.mean, model.scale).astype(np.float64)
    landmarks = model.landmarks.astype(np.float64)
    slope = model.width / rows.shape[1]
    products = rows @ landmarks.T
    squares = np.einsum("ij,ij->i", rows, rows)[:, None]
    lengths = np.einsum("ij,ij->i", landmarks, landmarks)
    pulls, spread = np.zeros_like(products), np.zeros(len(rows))
    for at, share in zip(*_nodes(), strict=True):
        like = np.exp(-slope * (at**2 * squares - 2 * at * products + lengths)) * model.weights
        pulls += share * like
        spread += share * at * like.sum(axis=1)
    gradients = -2 * slope * (rows * spread[:, None] - pulls @ landmarks)
    mean_patch = np.exp(-slope * lengths) @ model.weights + model.intercept
    return 4 * rows * gradients, float(kernel_ridge.log_odds(mean_patch))


def of_trees(model: xgboost.Booster, values: np.ndarray) -> tuple[np.ndarray, float]:
    """SHAP values (rows, columns) of a booster's log-odds, and what is expected without them."""
    model.set_param({"device": "cpu"})
    found = model.predict(xgboost.DMatrix(values), pred_contribs=True).astype(np.float64)
    return found[:, :-1], float(found[0, -1])


def in_use(
    models: dict[str, Model], stack: Stack, values: Values
) -> Iterator[tuple[Model, float, np.ndarray]]:
    """The models that have a weight, with it, and where their columns are among those of all."""
    known = base_models(values.families)
    for (name, (_, _, parts)), weight in zip(known.items(), stack.weights, strict=True):
        if weight:
            yield models[name], weight, values.columns(parts)


def contributions(
    models: dict[str, Model], stack: Stack, values: Values, rows: np.ndarray
) -> tuple[np.ndarray, float]:
    """Each column's share (rows, columns of all families) of the log-odds before calibration, for some
    rows in ascending order, and the log-odds with no share: together they are the stack's."""
    taken = values.take(values.families, rows)
    found, start = np.zeros(taken.shape), stack.intercept
    for model, weight, columns in in_use(models, stack, values):
        own = np.ascontiguousarray(taken[:, columns])
        share, base = (
            of_kernel(model, own) if isinstance(model, kernel_ridge.Rbf) else of_trees(model, own)
        )
        found[:, columns] += weight * share
        start += weight * base
    return found, start


def gains(models: dict[str, Model], stack: Stack, values: Values) -> np.ndarray:
    """Each column's share (columns of all families,) of what the trees' splits gained, in proportion to
    the trees' weights in the stack; 0 where it has no trees."""
    found = np.zeros(values.width(values.families))
    for model, weight, columns in in_use(models, stack, values):
        if isinstance(model, kernel_ridge.Rbf):
            continue
        gained = model.get_score(importance_type="total_gain")
        total = sum(np.mean(one) for one in gained.values())
        for feature, gain in gained.items():
            found[columns[int(feature[1:])]] += weight * float(np.mean(gain)) / total
    return found / (found.sum() or 1)


def importance(
    models: dict[str, Model], stack: Stack, values: Values, names: dict[str, list[str]]
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """A row a column: its family, its share of the trees' gain, and by how much it moves a patch's
    log-odds, up or down, in the mean over SAMPLE patches. And the same of families, whose columns may
    move against each other."""
    rows = np.unique(np.linspace(0, values.rows - 1, min(SAMPLE, values.rows)).astype(int))
    moved, _ = contributions(models, stack, values, rows)
    gained = gains(models, stack, values)
    table = pd.DataFrame(
        {
            "column": [column for family in values.families for column in names[family]],
            "family": np.repeat(values.families, [values.widths[f] for f in values.families]),
            "gain": gained,
            "contribution": np.abs(moved).mean(axis=0),
        }
    )
    of_families = {
        family: {
            "gain": float(gained[own].sum()),
            "contribution": float(np.abs(moved[:, own].sum(axis=1)).mean()),
        }
        for family, own in values.places().items()
    }
    return table, of_families
