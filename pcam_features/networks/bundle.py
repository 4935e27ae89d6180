"""A trained network: a folder that opens without running code.

manifest.json         which network, what it was trained on and how, its learning curve, checksum
weights.safetensors   its weights
folds.parquet         id, label, slide, group, fold: the same table that `pcam fit` keeps
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
NAME = re.compile(rf"({TIMM})?[A-Za-z0-9_.\-]{{1,100}}")  # no path: weights are in the folder


@dataclass(frozen=True)
class Trained:
    manifest: dict[str, Any]
    recipe: Recipe
    network: nn.Module


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Raises InputError for what is no file of finite tensors, or too large a one."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"{file} is too large to hold a network.")
        tensors: dict[str, torch.Tensor] = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"{file} cannot be read: {reason}.") from None
    if not all(sound(one) for one in tensors.values()):
        raise InputError(f"{file} holds numbers that are not finite, or complex.")
    return tensors


def sound(tensor: torch.Tensor) -> bool:
    return not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def load(network: nn.Module, tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Give a network its weights. Raises InputError if they are another's."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"{file} is not of this network: {reason}.") from None


def read(path: Path) -> Trained:
    """Raises InputError if `path` is not a trained network, or is damaged, or of another version."""
    if not (path / MANIFEST).is_file():
        begun = unfinished(path)
        hint = f"{begun} is: run its fit again" if begun.exists() else "make one with pcam deep fit"
        raise InputError(f"{path} is not a trained network (no {MANIFEST}); {hint}.")
    manifest = read_json(path / MANIFEST, "network manifest")
    if KEY not in manifest:
        raise InputError(f"{path} is not a network of pcam deep; give NETWORK, then SOURCE.")
    if manifest[KEY] != VERSION:
        raise InputError(f"network {path} was written by another version of pcam; train it anew.")
    file = path / WEIGHTS
    try:
        name, wanted = str(manifest["network"]), manifest["sha256"]
        manifest["folds"]["held_out"], manifest["folds"]["sha256"]
    except (KeyError, TypeError) as error:
        raise InputError(f"network {path} is damaged ({error}); train it anew.") from None
    if not NAME.fullmatch(name):
        raise InputError(f"network {path} is damaged (its name is none); train it anew.")
    tensors = read_tensors(file)
    if sha256(file.read_bytes()) != wanted:
        raise InputError(f"network {path} is damaged: {WEIGHTS} does not have its checksum.")
    how = recipe(name, pretrained=False)
    network = how.build()
    load(network, tensors, file)
    return Trained(manifest, how, network)
