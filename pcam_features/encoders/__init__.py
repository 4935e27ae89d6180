"""Embeddings: what networks trained on photographs say of a patch, without their frameworks."""

from .registry import embed

__all__ = ["embed"]
