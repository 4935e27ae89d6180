"""Predictions of other models, made elsewhere, as parts of a combination.

Out-of-fold predictions are honest only if the model that made one had seen neither the patch nor its
slide. A table shows that as far as it says which fold each patch was in, in a column `fold`, or because
each file has the patches of one fold. Otherwise the user has to state it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit

from ..errors import InputError
from ..sources.slides import is_unknown
from ..storage.tables import plain
from ..words import counted, form
from .id_table import Given, IdTable, id_table
from .prediction_columns import check_not_truth, choose
from .predictions import ModelInput, Models, names_of, order_of, parse_models, probabilities

FOLD = "fold"  # the column of folds
CLIP = 1e-6  # the least distance of a probability from 0 and 1: log-odds are at most 13.8
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")  # of a model: it names columns and entries


@dataclass(frozen=True)
class Patches:
    """The patches that predictions have to be of.

    Parameters
    ----------
    ids
        Their ids.
    labels
        0 or 1 for each, (n,); None if they are unknown.
    whose
        What has these ids, in messages.
    """

    ids: Sequence[str]
    labels: np.ndarray | None
    whose: str


@dataclass(frozen=True)
class OutsidePredictions:
    """The predictions of a model that was trained elsewhere.

    Parameters
    ----------
    name
        The model.
    ids
        The ids of the patches.
    files
        The files that they were read from; none if they were given in memory.
    rows
        The probabilities of tumor, float64 (seeds, n).
    fold
        The fold of each patch, (n,); None if it was not given.
    notes
        Sentences on how they were read.
    """

    name: str
    ids: Sequence[str]
    files: tuple[Path, ...]
    rows: np.ndarray
    fold: np.ndarray | None
    notes: tuple[str, ...] = ()

    @property
    def log_odds(self) -> np.ndarray:
        """The mean log-odds over seeds, float64 (n,), of probabilities kept CLIP away from 0 and 1."""
        return np.asarray(logit(np.clip(self.rows, CLIP, 1 - CLIP)).mean(axis=0))

    @property
    def folds(self) -> int:
        """The number of folds; 0 if folds were not given."""
        return 0 if self.fold is None else len(np.unique(self.fold))


def read_outside(
    models: Models, patches: Patches | None, taken: Sequence[str] = ()
) -> list[OutsidePredictions]:
    """Read predictions of models that were trained elsewhere.

    Parameters
    ----------
    models
        Specifications `[NAME=]FILE[,FILE…]`, or a mapping from name to predictions, as
        `predictions.read_models` takes them. Files of the same patches are seeds of one model; files
        of different patches are its folds.
    patches
        The patches that they have to be of. None: those of the first model.
    taken
        Names that a model may not have.

    Raises
    ------
    InputError
        If predictions cannot be used or are of other patches, or a name is given twice or is not fit.
    """
    parsed = parse_models(models)
    names = names_of(parsed)
    for name in names:
        if not NAME.fullmatch(name) or name in taken:
            why = "is taken" if name in taken else "is no name for a model"
            raise InputError(
                f"{name[:100]!r} {why}; give another as NAME=FILE, of letters, digits, '.', '_', '+' "
                "and '-'."
            )
    if len(set(names)) != len(names):
        raise InputError("two models have the same name; give each its own, as NAME=FILE.")
    files = [file.resolve() for model in parsed for file in model.files]
    if len(set(files)) != len(files):
        raise InputError("the same file of predictions is given twice; give each file once.")
    found: list[OutsidePredictions] = []
    for name, model in zip(names, parsed, strict=True):
        tables = read_tables(model, name, patches)
        if patches is None:
            patches = Patches(tables[0].cells.ids, None, f"those of {name}")
        found.append(predictions_of(name, model.files, tables, patches))
    return found


@dataclass(frozen=True)
class Table:
    """A table of predictions: its ids, probabilities (seeds, n), folds, if any, and notes."""

    cells: IdTable
    rows: np.ndarray
    fold: list[str] | None
    notes: list[str]


def read_tables(model: ModelInput, name: str, patches: Patches | None) -> list[Table]:
    """The tables of a model, called `name`: one for each seed; those of different patches are one."""
    ids = None if patches is None else patches.ids
    tables = [read_one(given, name, ids) for given in model.given]
    every = [patch for table in tables for patch in table.cells.ids]
    return [joined(tables, name)] if len(tables) > 1 and len(set(every)) == len(every) else tables


def predictions_of(
    name: str, files: tuple[Path, ...], tables: Sequence[Table], patches: Patches
) -> OutsidePredictions:
    """The predictions of a model, called `name`, in the order of the patches."""
    rows, folds, notes = [], [], []
    for table in tables:
        order, how = order_of(table.cells, patches.ids, patches.whose)
        notes += [*table.notes, *how]
        rows.append(table.rows[:, order])
        if table.fold is not None:
            codes = np.unique(np.array(table.fold), return_inverse=True)[1]
            folds.append(first_seen(codes[order]))
    if patches.labels is not None:
        for table, own in zip(tables, rows, strict=True):
            for values in own:
                check_not_truth(table.cells, "label", values, patches.labels)
    if folds and (len(folds) < len(tables) or any((one != folds[0]).any() for one in folds)):
        raise InputError(
            f"the files of {name} have different folds; give each as a model of its own, NAME=FILE."
        )
    whole = np.concatenate(rows)
    if clipped := int(((whole < CLIP) | (whole > 1 - CLIP)).sum()):
        notes.append(
            f"{counted(clipped, 'probability')} of {name} {form(clipped, 'is', 'are')} within {CLIP:g} "
            f"of 0 or 1 and {form(clipped, 'is', 'are')} taken as that far from it."
        )
    fold = folds[0] if folds else None
    return OutsidePredictions(name, patches.ids, files, whole, fold, tuple(notes))


def read_one(given: Given, name: str, ids: Sequence[str] | None) -> Table:
    """A table of predictions as it was given; an array needs the `ids` that it is in the order of."""
    from_file = isinstance(given, str | Path)
    table = id_table(given, "predictions" if from_file else f"predictions {name!r}", ids)
    known = [column for column in table.cells.columns if plain(str(column)) == FOLD]
    if len(known) > 1:
        raise InputError(f"{table.name} have two columns of folds ({', '.join(known)}); keep one.")
    fold = None
    if known:
        fold = [str(cell) for cell in table.cells[known[0]]]
        empty = sum(map(is_unknown, fold))
        if empty:
            raise InputError(
                f"{table.name} have no fold for {counted(empty, 'patch')}; fill in the column "
                f"{known[0]}, or remove it."
            )
    cells = IdTable(table.name, table.cells.drop(columns=known), table.text)
    chosen = choose(cells, from_file=from_file)
    rows = np.stack([probabilities(cells, column) for column in chosen.columns])
    return Table(cells, rows, fold, list(chosen.notes))


def joined(tables: Sequence[Table], name: str) -> Table:
    """Tables of different patches as one, in which each is a fold unless all have folds."""
    ids = [patch for table in tables for patch in table.cells.ids]
    if len({len(table.rows) for table in tables}) > 1:
        raise InputError(f"the files of {name} have different numbers of seeds; give as many in each.")
    fold = [
        table.fold[row] if table.fold is not None and all_folded(tables) else f"file {k}"
        for k, table in enumerate(tables)
        for row in range(len(table.cells.ids))
    ]
    whole = IdTable(
        f"predictions of the {len(tables)} files of {name}", pd.DataFrame({"id": ids}), True
    )
    rows = np.concatenate([table.rows for table in tables], axis=1)
    return Table(whole, rows, fold, [note for table in tables for note in table.notes])


def all_folded(tables: Sequence[Table]) -> bool:
    """Whether each of several tables has folds."""
    return all(table.fold is not None for table in tables)


def first_seen(codes: np.ndarray) -> np.ndarray:
    """Folds numbered by their first patch, so that the same folds under other names are equal.

    Examples
    --------
    >>> first_seen(np.array([2, 0, 2, 1])).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])


