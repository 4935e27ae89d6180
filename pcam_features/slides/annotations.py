"""Outlines of tumor drawn on a slide: GeoJSON as QuPath writes it, XML as ASAP does for Camelyon.

Files come from strangers: their size, their nesting and the number of corners are bounded, and XML with
a document type, which entities need, is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat  # entities and document types are refused below

import cv2
import numpy as np

from ..errors import InputError
from ..storage import json_text
from ..words import quoted

SUFFIXES = (".geojson", ".json", ".xml")
MOST_CORNERS = 2_000_000
MOST_SHAPES = 100_000
DEEPEST_XML = 16
FARTHEST = 1 << 22  # pixels from the slide's corner; more is no place on a slide
# Names of classes. Camelyon's groups 0 and 1 are tumor, and 2 is normal tissue inside of it.
TUMOR = re.compile(r"tumou?r|cancer|carcinoma|metasta|malignan|^_?[01]$", re.IGNORECASE)
NOT_TUMOR = re.compile(r"\b(no|not|non)\b|\bnon_?tum|normal|benign", re.IGNORECASE)
EXCLUDED = re.compile(r"^_?2$|^exclu|^normal", re.IGNORECASE)
SUBPIXEL = 4  # bits of a pixel's fraction in drawing
Rings = list[np.ndarray]


@dataclass(frozen=True)
class Shape:
    """A polygon on a slide.

    Parameters
    ----------
    rings
        Its outline, and after it those of holes, float64 (corners, 2) of x and y in pixels of level 0.
        Where lines cross, what an even number of them encloses is outside.
    """

    rings: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Annotations:
    """The annotations of a slide.

    Parameters
    ----------
    tumor, excluded
        Polygons of tumor, and of normal tissue drawn within them.
    other
        How many polygons there are of each other class, which count as normal.
    ignored
        Number of shapes without an area, such as points and lines.
    """

    tumor: tuple[Shape, ...] = ()
    excluded: tuple[Shape, ...] = ()
    other: Mapping[str, int] = field(default_factory=dict)
    ignored: int = 0

    def mask(self, x: int, y: int, size: tuple[int, int], step: float) -> np.ndarray:
        """Where there is tumor in a region.

        Parameters
        ----------
        x, y
            The region's left and upper edge, in pixels of the mask.
        size
            Width and height of the mask.
        step
            Pixels of level 0 along a pixel of the mask.

        Returns
        -------
        numpy.ndarray
            bool (height, width): pixels that a polygon holds or touches.
        """
        drawn = np.zeros((size[1], size[0]), np.uint8)
        for shapes, value in ((self.tumor, 1), (self.excluded, 0)):
            for shape in shapes:
                rings = [ring / step - (x, y) for ring in shape.rings]
                corners = np.concatenate(rings)
                low, high = corners.min(axis=0), corners.max(axis=0)
                if (high < 0).any() or (low > size).any():
                    continue
                fixed = [np.rint((ring - 0.5) * (1 << SUBPIXEL)).astype(np.int32) for ring in rings]
                cv2.fillPoly(drawn, fixed, (value,), cv2.LINE_8, SUBPIXEL)
        return drawn > 0


@dataclass(frozen=True)
class Drawn:
    """A polygon with the name of its class, or None without one."""

    name: str | None
    shape: Shape


def annotations_in(
    folder: Path, stem: str, slide: str, *, tumor: Sequence[str], unannotated: bool
) -> Annotations:
    """The annotations of a slide, in a file of its name.

    Parameters
    ----------
    folder
        Where files of annotations are.
    stem, slide
        The file's name without its ending, and what the slide is called in messages.
    tumor
        See `read_annotations`.
    unannotated
        Whether a slide without a file has no tumor. Otherwise it is refused.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    for suffix in SUFFIXES:
        file = folder / f"{stem}{suffix}"
        if file.is_file():
            return read_annotations(file, tumor)
    if unannotated:
        return Annotations()
    raise InputError(
        f"{folder} has no annotations of slide {slide} ({stem}{SUFFIXES[0]} or .xml); add them, or use "
        "--unannotated if slides without a file have no tumor."
    )


