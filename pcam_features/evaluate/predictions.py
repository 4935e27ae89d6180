"""Truth and predictions: tables of `id` and `label` (Kaggle's format), from files and from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ..errors import InputError
from ..sources.class_labels import class_labels, meaning
from ..sources.columns import LABELS, find, shown
from ..sources.ids import examples, how_matched, matched
from ..sources.reading import EVERYTHING
from ..storage import costs
from ..storage.files import check_file, not_ours, whole_file
from ..words import counted, form
from .id_table import LABEL, Given, IdTable, id_table
from .prediction_columns import check_not_truth, choose, numbers_in, sentence

Models: TypeAlias = "Sequence[str | Path] | Mapping[str, Given]"
PERCENT = 100
TABLES = (str, Path, pd.Series, pd.DataFrame, np.ndarray)  # of the predictions of one seed


@dataclass(frozen=True)
class Truth:
    """The ids and labels that predictions are scored against, and sentences on how they were read.

    `labels` has 0 or 1 for each id, int8 (n,).
    """

    ids: list[str]
    labels: np.ndarray
    notes: list[str]


def read_truth(given: Given) -> Truth:
    """Read the labels that predictions are scored against.

    Parameters
    ----------
    given
        A path, a DataFrame (`id`, `label`) or a Series indexed by id, of 0 and 1 or of words such as
        `True` and `tumor`.

    Raises
    ------
    InputError
        If it is not clear what a label stands for, or all are the same.
    """
    truth = id_table(given, "truth")
    names = [str(name) for name in truth.cells.columns if name != "id"]
    column = find(names, LABELS, None, LABEL)
    if column is None:
        raise InputError(
            f"{truth.name} has no column {LABEL}; it has: {', '.join(truth.cells.columns)}."
        )
    check_one_truth(truth, names, column)
    texts = [str(cell) for cell in truth.cells[column]]
    told = meaning(list(dict.fromkeys(text.strip() for text in texts)))
    wrong = next((row for row, text in enumerate(texts) if told.get(text.strip()) is None), None)
    if wrong is not None:
        raise InputError(
            f"{truth.at(wrong)}: the label of {truth.ids[wrong]} is {texts[wrong][:100]!r}, not 0 or 1."
        )
    known = class_labels(texts, EVERYTHING, truth.name)
    if len(set(known.labels)) < 2:
        raise InputError(f"{truth.name} has only one class; an AUC needs patches of both.")
    labels = np.array(known.labels, np.int8)
    return Truth(truth.ids, labels, [f"{sentence(truth.name)}: {note}." for note in known.notes])


def check_one_truth(truth: IdTable, names: Sequence[str], column: str) -> None:
    """Raise InputError if another column of labels contradicts the one that was chosen."""
    alike = [name for name in names if name.strip().lower() in LABELS]
    if column.strip().lower() == LABEL or len(alike) < 2:
        return
    meant = []
    for name in alike:
        texts = [str(cell).strip() for cell in truth.cells[name]]
        told = meaning(list(dict.fromkeys(texts)))
        meant.append([told.get(text) for text in texts])
    if any(labels != meant[0] for labels in meant):
        raise InputError(
            f"{truth.name} has several columns that may be labels ({', '.join(alike)}), and they "
            f"differ; keep one, as a column {LABEL}."
        )


@dataclass(frozen=True)
class ModelInput:
    """A model as it was given: its name, None if it has none, and its tables of predictions."""

    name: str | None
    given: tuple[Given, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The tables that are files."""
        return tuple(Path(one) for one in self.given if isinstance(one, str | Path))

    def read(self, truth: Truth, name: str) -> ModelPredictions:
        """The predictions of the model, called `name`."""
        read = [read_predictions(given, truth, name) for given in self.given]
        rows = np.concatenate([one.rows for one in read])
        return ModelPredictions(name, self.files, rows, [note for one in read for note in one.notes])


@dataclass(frozen=True)
class ModelPredictions:
    """A model's probabilities, (seeds, n), the files they are from, if any, and sentences on how they
    were read."""

    name: str
    files: tuple[Path, ...]
    rows: np.ndarray
    notes: list[str]


