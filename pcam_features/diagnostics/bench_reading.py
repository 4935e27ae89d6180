"""How fast patches are read from each layout, beside the plain way with the library people use.

The same patches are written in each layout to a temporary folder and read again, interleaved run by
run; medians. All is in the system's page cache by then, so that what is timed is finding, unpacking
and decoding, not the disk.
"""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import h5py
import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from ..constants import Kind, Layout
from ..convert.convert import convert
from ..errors import PcamError
from ..sources import hdf5, hf_parquet, kaggle
from ..sources.detect import open_source
from ..sources.source import Source, Split, numbered

BATCH_ROWS = 32  # about what `extract` reads at a time
JPEG_QUALITY = 90
NOTE = "files are in the page cache: a disk that is slow, or read for the first time, adds its own time"
Plain = Callable[[], Iterable[np.ndarray]]


class Way(NamedTuple):
    """A layout on disk, and how one reads it without pcam."""

    layout: str
    library: str
    path: Path
    plain: Plain


def pillow(file: Path | io.BytesIO) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def pillow_each(paths: list[Path]) -> Iterable[np.ndarray]:
    return map(pillow, paths)


def zipfile_each(opened: zipfile.ZipFile, names: list[str]) -> Iterable[np.ndarray]:
    return (pillow(io.BytesIO(opened.read(name))) for name in names)


def h5py_each(pixels: Any) -> Iterable[np.ndarray]:
    return (pixels[k] for k in range(len(pixels)))


def pyarrow_each(paths: list[Path]) -> Iterable[np.ndarray]:
    for path in paths:
        images = pq.read_table(path, columns=[hf_parquet.IMAGE])[hf_parquet.IMAGE]
        yield from (pillow(io.BytesIO(one[hf_parquet.BYTES].as_py())) for one in images)


def write_kaggle(folder: Path, split: Split, pixels: np.ndarray) -> list[Path]:
    (folder / kaggle.TRAIN).mkdir(parents=True)
    paths = [folder / kaggle.TRAIN / f"{patch_id}.tif" for patch_id in split.ids]
    for path, patch in zip(paths, pixels, strict=True):
        Image.fromarray(patch).save(path, compression=None)
    table = pd.DataFrame({"id": split.ids, "label": split.labels})
    table.to_csv(folder / kaggle.LABELS, index=False)
    return paths


def write_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(folder.rglob("*.*")):
            made.write(file, file.relative_to(folder))


def write_jpegs(folder: Path, images: list[Path], like: Path) -> list[Path]:
    """JPEGs of images, in a folder that is ordered as theirs."""
    paths = [(folder / image.relative_to(like)).with_suffix(".jpg") for image in images]
    for path, image in zip(paths, images, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).save(path, quality=JPEG_QUALITY)
    return paths


def ways(folder: Path, split: Split, pixels: np.ndarray, opened: ExitStack) -> list[Way]:
    """The layouts, written. What the plain ways keep open is put into `opened`."""
    sample = Source(Kind.synthetic, "sample", "none", {split.name: split})
    at = {to: folder / to for to in Layout}
    for to, where in at.items():
        convert(sample, [split], where, to, joblib.cpu_count())
    tiffs = write_kaggle(folder / "kaggle", split, pixels)
    packed = folder / kaggle.ZIP
    write_zip(packed, folder / "kaggle")
    archive = opened.enter_context(zipfile.ZipFile(packed))
    names = [path.relative_to(folder / "kaggle").as_posix() for path in tiffs]
    name = hdf5.file_name(split.name, f"{hdf5.PIXELS}.h5")
    array = opened.enter_context(h5py.File(at[Layout.hdf5] / name))[hdf5.PIXELS]
    tables = hf_parquet.listed(at[Layout.parquet])
    pngs = sorted(at[Layout.folder].rglob("*.png"), key=lambda path: path.stem)
    jpegs = write_jpegs(folder / "jpeg", pngs, at[Layout.folder])
    return [
        Way("Kaggle's TIFF folder", "Pillow", folder / "kaggle", partial(pillow_each, tiffs)),
        Way("Kaggle's zip", "zipfile, Pillow", packed, partial(zipfile_each, archive, names)),
        Way("PCam's HDF5", "h5py", at[Layout.hdf5], partial(h5py_each, array)),
        Way("folder of PNG", "Pillow", at[Layout.folder], partial(pillow_each, pngs)),
        Way("folder of JPEG", "Pillow", folder / "jpeg", partial(pillow_each, jpegs)),
        Way("Parquet", "pyarrow, Pillow", at[Layout.parquet], partial(pyarrow_each, tables)),
    ]