def read_annotations(path: Path, tumor: Sequence[str] = ()) -> Annotations:
    """Read the outlines of a slide.

    Parameters
    ----------
    path
        A GeoJSON file or ASAP's XML.
    tumor
        The names of the classes that are tumor. Default: names such as tumor, carcinoma and metastasis,
        and Camelyon's groups 0 and 1; where no shape has a class, all are tumor.

    Raises
    ------
    InputError
        If the file cannot be read as annotations, or no class of it is tumor.
    """
    try:
        size = path.stat().st_size
        if size > json_text.LARGEST:
            raise ValueError(f"it is larger than {json_text.LARGEST >> 20} MiB")
        content = path.read_bytes()
        read = from_xml if path.suffix.lower() == ".xml" else from_geojson
        drawn, ignored = read(content)
    except OSError as error:
        raise InputError(
            f"annotations {path} cannot be read: {error.strerror}; check the file."
        ) from None
    except ValueError as error:
        raise InputError(
            f"annotations {path} cannot be read: {error}; export them again as GeoJSON from QuPath or "
            "as XML from ASAP."
        ) from None
    return sorted_by_class(path, drawn, ignored, tumor)


def sorted_by_class(
    path: Path, drawn: Sequence[Drawn], ignored: int, tumor: Sequence[str]
) -> Annotations:
    """Polygons by what their classes mean. Raises InputError if none of the classes is tumor."""
    inside: list[Shape] = []
    excluded: list[Shape] = []
    other: dict[str, int] = {}
    unnamed = all(one.name is None for one in drawn)
    for one in drawn:
        name = one.name or ""
        if name in tumor if tumor else unnamed or is_tumor(name):
            inside.append(one.shape)
        elif not tumor and EXCLUDED.search(name):
            excluded.append(one.shape)
        else:
            other[name] = other.get(name, 0) + 1
    if drawn and not inside:
        names = ", ".join(quoted(name, 40) for name in list(other)[:5]) or "those excluded"
        raise InputError(
            f"annotations {path} have no class of tumor, only {names}; name the classes that are tumor "
            "with --tumor."
        )
    return Annotations(tuple(inside), tuple(excluded), other, ignored)


def is_tumor(name: str) -> bool:
    """Whether the name of a class means tumor.

    Examples
    --------
    >>> [is_tumor(name) for name in ("Tumor", "_1", "metastasis", "non-tumor", "_2", "Stroma")]
    [True, True, True, False, False, False]
    """
    return TUMOR.search(name) is not None and NOT_TUMOR.search(name) is None


def from_geojson(content: bytes) -> tuple[list[Drawn], int]:
    """The polygons of a GeoJSON file, and the number of other shapes. Raises ValueError."""
    value = json_text.parse(content)
    features = value.get("features", [value]) if isinstance(value, dict) else value
    if not isinstance(features, list) or len(features) > MOST_SHAPES:
        raise ValueError(f"it is no list of at most {MOST_SHAPES:,} features")
    drawn: list[Drawn] = []
    ignored = 0
    for feature in features:
        if not isinstance(feature, dict):
            raise ValueError("a feature is no object")
        geometry = feature.get("geometry", feature)
        name = class_of(feature)
        polygons = list(polygons_of(geometry))
        ignored += not polygons
        drawn += [Drawn(name, Shape(tuple(rings))) for rings in polygons]
    check_count(drawn)
    return drawn, ignored


def class_of(feature: Mapping[str, Any]) -> str | None:
    """The name of a feature's class, as QuPath writes it; None without one."""
    properties = feature.get("properties")
    known = properties.get("classification") if isinstance(properties, dict) else None
    name = known.get("name") if isinstance(known, dict) else known
    return name if isinstance(name, str) else None


