"""The manifest of a store: what the store contains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ..constants import LARGEST_ROWS, Kind
from ..errors import InputError
from ..sources.fitting import LARGEST_SIDE, Fit
from ..sources.reading import recorded
from ..sources.source import Source, Split
from ..storage.fields import Fields
from ..storage.files import read_json
from ..storage.sums import FileSum, check_seal, write_sealed
from ..words import one_line, quoted
from .layout import MANIFEST, PART_ROWS, PATCHES, part_count
from .names import may_be_stored
from .trained_on import SeenPatches, TrainedOn

VERSION = 2  # 1 had no sums of its files
KEY = "store_version"
DTYPE = "float32"
LEARNED_FROM = "learned_from"  # the fact that only networks of `pcam deep fit` have
ADVICE = "give another folder, or use --overwrite to extract again."


class Stored(Protocol):
    """A family that can be stored: handcrafted features or an embedding."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def trained_on(self) -> TrainedOn | None: ...
    def describe(self) -> dict[str, Any]: ...
    def computed_on(self, device: str) -> str: ...


@dataclass(frozen=True)
class SourceRecord:
    """The source that a store's patches come from.

    Parameters
    ----------
    kind
        The layout, one of `constants.Kind`.
    path
        Where the source was opened; with escapes where a path has ends of lines or is not UTF-8.
    protocol
        A sentence on how the data set may be used.
    fit
        How patches of another size were brought to 96×96 pixels; None if they had that size.
    reading
        The options on what of it was read; None if everything was. See `sources.reading`.
    """

    kind: str
    path: str
    protocol: str
    fit: dict[str, Any] | None = None
    reading: dict[str, Any] | None = None

    @classmethod
    def of(cls, source: Source) -> SourceRecord:
        """The record of an open source."""
        fit = getattr(source, "fit", None)
        size = None if fit is None else fit.to_dict()
        path, protocol = one_line(source.path), one_line(source.protocol)
        return cls(source.kind, path, protocol, size, source.reading.given() or None)

    @classmethod
    def from_fields(cls, known: Fields) -> SourceRecord:
        """Raises ValueError if a field is missing or wrong."""
        kind = known.text("kind")
        if kind not in tuple(Kind):
            raise ValueError(f"there is no layout {quoted(kind)}")
        fit, reading = known.optional("fit"), known.optional("reading")
        try:
            return cls(
                kind,
                known.text("path"),
                known.text("protocol"),
                None if fit is None else Fit.from_dict(fit.content).to_dict(),
                None if reading is None else recorded(reading.content).given() or None,
            )
        except InputError as error:  # of the options, whose values may come from a command as well
            raise ValueError(str(error).rstrip(".")) from None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        plain = {"kind": self.kind, "path": self.path, "protocol": self.protocol}
        reading = {  # as it is read again: JSON has lists alone
            name: list(value) if isinstance(value, tuple) else value
            for name, value in (self.reading or {}).items()
        }
        more = {"fit": self.fit, "reading": reading or None}
        return plain | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True)
