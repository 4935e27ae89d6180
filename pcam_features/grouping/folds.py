"""Folds across slides: patches of one slide are never on both sides of a fold.

Where slides are unknown, near-duplicates are kept together, and patches that are stained and lit alike
make pseudo-slides: a fold's training patches then look less like its own, as a new slide's would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import LARGEST_ROWS, LEAST_FOLDS, MOST_FOLDS
from ..errors import InputError
from ..storage import parquet
from ..storage.files import sha256
from ..storage.tables import LARGEST_TABLE, check_ids, read_table
from .appearance import Looks
from .groups import group_codes, make_groups

TABLE = "folds.parquet"  # of a model


@dataclass(frozen=True)
class Folds:
    """For each patch its group and its fold (0 … n-1), and in words what a group is."""

    group: np.ndarray
    fold: np.ndarray
    count: int
    protocol: str

    def fingerprint(self) -> str:
        return sha256(np.stack([self.group, self.fold]).astype("<i8").tobytes())


def make_folds(
    patches: pd.DataFrame, count: int, seed: int, looks: Looks | None = None, unit: str = "slide"
) -> Folds:
    """Folds by group (see `make_groups`), stratified by label.

    Raises InputError for one class only, fewer groups than folds, or groups that cannot be dealt so
    that both classes are left to train on.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = known_labels(patches)
    group, protocol = make_groups(patches, looks, count, seed, unit)
    groups = int(group.max()) + 1
    if groups < count:
        raise InputError(
            f"there are {groups} {unit}s for {count} folds; give more {unit}s, or fewer --folds."
        )
    for label in (0, 1):
        holding = np.unique(group[labels == label]).size
        if holding < LEAST_FOLDS or (labels == label).sum() < count:
            raise InputError(
                f"label {label} has {int((labels == label).sum())} patches of {holding} {unit}(s), too "
                f"few for {count} folds; give more patches and {unit}s, or fewer --folds."
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), np.int16)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
        fold[held_out] = k
    if not is_sound(fold, labels, count):
        raise InputError(
            f"{groups} {unit}s cannot be dealt into {count} folds with both classes left to train on; "
            "use other --folds, or another --seed."
        )
    return Folds(group, fold, count, protocol)


def known_labels(patches: pd.DataFrame) -> np.ndarray:
    """Labels of 0 and 1. Raises InputError if some are not known, or all are the same."""
    labels = patches["label"].to_numpy()
    if np.isnan(labels).any():
        raise InputError("these patches have no labels to learn from; fit on a labeled split.")
    if np.unique(labels).size < 2:
        raise InputError(f"all labels are {labels[0]:.0f}; a model needs patches of both classes.")
    return np.asarray(labels)


def is_sound(fold: np.ndarray, labels: np.ndarray, count: int) -> bool:
    """Whether each of the folds has patches, and both classes are left without any two of them: one is
    scored, by a stack that was chosen without the other."""
    held = [np.bincount(fold[labels == label], minlength=count) > 0 for label in (0, 1)]
    return bool(np.all(np.bincount(fold, minlength=count) > 0)) and all(
        holding.sum() >= LEAST_FOLDS for holding in held
    )


def read_folds(path: Path, patches: pd.DataFrame) -> Folds:
    """The folds of a model, or of a CSV or Parquet file with `id`, `fold` and perhaps `group` (whole
    numbers), for the same patches in any order; without `group` it is the slide, if all are known.

    Raises InputError for anything else, for folds that share a group, and as `make_folds`.
    """
    table = read_fold_table(path / TABLE if path.is_dir() else path)
    labels = known_labels(patches)
    place = pd.Series(np.arange(len(table)), index=table["id"])
    if set(place.index) != set(patches["id"]):
        raise InputError(f"folds {path} are of other patches than these; make them anew.")
    order = place[patches["id"]].to_numpy()
    fold = np.unique(table["fold"].to_numpy()[order], return_inverse=True)[1].astype(np.int16)
    slides, known = group_codes(patches["id"].tolist(), patches["slide"].tolist())
    torn = torn_slides(patches, fold)
    if "group" in table:
        group = np.unique(table["group"].to_numpy()[order], return_inverse=True)[1]
    else:
        group = slides if known == len(patches) and not torn else fold.astype(np.int64)
    count = int(fold.max()) + 1
    if pd.Series(fold).groupby(group).nunique().max() > 1:
        raise InputError(f"folds {path} have a group in two folds; make them anew.")
    if not LEAST_FOLDS <= count <= MOST_FOLDS or not is_sound(fold, labels, count):
        raise InputError(
            f"folds {path} are {count}; {LEAST_FOLDS} to {MOST_FOLDS} are needed, both classes in "
            f"at least {LEAST_FOLDS}."
        )
    return Folds(group, fold, count, f"{len(np.unique(group)):,} groups as dealt in {path}{torn}")


def torn_slides(patches: pd.DataFrame, fold: np.ndarray) -> str:
    """A warning if known slides are in more than one fold, or nothing."""
    slides = patches["slide"].where(patches["slide"] != "")
    folds_of = pd.Series(fold).groupby(slides.to_numpy()).nunique()
    if not (folds_of > 1).any():
        return ""
    return (
        f"; {int((folds_of > 1).sum()):,} of {len(folds_of):,} known slides are in more than one fold: "
        "expect less on new slides"
    )


def read_fold_table(path: Path) -> pd.DataFrame:
    """`id`, `fold` and perhaps `group` as whole numbers. Raises InputError."""
    if path.suffix == ".parquet":
        table = read_fold_parquet(path)
    else:
        table = read_table(path, ("id", "fold"), "folds")
    try:
        numbers = {k: table[k].astype("int64") for k in ("fold", "group") if k in table}
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"folds {path} are not whole numbers; make them anew.") from None
    check_ids(table["id"].tolist(), f"folds {path}")
    return pd.DataFrame({"id": table["id"]} | numbers)


def read_fold_parquet(path: Path) -> pd.DataFrame:
    """The columns of a Parquet file of folds. Raises InputError for one that is not, or too large."""
    import pyarrow as pa

    try:
        found, schema = parquet.open_file(path)
        wanted = [name for name in ("id", "fold", "group") if name in schema.names]
        if not {"id", "fold"} <= set(wanted) or any(schema.names.count(name) > 1 for name in wanted):
            raise InputError(f"folds {path} have no column id, or no column fold, or two of them.")
        if not all(pa.types.is_integer(schema.field(name).type) for name in wanted[1:]):
            raise InputError(f"folds {path} are not whole numbers; make them anew.")
        if not parquet.is_text(schema.field("id").type):
            raise InputError(f"folds {path} have ids that are not text; make them anew.")
        if found.metadata.num_rows > LARGEST_ROWS or path.stat().st_size > LARGEST_TABLE:
            raise InputError(f"folds {path} are too many to be of one data set.")
        table = parquet.read(found, wanted)
    except (OSError, TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"folds {path} cannot be read: {' '.join(str(error).split())}.") from None
    return pd.DataFrame({name: table[name].to_pylist() for name in wanted})