def parse_model(spec: str) -> ModelInput:
    """A model from `[NAME=]FILE[,FILE…]`; a file of exactly that name takes precedence."""
    try:
        if Path(spec).exists():
            return ModelInput(None, (Path(spec),))
    except OSError:  # a list of files can be longer than a path may be
        pass
    name, equals, files = spec.partition("=")
    if not equals:
        return ModelInput(None, tuple(Path(file) for file in spec.split(",")))
    return ModelInput(name, tuple(Path(file) for file in files.split(",")))


def parse_models(models: Models) -> list[ModelInput]:
    """Models from specifications `[NAME=]FILE[,FILE…]`, or a mapping from name to predictions."""
    if isinstance(models, Mapping):
        return [ModelInput(str(name), seeds_in(given)) for name, given in models.items()]
    if not isinstance(models, list | tuple) or not all(isinstance(one, str | Path) for one in models):
        raise InputError(
            "models are given without names; give a mapping from each name to its predictions, "
            '{"name": predictions}, or a list of "NAME=FILE".'
        )
    return [parse_model(str(spec)) for spec in models]


def seeds_in(given: Any) -> tuple[Given, ...]:
    """The tables that are given of a model: one, or one for each seed in a list."""
    several = isinstance(given, list | tuple) and len(given) > 0
    if several and all(isinstance(one, TABLES) for one in given):
        return tuple(given)
    return (given,)


def read_models(models: Models, truth: Truth) -> list[ModelPredictions]:
    """Read the predictions of each model.

    Parameters
    ----------
    models
        Specifications `[NAME=]FILE[,FILE…]`; or a mapping from name to a path, a Series indexed by id,
        a DataFrame (`id` and a column for each seed), or an array in the order of `ids`. A model
        without a name is called by the stem of its first file, or its whole path if stems are not
        unique.
    truth
        What they are scored against.

    Raises
    ------
    InputError
        If predictions cannot be used, or a file or a name is given twice.
    """
    parsed = parse_models(models)
    files = [file.resolve() for model in parsed for file in model.files]
    if len(set(files)) != len(files):
        raise InputError("the same file of predictions is given twice; give each file once.")
    names = names_of(parsed)
    if not names:
        raise InputError("no models are given; give the predictions of one or more.")
    example = '{"name": predictions}' if isinstance(models, Mapping) else "NAME=FILE"
    if "" in names:
        raise InputError(f"a model's name is empty; give it one, as {example}.")
    if len(set(names)) != len(names):
        raise InputError(f"two models have the same name; give each its own, as {example}.")
    if not all(name.isprintable() for name in names):
        raise InputError(f"a model's name has unprintable characters; give it another, as {example}.")
    return [model.read(truth, name) for name, model in zip(names, parsed, strict=True)]


def names_of(models: Sequence[ModelInput]) -> list[str]:
    """The name of each model."""
    stems = [model.files[0].stem for model in models if model.files]
    names = []
    for model in models:
        if model.name or not model.files:
            names.append(model.name or "")
        else:
            first = model.files[0]
            names.append(first.stem if stems.count(first.stem) == 1 else str(first))
    return names


@dataclass(frozen=True)
class Rows:
    """The probabilities of a table, (seeds, n), and sentences on how they were read."""

    rows: np.ndarray
    notes: list[str]


def read_predictions(given: Given, truth: Truth, name: str) -> Rows:
    """The probabilities of each seed in the order of the truth; see `prediction_columns.choose`.

    Raises InputError unless there is a probability for each id of the truth and for nothing else.
    """
    from_file = isinstance(given, str | Path)
    table = id_table(given, "predictions" if from_file else f"predictions {name!r}", truth.ids)
    chosen = choose(table, from_file=from_file)
    order, notes = order_of(table, truth.ids)
    rows = []
    for column in chosen.columns:
        values = probabilities(table, column)[order]
        check_not_truth(table, column, values, truth.labels)
        rows.append(values)
    return Rows(np.stack(rows), [*chosen.notes, *notes])


