"""Cross-validation folds. All patches of a slide are in the same fold.

Where slides are unknown, near-duplicates are kept together, and patches with similar stain and
brightness form pseudo-slides. The held-out patches then differ from the training patches in stain and
brightness, as patches of a new slide would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import LEAST_FOLDS, MOST_FOLDS
from ..errors import InputError
from ..sources.columns import read_by_id
from ..storage import parquet
from ..storage.files import sha256
from ..storage.sums import read_listed
from ..storage.tables import LARGEST_TABLE, check_ids
from ..words import counted, form, message_of
from .appearance import Looks
from .groups import group_codes, make_groups

TABLE = "folds.parquet"  # in a model folder
MOST_TIMES = 2  # rows for each patch, so that a table with an id twice is read, and told so


@dataclass(frozen=True)
class Folds:
    """Cross-validation folds of some patches.

    Parameters
    ----------
    group
        The number of each patch's group, (patches,).
    fold
        The fold of each patch, from 0 to `count` - 1, (patches,).
    count
        Number of folds.
    protocol
        A description of the groups.
    """

    group: np.ndarray
    fold: np.ndarray
    count: int
    protocol: str

    def fingerprint(self) -> str:
        """SHA-256 of the groups and folds."""
        return sha256(np.stack([self.group, self.fold]).astype("<i8").tobytes())


def make_folds(
    patches: pd.DataFrame, count: int, seed: int, looks: Looks | None = None, unit: str = "slide"
) -> Folds:
    """Create folds of groups (see `make_groups`), stratified by label.

    Parameters
    ----------
    patches
        The columns `id`, `label` (0 or 1) and `slide`.
    count
        Number of folds.
    seed
        Random seed.
    looks
        The appearance of the patches, for patches of unknown slide.
    unit
        What the column `slide` contains, for messages.

    Returns
    -------
    Folds
        The group and the fold of each patch.

    Raises
    ------
    InputError
        If labels are missing or all the same, if there are fewer groups than folds, or if the groups
        cannot be divided so that both classes remain for training.

    Examples
    --------
    >>> ids, slides = [f"p{k}" for k in range(60)], [f"s{k % 6}" for k in range(60)]
    >>> labels = [k // 6 % 2 for k in range(60)]
    >>> patches = pd.DataFrame({"id": ids, "label": labels, "slide": slides})
    >>> folds = make_folds(patches, count=3, seed=0)
    >>> folds.protocol
    'grouped by slide: 6 slides, none in two folds'
    >>> np.bincount(folds.fold).tolist()
    [20, 20, 20]
    >>> len(set(zip(slides, folds.fold)))  # each of the six slides is in one fold
    6
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = known_labels(patches)
    group, protocol = make_groups(patches, looks, count, seed, unit)
    groups = int(group.max()) + 1
    if groups < count:
        raise InputError(
            f"there {form(groups, 'is', 'are')} {counted(groups, unit)} for "
            f"{counted(count, 'fold')}; provide more {unit}s, or lower --folds."
        )
    for label in (0, 1):
        holding = np.unique(group[labels == label]).size
        if holding < LEAST_FOLDS or (labels == label).sum() < count:
            raise InputError(
                f"label {label} has {counted(int((labels == label).sum()), 'patch')} of "
                f"{counted(holding, unit)}, too "
                f"few for {counted(count, 'fold')}; provide more patches and {unit}s, or lower --folds."
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.empty(len(labels), np.int16)
    for k, (_, held_out) in enumerate(splitter.split(labels, labels, group)):
        fold[held_out] = k
    if not is_sound(fold, labels, count):
        raise InputError(
            f"{counted(groups, unit)} cannot be divided into {counted(count, 'fold')} such that "
            "both classes remain for "
            "training; change --folds or --seed."
        )
    return Folds(group, fold, count, protocol)


def known_labels(patches: pd.DataFrame) -> np.ndarray:
    """The labels, 0 and 1. Raises InputError if some are unknown, or all are the same."""
    labels = patches["label"].to_numpy()
    if np.isnan(labels).any():
        raise InputError("these patches have no labels to train on; choose a labeled split.")
    if np.unique(labels).size < 2:
        raise InputError(f"all labels are {labels[0]:.0f}; a model needs patches of both classes.")
    return np.asarray(labels)


def is_sound(fold: np.ndarray, labels: np.ndarray, count: int) -> bool:
    """Whether every fold has patches, and both classes remain when any two folds are left out.

    Two folds are left out at a time when the combination of base models is selected and scored.
    """
    held = [np.bincount(fold[labels == label], minlength=count) > 0 for label in (0, 1)]
    return bool(np.all(np.bincount(fold, minlength=count) > 0)) and all(
        holding.sum() >= LEAST_FOLDS for holding in held
    )


def read_folds(path: Path, patches: pd.DataFrame) -> Folds:
    """Read the folds of a model, or of a CSV or Parquet file.

    Parameters
    ----------
    path
        A model folder, or a file with the columns `id`, `fold` and optionally `group` (integers), in
        any order of rows. Without `group`, the group is the slide if all slides are known, and else
        the fold.
    patches
        The columns `id`, `label` and `slide` of the patches, which must be those of the file.

    Returns
    -------
    Folds
        The group and the fold of each patch, in the order of `patches`.

    Raises
    ------
    InputError
        If the file is invalid, if it has other patches, if a group is in two folds, or if labels are
        missing or all the same.
    """
    if path.is_dir():
        table = read_fold_table(path / TABLE, listed_content(path, TABLE), rows=len(patches))
    else:
        table = read_fold_table(path, rows=len(patches))
    labels = known_labels(patches)
    place = pd.Series(np.arange(len(table)), index=table["id"])
    if set(place.index) != set(patches["id"]):
        raise InputError(f"the folds in {path} are for other patches; create folds for these patches.")
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
        raise InputError(f"the folds in {path} have a group in two folds; put each group in one fold.")
    if not LEAST_FOLDS <= count <= MOST_FOLDS or not is_sound(fold, labels, count):
        raise InputError(
            f"{path} has {counted(count, 'fold')}; provide {LEAST_FOLDS} to {MOST_FOLDS}, with "
            "both classes in at "
            f"least {LEAST_FOLDS} of them."
        )
    return Folds(group, fold, count, f"{counted(len(np.unique(group)), 'group')}, as in {path}{torn}")


def torn_slides(patches: pd.DataFrame, fold: np.ndarray) -> str:
    """A warning if known slides are in more than one fold, or an empty string."""
    slides = patches["slide"].where(patches["slide"] != "")
    folds_of = pd.Series(fold).groupby(slides.to_numpy()).nunique()
    if not (folds_of > 1).any():
        return ""
    return (
        f"; {int((folds_of > 1).sum()):,} of {len(folds_of):,} known slides are in more than one fold: "
        "scores on new slides will be lower"
    )


def listed_content(model: Path, name: str) -> bytes:
    """The content of a file of a model or network, by the sum that its manifest lists.

    Raises InputError if it is damaged or not listed."""
    try:
        return read_listed(model, name)
    except ValueError as error:
        raise InputError(
            f"the folds in {model / name} cannot be used ({error}); give a model or network of this "
            "version of pcam, or a table of folds."
        ) from None


def read_fold_table(path: Path, content: bytes | None = None, *, rows: int) -> pd.DataFrame:
    """Read a table of folds.

    Parameters
    ----------
    path
        A Parquet file or a CSV.
    content
        What the file holds, if it was read already.
    rows
        The number of patches that the folds have to be of.

    Returns
    -------
    pandas.DataFrame
        `id`, `fold` and, if the table has it, `group`; the last two int64.

    Raises
    ------
    InputError
        If the file is invalid, or a Parquet file of more than MOST_TIMES as many rows.
    """
    if path.suffix == ".parquet":
        table = read_fold_parquet(path, content, rows)
    else:
        table = read_by_id(path, ("fold",), "folds")
    try:
        numbers = {k: table[k].astype("int64") for k in ("fold", "group") if k in table}
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"the folds in {path} are not whole numbers; use integers for fold and group."
        ) from None
    check_ids(table["id"].tolist(), f"folds {path}")
    return pd.DataFrame({"id": table["id"]} | numbers)


def read_fold_parquet(path: Path, content: bytes | None, rows: int) -> pd.DataFrame:
    """Read the columns of a Parquet file of folds. Raises InputError if it is invalid or too large."""
    import pyarrow as pa

    try:
        found, schema = parquet.open_file(path if content is None else content)
        wanted = [name for name in ("id", "fold", "group") if name in schema.names]
        if not {"id", "fold"} <= set(wanted) or any(schema.names.count(name) > 1 for name in wanted):
            raise InputError(
                f"{path} has no column id or no column fold, or has one twice; correct it."
            )
        if not all(pa.types.is_integer(schema.field(name).type) for name in wanted[1:]):
            raise InputError(
                f"the folds in {path} are not whole numbers; use integers for fold and group."
            )
        if not parquet.is_text(schema.field("id").type):
            raise InputError(f"the ids in {path} are not text; write them as strings.")
        size = path.stat().st_size if content is None else len(content)
        if size > LARGEST_TABLE:
            raise InputError(f"{path} is too large for a table of folds; check the file.")
        listed = found.metadata.num_rows
        if listed > MOST_TIMES * rows:
            raise InputError(
                f"the folds in {path} are for other patches: {listed:,}, not {rows:,}; "
                "create folds for these patches."
            )
        table = parquet.read(found, wanted, rows=listed)
    except (OSError, TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"the folds in {path} cannot be read: {message_of(error)}.") from None
    return pd.DataFrame({name: table[name].to_pylist() for name in wanted})