def check_unseen(outside: Sequence[OutsidePredictions], group: np.ndarray, *, vouched: bool) -> None:
    """Check that out-of-fold predictions are of models that had not seen the patches or their groups.

    Parameters
    ----------
    outside
        The predictions.
    group
        The group of each patch, (n,): its slide, where that is known.
    vouched
        Whether the user states it of predictions without folds.

    Raises
    ------
    InputError
        If predictions have no folds and the user does not state it, or folds have one group in two.
    """
    for one in outside:
        if one.fold is None:
            if vouched:
                continue
            raise InputError(
                f"the predictions of {one.name} have no column fold, so they may be of models that had "
                "seen the patches; add the fold of each patch, give one file for each fold "
                f"({one.name}=FOLD0.csv,FOLD1.csv,…), or state with --vouch that no prediction is of a "
                "model that had seen the patch or its slide."
            )
        if one.folds < 2:
            raise InputError(
                f"the predictions of {one.name} have only one fold, so one model had seen all patches "
                "or none; give out-of-fold predictions."
            )
        of_groups = pd.Series(one.fold).groupby(group).nunique()
        if torn := int((of_groups > 1).sum()):
            raise InputError(
                f"the folds of {one.name} divide {torn:,} of {counted(len(of_groups), 'group')} of "
                "patches (slides, where they are known), so its models had seen slides that they "
                "predict; train it on the folds of a model (its folds.parquet), or use its folds with "
                "--folds-from FILE."
            )
