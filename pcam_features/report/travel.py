"""How far columns move between laboratories, as the shift yardstick measured it.

`benchmarks/shift.py columns` writes the figures; docs/shift.md says how they were measured. They are of
PCam and of seven ways in which laboratories differ, so they are a hint for other data, and no proof.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..families.registry import FAMILIES

FILE = Path(__file__).with_name("travel.json")
STABLE, FRAGILE = 0.1, 0.25  # at most, and at least, how far such a column moves
UNITS = 1000  # the file has whole numbers of thousandths


@dataclass(frozen=True)
class Travel:
    """How far a column moves between laboratories, beside how well it tells tumor.

    Parameters
    ----------
    moved
        By how much the rank of a patch among training patches changes, on average over patches and
        shifts, as a share of the change between two patches drawn at random: 0 is no change.
    most
        The shift that moves the column most.
    auc
        The AUC of the column alone, 0.5 to 1.
    """

    moved: float
    most: str
    auc: float

    @property
    def grade(self) -> str:
        """Whether the column is "stable", "fragile", or "between" the two.

        Examples
        --------
        >>> Travel(0.3, "blur", 0.6).grade
        'fragile'
        """
        if self.moved <= STABLE:
            return "stable"
        return "fragile" if self.moved >= FRAGILE else "between"

    def sentence(self) -> str:
        """For the terminal.

        Examples
        --------
        >>> Travel(0.3, "blur", 0.6).sentence()
        'fragile: moves by 0.30 of 1, most by blur; AUC alone 0.600'
        """
        moves = f"moves by {self.moved:.2f} of 1, most by {self.most}"
        return f"{self.grade}: {moves}; AUC alone {self.auc:.3f}"


@cache
def known() -> dict[str, Travel]:
    """The figures of all columns whose family is still the one that was measured."""
    content = json.loads(FILE.read_text())
    figures = {}
    for name, record in content["families"].items():
        family = FAMILIES.get(name)
        columns = () if family is None else family.columns
        if family is None or record["version"] != family.version or len(record["auc"]) != len(columns):
            continue
        for column, moved, most, auc in zip(
            columns, record["moved"], record["most"], record["auc"], strict=True
        ):
            figures[column] = Travel(moved / UNITS, content["shifts"][most], auc / UNITS)
    return figures


def with_travel(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Descriptions of columns with their figures, as `pcam features --json` prints them.

    Parameters
    ----------
    rows
        What `families.describe.rows` returns.

    Returns
    -------
    list of dict
        With `between_laboratories`: `grade`, `moved`, `most` and `auc`; None for a column that was not
        measured.

    Examples
    --------
    >>> with_travel([{"column": "unheard-of"}])
    [{'column': 'unheard-of', 'between_laboratories': None}]
    """
    described = []
    for row in rows:
        figures = known().get(row["column"])
        place = None if figures is None else {"grade": figures.grade} | vars(figures)
        described.append(row | {"between_laboratories": place})
    return described
