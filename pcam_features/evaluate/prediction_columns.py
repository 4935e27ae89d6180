"""Which columns of a table are a model's probabilities: one, one a seed, or one of two classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ..errors import InputError
from ..sources.columns import shown
from ..sources.vocabulary import ClassName, class_of
from ..storage.tables import plain
from .id_table import LABEL, SEED, IdTable

NUMBERED = re.compile(rf"({LABEL}[\s_-]*)?\d+")
PROBABILITIES = (
    *("probability", "probabilities", "prob", "probs", "proba", "prediction", "predictions", "pred"),
    *("preds", "score", "scores", "p", "output", "y_pred", "y_prob", "y_proba", "y_score", "y_hat"),
    *("tumor_probability", "tumor_prob", "tumor_score", "p_tumor", "prob_tumor", "probability_tumor"),
)
INDEX = re.compile(r"(unnamed: ?\d+|index|)", re.IGNORECASE)  # of a table that pandas wrote
NEAR = 1e-2  # how far from 1 the classes of a softmax add up to that is rounded or of half precision
# Words beside a class in a column's name, as in prob_tumor and normal_score.
OF_PROBABILITIES = re.compile(
    rf"(?<![^\W_])({LABEL}|prob(ability)?|proba|p|score|pred(icted|iction)?)(?![^\W_])", re.IGNORECASE
)
SEEDS = re.compile(rf"{SEED}[\s_-]*(\d+|[a-z])?")
OPPOSITE = -0.5  # rank correlation; seeds of a model rank patches alike, classes in opposite orders
LEAST_RANKED = 20  # patches; ranks of fewer are opposite by chance


@dataclass(frozen=True)
class Chosen:
    """The columns with probabilities, and sentences on what was passed over."""

    columns: list[str]
    notes: list[str]


def choose(table: IdTable, *, from_file: bool) -> Chosen:
    """The columns of a table that are a model's probabilities.

    They are the columns named `seed`, `seed_0` and so on, otherwise `label` with the columns that are
    named by a number, otherwise the one of `PROBABILITIES` that there is, or the only column. Two
    columns that add up to 1 are two classes, of which the positive one is taken.

    Parameters
    ----------
    table
        The predictions.
    from_file
        Whether they are from a file, for messages.

    Raises
    ------
    InputError
        If there are none, or it is not clear which they are.
    """
    names = [str(name) for name in table.cells.columns if name != "id"]
    if twice := [name for name in names if name.rpartition(".")[0] in names and name[-1].isdigit()]:
        raise InputError(
            f"{table.name} have two columns named {twice[0].rpartition('.')[0]}; keep one."
        )
    labels = [name for name in names if name == LABEL] or [n for n in names if plain(n) == LABEL]
    seeds = [name for name in names if SEEDS.fullmatch(name.lower())]
    if labels and len(seeds) == 1 and plain(seeds[0]) == SEED:
        seeds = []  # it says of which seed the labels are
    numbered = [name for name in names if NUMBERED.fullmatch(name.lower())]
    if pair := classes_of(table, names):
        return pair
    columns = seeds or [name for name in names if name in labels or name in numbered]
    notes = []
    if not columns:
        columns = otherwise_named(names)
        if len(columns) != 1:
            raise InputError(missing(table, names, from_file=from_file))
        check_positive(table, columns[0])
        notes.append(f"The probabilities of {table.name} are those of column {columns[0]}.")
    over = [name for name in names if name not in columns and name.lower().startswith((LABEL, SEED))]
    if over:
        notes.append(
            f"{sentence(table.name)} have columns that are not used: {', '.join(over)}; the "
            f"probabilities are those of {', '.join(columns)}."
        )
    check_alike(table, columns)
    return Chosen(columns, notes)


def with_points(cells: pd.Series[str]) -> pd.Series[str]:
    """Cells with decimal commas, as spreadsheets write them in many countries, with points instead.

    Examples
    --------
    >>> with_points(pd.Series(["0,25", "1"])).tolist(), with_points(pd.Series(["0,25", "0.5"])).tolist()
    (['0.25', '1'], ['0,25', '0.5'])
    """
    if not cells.str.contains(",").any() or cells.str.contains(".", regex=False).any():
        return cells
    return cells.str.replace(",", ".")


def numbers_in(table: IdTable, name: str) -> np.ndarray:
    """The numbers in a column, NaN for other cells, (n,). Raises InputError for arrays in cells."""
    cells = with_points(table.cells[name]) if table.text else table.cells[name]
    if pd.api.types.is_complex_dtype(cells):
        raise InputError(f"{table.name}: column {name} holds complex numbers; give probabilities.")
    try:
        return np.asarray(pd.to_numeric(cells, errors="coerce"), np.float64)
    except TypeError:
        raise InputError(
            f"{table.name}: column {name} holds arrays; give a number in each row."
        ) from None


def check_alike(table: IdTable, columns: list[str]) -> None:
    """Raise InputError if columns rank patches in opposite orders, as those of two classes do."""
    if len(table.ids) < LEAST_RANKED:
        return
    ranks = [rankdata(numbers_in(table, name)) for name in columns]
    for k, other in combinations(range(len(columns)), 2):
        if min(ranks[k].std(), ranks[other].std()) > 0 and (
            np.corrcoef(ranks[k], ranks[other])[0, 1] < OPPOSITE
        ):
            raise InputError(
                f"the columns {columns[k]} and {columns[other]} of {table.name} rank patches in "
                "opposite orders, so they are classes and not seeds; keep the probability of tumor "
                f"alone, as a column {LABEL}."
            )


def classes_of(table: IdTable, names: list[str]) -> Chosen | None:
    """The positive one of columns that are the probabilities of classes; None if there are none.

    Raises InputError if it is not clear which is positive.
    """
    values = {name: numbers_in(table, name) for name in names}
    probable = [name for name in names if ((values[name] >= 0) & (values[name] <= 1)).all()]
    others = [name for name in probable if name != LABEL]
    numbered = [name for name in others if NUMBERED.fullmatch(name.lower())]
    for classes in (probable, others, numbered):
        total = sum((values[name] for name in classes), np.zeros(len(table.cells)))
        if len(classes) > 1 and np.abs(total - 1).max(initial=0) <= NEAR:
            break
    else:
        return None
    listed = ", ".join(classes)
    said = {name: class_named(name) for name in classes}
    if not all(said.values()):  # then 1 may be the first of 1 and 2
        said = {name: known for name, known in said.items() if known and not known.by_number}
    positive = [name for name, known in said.items() if known and known.label == 1]
    if len(classes) > 2 or len(positive) != 1 or any(n.lower().startswith(SEED) for n in classes):
        raise InputError(
            f"the columns {listed} of {table.name} add up to 1, so they are classes and not seeds; "
            f"keep the probability of tumor alone, as a column {LABEL}."
        )
    note = (
        f"The columns {listed} of {table.name} add up to 1, so they are classes: {positive[0]} is "
        "taken as the probability of tumor."
    )
    return Chosen(positive, [note])


def class_named(column: str) -> ClassName | None:
    """What the name of a column of probabilities says of their class.

    Examples
    --------
    >>> [class_named(name).label for name in ("prob_normal", "p(tumor)", "non_cancer_score")]
    [0, 1, 0]
    """
    return class_of(OF_PROBABILITIES.sub(" ", column).strip(" _"))


def check_positive(table: IdTable, column: str) -> None:
    """Raise InputError if a column is that of patches without tumor by its name."""
    known = class_named(column)
    if known is not None and known.label == 0 and not known.by_number:
        raise InputError(
            f"column {column} of {table.name} is the probability of no tumor by its name; give that of "
            f"tumor, 1 less it, as a column {LABEL}."
        )


def otherwise_named(names: list[str]) -> list[str]:
    """The columns that may be probabilities by other names than `label` and `seed`.

    Examples
    --------
    >>> otherwise_named(["Unnamed: 0", "slide", "y_true", "y_pred"])
    ['y_pred']
    >>> otherwise_named(["index", "TARGET"])
    ['TARGET']
    """
    others = [name for name in names if not INDEX.fullmatch(name)]
    known = [name for name in others if plain(name) in PROBABILITIES]
    return known or (others if len(others) == 1 else [])


def missing(table: IdTable, names: list[str], *, from_file: bool) -> str:
    """The message on a table without probabilities."""
    if names and not from_file:
        return (
            f"{table.name} have no column {LABEL} or {SEED}; give one column of the table, a "
            f"Series, such as table[{names[-1]!r}]."
        )
    return (
        f"{table.name} have no column {LABEL} or {SEED} with probabilities; there are: "
        f"{shown(['id', *names])}; keep the probability of tumor alone, as a column {LABEL}."
    )


def sentence(text: str) -> str:
    """A text with a capital letter."""
    return text[0].upper() + text[1:]


def check_not_truth(table: IdTable, column: str, values: np.ndarray, labels: np.ndarray) -> None:
    """Raise InputError if a column is the truth: one value for each class, (n,) like the labels."""
    of_class = [np.unique(values[labels == label]) for label in (0, 1)]
    if all(len(distinct) == 1 for distinct in of_class):
        raise InputError(
            f"column {column} of {table.name} equals the truth: it has one value for each class; "
            "give the probabilities of a model."
        )
