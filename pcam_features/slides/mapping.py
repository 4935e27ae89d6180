"""The map of a slide: the probability of tumor of each center that is tissue, as files.

Centers are computed in parts of as many patches as a part of a feature store has, row by row of the
grid. A part that is done is kept until the map is whole, so that a map can be stopped and continued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from .. import __version__
from ..constants import STRIDE, THRESHOLD
from ..errors import InputError
from ..learn.bundle import model_sum
from ..learn.steps import Work
from ..sources.fitting import PCAM_MPP
from ..storage.files import sha256, whole_file, write_json, write_text
from ..storage.resumable import PLAN_KEY, in_the_making
from ..store.layout import PART_ROWS
from ..words import counted, one_line
from . import outputs
from .grid import Grid, SlidePatches
from .page import MapPage, TopPatch, page
from .predictor import UNREADABLE, Predictor, begun_once
from .reading import Slide
from .regions import Region, regions, smoothed_maximum, to_geojson
from .tissue import Tissue, overview, tissue_of

WHAT, MARK, KEY, VERSION = "map", "map.json", "map_version", 1
PLAN_VERSION = 1
TOP, APART = 12, 96  # patches of highest probability that are shown, and their least distance in pixels
PICTURE = 1600  # pixels on the longer side of the slide's picture
HEAD = 1 << 20  # bytes of a slide's file by which it is recognized, beside its size
LEFT_OUT = -1.0  # in a step, whose numbers are finite: could not be read


@dataclass(frozen=True)
class MapOptions:
    """How a map is made.

    Parameters
    ----------
    stride
        Distance of neighboring patches in pixels at PCam's scale.
    threshold
        The least probability of a region.
    mask
        A picture of the tissue; None to find it by color.
    """

    stride: int = STRIDE
    threshold: float = THRESHOLD
    mask: Path | None = None


@dataclass(frozen=True)
class MapRecord:
    """What a map says of a slide, and how it was made; `map.json`.

    Parameters
    ----------
    slide, width, height, mpp, reader
        The slide: its file, its size in pixels of level 0, their micrometers, and what read it.
    model, model_sum
        The model's folder, and the SHA-256 of its manifest.
    stride, threshold, tissue
        How the map was made; `tissue` says how tissue was found.
    rows, columns, x, y, pixel
        The map: its size, the left and upper edge of its first pixel, and the width of a pixel, in
        pixels of level 0.
    centers, unreadable
        Number of centers on tissue, and of those that could not be read and have no probability.
    overview_unreadable
        Share of the overview that could not be read, where no tissue was found.
    tissue_mm2, above_mm2
        The area of the centers that have a probability, and of those not below the threshold.
    score
        The slide's score: the maximum of the map after averaging over 3×3 centers.
    maximum
        The highest probability.
    regions
        The regions, the highest first.
    """

    slide: str
    width: int
    height: int
    mpp: float
    reader: str
    model: str
    model_sum: str
    stride: int
    threshold: float
    tissue: str
    rows: int
    columns: int
    x: float
    y: float
    pixel: float
    centers: int
    unreadable: int
    overview_unreadable: float
    tissue_mm2: float
    above_mm2: float
    score: float
    maximum: float
    regions: tuple[Region, ...] = field(repr=False)
    pcam_version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        own = asdict(self) | {"regions": [region.to_dict() for region in self.regions]}
        return {KEY: VERSION} | own

    def sentence(self) -> str:
        """The result in a sentence, without a period."""
        return (
            f"slide score {self.score:.3f}; {self.above_mm2:.2f} of {self.tissue_mm2:.2f} mm² of "
            f"tissue at {self.threshold:g} or above, in {counted(len(self.regions), 'region')}"
        )


def write_map(
    slide: Slide,
    predictor: Predictor,
    out: Path,
    options: MapOptions,
    *,
    overwrite: bool,
    display: Callable[[int], Any],
    crew: Crew | None = None,
) -> MapRecord:
    """Compute the map of a slide and write it, or continue one that was stopped.

    Parameters
    ----------
    slide, predictor
        The slide and the model.
    out
        The folder to create.
    options
        How the map is made.
    overwrite
        Whether an earlier map in `out` may be replaced.
    display
        Called with the number of centers that are left to compute; a context manager that yields a
        function, which is told of centers that are done.
    crew
        Who predicts the parts; None for this process.

    Raises
    ------
    InputError
        If there is no tissue, nothing of it can be read, or `out` cannot be created.
    """
    tissue = tissue_of(slide, options.mask, predictor.threads)
    grid = Grid.of(slide.width, slide.height, slide.mpp, options.stride)
    places = grid.on_tissue(tissue.mask, tissue.seen)
    check_tissue(slide, grid, places, tissue)
    plan = plan_of(slide, predictor, options, places)
    with in_the_making(out, plan, overwrite=overwrite, what=WHAT, mark=MARK, key=KEY) as folder:
        parts = crew or PartsHere(slide, predictor, grid)
        values = compute(parts, places, Work(folder), display)
        if not np.isfinite(values).any():
            raise InputError(f"no center of {slide.path} could be read; copy the file again.")
        return write_outputs(folder, slide, predictor, options, MapData(grid, places, values, tissue))


def check_tissue(slide: Slide, grid: Grid, places: np.ndarray, tissue: Tissue) -> None:
    """Raise InputError if a slide has no center to score."""
    if not grid.rows or not grid.columns:
        side = round(PCAM_MPP / slide.mpp * 96)
        raise InputError(
            f"{slide.path} has {slide.width:,}×{slide.height:,} pixels, and a patch needs "
            f"{side}×{side} at {slide.mpp:g} µm per pixel; check --mpp, or give a larger slide."
        )
    if not len(places):
        unread = tissue.seen.unreadable
        beside = f" ({unread:.1%} of the overview could not be read)" if unread else ""
        raise InputError(
            f"no tissue was found in {slide.path} by {tissue.how}{beside}; give a picture of the "
            "tissue with --mask."
        )


def plan_of(
    slide: Slide, predictor: Predictor, options: MapOptions, places: np.ndarray
) -> dict[str, Any]:
    """What a map that is continued has to agree in."""
    size, head, reader = slide_seen(slide)
    return {
        PLAN_KEY: PLAN_VERSION,
        "slide": one_line(str(slide.path)),
        "slide_bytes": size,
        "slide_head": head,
        "mpp": slide.mpp,
        "reader": reader,
        "model": one_line(str(predictor.path)),
        "model_sum": model_sum(predictor.path),
        "stride": options.stride,
        "threshold": options.threshold,
        "mask": None if options.mask is None else one_line(str(options.mask)),
        "centers": hashlib.sha256(places.tobytes()).hexdigest(),
        "pcam_version": __version__,
    }


def slide_seen(slide: Slide) -> tuple[int, str, str]:
    """By what a slide is recognized: its bytes, the SHA-256 of the first of them, and its reader."""
    with slide.path.open("rb") as file:
        head = file.read(HEAD)
    return slide.path.stat().st_size, sha256(head), slide.pixels.reader


class Crew(Protocol):
    """Who predicts the parts of a map."""

    def predict(
        self, parts: Sequence[np.ndarray], progress: Callable[[int], None]
    ) -> Generator[np.ndarray]:
        """Yield the probabilities of each part, whose rows and columns are given, in their order.

        A number of NaN stands for a center that cannot be read. `progress` is told of centers that are
        done, and of 0 when the work begins.
        """
        ...


@dataclass(frozen=True)
class PartsHere:
    """Predicts parts in this process."""

    slide: Slide
    predictor: Predictor
    grid: Grid

    def predict(
        self, parts: Sequence[np.ndarray], progress: Callable[[int], None]
    ) -> Generator[np.ndarray]:
        """See `Crew`."""
        told = begun_once(progress)
        for places in parts:
            yield self.predictor.probabilities(SlidePatches(self.slide, self.grid, places), told)


def compute(
    crew: Crew,
    places: np.ndarray,
    work: Work,
    display: Callable[[int], Any],
) -> np.ndarray:
    """The probability of each center, float64 (centers,); NaN where it could not be read.

    Parts that are done are taken from the steps of `work`, and others are kept there.
    """
    values = np.full(len(places), UNREADABLE)
    spans = [slice(start, start + PART_ROWS) for start in range(0, len(places), PART_ROWS)]
    left = []
    for k, span in enumerate(spans):
        known = work.kept(step_named(k), (len(places[span]),), "<f8")
        if known is None:
            left.append((k, span))
        else:
            values[span] = np.where(known == LEFT_OUT, UNREADABLE, known)
    with display(sum(len(places[span]) for _, span in left)) as advance:
        found = crew.predict([places[span] for _, span in left], advance)
        with closing(found):
            for (k, span), part in zip(left, found, strict=True):
                values[span] = part
                work.keep(step_named(k), np.where(np.isfinite(part), part, LEFT_OUT))
    return values


def step_named(k: int) -> str:
    """The name of the step that computes a part."""
    return f"part-{k:05d}"


@dataclass(frozen=True)
class MapData:
    """The centers of a map and their probabilities, float64 (centers,)."""

    grid: Grid
    places: np.ndarray
    values: np.ndarray
    tissue: Tissue

    def scores(self) -> np.ndarray:
        """The map, float32 (rows, columns); NaN where there is no probability."""
        whole = np.full((self.grid.rows, self.grid.columns), np.nan, np.float32)
        whole[self.places[:, 0], self.places[:, 1]] = self.values
        return whole

    def frame(self) -> pd.DataFrame:
        """A row for each center: the middle in pixels of level 0, row and column, probability."""
        middles = np.array([self.grid.middle(*place) for place in self.places.tolist()], np.int32)
        return pd.DataFrame(
            {
                "x": middles[:, 0],
                "y": middles[:, 1],
                "row": self.places[:, 0],
                "column": self.places[:, 1],
                "probability": self.values,
            }
        )


def record_of(slide: Slide, predictor: Predictor, options: MapOptions, data: MapData) -> MapRecord:
    """What a map says."""
    grid, scores, seen = data.grid, data.scores(), data.tissue.seen
    known = np.isfinite(data.values)
    return MapRecord(
        slide=one_line(str(slide.path)),
        width=slide.width,
        height=slide.height,
        mpp=slide.mpp,
        reader=slide.pixels.reader,
        model=one_line(str(predictor.path)),
        model_sum=model_sum(predictor.path),
        stride=options.stride,
        threshold=options.threshold,
        tissue=data.tissue.how,
        rows=grid.rows,
        columns=grid.columns,
        x=grid.edge,
        y=grid.edge,
        pixel=grid.pitch,
        centers=len(data.places),
        unreadable=int((~known).sum()),
        overview_unreadable=seen.unreadable,
        tissue_mm2=float(known.sum() * grid.square_mm),
        above_mm2=float((data.values[known] >= options.threshold).sum() * grid.square_mm),
        score=smoothed_maximum(scores.astype(np.float64)),
        maximum=float(data.values[known].max()),
        regions=tuple(regions(scores.astype(np.float64), options.threshold, grid)),
    )


def write_outputs(
    folder: Path, slide: Slide, predictor: Predictor, options: MapOptions, data: MapData
) -> MapRecord:
    """Write the files of a map; the record, which marks it as whole, comes last."""
    record = record_of(slide, predictor, options, data)
    scores = data.scores()
    outputs.write_tiff(folder / "map.tif", scores, data.grid, folder)
    with whole_file(folder / "map.parquet", folder) as temporary:
        data.frame().to_parquet(temporary, index=False)
    outlines = json.dumps(to_geojson(list(record.regions)), allow_nan=False)
    write_text(folder / "regions.geojson", outlines + "\n", folder)
    longest = max(slide.width, slide.height)
    seen = overview(slide, longest * slide.mpp / PICTURE, predictor.threads)
    outputs.write_overlay(folder / "overlay.png", seen, scores, data.grid, folder)
    patches = top_patches(slide, predictor, data)
    shown = MapPage(record.to_dict(), record.sentence(), seen, scores, patches)
    write_text(folder / "slide.html", page(shown), folder)
    write_json(folder / MARK, record.to_dict(), folder)
    return record


def top_patches(slide: Slide, predictor: Predictor, data: MapData) -> list[TopPatch]:
    """The patches of highest probability, each away from those before it, with reasons."""
    order = np.argsort(-data.values, kind="stable")  # NaN comes last
    order = order[: int(np.isfinite(data.values).sum())]
    apart = APART / data.grid.stride
    chosen: list[int] = []
    for k in order.tolist():
        near = [np.abs(data.places[k] - data.places[other]).max() < apart for other in chosen]
        if not any(near):
            chosen.append(k)
        if len(chosen) == TOP:
            break
    patches = SlidePatches(slide, data.grid, data.places[chosen])
    pixels = patches.read(0, len(patches))
    return [
        TopPatch(pixels[k], float(data.values[at]), *data.grid.middle(*data.places[at].tolist()), why)
        for k, (at, why) in enumerate(zip(chosen, predictor.reasons(pixels), strict=True))
    ]
