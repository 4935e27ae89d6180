"""Known answers: a few rows of features in a model, with what the model said of them when it was made.

A model's file is read by whatever version of its library is installed. XGBoost 3.0, for example, reads
the trees that 3.1 wrote without an error, but takes their base score for another. So each model keeps
some questions with their answers, asks itself again when it is opened, and is refused if it answers
otherwise. Only base models with a share are asked, since nothing else decides a prediction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..storage.fields import Fields
from ..storage.sums import FileSum
from ..store.values import Values, of_arrays
from ..words import counted
from .names import KNOWN_ANSWERS
from .safe_files import parse_array, write_array
from .stack import COMBINED, Stack

ROWS = 8  # evenly spaced among the training patches
MOST_ROWS = 64  # that a stranger's model may keep
TOLERANCE = 1e-3  # of log-odds and of the final probability; other processors differ by 1e-4
ASKED = ("xgboost", "numpy", "scipy")  # the libraries that take part in an answer
SAFE_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")  # what is repeated from a manifest


@dataclass(frozen=True)
class KnownAnswers:
    """What a model said of the rows of features that it keeps.

    Parameters
    ----------
    margins
        The log-odds by each base model with a share, (rows,) each.
    probabilities
        The final probability of tumor, (rows,).
    """

    margins: dict[str, tuple[float, ...]]
    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, logits: np.ndarray, stack: Stack, sharing: Iterable[str]) -> KnownAnswers:
        """The answers from the log-odds of all base models, (rows, models)."""
        margins = {name: tuple(logits[:, stack.models.index(name)].tolist()) for name in sharing}
        return cls(margins, tuple(stack.probability(logits).tolist()))

    @classmethod
    def from_fields(cls, known: Fields, sharing: Iterable[str]) -> KnownAnswers:
        """Raises ValueError unless there is an answer of each model and row."""
        margins = known.child("margins")
        answers = cls(
            {name: margins.series(name, MOST_ROWS) for name in sharing},
            known.series("probabilities", MOST_ROWS),
        )
        if set(margins) != set(answers.margins):
            raise ValueError("known_answers.margins names a model without a share")
        lengths = {len(series) for series in (*answers.margins.values(), answers.probabilities)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError("known_answers has not as many answers of each model")
        return answers

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        return {
            "margins": {name: list(series) for name, series in self.margins.items()},
            "probabilities": list(self.probabilities),
        }

    def apart(self, other: KnownAnswers) -> tuple[str, float]:
        """Which model differs most from `other`, and by how much: a base model, or `stack.COMBINED` if
        all base models are within TOLERANCE. The difference is infinite if a number is not finite.
        """
        each = {name: farthest(own, other.margins[name]) for name, own in self.margins.items()}
        worst = max(each, key=lambda name: each[name])
        if each[worst] > TOLERANCE:  # then the combination differs too, but is not the cause
            return worst, each[worst]
        return COMBINED, farthest(self.probabilities, other.probabilities)


def farthest(first: Sequence[float], second: Sequence[float]) -> float:
    """The largest difference of two series of numbers; infinite if a number is not finite."""
    apart = np.abs(np.subtract(first, second))
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")


def questions(values: Values, families: Sequence[str]) -> np.ndarray:
    """The rows of features that are asked about, float32 (rows, columns of `families`)."""
    count = min(ROWS, values.rows)
    return values.take(families, np.unique(np.linspace(0, values.rows - 1, count).astype(int)))


def as_values(rows: np.ndarray, widths: Mapping[str, int]) -> Values:
    """Rows of features as values of families, whose columns follow one another."""
    ends = np.cumsum(list(widths.values()))[:-1]
    parts = np.split(rows, ends, axis=1)
    return of_arrays(
        {name: np.ascontiguousarray(part) for name, part in zip(widths, parts, strict=True)}
    )


def write_questions(folder: Path, file: Path, rows: np.ndarray) -> FileSum:
    """Write the rows of features that are asked about to a file of a model; returns its sum."""
    return write_array(folder, file, rows.astype("<f4"))


def read_questions(content: bytes, count: int, widths: Mapping[str, int]) -> Values:
    """The rows in the content of what `write_questions` wrote.

    Raises ValueError if it does not hold `count` rows of these families.
    """
    rows = parse_array(content, "<f4")
    if rows.shape != (count, sum(widths.values())) or not np.isfinite(rows).all():
        raise ValueError(
            f"{KNOWN_ANSWERS} does not hold {count} rows of {sum(widths.values())} columns"
        )
    return as_values(rows, widths)


def check(
    path: Path,
    known: KnownAnswers,
    now: KnownAnswers,
    fitted_with: Mapping[str, str],
    installed: Callable[[str], str],
) -> None:
    """Refuse a model that does not answer as when it was made.

    Parameters
    ----------
    path
        The model's folder.
    known, now
        Its answers when it was made, and its answers here.
    fitted_with
        The versions of libraries in its manifest.
    installed
        Gives the version of a library that is installed.

    Raises
    ------
    InputError
        If an answer differs by more than TOLERANCE.
    """
    name, difference = known.apart(now)
    if difference <= TOLERANCE:
        return
    unit = "in probability" if name == COMBINED else "in log-odds"
    others = [
        f"{library} {fitted_with[library]} (here: {installed(library)})"
        for library in ASKED
        if SAFE_VERSION.fullmatch(fitted_with.get(library, ""))
        and fitted_with[library] != installed(library)
    ]
    cause = (
        f"it was fitted with {', '.join(others)}, so install that, or fit it anew"
        if others
        else "the libraries are those it was fitted with, so run pcam doctor, or fit it anew"
    )
    raise InputError(
        f"model {path} does not answer as when it was fitted: on the "
        f"{counted(len(known.probabilities), 'patch')} whose answers it keeps, {name} differs by up to "
        f"{difference:.3g} {unit} ({TOLERANCE:g} is allowed); {cause}."
    )
