"""A trained network: a folder that opens without running code.

manifest.json         network, training data, settings, learning curve, sums of the files and its own
weights.safetensors   weights
folds.parquet         id, label, slide, group, fold: the same table as in a model of `pcam fit`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import InputError
from ..storage.files import read_json
from ..storage.links import check_read
from ..storage.resumable import unfinished
from ..storage.sums import check_sum
from ..words import message_of
from .architectures import Recipe, recipe
from .manifest import NetworkManifest

WHAT, MANIFEST = "network", "manifest.json"
WEIGHTS = "weights.safetensors"
LARGEST_FILE = 1 << 32  # bytes


@dataclass(frozen=True)
class Trained:
    """A trained network: its manifest, its recipe, and its layers with their weights."""

    manifest: NetworkManifest
    recipe: Recipe
    network: nn.Module


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read the tensors in a file. Raises InputError if it is damaged, too large, or not finite."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"{file} is too large for a network; train the network again.")
        tensors: dict[str, torch.Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        reason = message_of(error, 200).rstrip(".")
        raise InputError(f"{file} cannot be read: {reason}; train the network again.") from None
    if not all(sound(one) for one in tensors.values()):
        raise InputError(f"{file} has complex or non-finite numbers; train the network again.")
    return tensors


def sound(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are real and finite."""
    return not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def load(network: nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Load weights into a network. Raises InputError if they belong to another network."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = message_of(error, 200).rstrip(".")
        raise InputError(
            f"the weights in {file} do not fit this network: {reason}; train it again."
        ) from None


def check_listed(path: Path, manifest: NetworkManifest, name: str) -> None:
    """Raise InputError unless a file of a network has the sum that its manifest lists."""
    try:
        if name not in manifest.files:
            raise ValueError("the manifest does not list it")
        check_sum(path / name, manifest.files[name])
    except ValueError as error:
        raise InputError(f"network {path} is damaged ({name}: {error}); train it again.") from None


def read(path: Path) -> Trained:
    """Open a trained network.

    Parameters
    ----------
    path
        The folder that `pcam deep fit` wrote.

    Raises
    ------
    InputError
        If `path` is not a trained network, is damaged, or was written by another version.
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
    manifest = NetworkManifest.from_dict(content, path)
    file = path / WEIGHTS
    check_listed(path, manifest, WEIGHTS)
    tensors = read_tensors(file)
    known = recipe(manifest.network, pretrained=False)
    network = known.build()
    load(network, tensors, file)
    return Trained(manifest, known, network)
