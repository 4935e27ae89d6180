"""A trained network: a folder that opens without running code, and without PyTorch.

manifest.json         network, training data, settings, learning curve, sums of the files and its own
weights.safetensors   weights
folds.parquet         id, label, slide, group, fold: the same table as in a model of `pcam fit`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..grouping.folds import TABLE as FOLD_TABLE
from ..grouping.folds import read_fold_table
from ..storage.files import read_json
from ..storage.links import check_read
from ..storage.resumable import unfinished
from ..storage.sums import check_sum, read_verified
from ..store.trained_on import TrainedOn
from ..words import message_of
from .manifest import NetworkManifest

WHAT, MANIFEST = "network", "manifest.json"
WEIGHTS = "weights.safetensors"
LARGEST_FILE = 1 << 32  # bytes


def read_manifest(path: Path) -> NetworkManifest:
    """Read the manifest of a network.

    Parameters
    ----------
    path
        The folder that `pcam deep fit` wrote.

    Raises
    ------
    InputError
        If `path` is not a trained network, its manifest is damaged, or it is of another version.
    """
    if not (path / MANIFEST).is_file():
        begun = unfinished(path)
        hint = (
            f"its training is unfinished in {begun}; run the same pcam deep fit again"
            if begun.exists()
            else "create one with pcam deep fit"
        )
        raise InputError(f"{path} is not a trained network (no {MANIFEST}); {hint}.")
    check_read(path)
    content = read_json(path / MANIFEST, "network manifest", "train the network again")
    return NetworkManifest.from_dict(content, path)


def check_listed(path: Path, manifest: NetworkManifest, name: str) -> None:
    """Raise InputError unless a file of a network has the sum that its manifest lists."""
    try:
        if name not in manifest.files:
            raise ValueError("the manifest does not list it")
        check_sum(path / name, manifest.files[name])
    except ValueError as error:
        raise InputError(f"network {path} is damaged ({name}: {error}); train it again.") from None


def trained_on(path: Path, manifest: NetworkManifest) -> TrainedOn:
    """The patches that a network was trained on, from its table of folds.

    Raises InputError if the table is damaged or does not match the manifest."""
    check_listed(path, manifest, FOLD_TABLE)
    table = read_fold_table(path / FOLD_TABLE, rows=manifest.source.rows)
    held = table["fold"] == manifest.folds.held_out
    if len(table) != manifest.source.rows or not held.any():
        raise InputError(
            f"network {path} is damaged: its folds do not match its manifest; train it again."
        )
    return TrainedOn(frozenset(table["id"][~held]), frozenset(table["id"][held]))


def read_arrays(
    path: Path, manifest: NetworkManifest, most: int
) -> tuple[dict[str, np.ndarray], bytes]:
    """The weights of a network by name, and the content of their file, without PyTorch.

    Parameters
    ----------
    path, manifest
        The network.
    most
        The largest file that is read, in bytes.

    Raises
    ------
    InputError
        If the file is too large, is damaged, or holds numbers that are not finite.
    """
    from safetensors import SafetensorError, numpy

    try:
        if WEIGHTS not in manifest.files:
            raise ValueError("the manifest does not list it")
        if manifest.files[WEIGHTS].size > most:
            raise ValueError(f"it has more than {most:,} bytes")
        content = read_verified(path / WEIGHTS, manifest.files[WEIGHTS])
        arrays: dict[str, np.ndarray] = numpy.load(content)
        if any(one.dtype.kind not in "fi" or not np.isfinite(one).all() for one in arrays.values()):
            raise ValueError("it has numbers that are not finite, or of an unknown kind")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = message_of(error, 200).rstrip(".")
        raise InputError(f"network {path} is damaged ({WEIGHTS}: {reason}); train it again.") from None
    return arrays, content
