"""Networks of timm, run by PyTorch (the extra `deep`): `timm:NAME` or `timm:NAME:WEIGHTS`.

With a weight file, safetensors or a PyTorch file of nothing but tensors, no pretrained weights are
asked for, so that whoever holds the weights of a pathology model can use it offline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .embedding import Embedding, Settings, check_choices, check_size, width_of
from .runtimes import CHUNK, Run

VERSION = 1
SAFE, TORCH = ".safetensors", (".pth", ".pt", ".bin")
CLASSIFIERS = ("head.", "fc.", "classifier.", "head_drop.")  # which an embedding does without


def open_model(name: str, settings: Settings) -> Embedding:
    """Raises InputError for a model or a weight file that cannot be used."""
    for what, given in (("pools", settings.pools), ("runtime", settings.runtime)):
        if given not in (None, ("mean",)):
            raise InputError(f"timm:{name} gives a vector by PyTorch; leave out --{what}.")
    if settings.depths is not None:
        check_choices(settings.depths, ["head"], f"depth in timm:{name}")
    check_choices([settings.precision], ["f32"], f"precision of timm:{name}")
    model = network(name)
    how = pixels(model)
    size = check_size(settings.size or how["input_size"][1], f"the size that timm:{name} takes")
    facts = {
        "network": "timm_" + _split(name)[0],
        "weights_sha256": _sum(model.state_dict()),
        "size": size,
        "mean": list(how["mean"]),
        "std": list(how["std"]),
        "views": settings.views or 1,
        "precision": "f32",
        "runtime": "torch",
    }
    run = _runner(model, size, how)
    try:
        width = width_of(run, CHUNK, size, f"timm:{name}")
    except InputError:
        raise
    except Exception as error:  # a network refuses a size in its own way
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(f"timm:{name} cannot embed pixels of {size}×{size}: {reason}.") from None
    features = tuple(f"value__patch_{k:04d}" for k in range(width))
    return Embedding(VERSION, features, facts, CHUNK, lambda source, threads: run)


def _split(name: str) -> tuple[str, Path | None]:
    """The model's name, and the weight file if one is named."""
    before, colon, last = name.rpartition(":")
    return (before, Path(last)) if colon and last.endswith((SAFE, *TORCH)) else (name, None)


def network(name: str, *, classes: int = 0, pretrained: bool = True) -> Any:
    """A network of timm's that gives `classes` outputs, or a vector if there are none; without
    `pretrained` its weights are random and no file is looked for. Raises InputError."""
    for module in ("torch", "timm"):
        if find_spec(module) is None:
            raise InputError(f"{module} is not installed; pip install 'pcam-features[deep]' brings it.")
    import timm

    architecture, file = _split(name)
    state = None if file is None or not pretrained else _weights(file)
    try:
        model = timm.create_model(
            architecture, pretrained=pretrained and state is None, num_classes=classes
        )
    except Exception as error:  # unknown names, no network, a hub that refuses
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(f"timm:{name} cannot be made: {reason}.") from None
    if state is not None:
        try:
            own = model.state_dict()
            fitting = {
                key: one
                for key, one in state.items()
                if not (key.startswith(CLASSIFIERS) and key in own and own[key].shape != one.shape)
            }
            missing, more = model.load_state_dict(fitting, strict=False)
        except RuntimeError as error:
            raise InputError(
                f"{file} is not of {architecture}: {str(error).split(chr(10))[-1].strip()}"
            ) from None
        missing, more = (
            [key for key in keys if not key.startswith(CLASSIFIERS)] for keys in (missing, more)
        )
        if missing or more:
            raise InputError(
                f"{file} is not of {architecture}: {len(missing)} tensors are missing and {len(more)} "
                f"are not its own, the first {(missing + more)[0]}."
            )
    return model.eval()


def _weights(file: Path) -> dict[str, Any]:
    """Tensors by name; from a pickle only what `weights_only` lets through."""
    import torch

    try:
        if file.suffix == SAFE:
            from safetensors.torch import load_file

            return dict(load_file(file))
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(f"weight file {file} cannot be used: {reason}.") from None


def _sum(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(state.items()):
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def pixels(model: Any) -> dict[str, Any]:
    """The size, mean and deviation that a network of timm's was trained with."""
    import timm

    return dict(timm.data.resolve_model_data_config(model))


def _runner(model: Any, size: int, how: Mapping[str, Any]) -> Run:
    import torch

    torch.set_num_threads(1)  # the threads that read patches are those that embed
    mean, std = (torch.tensor(how[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            if x.shape[2:] != (size, size):
                x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear")
            return np.asarray(model((x - mean) / std).numpy(), np.float32)

    return run
