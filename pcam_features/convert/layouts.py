"""Writers of the layouts that `convert` offers. `sources` can read each of them.

A writer gets a folder, a split, and the split's patches in encoded batches of `BATCH_ROWS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..constants import Layout
from ..sources import hdf5, hf_parquet
from ..sources.images import PIXEL_BYTES, SHAPE
from ..sources.slides import BESIDE, COLUMNS
from ..sources.source import Split
from ..sources.vocabulary import NORMAL, TUMOR, UNLABELED

BATCH_ROWS = 128  # patches per batch, and rows per row group of Parquet
SHARD_ROWS = 128 * BATCH_ROWS  # patches per Parquet file, about 400 MB
IMAGE_SUFFIX = ".png"
# Stained tissue is noisy: a higher compression level takes longer and saves almost nothing.
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
LARGEST_PNG = 28_000  # bytes: incompressible pixels and the file format's overhead
DISK_BLOCK = 4096  # bytes; a file occupies whole blocks
NO_LABEL = -1  # in Parquet, as in Hugging Face's `ClassLabel`
CLASSES = (NORMAL, TUMOR)  # by label
SLIDE, SLIDE_IN_META = COLUMNS

FEATURES = {
    hf_parquet.IMAGE: {"_type": "Image"},
    hf_parquet.LABEL: {"_type": "ClassLabel", "names": list(CLASSES)},
    hf_parquet.ID: {"_type": "Value", "dtype": "string"},
    SLIDE: {"_type": "Value", "dtype": "string"},
}
SCHEMA = pa.schema(
    {
        hf_parquet.IMAGE: pa.struct({hf_parquet.BYTES: pa.binary(), "path": pa.string()}),
        hf_parquet.LABEL: pa.int64(),
        hf_parquet.ID: pa.string(),
        SLIDE: pa.string(),
    },
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def pixels_as_they_are(batch: np.ndarray) -> np.ndarray:
    """The batch itself, for layouts that store pixels."""
    return batch


def pngs(batch: np.ndarray) -> list[bytes]:
    """Each patch of a batch as a PNG file."""
    bgr = (cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) for pixels in batch)
    return [cv2.imencode(IMAGE_SUFFIX, pixels, PNG)[1].tobytes() for pixels in bgr]


def write_hdf5(folder: Path, split: Split, batches: Iterator[np.ndarray]) -> None:
    """Write pixels, labels and the table of ids and slides as PCam names them."""

    def path(ending: str) -> Path:
        return folder / hdf5.file_name(split.name, ending)

    with h5py.File(path(f"{hdf5.PIXELS}.h5"), "w") as file:
        pixels = file.create_dataset(hdf5.PIXELS, (len(split), *SHAPE), np.uint8)
        row = 0
        for batch in batches:
            pixels[row : row + len(batch)] = batch
            row += len(batch)
    if split.labels is not None:
        with h5py.File(path(f"{hdf5.LABELS}.h5"), "w") as file:
            file[hdf5.LABELS] = split.labels.astype(np.uint8).reshape(-1, 1, 1, 1)
    table = pd.DataFrame({"id": split.ids})
    if any(split.slides):
        table[SLIDE_IN_META] = split.slides
    table.to_csv(path(hdf5.META), index=False)


def write_images(folder: Path, split: Split, batches: Iterator[list[bytes]]) -> None:
    """Write `<split>/<class>/<id>.png`."""
    classes = [UNLABELED] * len(split)
    if split.labels is not None:
        classes = [CLASSES[label] for label in split.labels.tolist()]
    for name in set(classes):
        (folder / split.name / name).mkdir(parents=True)
    rows = zip(split.ids, classes, chain.from_iterable(batches), strict=True)
    for patch_id, name, data in rows:
        (folder / split.name / name / f"{patch_id}{IMAGE_SUFFIX}").write_bytes(data)


def write_parquet(folder: Path, split: Split, batches: Iterator[list[bytes]]) -> None:
    """Write `data/<split>-00000-of-00001.parquet` and following files, as Hugging Face names them."""
    shards = -(-len(split) // SHARD_ROWS)
    data = folder / "data"
    data.mkdir(exist_ok=True)
    starts = iter(range(0, len(split), BATCH_ROWS))
    for shard in range(shards):
        file = data / hf_parquet.file_name(split.name, shard, shards)
        with (
            file.open("wb") as out,  # which PyArrow cannot open if its path is not UTF-8
            pq.ParquetWriter(
                out,
                SCHEMA,
                use_dictionary=[SLIDE],  # other columns differ in each row
                compression=dict.fromkeys((hf_parquet.LABEL, hf_parquet.ID, SLIDE), "snappy"),
            ) as writer,
        ):
            for start in islice(starts, SHARD_ROWS // BATCH_ROWS):
                writer.write_table(row_group(split, start, next(batches)))


def row_group(split: Split, start: int, images: Sequence[bytes]) -> pa.Table:
    """The rows of some patches, from row `start` of the split, as a table of SCHEMA."""
    rows = slice(start, start + len(images))
    ids, labels = split.ids[rows], split.labels
    paths = [f"{patch_id}{IMAGE_SUFFIX}" for patch_id in ids]
    kind = SCHEMA.field(hf_parquet.IMAGE).type
    columns = [
        pa.StructArray.from_arrays(
            [pa.array(images, pa.binary()), pa.array(paths, pa.string())], fields=list(kind)
        ),
        pa.array([NO_LABEL] * len(ids) if labels is None else labels[rows].tolist(), pa.int64()),
        pa.array(ids, pa.string()),
        pa.array(split.slides[rows], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def write_slides(folder: Path, splits: Sequence[Split]) -> None:
    """Write the table of slides beside the images, if any slide is known."""
    pairs = {i: s for split in splits for i, s in zip(split.ids, split.slides, strict=True) if s}
    if pairs:
        pd.DataFrame(pairs.items(), columns=["id", SLIDE]).to_csv(folder / BESIDE, index=False)


class Writer(NamedTuple):
    """How a layout is written."""

    encode: Callable[[np.ndarray], Any]  # encodes a batch; called from any thread
    write: Callable[[Path, Split, Iterator[Any]], None]
    holds: Callable[[str], bool]  # whether a split can have this name
    patch_bytes: int  # maximum disk space of a patch


def named_in_hdf5(split: str) -> bool:
    """Whether PCam's file names can contain the name of a split."""
    return hdf5.FILE.fullmatch(hdf5.file_name(split, f"{hdf5.PIXELS}.h5")) is not None


def named_in_parquet(split: str) -> bool:
    """Whether the name of a split can be read back from the names of its Parquet files."""
    found = hf_parquet.NAME.fullmatch(hf_parquet.file_name(split, 0, 1))
    return found is not None and found["split"] == split


WRITERS = {
    Layout.hdf5: Writer(pixels_as_they_are, write_hdf5, named_in_hdf5, PIXEL_BYTES + 1),
    Layout.folder: Writer(
        pngs, write_images, lambda split: True, -(-LARGEST_PNG // DISK_BLOCK) * DISK_BLOCK
    ),
    Layout.parquet: Writer(pngs, write_parquet, named_in_parquet, LARGEST_PNG),
}
