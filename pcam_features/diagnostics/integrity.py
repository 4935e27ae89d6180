"""Verifies every file of a feature store, a model or a network against the sums in its manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..execution.executor import Threads
from ..learn.manifest import ModelManifest
from ..learn.names import KEY as MODEL_KEY
from ..learn.names import VERSION as MODEL_VERSION
from ..learn.names import VERSION_OUTSIDE
from ..networks.manifest import KEY as NETWORK_KEY
from ..networks.manifest import VERSION as NETWORK_VERSION
from ..networks.manifest import NetworkManifest
from ..storage import costs, json_text
from ..storage.files import read_at_most, read_json
from ..storage.folders import begins_with
from ..storage.links import check_read
from ..storage.sums import MANIFEST, FileSum, check_seal, check_sum
from ..storage.urls import is_file, is_url, text_of
from ..store.layout import PATCHES, part_path
from ..store.manifest import KEY as STORE_KEY
from ..store.manifest import VERSION as STORE_VERSION
from ..store.manifest import StoreManifest

KINDS = {STORE_KEY: "feature store", MODEL_KEY: "model", NETWORK_KEY: "network"}
REMEDIES = {
    STORE_KEY: "run pcam extract again, which measures the patches of damaged files anew",
    MODEL_KEY: "fit it anew, or copy it again from where it is whole",
    NETWORK_KEY: "train it again, or copy it again from where it is whole",
}
OF_MANIFEST = {  # if the manifest itself is damaged
    STORE_KEY: "extract again with --overwrite",
    MODEL_KEY: REMEDIES[MODEL_KEY],
    NETWORK_KEY: REMEDIES[NETWORK_KEY],
}
VERSIONS = {
    STORE_KEY: (STORE_VERSION,),
    MODEL_KEY: (MODEL_VERSION, VERSION_OUTSIDE),
    NETWORK_KEY: (NETWORK_VERSION,),
}
Listed = dict[str, FileSum]  # by the file's name in the folder


@dataclass(frozen=True)
class Damage:
    """A damaged file, by its name in the folder, and what is wrong with it."""

    file: str
    reason: str


@dataclass(frozen=True)
class Integrity:
    """What a verification found.

    Parameters
    ----------
    kind
        "feature store", "model" or "network".
    path
        Its folder.
    files, bytes
        Number of files that were verified, and their size as the manifest lists it.
    damaged
        The files that are damaged or missing.
    unfinished
        Of a store, the families that are not complete yet, as SPLIT/FAMILY.
    remedy
        What to do about damage.
    """

    kind: str
    path: str
    files: int
    bytes: int
    damaged: tuple[Damage, ...]
    unfinished: tuple[str, ...]
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `pcam doctor PATH --json` prints."""
        return asdict(self)


def verify(
    path: Path, threads: int = 4, progress: Callable[[int, int], None] = lambda done, total: None
) -> Integrity:
    """Verify all files of a feature store, a model or a network.

    Parameters
    ----------
    path
        The folder.
    threads
        Number of threads that read files.
    progress
        Called with the number of files verified so far and of all files.

    Returns
    -------
    Integrity
        The files that are damaged or missing, the manifest first.

    Raises
    ------
    InputError
        If `path` is none of them, or was written by another version of pcam.
    """
    manifest = path / MANIFEST
    if not is_file(manifest):
        raise InputError(
            f"{path} is no feature store, model or network (no {MANIFEST}); give the folder of one."
        )
    if not is_url(path):
        check_read(path)
    try:
        content = read_json(manifest, "manifest")
    except InputError as error:
        begun = [] if is_url(path) else [key for key in KINDS if begins_with(manifest, key)]
        if not begun:
            raise
        return damaged_manifest(path, begun[0], str(error).rstrip("."))
    key = next((key for key in KINDS if key in content), None)
    if key is None:
        raise InputError(f"{path} is no feature store, model or network; give the folder of one.")
    if content[key] in VERSIONS[key]:
        try:
            check_seal(content)
        except ValueError as error:
            return damaged_manifest(path, key, str(error))
    listed, unfinished = LISTINGS[key](path, content)
    damaged = verify_files(path, listed, threads, progress)
    if key != STORE_KEY:
        damaged += damaged_costs(path)
    size = sum(known.size for known in listed.values())
    where = text_of(path)
    return Integrity(KINDS[key], where, len(listed) + 1, size, damaged, unfinished, REMEDIES[key])


def damaged_manifest(path: Path, key: str, reason: str) -> Integrity:
    """What is found if nothing is known of the other files."""
    size = len(read_at_most(path / MANIFEST, json_text.LARGEST))
    damage = (Damage(MANIFEST, reason),)
    return Integrity(KINDS[key], str(path), 1, size, damage, (), OF_MANIFEST[key])


def verify_files(
    path: Path, listed: Listed, threads: int, progress: Callable[[int, int], None]
) -> tuple[Damage, ...]:
    """The damaged files among those that a manifest lists."""
    damaged = []
    for done, damage in enumerate(Threads(threads).map(partial(verify_file, path), listed.items()), 1):
        progress(done, len(listed))
        if damage is not None:
            damaged.append(damage)
    return tuple(damaged)


def verify_file(path: Path, one: tuple[str, FileSum]) -> Damage | None:
    """What is wrong with a file that a manifest lists; None if it has its sum."""
    name, known = one
    try:
        check_sum(path / name, known)
    except ValueError as error:
        return Damage(name, str(error))
    except OSError as error:
        return Damage(name, f"it cannot be read: {error.strerror}")
    return None


def damaged_costs(path: Path) -> tuple[Damage, ...]:
    """The file of costs, which has a sum of its own, if it is damaged."""
    try:
        costs.read(path / costs.FILE)
    except InputError as error:
        return (Damage(costs.FILE, str(error).rstrip(".")),)
    return ()


def files_of_store(path: Path, content: Mapping[str, Any]) -> tuple[Listed, tuple[str, ...]]:
    """The files that a store's manifest lists, and its unfinished families."""
    listed: Listed = {}
    unfinished = []
    for name, split in StoreManifest.from_dict(content, path).splits.items():
        tables = {PATCHES: split.patches}
        tables |= {family: state.parts for family, state in split.families.items()}
        for table, sums in tables.items():
            for part, known in enumerate(sums):
                if known is not None:
                    file = part_path(path, name, table, part)
                    listed[file.relative_to(path).as_posix()] = known
        unfinished += [
            f"{name}/{family}" for family, state in split.families.items() if not state.complete
        ]
    return listed, tuple(unfinished)


def files_of_model(path: Path, content: Mapping[str, Any]) -> tuple[Listed, tuple[str, ...]]:
    """The files that a model's manifest lists."""
    return ModelManifest.from_dict(content, path).files, ()


def files_of_network(path: Path, content: Mapping[str, Any]) -> tuple[Listed, tuple[str, ...]]:
    """The files that a network's manifest lists."""
    return NetworkManifest.from_dict(content, path).files, ()


LISTINGS: dict[str, Callable[[Path, Mapping[str, Any]], tuple[Listed, tuple[str, ...]]]] = {
    STORE_KEY: files_of_store,
    MODEL_KEY: files_of_model,
    NETWORK_KEY: files_of_network,
}
