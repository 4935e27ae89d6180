"""PCam's HDF5 files: B. S. Veeling et al., "Rotation equivariant CNNs for digital pathology", 2018.

camelyonpatch_level_2_split_<split>_x.h5     x: uint8 (N, 96, 96, 3); a .h5.gz file is unpacked once
camelyonpatch_level_2_split_<split>_y.h5     y: (N, 1, 1, 1); also as .h5.gz
camelyonpatch_level_2_split_<split>_meta.csv wsi: the slide; id: optional ids of the patches

Files and datasets of other names are found by `hdf5_files`.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import Kind
from ..errors import InputError
from ..storage.files import unpacking_folder, whole_file
from ..storage.tables import check_ids, read_table
from ..words import counted
from . import hdf5_files, hdf5_layout
from .blocks import Blocks
from .fitting import LARGEST_SIDE, Size
from .hdf5_files import Dataset, Shapes, SplitFiles
from .images import SHAPE, check_size, other_size
from .positions import Positions
from .slides import column_of, known
from .source import UNPACK, Source, Split, digest, numbered, train_first
from .tree import printable

STEM = "camelyonpatch_level_2_split_"
PIXELS, LABELS = "x", "y"  # names of the datasets, and endings of their files
META = "meta.csv"
PACKED = ".gz"
FILE = re.compile(rf"{STEM}(?P<split>\w{{1,64}})_{PIXELS}\.h5({PACKED})?")
PROTOCOL = (
    "A patch is positive if its center 32x32 contains tumor. In PCam, no slide is in two splits. "
    "Patches were drawn with replacement, so many are copies."
)
SECONDS = 120  # time limit for reading a file's layout
DEFLATE, SHUFFLE = 1, 2  # HDF5's filter numbers
LARGEST_CHUNK = 1 << 26  # bytes
KEPT = 8  # chunks
MOST_TIMES = 200  # the largest compression ratio; labels reach thirty
MiB = 1 << 20
Shape = tuple[int, int, int, int]  # patches, height, width, channels
Unpacking = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]


def file_name(split: str, ending: str) -> str:
    return f"{STEM}{split}_{ending}"


def recognize(path: Path) -> bool:
    if path.is_file():
        return FILE.fullmatch(path.name) is not None or hdf5_files.recognize(path)
    return path.is_dir() and (bool(listed(path)) or hdf5_files.recognize(path))


def listed(path: Path) -> list[Path]:
    """The files in a folder that hold pixels."""
    return [file for file in sorted(path.iterdir()) if FILE.fullmatch(file.name) and file.is_file()]


def ask(path: Path, *dataset: str, values: bool = False) -> dict[str, Any]:
    """Run `hdf5_layout` on a file, or a dataset of it, and return its answer.

    Raises InputError if it cannot be read.
    """
    # -P: a file named h5py.py beside the data is not imported.
    command = [sys.executable, "-P", hdf5_layout.__file__, str(path.absolute()), *dataset]
    damaged = f"{path} cannot be read as HDF5"
    try:
        done = subprocess.run(  # noqa: S603 - our own module, by its path
            command + ["values"] * values, capture_output=True, timeout=SECONDS, check=False
        )
        said: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise InputError(f"{damaged} within {SECONDS} s; download it again.") from None
    except ValueError:
        raise InputError(f"{damaged}: HDF5's library crashes on it; download it again.") from None
    if "refused" in said:
        cut = "; the file is cut off: download it again" if "truncated" in said["refused"] else ""
        raise InputError(f"{damaged}: {said['refused']}{cut}.")
    return said


def place_for(target: Path) -> Path:
    """Where a file is unpacked: beside itself, or in the cache folder if that cannot be written to."""
    if os.access(target.parent, os.W_OK):
        return target
    return unpacking_folder(str(target.absolute())) / target.name


def unpacked(path: Path, unpacking: Unpacking) -> Path:
    """The path of the unpacked file. A packed file is unpacked once, beside itself if possible.

    Raises InputError if the file is damaged, or much larger unpacked than a real one.
    """
    if path.suffix != PACKED:
        return path
    target = path.with_suffix("")
    if target.exists():
        return target
    with path.open("rb") as file:
        if file.read(16).lstrip().startswith(b"<"):
            raise InputError(
                f"{path} cannot be unpacked: it is a web page, as servers send instead of a large "
                "file; download it again with another program, or with pcam fetch pcam."
            )
    target = place_for(target)
    if target.exists() and target.stat().st_mtime >= path.stat().st_mtime:
        return target
    size = path.stat().st_size
    try:
        with (
            unpacking(f"{UNPACK} {path.name}", size >> 20, "MiB") as advance,
            whole_file(target, target.parent) as temporary,
            path.open("rb") as packed,
            gzip.open(packed) as plain,
            temporary.open("wb") as out,
        ):
            done = written = 0
            while block := plain.read(8 * MiB):
                written += len(block)
                if written > MOST_TIMES * size + MiB:
                    raise InputError(
                        f"{path} unpacks to more than {MOST_TIMES} times its size; download it again."
                    )
                out.write(block)
                advance((packed.tell() >> 20) - done)
                done = packed.tell() >> 20
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked: {error}; download it again.") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be unpacked to {target.parent}: {error.strerror or error}; free disk "
            "space, or unpack it on another disk."
        ) from None
    return target


def read_pixels(
    data: Dataset, *, any_size: bool
) -> tuple[Shape, Callable[[int, int], np.ndarray], list[str]]:
    """The shape of a file's pixels (N, height, width, 3), a `Split.read` for them, and notes.

    Raises InputError unless they are uint8 and of 96×96 pixels or, with `any_size`, of square patches.
    Channels may come first.
    """
    path = data.path
    said = ask(path, data.key)
    rows, *rest = said["shape"]
    first = len(rest) == 3 and rest[0] == 3 and rest[1] == rest[2] != 3
    sides = rest[1:] if first else rest[:2]
    square = len(rest) == 3 and sides[0] == sides[1] and (first or rest[2] == 3)
    if not square or not 0 < sides[0] <= LARGEST_SIDE or said["dtype"] != "|u1":
        raise InputError(
            f"{path}: {data.key} is {said['dtype']} of shape {said['shape']}, not uint8 (N, "
            f"{', '.join(map(str, SHAPE))}); rewrite it in that form."
        )
    if tuple(sides) != SHAPE[:2] and not any_size:
        raise InputError(other_size(f"a patch of {path}", (sides[1], sides[0])))
    stored = (rows, rest[0], rest[1], rest[2])
    file = Positions(path)
    read = contiguous(file, stored, said["offset"]) if "offset" in said else chunked(file, said)
    if not first:
        return stored, read, []

    def channels_last(start: int, stop: int) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(read(start, stop), 1, -1))

    note = f"{data.key} of {path.name} is stored with channels first"
    return (rows, sides[0], sides[1], 3), channels_last, [note]


def contiguous(file: Positions, shape: Shape, offset: int) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` for pixels that are stored in one piece, from byte `offset` on."""
    patch_bytes = math.prod(shape[1:])
    if offset + shape[0] * patch_bytes > file.size:
        raise InputError(f"{file.path} is incomplete; download it again.")

    def read(start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, *shape[1:]), np.uint8)
        if not file.fill(batch.reshape(-1), offset + start * patch_bytes):
            raise InputError(f"{file.path} became shorter while it was read; run the command again.")
        return batch

    return read