def order_of(
    table: IdTable, ids: Sequence[str], whose: str = "the truth"
) -> tuple[np.ndarray, list[str]]:
    """The row of each of `ids`, (n,), and a sentence if ids are matched by their stems.

    `whose` says in messages what has these ids. Raises InputError unless the table has these ids and no
    others.
    """
    position = {patch: row for row, patch in enumerate(table.ids)}
    if position.keys() == set(ids):
        return np.array([position[patch] for patch in ids]), []
    pairs = matched(table.ids, ids)
    if pairs is not None and len(pairs) == len(ids) == len(position):
        return np.array([position[pairs[patch]] for patch in ids]), [how_matched(table.name, pairs)]
    missing = [patch for patch in ids if patch not in position]
    extra = sorted(position.keys() - set(ids), key=lambda patch: position[patch])
    raise InputError(
        f"{table.name} do not match {whose}: {len(missing):,} of its ids "
        f"{form(len(missing), 'is', 'are')} missing{f', the first {missing[0]},' if missing else ''} "
        f"and {len(extra):,} {form(len(extra), 'is', 'are')} not in it"
        f"{f', the first {extra[0]!r}' if extra else ''}; {whose} has ids such as {examples(ids)}, "
        f"the predictions {examples(table.ids)}. {next_step(len(missing), len(extra), whose)}"
    )


def next_step(missing: int, extra: int, whose: str) -> str:
    """What to do if so many ids are missing in predictions, and so many are in them alone."""
    if not extra:
        return "Predict the missing ones too."
    if not missing:
        return "Leave the others out of the predictions."
    return f"Give the predictions of the same patches, with the ids of {whose}."


def plain(cell: Any) -> str:
    """A cell in a message; a number of NumPy as one of Python."""
    return repr(cell.item() if isinstance(cell, np.generic) else cell)


def probabilities(table: IdTable, column: str) -> np.ndarray:
    """A column's probabilities. Raises InputError for other or constant values, and for classes."""
    cells, values = table.cells[column], numbers_in(table, column)
    bad = ~((values >= 0) & (values <= 1))  # true for NaN as well
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{table.at(row)}: {plain(cells[row])} for {table.ids[row]} is not a probability from 0 "
            f"to 1{how_to_convert(cells, values)}."
        )
    if np.unique(values).size == 1:
        raise InputError(
            f"{table.name} are all {values[0]:g}; a constant prediction cannot be compared."
        )
    if np.isin(values, (0.0, 1.0)).all():
        others = [str(name) for name in table.cells.columns if name not in ("id", column)]
        beside = f" (there are also the columns {shown(others)})" if others else ""
        raise InputError(
            f"{table.name} hold only 0 and 1; give probabilities instead of classes{beside}."
        )
    return values


def how_to_convert(cells: pd.Series[Any], values: np.ndarray) -> str:
    """What values that are no probabilities look like, and what to do; empty if that is not clear."""
    texts = cells.astype(str).str.strip()
    if texts.str.endswith("%").any() or (values.min() >= 0 and 1 < np.median(values) <= PERCENT):
        return "; divide percentages by 100"
    if np.isnan(values[~((values >= 0) & (values <= 1))]).all():
        return "; give a number from 0 to 1 in each row"
    if values.min() < 0 and np.isfinite(values).all():
        return "; give 1 / (1 + exp(-x)) of log-odds"
    return ""


def check_outputs(path: Path) -> None:
    """Raise InputError if predictions or their costs cannot be written, or would replace another file.

    Predictions have their costs beside them. Call this before long work.
    """
    check_file(path)
    check_file(costs.beside(path))
    if path.is_file() and path.stat().st_size and not costs.beside(path).is_file():
        raise InputError(not_ours(path))


def write_predictions(
    path: Path, ids: Sequence[str], probabilities: np.ndarray, cost: costs.Cost
) -> None:
    """Write predictions as a CSV of `id` and `label`, and their costs beside it.

    The costs name the checksum of the predictions and appear first, so that nobody takes old costs for
    those of new predictions, or the reverse, whenever writing stops.

    Parameters
    ----------
    path
        The CSV.
    ids, probabilities
        The ids of the patches, and the probability of tumor of each.
    cost
        What the model and the predictions have cost.

    Raises
    ------
    InputError
        If a value is not a probability from 0 to 1, or a file cannot be written; then no file changes.
    """
    check_outputs(path)
    inside = (probabilities >= 0) & (probabilities <= 1)  # false for NaN as well
    if wrong := int((~inside).sum()):
        raise InputError(
            f"{counted(wrong, 'prediction')} {form(wrong, 'is', 'are')} not from 0 to 1; nothing "
            "was written."
        )
    with whole_file(path) as temporary:
        pd.DataFrame({"id": list(ids), "label": probabilities}).to_csv(temporary, index=False)
        costs.write_beside(path, cost, temporary)
