"""Compares the speed of reading patches from each layout with that of a plain loop over a library.

The same patches are written to a temporary folder in each layout and then read. Runs are interleaved
and the median is reported. All files are in the page cache of the operating system by then, so the
time is that of lookup, decompression and decoding, not of the disk.
"""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
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
from ..execution.executor import Threads
from ..sources import hdf5, hf_parquet, kaggle
from ..sources.detect import open_source
from ..sources.source import Source, Split, numbered
from ..words import counted

BATCH_ROWS = 32  # about as many patches as `extract` reads at a time
JPEG_QUALITY = 90
NOTE = "all files were in the page cache; a first read or a slow disk takes additional time"
Plain = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class LayoutTiming:
    """The speed of reading one layout, in milliseconds per patch.

    `ratio` and `all_cores_ratio` are the library's time, in one thread, divided by ours in one thread
    and with one thread per core.
    """

    layout: str
    library: str
    ms_per_patch: float
    all_cores_ms_per_patch: float
    library_ms_per_patch: float
    ratio: float
    all_cores_ratio: float


@dataclass(frozen=True)
class ReadingBenchmark:
    """The timings of every layout on the same patches."""

    patches: int
    repeats: int
    cores: int
    note: str
    layouts: tuple[LayoutTiming, ...]

    def to_dict(self) -> dict[str, Any]:
        """The benchmark as `pcam bench --json` prints it."""
        return asdict(self) | {"layouts": [asdict(timing) for timing in self.layouts]}


class Way(NamedTuple):
    """A layout on disk, and a plain loop that reads it with a library."""

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
        yield from (pillow(io.BytesIO(image[hf_parquet.BYTES].as_py())) for image in images)


def write_kaggle(folder: Path, split: Split, pixels: np.ndarray) -> list[Path]:
    (folder / kaggle.TRAIN).mkdir(parents=True)
    paths = [folder / kaggle.TRAIN / f"{patch_id}.tif" for patch_id in split.ids]
    for path, patch in zip(paths, pixels, strict=True):
        Image.fromarray(patch).save(path, compression=None)
    table = pd.DataFrame({"id": split.ids, "label": split.labels})
    table.to_csv(folder / kaggle.LABELS, index=False)
    return paths


def write_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))


def write_jpegs(folder: Path, images: list[Path], like: Path) -> list[Path]:
    """Write images as JPEG files, to a folder with the same structure as `like`."""
    paths = [(folder / image.relative_to(like)).with_suffix(".jpg") for image in images]
    for path, image in zip(paths, images, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(image).save(path, quality=JPEG_QUALITY)
    return paths


def ways(folder: Path, split: Split, pixels: np.ndarray, opened: ExitStack) -> list[Way]:
    """Write every layout. Files that the library loops keep open are registered in `opened`."""
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
    """Raise PcamError unless pcam and the library read the same pixels."""
    ours, theirs = split.read(0, len(split)), np.stack(list(way.plain()))
    lossy = way.path.name == "jpeg"
    if not np.array_equal(ours, theirs) or not (lossy or np.array_equal(ours, pixels)):
        raise PcamError(
            f"pcam and {way.library} read different pixels from {way.layout}, so their times cannot be "
            "compared; please report this."
        )


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed(way: Way, split: Split, cores: int) -> tuple[float, float, float]:
    """Seconds of the library loop, of pcam in one thread, and of pcam with one thread per core."""
    spans = [(k, min(k + BATCH_ROWS, len(split))) for k in range(0, len(split), BATCH_ROWS)]

    def fresh() -> Split:
        """Reopen Parquet files: an opened split caches the row groups that it has decompressed."""
        return only_split(way.path) if way.path.name == Layout.parquet else split

    def one_thread(opened: Split) -> None:
        for span in spans:
            opened.read(*span)

    def all_threads(opened: Split) -> None:
        for _ in Threads(cores).map(lambda span: opened.read(*span), spans):
            pass

    plain = seconds(lambda: sum(1 for _ in way.plain()))
    return plain, seconds(partial(one_thread, fresh())), seconds(partial(all_threads, fresh()))


def timing_of(way: Way, runs: list[tuple[float, float, float]], rows: int) -> LayoutTiming:
    """The medians of the runs of one layout."""
    plain, one_thread, all_threads = (median(run[k] for run in runs) / rows for k in range(3))
    return LayoutTiming(
        layout=way.layout,
        library=way.library,
        ms_per_patch=one_thread * 1000,
        all_cores_ms_per_patch=all_threads * 1000,
        library_ms_per_patch=plain * 1000,
        ratio=plain / one_thread,
        all_cores_ratio=plain / all_threads,
    )


def run(
    source: str, patches: int, repeats: int, say: Callable[[str], None] = lambda message: None
) -> ReadingBenchmark:
    """Time the reading of the first patches of a source from every layout.

    Parameters
    ----------
    source
        A source of patches, as on the command line.
    patches
        Number of patches to write and read. Fewer are used if the source has fewer.
    repeats
        Number of interleaved runs.
    say
        Called with progress messages.

    Returns
    -------
    ReadingBenchmark
        Timings in milliseconds per patch.

    Raises
    ------
    InputError
        If the source cannot be read or the temporary folder has too little space.
    PcamError
        If pcam and a library read different pixels.
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
        say(f"bench: reading {counted(rows, 'patch')} from every layout, median of {repeats} runs")
        every_way = ways(Path(folder), split, pixels, opened)
        splits = [only_split(way.path) for way in every_way]
        for way, written in zip(every_way, splits, strict=True):
            check_pixels(way, written, pixels)  # this is also the warm-up
        runs = [
            [timed(way, written, cores) for way, written in zip(every_way, splits, strict=True)]
            for _ in range(repeats)
        ]
    timings = (timing_of(way, [run[k] for run in runs], rows) for k, way in enumerate(every_way))
    return ReadingBenchmark(rows, repeats, cores, NOTE, tuple(timings))
