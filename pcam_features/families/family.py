"""What a family of features is."""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.lanes import Kernel


@dataclass(frozen=True)
class Family:
    """Columns that are computed together, from the planes of one patch.

    `columns` are named `family__feature__parameters`. `version` goes up whenever a column's
    value changes for the same patch: stored features of another version are never mixed in.
    """

    version: int
    columns: tuple[str, ...]
    kernel: Kernel

    @property
    def name(self) -> str:
        return self.kernel.name