class FamilyRecord:
    """A family of features. Values may be used together only if these entries are equal.

    Parameters
    ----------
    version
        The version of the family's definition.
    columns
        The names of its columns, in order.
    encoder
        For an embedding, everything that determines its values; None for handcrafted features.
    table
        Whether the values were read from a table of embeddings that somebody else made. Which one it
        was is recorded for each split, where other families have their devices.
    """

    version: int
    columns: tuple[str, ...]
    encoder: dict[str, Any] | None = None
    table: bool = False

    @property
    def is_embedding(self) -> bool:
        """Whether a network computes the family, here or elsewhere."""
        return self.encoder is not None or self.table

    @property
    def is_trained(self) -> bool:
        """Whether the network was trained on patches with labels, by `pcam deep fit`."""
        return self.encoder is not None and LEARNED_FROM in self.encoder

    @classmethod
    def of(cls, family: Stored) -> FamilyRecord:
        """The record of a family that can be computed."""
        return cls.from_fields(family.name, Fields(family.describe(), family.name))

    @classmethod
    def from_fields(cls, name: str, known: Fields) -> FamilyRecord:
        """Raises ValueError if `name` may not be stored, or a field is missing or wrong."""
        if not may_be_stored(name, known.content):  # names become paths, so only safe ones are accepted
            raise ValueError(f"unknown family {quoted(name)}")
        columns = known.texts("columns")
        if not columns or len({"id", *columns}) != 1 + len(columns):
            raise ValueError(f"{name} has no columns, or one is listed twice")
        encoder = known.optional("encoder")
        facts = None if encoder is None else facts_from(encoder)
        if "table" in known and (not known.flag("table") or encoder is not None):
            raise ValueError(f"{name} is not clearly a table")
        return cls(known.whole("version"), columns, facts, "table" in known)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        plain: dict[str, Any] = {"version": self.version, "columns": list(self.columns)}
        if self.table:
            plain["table"] = True
        return plain if self.encoder is None else plain | {"encoder": self.encoder}

    def differences(self, other: FamilyRecord) -> str:
        """The differences of two records of a family, for an error message."""
        before, after = self._facts(), other._facts()
        changed = [key for key in before | after if before.get(key) != after.get(key)]
        each = [f"{key} {before.get(key)}, now {key} {after.get(key)}" for key in changed]
        return "; ".join(each) or "the names of its columns"

    def _facts(self) -> dict[str, Any]:
        table = {"table": True} if self.table else {}
        return {"version": self.version, "columns": len(self.columns)} | table | (self.encoder or {})


def facts_from(known: Fields) -> dict[str, Any]:
    """What determines an embedding's values; see `encoders.options.EncoderFacts`.

    Raises ValueError if a fact is missing, or is anything but a text, a number, true or false, or a
    list of texts or of numbers.
    """
    for name in ("network", "weights_sha256", "precision", "runtime"):
        known.text(name)
    known.whole("size", least=1, most=LARGEST_SIDE)
    known.whole("views", least=1, most=8)
    for name in ("depths", "pools"):
        if name in known:
            known.texts(name)
    for name, value in known.content.items():
        for part in value if isinstance(value, list) else [value]:
            fact = Fields({name: part}, known.name)
            if isinstance(part, str):
                fact.text(name)
            elif not isinstance(part, bool):
                fact.number(name)
    return dict(known.content)


@dataclass(frozen=True)
class Fingerprint:
    """Digests of what must stay the same for stored features to stay valid."""

    ids: str
    labels: str
    slides: str

    @classmethod
    def of(cls, split: Split) -> Fingerprint:
        """The fingerprint of a split of an open source."""
        return cls(**split.fingerprint())

    @classmethod
    def from_fields(cls, known: Fields) -> Fingerprint:
        """Raises ValueError if a field is missing or wrong."""
        return cls(known.text("ids"), known.text("labels"), known.text("slides"))

    def to_dict(self) -> dict[str, str]:
        """The JSON object of the manifest."""
        return asdict(self)


Sums = tuple[FileSum | None, ...]  # of the parts of a table; None for a part that is not written yet


def sums_from(known: Fields, key: str, rows: int) -> Sums:
    """The sums of the parts of a table. Raises ValueError if they are more than a split's, or wrong."""
    texts = known.texts_or_none(key, part_count(rows))
    try:
        return tuple(None if text is None else FileSum.parse(text) for text in texts)
    except ValueError as error:
        raise ValueError(f"in {key}, {error}") from None


def sums_to_list(sums: Sums) -> list[str | None]:
    """The JSON list of the manifest."""
    return [None if known is None else str(known) for known in sums]


def with_sum(sums: Sums, part: int, known: FileSum | None) -> Sums:
    """The sums of a table with that of one part replaced."""
    long = sums + (None,) * (part + 1 - len(sums))
    return (*long[:part], known, *long[part + 1 :])


