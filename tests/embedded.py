"""Embeds patches with settings as keywords; the rest are those of `HEAD_ONLY`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pcam_features.encoders import embed
from pcam_features.encoders.registry import ENCODER, HEAD_ONLY


def embedded(
    batch: np.ndarray, encoder: str = ENCODER, *, threads: int = 0, **settings: Any
) -> np.ndarray:
    """Embed with `HEAD_ONLY`, but for this encoder and these settings."""
    plain = {key: tuple(one) if isinstance(one, list) else one for key, one in settings.items()}
    return embed(batch, replace(HEAD_ONLY, encoder=encoder, **plain), threads=threads)
