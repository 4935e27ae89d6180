"""A store's manifest: what it holds, and what another run may add to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from ..constants import LARGEST_ROWS
from ..errors import InputError
from ..sources.source import Source, Split
from ..storage.files import LOCK, TEMPORARY, clear_folder, is_marked, read_json, write_json
from .layout import MANIFEST, PART_ROWS
from .names import may_be_stored

VERSION = 1
KEY = "store_version"
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


def mark_complete(path: Path, manifest: dict[str, Any], split: str, names: Iterable[str]) -> None:
    for name in names:
        manifest["splits"][split]["families"][name]["complete"] = True
    write_json(path / MANIFEST, manifest)


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
