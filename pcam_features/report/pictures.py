"""Pictures of patches in an HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..geometry import CENTER, PATCH_SIZE

if TYPE_CHECKING:
    from PIL.Image import Image

YELLOW = (255, 212, 0)
QUALITY = 85  # of pictures in JPEG


def png(picture: np.ndarray) -> str:
    """A picture, uint8 (rows, columns, 3), as a data URI."""
    from PIL import Image

    return _data_uri(Image.fromarray(picture), "png")


def jpeg(picture: np.ndarray) -> str:
    """A picture, uint8 (rows, columns, 3), as a data URI in JPEG, which is smaller than PNG."""
    from PIL import Image

    return _data_uri(Image.fromarray(picture), "jpeg", quality=QUALITY)


def _data_uri(image: Image, kind: str, **how: int) -> str:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def framed(patch: np.ndarray, name: str) -> str:
    """A patch with a square around its center, as HTML."""
    start, stop = CENTER
    near, side = (f"{100 * length / PATCH_SIZE:.3f}%" for length in (start, stop - start))
    return (
        f'<div class="patch"><img src="{png(patch)}" alt="{escape(name)}">'
        f'<span style="left:{near};top:{near};width:{side};height:{side}"></span></div>'
    )


def sheet(patches: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Patches side by side, each with a white border and a square around its center."""
    rows = -(-len(patches) // columns)
    side = PATCH_SIZE + 2
    cells = np.full((rows * columns, side, side, 3), 255, np.uint8)
    start, stop = CENTER[0], CENTER[1] - 1
    for cell, patch in zip(cells, patches, strict=False):
        drawn = patch.copy()
        for edge in (start, stop):
            drawn[edge, start : stop + 1] = drawn[start : stop + 1, edge] = YELLOW
        cell[1:-1, 1:-1] = drawn
    grid = cells.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(rows * side, columns * side, 3))