def chunked(file: Positions, said: dict[str, Any]) -> Callable[[int, int], np.ndarray]:
    """A `Split.read` for chunked storage; the chunks used last are cached."""
    chunk, filters, shape = tuple(said["chunk"]), said["filters"], tuple(said["shape"][1:])
    size = math.prod(chunk)
    strange = [k for k in filters if k not in (DEFLATE, SHUFFLE)]
    if strange or len(set(filters)) != len(filters) or size > LARGEST_CHUNK:
        raise InputError(
            f"{file.path}: chunks of {size:,} bytes with filters {filters} are not supported; rewrite "
            "the file with: h5repack -l CONTI -f NONE FILE NEW."
        )
    places = {tuple(one[:4]): one[4:] for one in said["chunks"]}

    def make(at: tuple[int, ...]) -> np.ndarray:
        if at not in places:
            raise InputError(
                f"{file.path} has no pixels for rows {at[0]} and following; download it again."
            )
        offset, packed, mask = places[at]
        if packed > size + (size >> 3) + 1024:
            raise InputError(f"{file.path}: the chunk of row {at[0]} is damaged; download it again.")
        data = file.read(offset, packed)
        if DEFLATE in filters and not mask:
            try:
                data = zlib.decompressobj().decompress(data, size + 1)
            except zlib.error:
                data = b""
        if len(data) != size or mask:  # the shuffle filter does nothing to single bytes
            raise InputError(f"{file.path}: the chunk of row {at[0]} is damaged; download it again.")
        return np.frombuffer(data, np.uint8).reshape(chunk)

    blocks = Blocks(
        make, max(KEPT, 2 * math.prod(-(-n // c) for n, c in zip(shape, chunk[1:], strict=True)))
    )

    def read(start: int, stop: int) -> np.ndarray:
        batch = np.empty((stop - start, *shape), np.uint8)
        first = start - start % chunk[0]
        corners = [range(0, n, c) for n, c in zip(shape, chunk[1:], strict=True)]
        for at in product(range(first, stop, chunk[0]), *corners):
            low, high = max(at[0], start), min(at[0] + chunk[0], stop)
            own = tuple(
                slice(k, min(k + c, n)) for k, c, n in zip(at[1:], chunk[1:], shape, strict=True)
            )
            part = blocks[at][
                (slice(low - at[0], high - at[0]), *(slice(s.stop - s.start) for s in own))
            ]
            batch[(slice(low - start, high - start), *own)] = part
        return batch

    return read


def read_labels(data: Dataset, rows: int) -> tuple[np.ndarray, list[str]]:
    """The labels, int8 (rows,), and notes. Of two columns, one of which is 1, the second is tumor.

    Raises InputError if there are not `rows`, or not all are 0 or 1.
    """
    path = data.path
    said = ask(path, data.key, values=True)
    values, notes = np.array(said["values"], np.float64), []
    shape = [side for side in said["shape"] if side != 1]
    if shape == [rows, 2] and (values.reshape(rows, 2).sum(axis=1) == 1).all():
        values = values.reshape(rows, 2)[:, 1]
        notes = [f"labels of {path.name} are in two columns; tumor is the second"]
    if len(values) != rows and len(shape) > 1 and shape[0] == rows:
        raise InputError(
            f"{path}: labels are in {shape[1]} columns, so it is not clear which one is tumor; write "
            "one label for each patch, 1 for tumor and 0 for others."
        )
    if len(values) != rows:
        raise InputError(
            f"{path} has {counted(len(values), 'label')} for {counted(rows, 'patch')}; download "
            "both files again."
        )
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{path} has labels that are not 0 or 1; correct them.")
    return values.astype(np.int8), notes


def sibling(pixels: Path, ending: str) -> Path | None:
    """Another file of the same split, packed or not; None if there is none."""
    found = FILE.fullmatch(pixels.name)
    assert found is not None
    plain = pixels.with_name(file_name(found["split"], ending))
    packed = plain.with_name(plain.name + PACKED)
    return next((path for path in (plain, packed) if path.is_file()), None)


def read_meta(path: Path | None, split: str, rows: int) -> tuple[list[str], list[str | None]]:
    """The ids and slides of a split from its meta table; numbered ids and no slides without one."""
    if path is None:
        return numbered(split, rows), [None] * rows
    table = read_table(path, (), "meta table")
    if len(table) != rows:
        raise InputError(
            f"{path} has {counted(len(table), 'row')} for {counted(rows, 'patch')}; download both "
            "files again."
        )
    ids = table["id"].tolist() if "id" in table else numbered(split, rows)
    check_ids(ids, str(path))
    column = column_of(table.columns)
    return ids, [None] * rows if column is None else known(table[column])


def split_of(files: SplitFiles, *, any_size: bool) -> tuple[Split, list[str]]:
    """Open a split from its files; returns it with notes."""
    pixels = files.pixels.path
    (rows, height, width, _), read, notes = read_pixels(files.pixels, any_size=any_size)
    labels = None
    if files.labels is None:
        notes = [*notes, f"no labels of split {files.name} beside {pixels.name}"]
    else:
        labels, more = read_labels(files.labels, rows)
        notes = [*notes, *more]
    if files.others:
        notes = [*notes, f"datasets not read: {', '.join(map(printable, files.others[:10]))}"]
    ids, slides = read_meta(files.meta, files.name, rows)
    size = pixels.stat().st_size

    def original(row: int, expected: Size | None) -> np.ndarray:
        check_size((width, height), expected, pixels)
        image: np.ndarray = read(row, row + 1)[0]
        return image

    content = digest([str(size)])
    return Split(files.name, ids, labels, slides, lambda *span: content, read, original), notes


def official(files: list[Path], unpacking: Unpacking) -> list[SplitFiles]:
    """The splits of files with PCam's names, with the labels and meta tables beside them."""
    found: dict[str, Path] = {}
    for file in files:
        match = FILE.fullmatch(file.name)
        if match and (match["split"] not in found or file.suffix != PACKED):
            found[match["split"]] = file
    splits = []
    for name, file in found.items():
        told = sibling(file, f"{LABELS}.h5")
        labels = None if told is None else Dataset(unpacked(told, unpacking), LABELS)
        pixels = Dataset(unpacked(file, unpacking), PIXELS)
        splits.append(SplitFiles(name, pixels, labels, sibling(file, META)))
    return splits


def open_source(path: Path, unpacking: Unpacking, *, any_size: bool = False) -> Source:
    """Open a folder, or a file of pixels.

    With `any_size`, square patches of another size than 96×96 are accepted. Raises InputError for files
    that are damaged or not in a known format.
    """

    def shapes_of(file: Path) -> tuple[Path, Shapes]:
        plain = unpacked(file, unpacking)
        return plain, ask(plain)["datasets"]

    files = [path] if path.is_file() else listed(path)
    known = any(FILE.fullmatch(file.name) for file in files)
    found = official(files, unpacking) if known else hdf5_files.find(path, shapes_of)
    opened = {one.name: split_of(one, any_size=any_size) for one in found}
    return Source(
        Kind.hdf5,
        str(path),
        PROTOCOL,
        {name: opened[name][0] for name in train_first(opened)},
        notes=[note for _, notes in opened.values() for note in notes],
    )
