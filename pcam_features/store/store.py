"""The feature store: a folder of Parquet files that pandas, polars or DuckDB read without pcam.

    manifest.json                       versions, source, families with their columns, splits
    <split>/patches/part-00000.parquet  id, label, slide
    <split>/<family>/part-00000.parquet id and float32 columns
    <split>/thumbnail/…                 the same of gray thumbnails, by which copies are found

`Store.frame` gives one row per patch. A library that reads a whole split as one table stacks its
families as further rows, so read one family at a time, and join by `id`.

Rows keep the source's order, and all files of a part have the same ids. A part is written under a
temporary name, flushed and renamed. The manifest lists the sum of each part, and a part is read only if
it has this sum. Once all parts of a family exist in a split, the manifest marks it as complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError, PcamError
from ..geometry import THUMBNAIL_SIDE
from ..sources.fitting import Fit
from ..storage import parquet
from ..storage.links import check_read
from ..storage.sums import blake2b, read_verified
from ..storage.urls import is_file, is_url
from ..words import message_of
from .layout import (
    LARGEST_PART,
    MANIFEST,
    PATCH_SCHEMA,
    PATCHES,
    part_count,
    part_path,
    part_span,
)
from .manifest import SplitRecord, StoreManifest, read_manifest
from .names import COPIES, THUMBNAIL


@dataclass(frozen=True)
class Store:
    """A feature store to read from.

    Parameters
    ----------
    path
        The folder.
    manifest
        What the store contains.
    """

    path: Path
    manifest: StoreManifest

    @property
    def splits(self) -> list[str]:
        """The names of the splits, without those that hold changed copies of another's patches."""
        return [name for name in self.manifest.splits if not name.endswith(COPIES)]

    def families(self, split: str) -> list[str]:
        """The names of the families of features that are complete in a split."""
        states = self.split(split).families
        return [name for name, state in states.items() if state.complete and name != THUMBNAIL]

    def split(self, name: str) -> SplitRecord:
        """What the manifest says of a split.

        Raises
        ------
        InputError
            If the store has no such split.
        """
        if name not in self.manifest.splits:
            raise InputError(
                f"feature store {self.path} has no split {name!r}; it has: {', '.join(self.splits)}."
            )
        return self.manifest.splits[name]

    def frame(self, split: str, families: str | Sequence[str] | None = None) -> pd.DataFrame:
        """The patches of a split with their features.

        Parameters
        ----------
        split
            The split.
        families
            The families to read, in this order, comma-separated or in a list; None for all that are
            complete.

        Returns
        -------
        pandas.DataFrame
            A row per patch, indexed by `id`: `label` (0 or 1, NaN if unknown), `slide` (None if
            unknown), then the features, float32.

        Raises
        ------
        InputError
            If the store has no such split, or a family is not complete in it.
        """
        names = self.families(split) if families is None else names_in(families)
        self.check_finished(split, names)
        patches = self.patches(split).set_index("id")
        columns = [column for name in names for column in self.manifest.families[name].columns]
        values = np.empty((len(patches), len(columns)), np.float32)
        start = 0
        for name in names:
            width = len(self.manifest.families[name].columns)
            values[:, start : start + width] = self.features(split, name)
            start += width
        return pd.concat([patches, pd.DataFrame(values, index=patches.index, columns=columns)], axis=1)

    def __repr__(self) -> str:
        """One line per split: its patches, and its families with their numbers of columns."""
        lines = [
            f"{name}: {rows} {'patch' if rows == '1' else 'patches'}; {families}"
            for name, rows, families in self._summary()
        ]
        return "\n".join([f"feature store {self.path}", *lines])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        head = "<tr><th>split</th><th>patches</th><th>families (columns)</th></tr>"
        rows = [
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._summary()
        ]
        fit = self.manifest.source.fit
        sizes = "" if fit is None else f"; {escape(Fit.from_dict(fit).sentence())}"
        caption = f"<caption>feature store {escape(str(self.path))}{sizes}</caption>"
        return f"<table>{caption}<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"

    def _summary(self) -> list[tuple[str, str, str]]:
        """Of each split its name, its number of patches, and its families with their columns."""
        return [
            (
                name,
                f"{record.rows:,}",
                ", ".join(
                    f"{family} ({len(self.manifest.families[family].columns):,})"
                    + ("" if state.complete else " incomplete")
                    for family, state in record.families.items()
                    if family != THUMBNAIL
                ),
            )
            for name, record in self.manifest.splits.items()
        ]

    def patches(self, split: str) -> pd.DataFrame:
        """A row per patch: `id`, `label` (float, NaN if unknown), `slide` (None if unknown).

        Raises
        ------
        InputError
            If the store has no such split, or a part is missing or damaged.
        """
        rows = self.split(split).rows
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
        """A digest of the files that hold some families' values, from their sums; no file is read."""
        sums = self.split(split).sums(families)
        return blake2b("\n".join(map(str, sums)).encode()).hexdigest()

    def check_unchanged(self, split: str, families: Iterable[str]) -> None:
        """Check that the store on the disk still holds what it held when it was opened.

        Call this after long work, because each part is read when it is needed.

        Raises
        ------
        PcamError
            If the patches of the split, or these families of them, were replaced or removed.
        """
        if not self._is_unchanged(split, families):
            raise PcamError(
                f"feature store {self.path} was changed by another program while it was read; run this "
                "command again when the other has finished."
            )

    def _is_unchanged(self, split: str, families: Iterable[str]) -> bool:
        tables = [PATCHES, *families]
        known = self.split(split)
        try:
            now = read_manifest(self.path).splits.get(split)
        except InputError:
            return False
        return now is not None and now.sums(tables) == known.sums(tables)

    def check_finished(self, split: str, families: Iterable[str]) -> None:
        """Raise InputError unless the families are complete in a split."""
        finished = self.families(split)
        for family in families:
            if family not in finished:
                raise InputError(
                    f"feature store {self.path} has no finished {family} features in split {split!r} "
                    f"(finished: {', '.join(finished) or 'none'}); run pcam extract again to finish "
                    "them."
                )

    def features(self, split: str, family: str) -> np.ndarray:
        """A family's values, float32 (rows, columns), in the manifest's order of columns.

        Raises
        ------
        InputError
            If the family is not complete, or a part is missing or damaged.
        """
        self.check_finished(split, [family])
        rows = self.split(split).rows
        values = np.empty((rows, len(self.manifest.families[family].columns)), np.float32)
        for part in range(part_count(rows)):
            values[slice(*part_span(part, rows))] = self.part(split, family, part)
        return values

    def thumbnails(self, split: str) -> np.ndarray | None:
        """The gray thumbnails of a split's patches, uint8 (rows, 8, 8); None if there are none.

        Stores of older versions have none.

        Raises
        ------
        InputError
            If a part is missing or damaged.
        """
        record, cells = self.split(split), THUMBNAIL_SIDE**2
        state = record.families.get(THUMBNAIL)
        if state is None or not state.complete:
            return None
        if len(self.manifest.families[THUMBNAIL].columns) != cells:
            return None
        parts = [self.part(split, THUMBNAIL, k) for k in range(part_count(record.rows))]
        levels = np.clip(np.concatenate(parts), 0, 255)
        return np.array(levels.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)

    def part(self, split: str, family: str, part: int) -> np.ndarray:
        """A part of a family's values, float32 (rows, columns). Raises InputError as `features`."""
        rows = self.split(split).rows
        path = part_path(self.path, split, family, part)
        table = self._read(split, family, part, rows)
        if not table["id"].equals(self._read(split, PATCHES, part, rows)["id"]):
            raise InputError(f"{path} does not belong to its store; extract with --overwrite.")
        columns = self.manifest.families[family].columns
        values = np.empty((table.num_rows, len(columns)), np.float32)
        for k, name in enumerate(columns):
            values[:, k] = table[name].to_numpy()
        if not np.isfinite(values).all():
            raise InputError(
                f"{family} features of {self.path} hold NaN or infinity; extract with --overwrite."
            )
        return values

    def _schema(self, table: str) -> pa.Schema:
        """The columns that a part must have. They are checked before any column is read, because the
        columns of a hostile file could take all memory."""
        if table == PATCHES:
            return PATCH_SCHEMA
        columns = self.manifest.families[table].columns
        return pa.schema([("id", pa.string()), *((name, pa.float32()) for name in columns)])

    def _content(self, split: str, table: str, part: int) -> bytes:
        """The content of a part, which has the sum that the manifest lists."""
        path, known = part_path(self.path, split, table, part), self.split(split).sum_of(table, part)
        if known is None:
            raise InputError(f"a part of {table} in {self.path} is missing; run pcam extract again.")
        if known.size > LARGEST_PART:
            raise InputError(f"{path} is too large to be a part; extract with --overwrite.")
        try:
            return read_verified(path, known)
        except ValueError as error:
            # Another run that replaces a part tells a change from damage.
            self.check_unchanged(split, [table])
            raise InputError(
                f"{path} is damaged ({error}); run pcam extract again, which measures its patches anew."
            ) from None

    def _read(self, split: str, table: str, part: int, rows: int) -> pa.Table:
        path = part_path(self.path, split, table, part)
        start, stop = part_span(part, rows)
        try:
            wanted = self._schema(table)
            file, schema = parquet.open_file(self._content(split, table, part))
            if file.metadata.num_rows != stop - start or schema.remove_metadata() != wanted:
                raise InputError(
                    f"{path} does not have the expected rows and columns; extract with --overwrite."
                )
            return parquet.read(file, rows=stop - start)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = message_of(error)
            raise InputError(f"{path} cannot be read: {reason}; run pcam extract again.") from None


def names_in(families: Any) -> list[str]:
    """Names in a comma-separated text or a list. Raises InputError for anything else."""
    if isinstance(families, str):
        return [name.strip() for name in families.split(",") if name.strip()]
    if not isinstance(families, Iterable):
        raise InputError(f"families= is {families!r}; give names, comma-separated or in a list.")
    return [str(name) for name in families]


def open_store(path: Path) -> Store:
    """Open a feature store to read from.

    Parameters
    ----------
    path
        The folder that `pcam extract` made.

    Raises
    ------
    InputError
        If there is no feature store at `path`, a link leads out of it, or it is damaged or of another
        version.
    """
    if not is_file(path / MANIFEST):
        raise InputError(f"{path} is not a feature store (no {MANIFEST}); make one with pcam extract.")
    if not is_url(path):  # where there are no links
        check_read(path)
    return Store(path, read_manifest(path))
