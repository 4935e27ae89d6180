"""A trained network: a folder that opens without running code.

manifest.json         network, training data, settings, learning curve, checksum
weights.safetensors   weights
folds.parquet         id, label, slide, group, fold: the same table as in a model of `pcam fit`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..constants import TIMM
from ..errors import InputError
from ..storage.files import read_json, sha256
from ..storage.resumable import unfinished
from .architectures import Recipe, recipe

VERSION = 1
WHAT, MANIFEST, KEY = "network", "manifest.json", "network_version"
WEIGHTS = "weights.safetensors"
LARGEST_FILE = 1 << 32  # bytes
NAME = re.compile(
    rf"({TIMM})?[A-Za-z0-9_.\-]{{1,100}}"
)  # not a path, because the weights are in the folder


@dataclass(frozen=True)
class Trained:
    manifest: dict[str, Any]
    recipe: Recipe
    network: nn.Module


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file. Raises InputError if it is invalid, too large, or not finite."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"{file} is too large for a network; train the network again.")
        tensors: dict[str, torch.Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"{file} cannot be read: {reason}.") from None
    if not all(sound(one) for one in tensors.values()):
        raise InputError(f"{file} has complex or non-finite numbers; train the network again.")
    return tensors


def sound(tensor: torch.Tensor) -> bool:
    return not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def load(network: nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Load weights into a network. Raises InputError if they are those of another network."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"the weights in {file} do not fit this network: {reason}.") from None


def read(path: Path) -> Trained:
    """Read a trained network. Raises InputError if it is invalid, damaged, or of another version."""
    if not (path / MANIFEST).is_file():
        begun = unfinished(path)
        hint = (
            f"its training is unfinished in {begun}; run the same pcam deep fit again"
            if begun.exists()
            else "create one with pcam deep fit"
        )
        raise InputError(f"{path} is not a trained network (no {MANIFEST}); {hint}.")
    manifest = read_json(path / MANIFEST, "network manifest")
    if KEY not in manifest:
        raise InputError(
            f"{path} is not a network of pcam deep; give NETWORK and SOURCE in the right order."
        )
    if manifest[KEY] != VERSION:
        raise InputError(f"network {path} was written by another version of pcam; train it again.")
    file = path / WEIGHTS
    try:
        name, wanted = str(manifest["network"]), manifest["sha256"]
        manifest["folds"]["held_out"], manifest["folds"]["sha256"]
    except (KeyError, TypeError) as error:
        raise InputError(f"network {path} is damaged ({error}); train it again.") from None
    if not NAME.fullmatch(name):
        raise InputError(f"network {path} is damaged (its name is invalid); train it again.")
    tensors = read_tensors(file)
    if sha256(file.read_bytes()) != wanted:
        raise InputError(
            f"network {path} is damaged: {WEIGHTS} does not match its checksum; train it again."
        )
    how = recipe(name, pretrained=False)
    network = how.build()
    load(network, tensors, file)
    return Trained(manifest, how, network)