def polygons_of(geometry: Any) -> Iterator[Rings]:
    """The rings of each polygon of a geometry; none of points and lines. Raises ValueError."""
    if not isinstance(geometry, dict):
        raise ValueError("a feature has no geometry")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        return
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list):
        raise ValueError("a polygon has no coordinates")
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon:
            raise ValueError("a polygon has no rings")
        yield [ring_of(ring) for ring in polygon]


def ring_of(corners: Any) -> np.ndarray:
    """A ring of at least three corners, float64 (corners, 2). Raises ValueError for anything else."""
    if not isinstance(corners, list) or len(corners) < 3:
        raise ValueError("a polygon has fewer than three corners")
    if len(corners) > MOST_CORNERS:
        raise ValueError(f"a polygon has more than {MOST_CORNERS:,} corners")
    for corner in corners:
        numbers = isinstance(corner, list) and len(corner) in (2, 3)
        if not numbers or not all(type(one) in (int, float) for one in corner):
            raise ValueError("a corner is no pair of numbers")
    ring = np.array([corner[:2] for corner in corners], np.float64)
    if not (np.abs(ring) <= FARTHEST).all():
        raise ValueError(f"a corner is more than {FARTHEST:,} pixels away")
    return ring


def check_count(drawn: Sequence[Drawn]) -> None:
    """Raise ValueError for more corners than a slide can have."""
    corners = sum(len(ring) for one in drawn for ring in one.shape.rings)
    if corners > MOST_CORNERS:
        raise ValueError(f"it has more than {MOST_CORNERS:,} corners")


@dataclass
class AsapReader:
    """Gathers the polygons of ASAP's XML as the parser meets its elements."""

    drawn: list[Drawn] = field(default_factory=list)
    ignored: int = 0
    depth: int = 0
    corners: int = 0
    name: str | None = None
    kind: str = ""
    points: list[tuple[float, float, float]] | None = None

    def start(self, element: str, facts: dict[str, str]) -> None:
        """The beginning of an element."""
        self.depth += 1
        if self.depth > DEEPEST_XML:
            raise ValueError("it is nested too deeply")
        if element == "Annotation":
            self.name, self.kind = facts.get("PartOfGroup"), facts.get("Type", "")
            self.points = []
        elif element == "Coordinate" and self.points is not None:
            self.corners += 1
            if self.corners > MOST_CORNERS:
                raise ValueError(f"it has more than {MOST_CORNERS:,} corners")
            values = [finite(facts.get(key)) for key in ("Order", "X", "Y")]
            self.points.append((values[0], values[1], values[2]))

    def end(self, element: str) -> None:
        """The end of an element."""
        self.depth -= 1
        if element != "Annotation" or self.points is None:
            return
        if len(self.points) < 3 or self.kind in ("Dot", "PointSet"):
            self.ignored += 1
        else:
            ring = ring_of([[x, y] for _, x, y in sorted(self.points)])
            name = None if self.name in (None, "None") else self.name
            self.drawn.append(Drawn(name, Shape((ring,))))
            if len(self.drawn) > MOST_SHAPES:
                raise ValueError(f"it has more than {MOST_SHAPES:,} shapes")
        self.points = None


def from_xml(content: bytes) -> tuple[list[Drawn], int]:
    """The polygons of ASAP's XML, and the number of other shapes. Raises ValueError."""
    reader = AsapReader()
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise ValueError("it has a document type, which annotations do not need")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no XML ({error})") from None
    if b"<ASAP_Annotations" not in content:
        raise ValueError("it is no XML of ASAP")
    return reader.drawn, reader.ignored


def finite(text: str | None) -> float:
    """A finite number in an attribute. Raises ValueError for anything else."""
    try:
        number = float((text or "")[:40].replace(",", "."))
    except ValueError:
        raise ValueError("a corner is no pair of numbers") from None
    if not math.isfinite(number):
        raise ValueError("a corner is no pair of numbers")
    return number
