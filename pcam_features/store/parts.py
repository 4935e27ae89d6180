"""Writing the parts of a store. Each part is either complete or absent.

The manifest has the sum of each part. While a store is filled, `Ledger` keeps the sums of what is
written, and writes them into the manifest from time to time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError, PcamError
from ..sources.source import Split
from ..storage import parquet
from ..storage.sums import FileSum, check_size, check_sum, read_verified, signature, write_bytes
from ..words import counted
from .layout import PART_ROWS, PATCH_SCHEMA, PATCHES, part_count, part_path, part_span
from .manifest import ADVICE, Stored, StoreManifest, write_manifest

CONTENT = b"pcam_content"  # in a part's metadata: what its patches were made from
SHARE = 0.01  # of the time of a run that may go into writing sums before it ends


@dataclass
class Verifier:
    """Finds out which parts of a store have their sums, and reads a part once as long as it stays.

    Several threads may use it.
    """

    _verified: dict[Path, tuple[FileSum, tuple[int, int, int] | None]] = field(default_factory=dict)

    def is_whole(self, file: Path, known: FileSum | None) -> bool:
        """Whether a file is there and has its sum; False for one without a sum."""
        if known is None:
            return False
        now = signature(file)
        if self._verified.get(file) == (known, now):
            return True
        try:
            check_sum(file, known)
        except (OSError, ValueError):
            return False
        self._verified[file] = (known, now)
        return True


class Record(Protocol):
    """Where the sums of parts that were written are noted."""

    @property
    def path(self) -> Path:
        """The store's folder."""
        ...

    def record(self, split: str, table: str, part: int, known: FileSum) -> None:
        """Note the sum of a part that is on the disk. Several threads may do so."""
        ...


@dataclass
class Ledger:
    """The manifest of a store that is being filled. Several threads may record what they wrote.

    Sums reach the disk from time to time, so that a run that is killed loses little, and a large
    manifest takes little of the time. Call `save` at the end, whether the run succeeds or fails.

    Parameters
    ----------
    path
        The store's folder.
    manifest
        The manifest as it stands.
    """

    path: Path
    manifest: StoreManifest
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: float = 0.0

    def record(self, split: str, table: str, part: int, known: FileSum) -> None:
        """Note the sum of a part that is on the disk."""
        with self._lock:
            self.manifest = self.manifest.with_sum(split, table, part, known)
            if time.monotonic() >= self._next:
                self._save()

    def computed_on(self, split: str, family: str, device: str) -> None:
        """Note the device that computed a part of a family."""
        with self._lock:
            record = self.manifest.splits[split].computed_on(family, device)
            self.manifest = self.manifest.with_split(split, record)

    def save(self) -> None:
        """Write the manifest."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        began = time.monotonic()
        write_manifest(self.path, self.manifest)
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE


def is_there(
    path: Path, known: FileSum | None, split: Split, family: Stored, part: int, verifier: Verifier
) -> bool:
    """Whether a part of a family is there. A part without its sum counts as missing.

    Raises
    ------
    InputError
        If a file of the source has another size than when the part was written.
    """
    file = part_path(path, split.name, family.name, part)
    start, stop = part_span(part, len(split))
    if not verifier.is_whole(file, known):
        return False
    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return False
    if (metadata.metadata or {}).get(CONTENT, b"").decode() != split.content(start, stop):
        raise InputError(
            f"feature store {path} was made from other files: in rows {start:,} to {stop:,} of split "
            f"{split.name!r}, a file has another size now; {ADVICE}"
        )
    return bool(metadata.num_rows == stop - start)


def has_size(file: Path, known: FileSum | None) -> bool:
    """Whether a file is there and has its listed size."""
    if known is None:
        return False
    try:
        check_size(file, known)
    except (OSError, ValueError):
        return False
    return True


def check_claims(
    path: Path, manifest: StoreManifest, splits: Iterable[str], names: Iterable[str]
) -> None:
    """Check, at the end of a run, that the files are there that the manifest is about to list.

    Raises
    ------
    PcamError
        If a file was removed or replaced in the meantime.
    """
    lost, tables = [], [PATCHES, *names]
    for split in splits:
        record = manifest.splits[split]
        for table in tables:
            for part in range(part_count(record.rows)):
                file = part_path(path, split, table, part)
                if not has_size(file, record.sum_of(table, part)):
                    lost.append(file)
    if lost:
        raise PcamError(
            f"feature store {path} lost {counted(len(lost), 'file')} while it was extracted, the first "
            f"{lost[0]}: another program removed or changed them; run pcam extract again."
        )


def write_patches(path: Path, known: FileSum | None, split: Split, part: int) -> FileSum:
    """Write a part's ids, labels and slides, unless the stored ones are the same; returns its sum.

    `known` is the sum of the stored part.
    """
    target = part_path(path, split.name, PATCHES, part)
    start, stop = part_span(part, len(split))
    labels = [None] * (stop - start) if split.labels is None else split.labels[start:stop].tolist()
    columns = [split.ids[start:stop], labels, split.slides[start:stop]]
    table = pa.table(dict(zip(PATCH_SCHEMA.names, columns, strict=True)), schema=PATCH_SCHEMA)
    if known is not None:
        try:
            stored = parquet.in_arrow(read_verified(target, known))
            if pq.read_table(stored).equals(table):
                return known
        except (OSError, ValueError, pa.ArrowException):
            pass  # missing or damaged: written below
    return _write(path, target, table)


def write_features(path: Path, split: Split, family: Stored, part: int, values: np.ndarray) -> FileSum:
    """Write a part of a family.

    Parameters
    ----------
    path, split, family, part
        The store's folder, and the part to write.
    values
        Features, float32 (rows, columns).

    Returns
    -------
    FileSum
        The sum of the part's file.

    Raises
    ------
    PcamError
        If a value is not finite.
    """
    if not np.isfinite(values).all():
        raise PcamError(
            f"{family.name} is NaN or infinite in split {split.name!r}, from row "
            f"{part * PART_ROWS:,} on, so this part is not written; run pcam doctor to check the "
            "installation."
        )
    start, stop = part_span(part, len(split))
    columns = {name: pa.array(values[:, k]) for k, name in enumerate(family.columns)}
    table = pa.table({"id": pa.array(split.ids[start:stop], pa.string())} | columns)
    table = table.replace_schema_metadata({CONTENT: split.content(start, stop)})
    return _write(path, part_path(path, split.name, family.name, part), table)


def _write(store: Path, file: Path, table: pa.Table) -> FileSum:
    sink = pa.BufferOutputStream()
    # Features hardly compress; plain columns are as small and a third faster to write. Other readers
    # than ours can verify the sums of pages.
    pq.write_table(table, sink, compression="zstd", use_dictionary=["id"], write_page_checksum=True)
    return write_bytes(file, memoryview(sink.getvalue()), store)
