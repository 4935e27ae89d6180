"""Encoders: networks that embed patches, run without the frameworks they were trained in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import embed

__all__ = ["embed"]


def __getattr__(name: str) -> Any:
    if name == "embed":  # loaded on first use, because it needs ONNX
        from .registry import embed

        return embed
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
