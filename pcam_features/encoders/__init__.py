"""Embeddings: what networks trained on photographs say of a patch, without their frameworks."""

from .encode import embed

__all__ = ["embed"]
