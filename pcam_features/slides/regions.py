"""Regions of a map above a threshold, their outlines, and the score of a slide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from .grid import Grid

RED = [200, 0, 0]
SMOOTHED = 3  # centers on a side, over which a map is averaged before its maximum is taken
Ring = list[
    tuple[int, int]
]  # corners, as x and y between the pixels of a map; closed without repeating


@dataclass(frozen=True)
class Region:
    """Connected centers whose probability is not below a threshold.

    Parameters
    ----------
    centers
        Their number.
    area_mm2
        Their area.
    mean, maximum
        Of their probabilities.
    x, y
        The middle of the center of highest probability, in pixels of level 0.
    rings
        The outline, and after it those of holes, in pixels of level 0.
    """

    centers: int
    area_mm2: float
    mean: float
    maximum: float
    x: int
    y: int
    rings: list[list[list[float]]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON without the outline."""
        return {name: value for name, value in asdict(self).items() if name != "rings"}


def regions(scores: np.ndarray, threshold: float, grid: Grid) -> list[Region]:
    """The regions of a map, the highest maximum first.

    Centers are connected if they share an edge.

    Parameters
    ----------
    scores
        Probabilities, float (rows, columns); NaN where there is none.
    threshold
        The least probability in a region.
    grid
        The grid of the map.
    """
    above = np.nan_to_num(scores, nan=-1.0) >= threshold
    count, labels, facts, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=4)
    found = []
    for k in range(1, count):
        left, top, width, height = facts[k, : cv2.CC_STAT_AREA].tolist()
        window = (slice(top, top + height), slice(left, left + width))
        inside = labels[window] == k
        values = np.where(inside, scores[window], -1.0)
        row, column = np.unravel_index(int(values.argmax()), values.shape)
        x, y = grid.middle(int(row) + top, int(column) + left)
        found.append(
            Region(
                centers=int(inside.sum()),
                area_mm2=float(inside.sum() * grid.square_mm),
                mean=float(values[inside].mean()),
                maximum=float(values.max()),
                x=x,
                y=y,
                rings=[to_slide(ring, left, top, grid) for ring in rings_of(inside)],
            )
        )
    return sorted(found, key=lambda region: (-region.maximum, region.y, region.x))


def to_slide(ring: Ring, left: int, top: int, grid: Grid) -> list[list[float]]:
    """A ring in pixels of level 0, closed as GeoJSON wants it."""
    corners = [
        [
            round(grid.edge + (x + left) * grid.pitch, 1),
            round(grid.edge + (y + top) * grid.pitch, 1),
        ]
        for x, y in ring
    ]
    return [*corners, corners[0]]


def rings_of(inside: np.ndarray) -> list[Ring]:
    """The outlines of one region along the edges of its pixels: the outer one first, then holes.

    Each edge of a pixel at the border is followed with the region on its right. Where two pixels touch
    at a corner only, two rings touch there, because no ring of a valid polygon may touch itself.

    Parameters
    ----------
    inside
        bool (rows, columns), connected over edges.

    Examples
    --------
    >>> rings_of(np.array([[True, True], [True, False]]))
    [[(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]]
    """
    padded = np.pad(inside, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(padded).tolist():
        for start, stop, beside in edges(x, y):
            if not padded[beside]:
                ways.setdefault(start, []).append(stop)
    rings = []
    while ways:
        first = min(ways, key=lambda corner: (corner[1], corner[0]))
        rings.append([(x - 1, y - 1) for x, y in followed(ways, first)])
    return rings


def edges(x: int, y: int) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """The edges of a pixel, clockwise: from, to, and the row and column of the pixel beyond."""
    yield (x, y), (x + 1, y), (y - 1, x)
    yield (x + 1, y), (x + 1, y + 1), (y, x + 1)
    yield (x + 1, y + 1), (x, y + 1), (y + 1, x)
    yield (x, y + 1), (x, y), (y, x - 1)


def followed(ways: dict[tuple[int, int], list[tuple[int, int]]], first: tuple[int, int]) -> Ring:
    """Follow edges from a corner until it is reached again, and remove them; only turns are kept."""
    ring: Ring = []
    at, heading = first, (0, 0)
    while True:
        onward = ways[at]
        # Where two pixels meet at a corner, turning left goes over to the other one.
        left = (at[0] + heading[1], at[1] - heading[0])
        stop = left if left in onward else onward[0]
        onward.remove(stop)
        if not onward:
            del ways[at]
        turned = (stop[0] - at[0], stop[1] - at[1])
        if turned != heading:
            ring.append(at)
        at, heading = stop, turned
        if at == first:
            return ring


def to_geojson(found: list[Region]) -> dict[str, Any]:
    """Regions as QuPath reads them: annotations with measurements."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": region.rings},
            "properties": {
                "objectType": "annotation",
                "name": f"region {k}",
                "classification": {"name": "Tumor", "color": RED},
                "measurements": {
                    "area mm^2": region.area_mm2,
                    "mean probability": region.mean,
                    "maximum probability": region.maximum,
                },
            },
        }
        for k, region in enumerate(found, 1)
    ]
    return {"type": "FeatureCollection", "features": features}


def smoothed_maximum(scores: np.ndarray) -> float:
    """The maximum of a map after averaging over 3×3 centers, of those that have a probability.

    Examples
    --------
    >>> smoothed_maximum(np.array([[0.5, 1.0], [np.nan, 0.0]]))
    0.5
    """
    known = np.isfinite(scores)
    # `uniform_filter` gives means over all neighbors, of which those without a probability are 0.
    sums = ndimage.uniform_filter(np.where(known, scores, 0.0), SMOOTHED, mode="constant")
    shares = ndimage.uniform_filter(known.astype(np.float64), SMOOTHED, mode="constant")
    return float((sums[known] / shares[known]).max())