@dataclass(frozen=True)
class FamilyState:
    """The progress of a family in a split.

    Parameters
    ----------
    devices
        The devices that computed its features.
    complete
        Whether all parts are written.
    parts
        The sum of each part.
    seen
        For a network of `pcam deep fit`, how many of the patches it has seen in its training.
    """

    devices: tuple[str, ...] = ()
    complete: bool = False
    parts: Sums = ()
    seen: SeenPatches | None = None

    @classmethod
    def from_fields(cls, known: Fields, rows: int) -> FamilyState:
        """Raises ValueError if a field is missing or wrong, or a complete family lacks a part."""
        parts, complete = sums_from(known, "parts", rows), known.flag("complete")
        if complete and (len(parts) < part_count(rows) or None in parts):
            raise ValueError(f"{known.name}.complete is true without the sums of all parts")
        seen = known.optional("seen")
        return cls(
            known.texts("devices"),
            complete,
            parts,
            None if seen is None else SeenPatches.from_fields(seen, rows),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        plain = {
            "devices": list(self.devices),
            "complete": self.complete,
            "parts": sums_to_list(self.parts),
        }
        return plain if self.seen is None else plain | {"seen": self.seen.to_dict()}


@dataclass(frozen=True)
class SplitRecord:
    """A split.

    Parameters
    ----------
    rows
        Number of patches.
    labeled
        Whether they have labels.
    fingerprint
        Digests of the patches.
    families
        The families, complete or begun.
    patches
        The sum of each part of the table of ids, labels and slides.
    """

    rows: int
    labeled: bool
    fingerprint: Fingerprint
    families: dict[str, FamilyState]
    patches: Sums = ()

    @classmethod
    def of(cls, split: Split) -> SplitRecord:
        """The record of a split of an open source, without families."""
        return cls(len(split), split.labels is not None, Fingerprint.of(split), {})

    @classmethod
    def from_fields(cls, name: str, known: Fields) -> SplitRecord:
        """Raises ValueError if `name` is not safe as a folder, or a field is missing or wrong."""
        if name in ("", ".", "..") or {"/", "\\"} & set(name) or not name.isprintable():
            raise ValueError(f"split {quoted(name)} cannot be a folder")
        rows = known.whole("rows", least=1, most=LARGEST_ROWS - 1)
        families = {
            family: FamilyState.from_fields(state, rows)
            for family, state in known.children("families").items()
        }
        fingerprint = Fingerprint.from_fields(known.child("fingerprint"))
        patches = sums_from(known, PATCHES, rows)
        return cls(rows, known.flag("labeled"), fingerprint, families, patches)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the manifest."""
        return {
            "rows": self.rows,
            "labeled": self.labeled,
            "fingerprint": self.fingerprint.to_dict(),
            PATCHES: sums_to_list(self.patches),
            "families": {name: state.to_dict() for name, state in self.families.items()},
        }

    def sum_of(self, table: str, part: int) -> FileSum | None:
        """The sum of a part of a family, or of the table PATCHES; None if it is not written."""
        sums = self.patches if table == PATCHES else self.families.get(table, FamilyState()).parts
        return sums[part] if part < len(sums) else None

    def sums(self, tables: Iterable[str]) -> tuple[FileSum | None, ...]:
        """The sums of all parts of some tables."""
        return tuple(
            self.sum_of(table, part) for table in tables for part in range(part_count(self.rows))
        )

    def with_sum(self, table: str, part: int, known: FileSum | None) -> SplitRecord:
        """The record with the sum of a part that was written, or None for one that is to be.

        A family that lacks a part is not complete.
        """
        if table == PATCHES:
            return replace(self, patches=with_sum(self.patches, part, known))
        state = self.families.get(table, FamilyState())
        complete = state.complete and known is not None
        state = replace(state, complete=complete, parts=with_sum(state.parts, part, known))
        return replace(self, families=self.families | {table: state})

    def computed_on(self, family: str, device: str | None) -> SplitRecord:
        """The record with `device` added to a family that is not complete yet.

        With None, the device is not known yet, and only the family is added.
        """
        state = self.families.get(family, FamilyState())
        if device is not None and not state.complete and device not in state.devices:
            state = replace(state, devices=(*state.devices, device))
        return replace(self, families=self.families | {family: state})

    def seen_by(self, family: str, seen: SeenPatches) -> SplitRecord:
        """The record with how many patches the network of a family has seen in its training."""
        return replace(
            self, families=self.families | {family: replace(self.families[family], seen=seen)}
        )


@dataclass(frozen=True)
class StoreManifest:
    """What a feature store contains.

    Parameters
    ----------
    pcam_version
        The version of pcam that made the store.
    source
        Where the patches come from.
    families
        The families of all splits, by name.
    splits
        The splits by name.
    """

    pcam_version: str
    source: SourceRecord
    families: dict[str, FamilyRecord]
    splits: dict[str, SplitRecord]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path) -> StoreManifest:
        """Read and validate a manifest.

        Parameters
        ----------
        content
            The parsed JSON object.
        path
            The store's folder, for error messages.

        Raises
        ------
        InputError
            If the manifest is damaged, not a store's, or of another version.
        """
        if KEY not in content:
            raise InputError(
                f"{path} is not a feature store; check the order of the arguments FEATURES and MODEL."
            )
        if content[KEY] != VERSION or content.get("part_rows") != PART_ROWS:
            raise InputError(
                f"feature store {path} was written by another version of pcam, whose stores have other "
                "parts or no sums of them; extract again with --overwrite."
            )
        try:
            check_seal(content)
            return cls._from_fields(Fields(content))
        except ValueError as error:
            raise InputError(
                f"feature store manifest {path / MANIFEST} is damaged ({error}); "
                "extract again with --overwrite."
            ) from None

    @classmethod
    def _from_fields(cls, known: Fields) -> StoreManifest:
        families = {
            name: FamilyRecord.from_fields(name, one)
            for name, one in known.children("families").items()
        }
        splits = {
            name: SplitRecord.from_fields(name, one) for name, one in known.children("splits").items()
        }
        unknown = {family for split in splits.values() for family in split.families} - set(families)
        if unknown:
            raise ValueError(f"a split has the unknown family {quoted(min(unknown))}")
        for split in splits.values():
            for name, state in split.families.items():
                if families[name].is_trained != (state.seen is not None):
                    raise ValueError(f"what the network of {name} has seen is not clear")
        source = SourceRecord.from_fields(known.child("source"))
        return cls(known.text("pcam_version"), source, families, splits)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads."""
        return {
            KEY: VERSION,
            "pcam_version": self.pcam_version,
            "source": self.source.to_dict(),
            "dtype": DTYPE,
            "part_rows": PART_ROWS,
            "families": {name: record.to_dict() for name, record in self.families.items()},
            "splits": {name: record.to_dict() for name, record in self.splits.items()},
        }

    def with_split(self, name: str, record: SplitRecord) -> StoreManifest:
        """The manifest with a split added or replaced."""
        return replace(self, splits=self.splits | {name: record})

    def with_sum(self, split: str, table: str, part: int, known: FileSum | None) -> StoreManifest:
        """The manifest with the sum of a part; see `SplitRecord.with_sum`."""
        return self.with_split(split, self.splits[split].with_sum(table, part, known))


def marked_complete(manifest: StoreManifest, split: str, names: Iterable[str]) -> StoreManifest:
    """The manifest once all parts of some families of a split are written."""
    record = manifest.splits[split]
    done = {name: replace(record.families[name], complete=True) for name in names}
    return manifest.with_split(split, replace(record, families=record.families | done))


def write_manifest(path: Path, manifest: StoreManifest) -> None:
    """Write the manifest of the store at `path`, with its sum."""
    write_sealed(path / MANIFEST, manifest.to_dict(), path)


def read_manifest(path: Path) -> StoreManifest:
    """Read the manifest of the store at `path`.

    Raises
    ------
    InputError
        If it is damaged, not a store's, or of another version.
    """
    advice = "extract again with --overwrite"
    return StoreManifest.from_dict(read_json(path / MANIFEST, "feature store manifest", advice), path)
