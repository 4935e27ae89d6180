"""The patches that a network was trained on, whose embeddings tell their labels.

A network that has learned the label of a patch embeds it better than any other patch. A model that is
fitted on such embeddings trusts them too much, and its scores are too optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..sources.source import Split
from ..storage.fields import Fields
from ..words import counted, form
from .names import COPIES, SEPARATOR


@dataclass(frozen=True)
class SeenPatches:
    """How many patches of a split a network has seen in its training.

    Parameters
    ----------
    learned
        Those whose labels it learned from.
    held_out
        Those of its held-out fold, by which the best epoch was chosen.
    """

    learned: int
    held_out: int

    @classmethod
    def from_fields(cls, known: Fields, rows: int) -> SeenPatches:
        """Raises ValueError if a number is missing or out of range."""
        learned = known.whole("learned", most=rows)
        return cls(learned, known.whole("held_out", most=rows - learned))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a store's manifest."""
        return {"learned": self.learned, "held_out": self.held_out}


@dataclass(frozen=True, repr=False)
class TrainedOn:
    """The patches that a network was trained on, by their ids.

    Parameters
    ----------
    learned
        Those whose labels it learned from.
    held_out
        Those of its held-out fold.
    """

    learned: frozenset[str]
    held_out: frozenset[str]

    def among(self, split: Split) -> SeenPatches:
        """How many patches of a split the network has seen. A changed copy counts as its patch."""
        ids = split.ids
        if split.name.endswith(COPIES):
            ids = [name.rpartition(SEPARATOR)[0] for name in ids]
        return SeenPatches(
            sum(name in self.learned for name in ids), sum(name in self.held_out for name in ids)
        )

    def rows_unseen(self, split: Split) -> list[int]:
        """The rows of a split from which the network has not learned."""
        return [row for row, name in enumerate(split.ids) if name not in self.learned]

    def unseen(self, split: Split) -> Split:
        """The same split without the patches that the network learned from."""
        return split.taking(self.rows_unseen(split))


def check_unlearned(family: str, seen: SeenPatches, split: str, rows: int) -> None:
    """Raise InputError if the network of a family has learned from patches that are to be fitted on."""
    if seen.learned:
        raise InputError(
            f"the network of {family} {learned(seen, split, rows)}, so its embeddings tell them; "
            "extract the other patches alone into another store with pcam extract --unseen, or leave "
            "these embeddings out with --families and combine the network's out-of-fold predictions "
            "with fit --with."
        )


def learned(seen: SeenPatches, split: str, rows: int) -> str:
    """What a network has learned of a split, after the name of the network."""
    return f"learned the labels of {seen.learned:,} of the {counted(rows, 'patch')} of split {split!r}"


def optimism(family: str, seen: SeenPatches, split: str) -> str:
    """That the best epoch of a family's network was chosen on patches of a split, in a sentence."""
    return (
        f"{counted(seen.held_out, 'patch')} of split {split!r} chose the best epoch of the network of "
        f"{family}; scores on {form(seen.held_out, 'it', 'them')} are slightly optimistic"
    )
