"""Attribution: the contribution of each column to the log-odds of the combined model.

Each base model attributes its own log-odds: trees by SHAP values, the kernel model by integrated
gradients. Both add up to the log-odds of the base model, so their weighted sum adds up to the combined
log-odds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..store.values import Values
from .base_models import base_models
from .manifest import Importance
from .protocol import BaseModel
from .stack import Stack

SAMPLE = 500  # patches, evenly spaced in the data, over which importance is averaged


def in_use(
    models: Mapping[str, BaseModel], stack: Stack, values: Values
) -> Iterator[tuple[BaseModel, float, np.ndarray]]:
    """Yield the base models of non-zero weight, each with its weight and its column indices."""
    known = base_models(values.families)
    for (name, place), weight in zip(known.items(), stack.weights, strict=True):
        if weight:
            yield models[name], weight, values.columns(place.families)


def contributions(
    models: Mapping[str, BaseModel], stack: Stack, values: Values, rows: np.ndarray
) -> tuple[np.ndarray, float]:
    """Attribute the combined log-odds before calibration to columns.

    Parameters
    ----------
    models, stack
        The base models, and how they are combined.
    values
        Features.
    rows
        The rows to explain, ascending.

    Returns
    -------
    shares
        The contribution of each column, float64 (rows, columns of all families).
    start
        The log-odds before any contribution. `shares` and `start` add up to the combined log-odds.
    """
    taken = values.take(values.families, rows)
    shares, start = np.zeros(taken.shape), stack.intercept
    for model, weight, columns in in_use(models, stack, values):
        own, base = model.contributions(np.ascontiguousarray(taken[:, columns]))
        shares[:, columns] += weight * own
        start += weight * base
    return shares, start


def gains(models: Mapping[str, BaseModel], stack: Stack, values: Values) -> np.ndarray:
    """The share of each column in the gain of splits, (columns of all families,).

    Models count in proportion to their weights in the stack. If no trees are in use, all shares are 0.
    """
    shares = np.zeros(values.width(values.families))
    for model, weight, columns in in_use(models, stack, values):
        own = model.gains()
        if own is not None:
            shares[columns] += weight * own
    return shares / (shares.sum() or 1)


def importance(
    models: Mapping[str, BaseModel],
    stack: Stack,
    values: Values,
    columns: Mapping[str, Sequence[str]],
) -> tuple[pd.DataFrame, dict[str, Importance]]:
    """The importance of columns and of families.

    Parameters
    ----------
    models, stack, values
        The model and the features that it was fitted on.
    columns
        The names of each family's columns.

    Returns
    -------
    table
        A row per column: `column`, `family`, `gain` (its share in the gain of trees) and `contribution`
        (its mean absolute contribution to the log-odds, over SAMPLE patches).
    families
        The same for each family. Contributions of columns may have opposite signs, so the contribution
        of a family is not the sum of those of its columns.
    """
    rows = np.unique(np.linspace(0, values.rows - 1, min(SAMPLE, values.rows)).astype(int))
    moved, _ = contributions(models, stack, values, rows)
    gained = gains(models, stack, values)
    table = pd.DataFrame(
        {
            "column": [column for family in values.families for column in columns[family]],
            "family": np.repeat(values.families, [values.widths[f] for f in values.families]),
            "gain": gained,
            "contribution": np.abs(moved).mean(axis=0),
        }
    )
    families = {
        family: Importance(
            gain=min(float(gained[own].sum()), 1.0),  # all shares add up to one but for rounding
            contribution=float(np.abs(moved[:, own].sum(axis=1)).mean()),
        )
        for family, own in values.places().items()
    }
    return table, families
