"""Synthetic slides: a pyramid of the renderer's tissue with nests of tumor, and their outlines.

The slide is rendered block by block at PCam's scale and enlarged twice, so that its level 0 is at 20×.
Nothing but a band of blocks and the lower levels' buffer is in memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import joblib
import numpy as np
from PIL import Image

from ..errors import InputError
from ..execution.executor import Threads
from ..sources import synthetic
from ..sources.fitting import PCAM_MPP
from ..storage.disks import telling_full
from ..storage.files import check_file, whole_file, write_text
from .layout import Layout, plan
from .resolution import PER_UNIT

ENLARGED = 2
MPP = PCAM_MPP / ENLARGED  # of level 0
BLOCK = 512  # pixels at PCam's scale that are rendered at a time; a noise field has as many
TILE = 256
STEP = 4  # between levels
SMALLEST_LEVEL = 1024  # pixels on the longer side from which there is no lower level
LEAST_SIDE, MOST_SIDE = 256, 100_000  # pixels of level 0
MOST_NESTS = 1000
QUALITY = 90  # of JPEG
CENTIMETER, JPEG, COMPRESSION = 3, 7, 259  # of TIFF: a unit, a compression, and its tag
CYTOPLASM = 0.42  # eosin in a nest


@dataclass(frozen=True)
class SyntheticSlide:
    """What `synthesize_slide` wrote.

    Parameters
    ----------
    slide, outlines
        The files.
    width, height
        Of level 0, in pixels.
    mpp
        Micrometers per pixel of level 0.
    nests
        Number of nests of tumor.
    """

    slide: Path
    outlines: Path
    width: int
    height: int
    mpp: float
    nests: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return vars(self) | {"slide": str(self.slide), "outlines": str(self.outlines)}


def synthesize_slide(
    path: Path,
    width: int,
    height: int,
    *,
    nests: int = 12,
    seed: int = 0,
    overwrite: bool = False,
    threads: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> SyntheticSlide:
    """Write a synthetic slide, and the outlines of its nests beside it. Same arguments, same bytes.

    Parameters
    ----------
    path
        The TIFF file. Outlines go to a file of this name that ends in `.geojson`.
    width, height
        Size of level 0 in pixels of 0.486 µm.
    nests
        Number of nests; fewer where the tissue has no room for them.
    seed
        Random seed.
    overwrite
        Whether files of these names may be replaced.
    threads
        Number of threads; 0 is one for each core.
    progress
        Called with the number of blocks that were just rendered.

    Raises
    ------
    InputError
        If a number is out of range, or a file exists.

    Examples
    --------
    >>> made = synthesize_slide(Path("slide.tif"), 640, 512, nests=1)
    >>> made.outlines.name, made.nests
    ('slide.geojson', 1)
    """
    check_numbers(width, height, nests)
    outlines = path.with_suffix(".geojson")
    for file in (path, outlines):
        check_file(file)
        if file.exists() and not overwrite:
            raise InputError(f"{file} exists already; choose another name or use --overwrite.")
    layout = plan(-(-width // ENLARGED), -(-height // ENLARGED), nests, seed)
    with whole_file(path) as temporary, telling_full(path):
        write_pyramid(
            temporary, (width, height), bands(layout, (width, height), seed, threads, progress)
        )
    write_text(outlines, json.dumps(geojson(layout), allow_nan=False) + "\n")
    return SyntheticSlide(path, outlines, width, height, MPP, len(layout.nests))


def block_count(width: int, height: int) -> int:
    """How many blocks a slide is rendered in."""
    side = BLOCK * ENLARGED
    return -(-width // side) * -(-height // side)


def check_numbers(width: int, height: int, nests: int) -> None:
    """Raise InputError for numbers out of range."""
    for name, side in (("--width", width), ("--height", height)):
        if not LEAST_SIDE <= side <= MOST_SIDE:
            raise InputError(f"{name} is {side:,}; give {LEAST_SIDE:,} to {MOST_SIDE:,} pixels.")
    if not 0 <= nests <= MOST_NESTS:
        raise InputError(f"--nests is {nests:,}; give 0 to {MOST_NESTS:,}.")


def geojson(layout: Layout) -> dict[str, Any]:
    """The outlines of the nests in pixels of level 0, as QuPath reads them."""
    features = []
    for k, nest in enumerate(layout.nests, 1):
        ring = np.round(nest.outline * ENLARGED, 1).astype(float).tolist()
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {
                    "objectType": "annotation",
                    "name": f"nest {k}",
                    "classification": {"name": "Tumor"},
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def render_block(layout: Layout, x: int, y: int, seed: int) -> np.ndarray:
    """A block at x, y of PCam's scale, uint8 (BLOCK, BLOCK, 3)."""
    rng = np.random.default_rng([seed, 12, y, x])
    fields = synthetic.noise_fields(seed)
    tissue, follicle, stroma, fat = (
        layout.mask(field, x, y, BLOCK)
        for field in (layout.tissue, layout.follicle, layout.stroma, layout.fat)
    )
    glass = np.where(tissue, 0, 255).astype(np.uint8)
    image = synthetic.empty(BLOCK)
    eosin = 0.4 + 0.07 * synthetic.window(fields, "coarse", rng, BLOCK)
    if tissue.any():
        dense = ~follicle & ~stroma & ~fat
        synthetic.draw_lymphocytes(rng, image, layout.look.density, dense)
        synthetic.draw_large_nuclei(rng, image, follicle & ~stroma, 5.0, 0.145, 0.3, 92)
        synthetic.draw_spindles(rng, image, stroma, layout.turn)
        eosin = np.where(stroma, 0.62 + 0.17 * fibers(rng, fields, layout.turn), eosin)
        holes = synthetic.draw_fat(rng, BLOCK, fat)
        glass = np.maximum(glass, holes)
        image[holes > 0] = 0
        for nest in layout.nests:
            mask = layout.nest_mask(nest, x, y, BLOCK)
            if mask is not None and mask.any():
                synthetic.draw_tumor(rng, image, mask, nest.grade)
                eosin = np.where(mask, CYTOPLASM, eosin)
                glass[mask & tissue] = 0
        image[~tissue] = 0
    return synthetic.stain(rng, image, eosin.astype(np.float32), glass, layout.look, fields, jitter=0)


