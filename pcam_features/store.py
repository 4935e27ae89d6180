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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from . import __version__
from .constants import LARGEST_ROWS
from .errors import InputError, PcamError
from .families.catalog import may_be_stored
from .sources.source import Source, Split
from .storage import parquet
from .storage.files import LOCK, TEMPORARY, clear_folder, is_marked, read_json, whole_file, write_json

VERSION = 1
MANIFEST = "manifest.json"
KEY = "store_version"
PATCHES = "patches"  # the table of ids, labels and slides beside the families
PART_ROWS = 2048
PATCH_SCHEMA = pa.schema([("id", pa.string()), ("label", pa.int8()), ("slide", pa.string())])
CONTENT = b"pcam_content"  # in a part's metadata: what its patches were made from

MEANING = {
    "ids": "its ids, or their order,",
    "labels": "its labels",
    "slides": "its slides (--slides)",
}


class Stored(Protocol):
    """A family as the store sees it: hand-made, or an embedding."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    def described(self) -> dict[str, Any]: ...
    def computed_on(self, device: str) -> str: ...


def part_path(store: Path, split: str, table: str, part: int) -> Path:
    return store / split / table / f"part-{part:05d}.parquet"


def part_count(rows: int) -> int:
    return -(-rows // PART_ROWS)


def part_span(part: int, rows: int) -> tuple[int, int]:
    return part * PART_ROWS, min((part + 1) * PART_ROWS, rows)


def parts_of(rows: np.ndarray) -> np.ndarray:
    """The part that each row is in."""
    return rows // PART_ROWS


def new_manifest(source: Source) -> dict[str, Any]:
    return {
        KEY: VERSION,
        "pcam_version": __version__,
        "source": {"kind": source.kind, "path": source.path, "protocol": source.protocol},
        "dtype": "float32",
        "part_rows": PART_ROWS,
        "families": {},
        "splits": {},
    }


def check_ours(path: Path) -> None:
    """Raises InputError if `path` is anything but a feature store, an empty folder or nothing."""
    if path.exists() and not is_marked(path, MANIFEST, KEY):
        if not path.is_dir():
            raise InputError(f"{path} is a file, not a feature store; give another name.")
        if any(f.name != LOCK and not f.name.endswith(TEMPORARY) for f in path.iterdir()):
            raise InputError(
                f"{path} is not empty and not a feature store ({MANIFEST} does not say so), so it is "
                "left as it is; give another folder."
            )


def check_version(manifest: dict[str, Any], path: Path) -> None:
    if manifest.get(KEY) != VERSION or manifest.get("part_rows") != PART_ROWS:
        raise InputError(
            f"feature store {path} was written by another version of pcam "
            f"({manifest.get('pcam_version')}); extract it anew with --overwrite."
        )


def plan(
    path: Path, source: Source, splits: list[Split], families: Sequence[Stored], device: str
) -> dict[str, Any]:
    """The manifest of the store once `families` of `splits` are in it; nothing is written.

    Raises InputError, saying what changed, if a store at `path` holds other patches, or these
    families with other parameters.
    """
    check_ours(path)
    manifest = new_manifest(source)
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
    if manifest["source"]["kind"] != source.kind:
        raise InputError(
            f"feature store {path} holds features of a source of kind "
            f"{manifest['source']['kind']}, not {source.kind}; {_ANEW}"
        )
    for family in families:
        _plan_family(path, manifest, family)
    for split in splits:
        known = _plan_split(path, manifest, source, split)
        for family in families:
            made = known["families"].setdefault(family.name, {"devices": [], "complete": False})
            where = family.computed_on(device)
            if not made["complete"] and where not in made["devices"]:
                made["devices"].append(where)
    return manifest


def _plan_family(path: Path, manifest: dict[str, Any], family: Stored) -> None:
    now = family.described()
    if not may_be_stored(family.name, now):
        raise InputError(f"{family.name} cannot be a family's name in a store; rename the encoder.")
    known = manifest["families"].setdefault(family.name, now)
    if known != now:
        raise InputError(
            f"feature store {path} holds {family.name} with other parameters or of another "
            f"version ({differences(known, now)}); {_ANEW}"
        )


def _plan_split(path: Path, manifest: dict[str, Any], source: Source, split: Split) -> dict[str, Any]:
    """The split's entry. Slides may be given to patches whose slides were unknown: no feature
    depends on them."""
    now = split.fingerprint()
    entry = {
        "rows": len(split),
        "labeled": split.labels is not None,
        "fingerprint": now,
        "families": {},
    }
    known: dict[str, Any] = manifest["splits"].setdefault(split.name, entry)
    without = replace(split, slides=[None] * len(split))
    if known["fingerprint"] != now and known["fingerprint"] == without.fingerprint():
        known["fingerprint"] = now
    if known["rows"] != len(split):
        raise InputError(
            f"feature store {path} was made from another source than {source.path}: split "
            f"{split.name!r} has {len(split):,} patches, and had {known['rows']:,}: its ids "
            f"changed; {_ANEW}"
        )
    changed = [MEANING[name] for name in now if known["fingerprint"].get(name) != now[name]]
    if changed:
        raise InputError(
            f"feature store {path} does not go with {source.path}: in split {split.name!r}, "
            f"{' and '.join(changed)} changed; {_ANEW}"
        )
    return known


def differences(known: dict[str, Any], now: dict[str, Any]) -> str:
    """In what two descriptions of a family differ, for a message."""
    before, after = (
        one | {"columns": len(one["columns"]), "encoder": None} | one.get("encoder", {})
        for one in (known, now)
    )
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    each = [f"{key} {before.get(key)}, now {key} {after.get(key)}" for key in changed]
    return "; ".join(each) or "the names of its columns"


_ANEW = "give another folder, or --overwrite to extract anew."


def clear(path: Path) -> None:
    """Remove all that a store holds, the manifest first: what is left then never looks whole."""
    (path / MANIFEST).unlink(missing_ok=True)
    clear_folder(path, LOCK)


def is_there(path: Path, split: Split, family: Stored, part: int) -> bool:
    """Whether a part is whole; one that cannot be read counts as missing, and is made again.

    Raises InputError if it was made from files of other sizes than the source has now.
    """
    file = part_path(path, split.name, family.name, part)
    start, stop = part_span(part, len(split))
    if not file.exists():
        return False
    try:
        found = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return False
    if (found.metadata or {}).get(CONTENT, b"").decode() != split.content(start, stop):
        raise InputError(
            f"feature store {path} was made from other files: the size of one of rows {start:,} to "
            f"{stop:,} of split {split.name!r} changed; {_ANEW}"
        )
    return bool(found.num_rows == stop - start)


def write_patches(path: Path, split: Split, part: int) -> None:
    """Write a part's ids, labels and slides, if they are not there as they are now."""
    target = part_path(path, split.name, PATCHES, part)
    start, stop = part_span(part, len(split))
    labels = [None] * (stop - start) if split.labels is None else split.labels[start:stop].tolist()
    columns = [split.ids[start:stop], labels, split.slides[start:stop]]
    table = pa.table(dict(zip(PATCH_SCHEMA.names, columns, strict=True)), schema=PATCH_SCHEMA)
    try:
        if pq.read_table(target).equals(table):
            return
    except (OSError, pa.ArrowException):
        pass  # not there, or damaged: written below
    _write(target, table)


