"""One patch explained: its probability, and the columns that moved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..families.registry import FAMILIES
from ..store.store import Store
from ..store.values import stored
from .attribution import contributions
from .bundle import Bundle
from .predict import check_features, fitted_on, out_of_fold

SHOWN = 10  # columns


def find(store: Store, patch: str, split: str | None) -> tuple[str, int]:
    """The split and row of a patch. Raises InputError if the store does not hold it."""
    for name in store.splits if split is None else [split]:
        ids = store.patches(name)["id"].tolist()
        if patch in ids:
            return name, ids.index(patch)
    where = "" if split is None else f", split {split!r}"
    raise InputError(f"{store.path}{where} has no patch {patch!r}; give one of its ids.")


def explain(bundle: Bundle, path: Path, store: Store, patch: str, split: str | None) -> dict[str, Any]:
    """Explain the prediction of a stored patch.

    Parameters
    ----------
    bundle, path
        The model and its folder.
    store, patch, split
        The id of a patch in the store, and its split; None looks in all splits.

    Returns
    -------
    dict
        Log-odds add up: `start`, plus the contributions of `columns` and of `others`, is `sum`, which
        calibration turns into `probability`.

    Raises
    ------
    InputError
        If the patch is not in the store, its features are not the model's, or the model produces
        non-finite values.
    """
    check_features(bundle, store)
    split, row = find(store, patch, split)
    store.check_finished(split, bundle.families)
    values = stored(store, split, bundle.families, keep=True)
    moved, start = contributions(bundle.models, bundle.stack, values, np.array([row]))
    of_patch = values.take(bundle.families, np.array([row]))[0]
    columns = moving(bundle, moved[0], of_patch, SHOWN)
    total = start + moved[0].sum()
    probability = bundle.stack.calibrated(np.array([total]))[0]
    if not np.isfinite([start, total, probability]).all():
        raise InputError(f"model {path} produced non-finite values; it is damaged, fit it anew.")
    label = store.patches(split)["label"][row]
    seen = fitted_on(bundle, store, split)
    return {
        "id": patch,
        "split": split,
        "row": row,
        "label": None if np.isnan(label) else int(label),
        "out_of_fold_probability": float(out_of_fold(path, store, split)[1][row]) if seen else None,
        "probability": float(probability),
        "start": float(start),
        "sum": float(total),
        "families": {family: float(moved[0, own].sum()) for family, own in values.places().items()},
        "columns": columns,
        "others": float(moved[0].sum() - sum(column["contribution"] for column in columns)),
    }


def training_moments(bundle: Bundle) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column over the training patches, (columns of all families,)."""
    width = sum(len(record.columns) for record in bundle.manifest.families.values())
    known = [model.moments() for model in bundle.models.values() if model.width == width]
    return next(moments for moments in known if moments is not None)


def moving(bundle: Bundle, moved: np.ndarray, values: np.ndarray, shown: int) -> list[dict[str, Any]]:
    """The columns that moved a patch most.

    Parameters
    ----------
    bundle
        The model.
    moved
        Each column's contribution, (columns,).
    values
        Each column's value, (columns,).
    shown
        How many columns to return.
    """
    mean, deviation = training_moments(bundle)
    names = [name for record in bundle.manifest.families.values() for name in record.columns]
    return [
        {
            "column": names[k],
            "contribution": float(moved[k]),
            "value": float(values[k]),
            "training_mean": float(mean[k]),
            "deviations": float((values[k] - mean[k]) / deviation[k]),
            **plainly(names[k]),
        }
        for k in np.argsort(-np.abs(moved), kind="stable")[:shown]
    ]


def reasons(
    bundle: Bundle, store: Store, split: str, rows: np.ndarray, shown: int
) -> dict[int, dict[str, Any]]:
    """What moved the predictions of some patches.

    Parameters
    ----------
    bundle
        The model.
    store, split, rows
        The patches.
    shown
        How many columns to name for each.

    Returns
    -------
    dict
        For each row, `families` (the contribution of each, the largest first) and `columns` as
        `explain` has them: hand-crafted ones if there are any, since their meaning can be told.

    Raises
    ------
    InputError
        If the features are not the model's.
    """
    check_features(bundle, store)
    store.check_finished(split, bundle.families)
    values = stored(store, split, bundle.families, keep=True)
    ordered = np.sort(rows)
    moved, _ = contributions(bundle.models, bundle.stack, values, ordered)
    taken = values.take(bundle.families, ordered)
    places = values.places()
    by_hand = [own for name, own in places.items() if name in FAMILIES] or list(places.values())
    shown_columns = np.isin(np.arange(moved.shape[1]), np.concatenate(by_hand))
    explained = {}
    for k, row in enumerate(ordered.tolist()):
        shares = {name: float(moved[k, own].sum()) for name, own in places.items()}
        explained[row] = {
            "families": dict(sorted(shares.items(), key=lambda share: -abs(share[1]))),
            "columns": moving(bundle, np.where(shown_columns, moved[k], 0), taken[k], shown),
        }
    return explained


def plainly(column: str) -> dict[str, str]:
    """The meaning of a column, with where it is measured, and its unit."""
    family = FAMILIES.get(column.split("__", maxsplit=1)[0])
    if family is None or column not in family.columns:
        return {"meaning": "a channel of a network", "unit": "activation"}
    feature = family.feature(column)
    where = column.split("__")[2].replace("_", " ")
    unit = "" if feature.unit == "1" else feature.unit
    return {"meaning": f"{feature.meaning} ({where})", "unit": unit}