def fibers(rng: np.random.Generator, fields: dict[str, np.ndarray], turn: float) -> np.ndarray:
    """The field of fibers, turned, float32 (BLOCK, BLOCK)."""
    middle = (BLOCK / 2, BLOCK / 2)
    return np.asarray(
        cv2.warpAffine(
            synthetic.window(fields, "fiber", rng, BLOCK),
            cv2.getRotationMatrix2D(middle, -turn, 1.5),
            (BLOCK, BLOCK),
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def bands(
    layout: Layout,
    size: tuple[int, int],
    seed: int,
    threads: int,
    progress: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Level 0 in bands of one row of blocks, uint8 (rows, width, 3)."""
    width, height = size
    side = BLOCK * ENLARGED
    workers = Threads(threads or joblib.cpu_count())
    synthetic.noise_fields(seed)  # once, before threads ask for it

    def enlarged(at: tuple[int, int]) -> np.ndarray:
        block = render_block(layout, *at, seed)
        return np.asarray(cv2.resize(block, (side, side), interpolation=cv2.INTER_CUBIC))

    for top in range(0, height, side):
        band = np.empty((min(side, height - top), width, 3), np.uint8)
        lefts = range(0, width, side)
        places = ((left // ENLARGED, top // ENLARGED) for left in lefts)
        for left, block in zip(lefts, workers.map(enlarged, places), strict=True):
            part = band[:, left : left + side]
            part[:] = block[: part.shape[0], : part.shape[1]]
            progress(1)
        yield band


def write_pyramid(path: Path, size: tuple[int, int], level0: Iterator[np.ndarray]) -> None:
    """Write a tiled pyramid in JPEG.

    Parameters
    ----------
    path
        The file.
    size
        Width and height of level 0.
    level0
        Its bands, whose heights are multiples of `TILE`, except for the last.
    """
    import tifffile

    with TemporaryDirectory(prefix="pcam-", dir=path.parent) as folder:
        with tifffile.TiffWriter(path, bigtiff=True) as file:
            source, step, k = level0, 1, 0
            while True:
                smaller = max(1, size[0] // STEP), max(1, size[1] // STEP)
                lower = None
                if max(size) > SMALLEST_LEVEL:
                    shape = (smaller[1], smaller[0], 3)
                    lower = np.memmap(Path(folder) / f"level{k}", np.uint8, "w+", shape=shape)
                write_level(file, size, tiles(source, lower), step)
                if lower is None:
                    break
                size, step, k, source = smaller, step * STEP, k + 1, in_bands(lower)
        name_jpeg(path)


def write_level(file: Any, size: tuple[int, int], encoded: Iterator[bytes], step: int) -> None:
    """Write a level of tiles that are encoded already, whose pixels are `step` of level 0 wide."""
    per_centimeter = PER_UNIT[CENTIMETER] / (MPP * step)
    file.write(
        encoded,
        shape=(size[1], size[0], 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        compression="adobe_deflate",  # which `name_jpeg` corrects
        photometric="ycbcr",
        subfiletype=0 if step == 1 else 1,
        resolution=(per_centimeter, per_centimeter),
        resolutionunit=CENTIMETER,
        software="pcam",
        metadata=None,
    )


def name_jpeg(path: Path) -> None:
    """Say in a file's directories that its tiles are in JPEG.

    tifffile writes tiles that are encoded already as they are, but takes JPEG for the name of their
    compression only where the package imagecodecs is installed.
    """
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags[COMPRESSION].overwrite(JPEG)  # type: ignore[union-attr]


def in_bands(level: np.ndarray) -> Iterator[np.ndarray]:
    """A level in bands, as `bands` gives level 0."""
    side = BLOCK * ENLARGED
    for top in range(0, len(level), side):
        yield np.asarray(level[top : top + side])


def tiles(source: Iterator[np.ndarray], lower: np.ndarray | None) -> Iterator[bytes]:
    """The tiles of a level in JPEG, row by row. The level below is filled on the way."""
    done = 0
    for band in source:
        if lower is not None:
            rows = min(len(band) // STEP, len(lower) - done)
            if rows:
                size = (lower.shape[1], rows)
                lower[done : done + rows] = cv2.resize(band, size, interpolation=cv2.INTER_AREA)
            done += rows
        for top in range(0, len(band), TILE):
            for left in range(0, band.shape[1], TILE):
                yield in_jpeg(band[top : top + TILE, left : left + TILE])


def in_jpeg(tile: np.ndarray) -> bytes:
    """A tile in JPEG; one at the edge is filled up with its last pixels."""
    missing = ((0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0))
    if missing != ((0, 0), (0, 0), (0, 0)):
        tile = np.pad(tile, missing, mode="edge")
    stream = io.BytesIO()
    Image.fromarray(tile).save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()