def only_split(path: Path) -> Split:
    (split,) = open_source(str(path))[0].splits.values()
    return split


def check_pixels(way: Way, split: Split, pixels: np.ndarray) -> None:
    """Raises PcamError unless both ways give the same pixels: else their times say nothing."""
    ours, theirs = split.read(0, len(split)), np.stack(list(way.plain()))
    lossy = way.path.name == "jpeg"
    if not np.array_equal(ours, theirs) or not (lossy or np.array_equal(ours, pixels)):
        raise PcamError(f"{way.layout} does not read the same with pcam and with {way.library}.")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed(way: Way, split: Split, cores: int) -> tuple[float, float, float]:
    """Seconds of the plain way, of ours in one thread, and of ours in one for each core."""
    spans = [(k, min(k + BATCH_ROWS, len(split))) for k in range(0, len(split), BATCH_ROWS)]

    def fresh() -> Split:
        """Parquet's row groups are kept once unpacked, which would be no reading."""
        return only_split(way.path) if way.path.name == Layout.parquet else split

    def one(opened: Split) -> None:
        for span in spans:
            opened.read(*span)

    def every(opened: Split) -> None:
        with ThreadPoolExecutor(cores) as pool:
            for _ in pool.map(lambda span: opened.read(*span), spans):
                pass

    plain = seconds(lambda: sum(1 for _ in way.plain()))
    return plain, seconds(partial(one, fresh())), seconds(partial(every, fresh()))


def row_of(way: Way, runs: list[tuple[float, float, float]], rows: int) -> dict[str, Any]:
    plain, one, every = (median(run[k] for run in runs) / rows for k in range(3))
    return {
        "layout": way.layout,
        "library": way.library,
        "ms_per_patch": one * 1000,
        "all_cores_ms_per_patch": every * 1000,
        "library_ms_per_patch": plain * 1000,
        "ratio": plain / one,
        "all_cores_ratio": plain / every,
    }


def run(
    source: str, patches: int, repeats: int, say: Callable[[str], None] = lambda message: None
) -> dict[str, Any]:
    """Time the reading of the first patches of a source from every layout.

    Raises InputError if the source cannot be read, or if there is no room to write them.
    """
    first = next(iter(open_source(source)[0].splits.values()))
    pixels = first.read(0, min(patches, len(first)))
    rows, cores = len(pixels), joblib.cpu_count()
    labels = np.arange(rows, dtype=np.int8) % 2
    split = Split(
        kaggle.TRAIN,
        numbered(kaggle.TRAIN, rows),
        labels,
        [None] * rows,
        lambda *span: "",
        lambda start, stop: pixels[start:stop],
    )
    with tempfile.TemporaryDirectory(prefix="pcam-bench-") as folder, ExitStack() as opened:
        say(f"bench: reading {rows:,} patches from every layout, median of {repeats}")
        every_way = ways(Path(folder), split, pixels, opened)
        splits = [only_split(way.path) for way in every_way]
        for way, one in zip(every_way, splits, strict=True):
            check_pixels(way, one, pixels)  # and warm up
        runs = [
            [timed(way, one, cores) for way, one in zip(every_way, splits, strict=True)]
            for _ in range(repeats)
        ]
    layouts = [row_of(way, [run[k] for run in runs], rows) for k, way in enumerate(every_way)]
    return {"patches": rows, "repeats": repeats, "cores": cores, "note": NOTE, "layouts": layouts}
