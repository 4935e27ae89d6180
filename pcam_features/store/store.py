"""The feature store: Parquet in, Parquet out; readable by pandas, polars or DuckDB on its own.

    manifest.json                       versions, source, families with their columns, splits
    <split>/patches/part-00000.parquet  id, label, slide
    <split>/<family>/part-00000.parquet id and float32 columns

Rows keep the source's order, and a part's files all have the same ids. A part is written under
a temporary name, flushed and renamed: a part that exists is whole. A family is finished in a
split once all its parts exist, which the manifest then says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError
from ..storage import parquet
from .layout import MANIFEST, PATCH_SCHEMA, PATCHES, part_count, part_path, part_span
from .manifest import read_manifest


@dataclass(frozen=True)
class Store:
    """A feature store to read from."""

    path: Path
    manifest: dict[str, Any]

    @property
    def splits(self) -> list[str]:
        return list(self.manifest["splits"])

    def families(self, split: str) -> list[str]:
        """The families that are finished in a split."""
        entries = self._split(split)["families"]
        return [name for name, entry in entries.items() if entry["complete"]]

    def _split(self, split: str) -> dict[str, Any]:
        if split not in self.manifest["splits"]:
            raise InputError(
                f"feature store {self.path} has no split {split!r}; it has: {', '.join(self.splits)}."
            )
        entry: dict[str, Any] = self.manifest["splits"][split]
        return entry

    def patches(self, split: str) -> pd.DataFrame:
        """A row a patch: id, label (float, NaN if there is none), slide (None if unknown)."""
        rows = self._split(split)["rows"]
        parts = [self._read(split, PATCHES, k, rows) for k in range(part_count(rows))]
        table = pa.concat_tables(parts)
        labels = np.array(table["label"].to_pylist(), np.float64)
        if not np.isin(labels[~np.isnan(labels)], (0, 1)).all():
            raise InputError(f"{self.path} holds labels other than 0 and 1; extract with --overwrite.")
        return pd.DataFrame(
            {
                "id": table["id"].to_pylist(),
                "label": labels,
                "slide": pd.Series(table["slide"].to_pylist(), dtype=object),
            }
        )

    def digest(self, split: str, families: Iterable[str]) -> str:
        """SHA-256 of the files of some families' values."""
        state = hashlib.sha256()
        for family in families:
            for part in range(part_count(self._split(split)["rows"])):
                with part_path(self.path, split, family, part).open("rb") as file:
                    state.update(hashlib.file_digest(file, "sha256").digest())
        return state.hexdigest()

    def check_finished(self, split: str, families: Iterable[str]) -> None:
        """Raises InputError unless the families are finished in a split."""
        finished = self.families(split)
        for family in families:
            if family not in finished:
                raise InputError(
                    f"feature store {self.path} has no finished {family} features in split {split!r} "
                    f"(finished: {', '.join(finished) or 'none'}); run pcam extract again, and let it "
                    "end."
                )

    def features(self, split: str, family: str) -> np.ndarray:
        """A family's values, float32 (rows, columns), in the manifest's order of columns.

        Raises InputError if the family is not finished, or its parts are not what they should be.
        """
        self.check_finished(split, [family])
        entry = self._split(split)
        columns = self.manifest["families"][family]["columns"]
        values = np.empty((entry["rows"], len(columns)), np.float32)
        for part in range(part_count(entry["rows"])):
            values[slice(*part_span(part, entry["rows"]))] = self.part(split, family, part)
        return values

    def part(self, split: str, family: str, part: int) -> np.ndarray:
        """A part of a family's values, float32 (rows, columns). Raises InputError as `features`."""
        rows = self._split(split)["rows"]
        path = part_path(self.path, split, family, part)
        if not path.is_file():
            raise InputError(f"a part of {family} in {self.path} is missing; run pcam extract again.")
        table = self._read(split, family, part, rows)
        if not table["id"].equals(self._read(split, PATCHES, part, rows)["id"]):
            raise InputError(f"{path} does not belong to its store; extract with --overwrite.")
        columns = self.manifest["families"][family]["columns"]
        values = np.empty((table.num_rows, len(columns)), np.float32)
        for k, name in enumerate(columns):
            values[:, k] = table[name].to_numpy()
        if not np.isfinite(values).all():
            raise InputError(
                f"{family} features of {self.path} hold NaN or infinity; extract with --overwrite."
            )
        return values

    def _schema(self, table: str) -> pa.Schema:
        """A part's columns, looked at before any is read: a list of lists would take all memory."""
        if table == PATCHES:
            return PATCH_SCHEMA
        columns = self.manifest["families"][table]["columns"]
        return pa.schema([("id", pa.string()), *((name, pa.float32()) for name in columns)])

    def _read(self, split: str, table: str, part: int, rows: int) -> pa.Table:
        path = part_path(self.path, split, table, part)
        start, stop = part_span(part, rows)
        try:
            wanted = self._schema(table)
            found, schema = parquet.open_file(path)
            if found.metadata.num_rows != stop - start or schema.remove_metadata() != wanted:
                raise InputError(
                    f"{path} has not the rows and columns it should; extract with --overwrite."
                )
            return parquet.read(found)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} cannot be read: {reason}; run pcam extract again.") from None


def open_store(path: Path) -> Store:
    """Raises InputError if there is no feature store at `path`, or one of another version."""
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path} is not a feature store (no {MANIFEST}); make one with pcam extract.")
    return Store(path, read_manifest(path))
