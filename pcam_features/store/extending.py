"""Adding to a store: its manifest afterwards, or why these patches and families cannot be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..sources.fitting import Fit
from ..sources.source import Source, Split
from ..storage.files import LOCK, TEMPORARY
from ..storage.folders import is_marked
from ..words import counted
from .layout import MANIFEST
from .manifest import (
    ADVICE,
    KEY,
    FamilyRecord,
    FamilyState,
    Fingerprint,
    SourceRecord,
    SplitRecord,
    Stored,
    StoreManifest,
    read_manifest,
)
from .names import COPIES, may_be_stored

MEANING = {
    "ids": "its ids or their order",
    "labels": "its labels",
    "slides": "its slides (--slides)",
}


def new_manifest(source: Source) -> StoreManifest:
    """The manifest of an empty store for the patches of `source`."""
    return StoreManifest(__version__, SourceRecord.of(source), {}, {})


def check_ours(path: Path) -> None:
    """Refuse to write to a folder that is not a feature store.

    Raises
    ------
    InputError
        If `path` is anything but a feature store, an empty folder or nothing.
    """
    if path.exists() and not is_marked(path, MANIFEST, KEY):
        if not path.is_dir():
            raise InputError(f"{path} is a file, not a feature store; give another name.")
        if any(f.name != LOCK and not f.name.endswith(TEMPORARY) for f in path.iterdir()):
            raise InputError(
                f"{path} is not empty and not a feature store (no valid {MANIFEST}), so it is left as "
                "it is; give another folder."
            )


def plan(
    path: Path,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[Stored],
    device: str | None,
) -> StoreManifest:
    """The manifest of the store once `families` of `splits` are added; nothing is written.

    Parameters
    ----------
    path
        The store's folder, which may not exist yet.
    source, splits
        The patches to add.
    families
        The families to add.
    device
        The device that kernels run on; None if it will be known with each part.

    Raises
    ------
    InputError
        If a store at `path` holds other patches, or these families with other parameters.
    """
    known = read_manifest(path) if (path / MANIFEST).is_file() else new_manifest(source)
    return extended(path, known, source, splits, families, device)


def extended(
    path: Path,
    known: StoreManifest,
    source: Source,
    splits: Sequence[Split],
    families: Sequence[Stored],
    device: str | None,
) -> StoreManifest:
    """The manifest `known` of a store with families of splits added; see `plan`."""
    check_source(path, known.source, SourceRecord.of(source))
    whole = replace(known, families=known.families | added_families(path, known, families))
    for split in splits:
        record = extended_split(path, known.splits.get(split.name), source, split)
        for family in families:
            where = device and family.computed_on(device)
            if whole.families[family.name].table and where:
                check_table(path, split.name, record, family.name, where)
            record = record.computed_on(family.name, where)
            if family.trained_on is not None:
                record = record.seen_by(family.name, family.trained_on.among(split))
        whole = whole.with_split(split.name, record)
    return whole


def check_table(path: Path, split: str, record: SplitRecord, family: str, now: str) -> None:
    """Raise InputError if a family of a split was read from another table than it is now."""
    before = record.families.get(family, FamilyState()).devices
    if before not in ((), (now,)):
        raise InputError(
            f"feature store {path} holds {family} of split {split!r} from another table (before: "
            f"{', '.join(before)}; now: {now}); {ADVICE}"
        )


def check_source(path: Path, known: SourceRecord, now: SourceRecord) -> None:
    """Raise InputError if a source has another layout, size or fit than the store's."""
    if known.kind != now.kind:
        raise InputError(
            f"feature store {path} was made from a source of layout {known.kind}, not {now.kind}; "
            f"{ADVICE}"
        )
    if known.fit != now.fit:
        raise InputError(
            f"feature store {path} was made with another size of patches, --fit or --mpp (before: "
            f"{described_fit(known.fit)}; now: {described_fit(now.fit)}); {ADVICE}"
        )


def described_fit(fit: dict[str, Any] | None) -> str:
    """How patches were brought to 96×96 pixels, for an error message."""
    return "patches are 96×96 pixels" if fit is None else Fit.from_dict(fit).sentence()


def added_families(
    path: Path, known: StoreManifest, families: Sequence[Stored]
) -> dict[str, FamilyRecord]:
    """The records of families to add. Raises InputError for one stored with other parameters."""
    records = {}
    for family in families:
        if not may_be_stored(family.name, family.describe()):
            raise InputError(f"a store cannot hold a family named {family.name}; rename the encoder.")
        now = FamilyRecord.of(family)
        before = known.families.get(family.name, now)
        if before != now:
            raise InputError(
                f"feature store {path} holds {family.name} with other parameters or of another "
                f"version ({before.differences(now)}); {ADVICE}"
            )
        records[family.name] = now
    return records


def extended_split(path: Path, known: SplitRecord | None, source: Source, split: Split) -> SplitRecord:
    """The record of a split to add.

    Slides may be added to patches of unknown slide, because no feature depends on them.

    Raises InputError if the store has other patches in this split.
    """
    now = SplitRecord.of(split)
    if known is None:
        return now
    without = Fingerprint.of(replace(split, slides=[None] * len(split)))
    if known.fingerprint == without:
        known = replace(known, fingerprint=now.fingerprint)
    if known.rows != now.rows and split.name.endswith(COPIES):
        raise InputError(
            f"feature store {path} has {known.rows:,} changed copies of patches, not {now.rows:,}; use "
            f"--copies {known.rows} again, or extract everything anew with --overwrite."
        )
    if known.rows != now.rows:
        raise InputError(
            f"feature store {path} was made from other patches than those of {source.path}: split "
            f"{split.name!r} has {counted(now.rows, 'patch')} instead of {known.rows:,}, so its "
            "ids changed; "
            f"{ADVICE}"
        )
    changed = [
        MEANING[field.name]
        for field in fields(Fingerprint)
        if getattr(known.fingerprint, field.name) != getattr(now.fingerprint, field.name)
    ]
    if changed:
        raise InputError(
            f"feature store {path} was made from other patches than those of {source.path}: in split "
            f"{split.name!r}, {' and '.join(changed)} changed; {ADVICE}"
        )
    return known
