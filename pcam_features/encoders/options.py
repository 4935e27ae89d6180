"""Options of encoders, and the facts that determine the values they compute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..constants import ENCODERS, TIMM
from ..errors import InputError

ONNX = ".onnx"  # ends the name of an encoder that is a file
OTHERS = (
    "precision",
    "runtime",
    "output",
    "learned_from",
)  # facts that follow the others in a manifest


@dataclass(frozen=True)
class EncoderOptions:
    """Options of an encoder. None is the encoder's default.

    Parameters
    ----------
    encoder
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", the path of an ONNX file,
        "timm:NAME[:WEIGHTS]", or the folder of a network that `pcam deep fit` trained.
    size
        Side of the network's input in pixels.
    depths
        Where the network is read: "block00" … and "head".
    pools
        How feature maps are pooled: "mean", "center", "deviation", "maximum". Of an ONNX file that
        returns tokens, "cls" is the first token and "mean" the mean of the others.
    views
        Number of orientations that the embedding is averaged over: 1, 4 or 8.
    precision
        "f32" or "bf16".
    runtime
        "openvino", "onnxruntime" or "cuda".
    output
        The output of an ONNX file that has several.
    """

    encoder: str | None = None
    size: int | None = None
    depths: tuple[str, ...] | None = None
    pools: tuple[str, ...] | None = None
    views: int | None = None
    precision: str | None = None
    runtime: str | None = None
    output: str | None = None

    def absolute(self) -> EncoderOptions:
        """The same with absolute paths, for a process with another current folder.

        Examples
        --------
        >>> EncoderOptions("timm:resnet18").absolute().encoder
        'timm:resnet18'
        """
        known, weights = (self.encoder or ""), ""
        if known.startswith(TIMM):
            name, colon, weights = known.removeprefix(TIMM).partition(":")
            known = f"{TIMM}{name}{colon}"
        elif known.endswith(ONNX) or names_folder(known):
            known, weights = "", known
        return replace(self, encoder=f"{known}{os.path.abspath(weights)}") if weights else self

    def given(self) -> list[str]:
        """The names of the options that are not None."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


@dataclass(frozen=True)
class EncoderFacts:
    """Everything that determines an embedding's values, as recorded in a store's manifest.

    Parameters
    ----------
    network
        The network's name.
    weights_sha256
        SHA-256 sum of its weights.
    size
        Side of its input in pixels.
    views
        Number of orientations that the embedding is averaged over.
    precision, runtime
        How it is computed.
    depths, pools
        Where the network is read, and how its maps are pooled; None where that is not a choice.
    mean, std
        Normalization of red, green and blue; None where the network's name implies it.
    output
        The output that was chosen of a network with several; None otherwise.
    learned_from
        For a network of `pcam deep fit`: SHA-256 of the ids of the patches that it learned from,
        sorted, one on a line.
    """

    network: str
    weights_sha256: str
    size: int
    views: int
    precision: str
    runtime: str
    depths: tuple[str, ...] | None = None
    pools: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: str | None = None
    learned_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The entry `encoder` of a family in a store's manifest."""
        order = ("network", "weights_sha256", "size", "depths", "mean", "std", "pools", "views")
        values = {name: getattr(self, name) for name in (*order, *OTHERS)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }


def names_folder(encoder: str) -> bool:
    """Whether an encoder is the folder of a network."""
    return bool(encoder) and encoder not in ENCODERS and Path(encoder).is_dir()


def names_in(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """The names in a comma-separated text or a sequence; None for None.

    Examples
    --------
    >>> names_in("block02, head")
    ('block02', 'head')
    """
    if isinstance(names, str):
        return tuple(word.strip() for word in names.split(",") if word.strip())
    return None if names is None else tuple(names)


def check_choices(given: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    """Validate names of choices.

    Parameters
    ----------
    given
        The chosen names.
    known
        The names to choose from.
    what
        What is chosen, in the singular, for error messages.

    Returns
    -------
    tuple of str
        The chosen names without repeats.

    Raises
    ------
    InputError
        If a name is unknown, or none is given.

    Examples
    --------
    >>> check_choices(["mean", "mean"], ["mean", "maximum"], "pool")
    ('mean',)
    """
    for name in given:
        if name not in known:
            raise InputError(f"there is no {what} {name!r}; choose from: {', '.join(known)}.")
    if not given:
        raise InputError(f"choose at least one {what} from: {', '.join(known)}.")
    return tuple(dict.fromkeys(given))
