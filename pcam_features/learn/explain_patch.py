"""One patch explained: its probability, and the columns that moved it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..families.registry import FAMILIES
from ..store.store import Store
from ..store.values import Values, stored
from .attribution import contributions
from .bundle import Bundle
from .predict import check_features, fitted_on, out_of_fold

SHOWN = 10  # columns


@dataclass(frozen=True)
class ColumnShare:
    """What one column contributed to the log-odds of a patch.

    Parameters
    ----------
    column
        Its name.
    contribution
        Its contribution to the log-odds of tumor.
    value, training_mean
        Its value on the patch, and its mean over the training patches, in `unit`.
    deviations
        The distance of the two in standard deviations of the training patches.
    meaning, unit
        What is measured, and in which unit.
    """

    column: str
    contribution: float
    value: float
    training_mean: float
    deviations: float
    meaning: str
    unit: str


@dataclass(frozen=True)
class PatchExplanation:
    """Why a model predicts what it predicts for one patch.

    Parameters
    ----------
    id, split, row
        The patch, and where it is in the store.
    label
        0 or 1; None if it is unknown.
    out_of_fold_probability
        The out-of-fold prediction, if the model was fitted on this patch.
    probability
        The probability of tumor: that of the log-odds `sum`, calibrated if `is_calibrated`.
    start, sum
        Log-odds. `start`, plus the contributions of `columns` and of `others`, is `sum`.
    families
        The contribution of each family.
    columns
        The columns that contributed most, the largest contribution first.
    others
        The contribution of all other columns.
    is_calibrated
        Whether the model has a calibration, as its card says.
    """

    id: str
    split: str
    row: int
    label: int | None
    out_of_fold_probability: float | None
    probability: float
    start: float
    sum: float
    families: dict[str, float]
    columns: tuple[ColumnShare, ...]
    others: float
    is_calibrated: bool

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `pcam explain --json` prints."""
        return asdict(self) | {"columns": [asdict(share) for share in self.columns]}


@dataclass(frozen=True)
class Reasons:
    """What moved the prediction of a patch: families, the largest contribution first, and columns."""

    families: dict[str, float]
    columns: tuple[ColumnShare, ...]


@dataclass(frozen=True)
class PatchPlace:
    """Which patch is explained, and what is known of it."""

    id: str
    split: str
    row: int
    label: int | None = None
    out_of_fold_probability: float | None = None


def find(store: Store, patch: str, split: str | None) -> tuple[str, int]:
    """The split and row of a patch. Raises InputError if the store does not hold it."""
    for name in store.splits if split is None else [split]:
        ids = store.patches(name)["id"].tolist()
        if patch in ids:
            return name, ids.index(patch)
    where = "" if split is None else f", split {split!r}"
    raise InputError(
        f"{store.path}{where} has no patch {patch!r}; its ids are in the store's folders SPLIT/patches."
    )


def explain(
    bundle: Bundle, path: Path, store: Store, patch: str, split: str | None
) -> PatchExplanation:
    """Explain the prediction of a stored patch.

    Parameters
    ----------
    bundle, path
        The model and its folder.
    store, patch, split
        The id of a patch in the store, and its split; None looks in all splits.

    Returns
    -------
    PatchExplanation
        The contributions of columns and families.

    Raises
    ------
    InputError
        If the patch is not in the store, its features are not the model's, or the model produces
        non-finite values.
    """
    check_features(bundle, store)
    split, row = find(store, patch, split)
    store.check_finished(split, bundle.families)
    patches = store.patches(split)
    label, ids = patches["label"][row], patches["id"].tolist()
    seen = fitted_on(bundle, store, split)
    place = PatchPlace(
        patch,
        split,
        row,
        None if np.isnan(label) else int(label),
        float(out_of_fold(bundle, path, ids)[row]) if seen else None,
    )
    return explain_values(bundle, stored(store, split, bundle.families, keep=True), place)


def explain_values(bundle: Bundle, values: Values, place: PatchPlace) -> PatchExplanation:
    """Explain the prediction for one row of features.

    Parameters
    ----------
    bundle
        The model.
    values
        Features of the model's families.
    place
        The row, and what is known of its patch.

    Raises
    ------
    InputError
        If the model produces non-finite values.
    """
    row = np.array([place.row])
    moved, start = contributions(bundle.models, bundle.stack, values, row)
    columns = moving(bundle, moved[0], values.take(bundle.families, row)[0], SHOWN)
    total = start + moved[0].sum()
    probability = bundle.stack.calibrated(np.array([total]))[0]
    if not np.isfinite([start, total, probability]).all():
        raise InputError("the model produced non-finite values; it is damaged, fit it again.")
    return PatchExplanation(
        place.id,
        place.split,
        place.row,
        place.label,
        place.out_of_fold_probability,
        float(probability),
        float(start),
        float(total),
        {family: float(moved[0, own].sum()) for family, own in values.places().items()},
        columns,
        float(moved[0].sum() - sum(share.contribution for share in columns)),
        bundle.stack.is_calibrated,
    )


def moving(
    bundle: Bundle, moved: np.ndarray, values: np.ndarray, shown: int
) -> tuple[ColumnShare, ...]:
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
    mean, deviation = bundle.training_moments()
    names = [name for record in bundle.manifest.families.values() for name in record.columns]
    return tuple(
        ColumnShare(
            names[k],
            float(moved[k]),
            float(values[k]),
            float(mean[k]),
            float((values[k] - mean[k]) / deviation[k]),
            *plainly(names[k]),
        )
        for k in np.argsort(-np.abs(moved), kind="stable")[:shown]
    )


def reasons(
    bundle: Bundle, store: Store, split: str, rows: np.ndarray, shown: int
) -> dict[int, Reasons]:
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
    return reasons_of(bundle, stored(store, split, bundle.families, keep=True), rows, shown)


def reasons_of(bundle: Bundle, values: Values, rows: np.ndarray, shown: int) -> dict[int, Reasons]:
    """What moved the predictions of some rows of features; see `reasons`."""
    ordered = np.sort(rows)
    moved, _ = contributions(bundle.models, bundle.stack, values, ordered)
    taken = values.take(bundle.families, ordered)
    places = values.places()
    by_hand = [own for name, own in places.items() if name in FAMILIES] or list(places.values())
    shown_columns = np.isin(np.arange(moved.shape[1]), np.concatenate(by_hand))
    explained = {}
    for k, row in enumerate(ordered.tolist()):
        shares = {name: float(moved[k, own].sum()) for name, own in places.items()}
        explained[row] = Reasons(
            dict(sorted(shares.items(), key=lambda share: -abs(share[1]))),
            moving(bundle, np.where(shown_columns, moved[k], 0), taken[k], shown),
        )
    return explained


def plainly(column: str) -> tuple[str, str]:
    """The meaning of a column, with where it is measured, and its unit."""
    family = FAMILIES.get(column.split("__", maxsplit=1)[0])
    if family is None or column not in family.columns:
        return "a channel of a network", "activation"
    feature = family.feature(column)
    where = column.split("__")[2].replace("_", " ")
    unit = "" if feature.unit == "1" else feature.unit
    return f"{feature.meaning} ({where})", unit
