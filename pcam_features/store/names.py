"""Names that a family may have in a store or a model, where they become names of folders and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .layout import PATCHES

HAND_MADE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# An embedding's name ends in its input size, so that no handcrafted family can have the same name.
EMBEDDING = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*_[0-9]{2,4}px(_[48]views)?(_bf16)?")
LONGEST_NAME = 80
THUMBNAIL = "thumbnail"  # stored like a family, but no features: by it copies of patches are found
COPIES = "~copies"  # ends the name of a split that holds changed copies of another's patches
SEPARATOR = "~"  # between a patch's id and how its copy was changed


def copies_of(split: str) -> str:
    """The name of the split that holds changed copies of some of a split's patches."""
    return f"{split}{COPIES}"


def check_original(split: str) -> None:
    """Raises InputError for a split of changed copies, which serves the fit of its original alone."""
    if split.endswith(COPIES):
        raise InputError(
            f"split {split!r} holds changed copies of training patches; use {split[: -len(COPIES)]!r}, "
            "whose fit learns from them."
        )


def may_be_stored(name: object, description: Mapping[str, Any]) -> bool:
    """Whether a store or a model may hold a family with this name and this manifest entry."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        return False
    is_embedding = EMBEDDING.fullmatch(name) is not None
    if "encoder" in description or is_embedding:
        encoder = description.get("encoder")
        return is_embedding and isinstance(encoder, dict) and bool(encoder)
    return HAND_MADE.fullmatch(name) is not None and name != PATCHES