def write_features(path: Path, split: Split, family: Stored, part: int, values: np.ndarray) -> None:
    """Write a part of a family: float32 (rows, columns). Raises PcamError if they are not finite."""
    if not np.isfinite(values).all():
        raise PcamError(
            f"{family.name} is NaN or infinite in rows {part * PART_ROWS:,} and on of split "
            f"{split.name!r}; nothing of them is kept."
        )
    start, stop = part_span(part, len(split))
    columns = {name: pa.array(values[:, k]) for k, name in enumerate(family.columns)}
    table = pa.table({"id": pa.array(split.ids[start:stop], pa.string())} | columns)
    table = table.replace_schema_metadata({CONTENT: split.content(start, stop)})
    _write(part_path(path, split.name, family.name, part), table)


def _write(path: Path, table: pa.Table) -> None:
    with whole_file(path) as temporary:
        # Features hardly compress: plain columns are a third faster to write, and as large.
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"])


def mark_complete(path: Path, manifest: dict[str, Any], split: str, names: Iterable[str]) -> None:
    for name in names:
        manifest["splits"][split]["families"][name]["complete"] = True
    write_json(path / MANIFEST, manifest)


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


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises InputError if a store's manifest is damaged or of another version."""
    manifest = read_json(path / MANIFEST, "feature store manifest")
    if KEY not in manifest:
        raise InputError(f"{path} is not a feature store; put FEATURES and MODEL in the right order.")
    check_version(manifest, path)
    try:
        str(manifest["source"]["kind"]), str(manifest["source"]["path"])
        for name, family in manifest["families"].items():
            if not may_be_stored(name, family):  # names become paths: only those we know
                raise ValueError(f"unknown family {name!r}")
            int(family["version"])
            columns = family["columns"]
            if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
                raise ValueError(f"columns of {name}")
            if len({"id", *columns}) != 1 + len(columns):
                raise ValueError(f"a column of {name} is there twice")
        for name, split in manifest["splits"].items():
            safe = name not in ("", ".", "..") and not {"/", "\\"} & set(name) and name.isprintable()
            rows = split["rows"]
            if not safe or not isinstance(rows, int) or not 0 < rows < LARGEST_ROWS:
                raise ValueError(f"split {name!r}")
            str(split["fingerprint"]["ids"])
            for family, entry in split["families"].items():
                bool(entry["complete"]), manifest["families"][family]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"feature store manifest {path / MANIFEST} is damaged ({error}).") from None
    return manifest
