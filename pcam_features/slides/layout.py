"""Where a synthetic slide has tissue, of which kind, and nests of tumor; the same for the same seed.

Coordinates are pixels at PCam's scale. Masks are sampled from a coarse grid, so that they agree where
blocks of the slide meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..sources.synthetic import Slide as Look
from ..sources.synthetic import make_slide

CELL = 16  # pixels of a cell of the coarse grid
VARIES = 40  # cells over which the kind of tissue changes
CORNERS = 64  # of the outline of a nest
SMALLEST, LARGEST = 45.0, 320.0  # mean radius of a nest in pixels: 44 to 311 µm
LIMITS = (0.9, 0.8, 1.3)  # of the fields of follicles, stroma and fat, of deviation about 1
TRIES = 200  # places tried for a nest, until one is tissue and away from others


@dataclass(frozen=True)
class Nest:
    """A nest of tumor: its outline, float32 (corners, 2) of x and y, and how clearly it is tumor."""

    outline: np.ndarray
    grade: float


@dataclass(frozen=True)
class Layout:
    """What a slide shows where.

    Parameters
    ----------
    look
        Stains and optics.
    tissue, follicle, stroma, fat
        Smooth fields on the coarse grid, float32 (rows, columns). There is tissue, or tissue of that
        kind, where a field is above zero.
    turn
        The direction of fibers in degrees.
    nests
        The nests.
    """

    look: Look
    tissue: np.ndarray
    follicle: np.ndarray
    stroma: np.ndarray
    fat: np.ndarray
    turn: float
    nests: tuple[Nest, ...]

    def mask(self, field: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
        """Where a field is above zero in a block at x, y, bool (side, side)."""
        at_x = ((np.arange(x, x + side) + 0.5) / CELL - 0.5).astype(np.float32)
        at_y = ((np.arange(y, y + side) + 0.5) / CELL - 0.5).astype(np.float32)
        left, top = max(0, int(at_x[0]) - 2), max(0, int(at_y[0]) - 2)
        cells = -(-side // CELL) + 6
        part = field[top : top + cells, left : left + cells]
        grid_x, grid_y = np.meshgrid(at_x - left, at_y - top)
        smooth = cv2.remap(part, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(smooth > 0)

    def nest_mask(self, nest: Nest, x: int, y: int, side: int) -> np.ndarray | None:
        """Where a nest is in a block at x, y, bool (side, side); None if it does not reach it."""
        low, high = nest.outline.min(axis=0), nest.outline.max(axis=0)
        if (high < (x, y)).any() or (low > (x + side, y + side)).any():
            return None
        drawn = np.zeros((side, side), np.uint8)
        corners = np.rint(nest.outline - (x, y)).astype(np.int32)
        cv2.fillPoly(drawn, [corners], (1,))
        return drawn > 0


def plan(width: int, height: int, nests: int, seed: int) -> Layout:
    """Lay out a slide.

    Parameters
    ----------
    width, height
        Its size in pixels at PCam's scale.
    nests
        Number of nests; fewer where the tissue has no room for them.
    seed
        Random seed.
    """
    rng = np.random.default_rng([seed, 11])
    look = make_slide("slide", rng)
    shape = (-(-height // CELL), -(-width // CELL))
    tissue = piece_of_tissue(rng, shape)
    follicle, stroma, fat = (smooth(rng, shape, VARIES) - limit for limit in LIMITS)
    turn = float(rng.uniform(0, 180))
    placed = place_nests(rng, tissue, nests)
    return Layout(look, tissue, follicle, stroma, fat, turn, tuple(placed))


def smooth(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> np.ndarray:
    """A random field that changes over some cells, float32, of deviation about 1."""
    rows, columns = (int(np.ceil(side / cells)) + 3 for side in shape)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    size = (int(columns * cells), int(rows * cells))
    grown = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    cut: np.ndarray = grown[: shape[0], : shape[1]] * np.float32(1.4)
    return cut


def piece_of_tissue(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A field above zero within one rounded piece that fills most of the slide."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    away = np.hypot((x + 0.5) / shape[1] * 2 - 1, (y + 0.5) / shape[0] * 2 - 1)
    wobble = smooth(rng, shape, max(4.0, min(shape) / 5))
    return np.asarray(0.9 - away + 0.06 * wobble, np.float32)


def place_nests(rng: np.random.Generator, tissue: np.ndarray, count: int) -> list[Nest]:
    """Nests within the tissue that do not touch each other."""
    placed: list[tuple[float, float, float]] = []
    nests = []
    inner = cv2.erode((tissue > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
    rows, columns = np.nonzero(inner)
    largest = min(LARGEST, CELL * min(tissue.shape) / 6)
    for _ in range(count if len(rows) else 0):
        for _ in range(TRIES):
            k = int(rng.integers(len(rows)))
            x, y = (columns[k] + 0.5) * CELL, (rows[k] + 0.5) * CELL
            radius = float(np.exp(rng.uniform(np.log(min(SMALLEST, largest)), np.log(largest))))
            if all(np.hypot(x - u, y - v) > 1.4 * (radius + r) for u, v, r in placed):
                placed.append((x, y, radius))
                nests.append(Nest(outline(rng, x, y, radius), float(rng.uniform(0.2, 1.0))))
                break
    return nests


def outline(rng: np.random.Generator, x: float, y: float, radius: float) -> np.ndarray:
    """A wobbly closed outline around a point, float32 (corners, 2)."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    away = np.full(CORNERS, radius)
    for waves in (2, 3, 5):
        away *= 1 + rng.normal(0, 0.22 / waves) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    return np.stack([x + away * np.cos(angle), y + away * np.sin(angle)], axis=1).astype(np.float32)
