"""timm models as encoders, run by PyTorch (the extra `deep`): `timm:NAME` or `timm:NAME:WEIGHTS`.

With a weight file (safetensors, or a PyTorch file of tensors only) nothing is downloaded, so a
pathology model can be used offline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import InputError
from ..networks.timm_models import network, pixels, split_name
from ..words import message_of
from .embedding import Embedding, check_size, width_of
from .options import EncoderFacts, EncoderOptions, check_choices
from .runtimes import CHUNK, F32, Run

VERSION = 1


def open_model(name: str, options: EncoderOptions) -> Embedding:
    """Open a timm model as an encoder. Raises InputError if it or its weight file cannot be used."""
    for what, given in (("pools", options.pools), ("runtime", options.runtime)):
        if given not in (None, ("mean",)):
            raise InputError(f"timm:{name} returns vectors and runs in PyTorch; leave out --{what}.")
    if options.depths is not None:
        check_choices(options.depths, ["head"], f"depth in timm:{name}")
    check_choices([options.precision or F32], [F32], f"precision of timm:{name}")
    model = network(name)
    how = pixels(model)
    size = check_size(options.size or how["input_size"][1], f"the input size of timm:{name}")
    weights = _checksum(model.state_dict())
    if size != how["input_size"][1] and hasattr(model, "set_input_size"):
        with suppress(Exception):  # the run below says why a network cannot take this size
            model.set_input_size(img_size=size)
    facts = EncoderFacts(
        network="timm_" + split_name(name)[0],
        weights_sha256=weights,
        size=size,
        mean=tuple(how["mean"]),
        std=tuple(how["std"]),
        views=options.views or 1,
        precision=F32,
        runtime="torch",
    )
    run = _runner(model, size, how)
    try:
        width = width_of(run, CHUNK, size, f"timm:{name}")
    except InputError:
        raise
    except Exception as error:  # each network rejects a size in its own way
        reason = message_of(error, 300).rstrip(".")
        raise InputError(
            f"timm:{name} cannot embed {size}×{size} pixels: {reason}; change --size."
        ) from None
    features = tuple(f"value__patch_{k:04d}" for k in range(width))
    return Embedding(VERSION, features, facts, CHUNK, lambda source, threads: run)


def _checksum(state: Mapping[str, Any]) -> str:
    """A SHA-256 sum of the names, shapes and values of tensors, independent of their order."""
    digest = hashlib.sha256()
    for key, tensor in sorted(state.items()):
        digest.update(f"{key} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _runner(model: Any, size: int, how: Mapping[str, Any]) -> Run:
    """What embeds patches with a model, resized and normalized as it was trained."""
    import torch

    torch.set_num_threads(1)  # each thread that reads patches also embeds them
    mean, std = (torch.tensor(how[key]).view(1, 3, 1, 1) for key in ("mean", "std"))

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            if x.shape[2:] != (size, size):
                x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear")
            return np.asarray(model((x - mean) / std).numpy(), np.float32)

    return run
