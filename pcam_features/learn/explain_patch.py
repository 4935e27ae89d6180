"""One patch explained: its picture, its probability, and the columns that moved it."""

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
from .kernel_ridge import Rbf
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
    """What the model at `path` says of a patch and why: log-odds add up, from `start` by `columns` and
    `others` to `sum`, which calibration turns into `probability`.

    Raises InputError if the patch is not in the store, or its features are not the model's.
    """
    check_features(bundle, store)
    split, row = find(store, patch, split)
    families = list(bundle.manifest["families"])
    store.check_finished(split, families)
    values = stored(store, split, families, keep=True)
    moved, start = contributions(bundle.models, bundle.stack, values, np.array([row]))
    of_patch = values.take(families, np.array([row]))[0]
    columns = moving(bundle, moved[0], of_patch, SHOWN)
    total = start + moved[0].sum()
    probability = bundle.stack.calibrated(np.array([total]))[0]
    if not np.isfinite([start, total, probability]).all():
        raise InputError("the model's numbers have no end; it is damaged, fit it anew.")
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
        "others": float(moved[0].sum() - sum(one["contribution"] for one in columns)),
    }


def moving(bundle: Bundle, moved: np.ndarray, values: np.ndarray, shown: int) -> list[dict[str, Any]]:
    """The columns that moved a patch most, from what each moved it by and its values, (columns,)."""
    last = list(bundle.models.values())[-1]
    assert isinstance(last, Rbf)  # of all families: it knows what is usual
    names = [c for one in bundle.manifest["families"].values() for c in one["columns"]]
    return [
        {
            "column": names[k],
            "contribution": float(moved[k]),
            "value": float(values[k]),
            "training_mean": float(last.mean[k]),
            "deviations": float((values[k] - last.mean[k]) / last.scale[k]),
            **plainly(names[k]),
        }
        for k in np.argsort(-np.abs(moved), kind="stable")[:shown]
    ]


def reasons(
    bundle: Bundle, store: Store, split: str, rows: np.ndarray, shown: int
) -> dict[int, dict[str, Any]]:
    """Of some rows what moved each most: `families`, from the one that did most, and `columns` as
    `explain` has them, hand-made ones if there are any, since those can be told in words.

    Raises InputError if the features are not the model's.
    """
    check_features(bundle, store)
    families = list(bundle.manifest["families"])
    store.check_finished(split, families)
    values = stored(store, split, families, keep=True)
    ordered = np.sort(rows)
    moved, _ = contributions(bundle.models, bundle.stack, values, ordered)
    taken = values.take(families, ordered)
    places = values.places()
    by_hand = [own for name, own in places.items() if name in FAMILIES] or list(places.values())
    told = np.isin(np.arange(moved.shape[1]), np.concatenate(by_hand))
    found = {}
    for k, row in enumerate(ordered.tolist()):
        shares = {name: float(moved[k, own].sum()) for name, own in places.items()}
        found[row] = {
            "families": dict(sorted(shares.items(), key=lambda one: -abs(one[1]))),
            "columns": moving(bundle, np.where(told, moved[k], 0), taken[k], shown),
        }
    return found


def plainly(column: str) -> dict[str, str]:
    """The meaning of a column, with where it is measured, and its unit."""
    family = FAMILIES.get(column.split("__", maxsplit=1)[0])
    if family is None or column not in family.columns:
        return {"meaning": "a channel of a network", "unit": "activation"}
    feature = family.feature(column)
    where = column.split("__")[2].replace("_", " ")
    unit = "" if feature.unit == "1" else feature.unit
    return {"meaning": f"{feature.meaning} ({where})", "unit": unit}
