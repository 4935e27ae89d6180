"""The map of a slide as a picture for programs, and drawn over the slide."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..sources.fitting import PCAM_MPP
from ..storage.files import whole_file
from .grid import Grid
from .resolution import PER_UNIT
from .tissue import Overview

CENTIMETER = 3  # TIFF's number of the unit
OPACITY = 0.45  # of the map over the slide
# From low to high probability; light to dark would hide in the stain. Readable for color-blind people.
ANCHORS = ((0.0, (13, 8, 135)), (0.5, (204, 71, 120)), (0.75, (248, 149, 64)), (1.0, (240, 249, 33)))


def colors() -> np.ndarray:
    """The colors of probabilities of 0 to 1 in steps of a 255th, uint8 (256, 3)."""
    at = np.linspace(0, 1, 256)
    places = [place for place, _ in ANCHORS]
    channels = [np.interp(at, places, [color[k] for _, color in ANCHORS]) for k in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def in_bytes(scores: np.ndarray) -> np.ndarray:
    """A map as levels of 0 to 255, uint8; 0 where there is no probability."""
    return np.asarray(np.rint(np.nan_to_num(scores, nan=0.0) * 255), np.uint8)


def write_tiff(path: Path, scores: np.ndarray, grid: Grid, root: Path) -> None:
    """Write a map as a TIFF file of 32-bit floating-point numbers, with its resolution."""
    import tifffile

    per_centimeter = PER_UNIT[CENTIMETER] / grid.mpp
    place = {
        "x": grid.edge,
        "y": grid.edge,
        "pixel": grid.pitch,
        "unit": "pixels of the slide's level 0",
    }
    with whole_file(path, root) as temporary:
        tifffile.imwrite(
            temporary,
            scores,
            photometric="minisblack",
            compression="adobe_deflate",
            resolution=(per_centimeter, per_centimeter),
            resolutionunit=CENTIMETER,
            description=json.dumps(place),
            software="pcam",
            metadata=None,
        )


def spread(scores: np.ndarray, grid: Grid, seen: Overview) -> np.ndarray:
    """A map brought to an overview's size, float32; NaN where there is no probability."""
    height, width = seen.pixels.shape[:2]
    cell = grid.mpp / seen.mpp  # pixels of the overview
    edge = grid.border * PCAM_MPP / seen.mpp
    at_x = np.floor((np.arange(width) + 0.5 - edge) / cell).astype(int)
    at_y = np.floor((np.arange(height) + 0.5 - edge) / cell).astype(int)
    inside = ((at_y >= 0) & (at_y < grid.rows))[:, None] & ((at_x >= 0) & (at_x < grid.columns))
    clipped = np.ix_(np.clip(at_y, 0, grid.rows - 1), np.clip(at_x, 0, grid.columns - 1))
    return np.where(inside, scores[clipped], np.float32(np.nan))


def write_overlay(path: Path, seen: Overview, scores: np.ndarray, grid: Grid, root: Path) -> None:
    """Write the slide with its map over it as PNG."""
    whole = spread(scores, grid, seen)
    tint = colors()[in_bytes(whole)]
    mixed = cv2.addWeighted(seen.pixels, 1 - OPACITY, tint, OPACITY, 0)
    drawn = np.where(np.isfinite(whole)[..., None], mixed, seen.pixels)
    with whole_file(path, root) as temporary:
        Image.fromarray(np.ascontiguousarray(drawn)).save(temporary, "PNG")
