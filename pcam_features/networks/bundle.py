"""Opens a trained network in PyTorch; see `folder`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import InputError
from ..words import message_of
from .architectures import Recipe, recipe
from .folder import LARGEST_FILE, WEIGHTS, check_listed, read_manifest
from .manifest import NetworkManifest


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
    manifest = read_manifest(path)
    file = path / WEIGHTS
    check_listed(path, manifest, WEIGHTS)
    tensors = read_tensors(file)
    known = recipe(manifest.network, pretrained=False)
    network = known.build()
    load(network, tensors, file)
    return Trained(manifest, known, network)
