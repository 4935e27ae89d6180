"""Hugging Face's Parquet files: `image`, a struct with the `bytes` of an image file, and `label`.

The files are <split>.parquet or <split>-*.parquet, in the folder or in its subfolder `data`, or lie in
folders of splits, as in default/train/0000.parquet. The columns `id` and `slide` are optional.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..constants import LARGEST_ROWS, Kind
from ..errors import InputError
from ..storage import parquet, urls
from ..storage.parquet_footer import Column
from ..storage.tables import check_ids, plain
from ..words import counted, message_of
from . import image_folder
from .blocks import Blocks
from .class_labels import check_once, class_labels, parts_of
from .columns import SPLITS, find, label_column, shown
from .fitting import Size
from .images import patch_of, patches
from .reading import EVERYTHING, Reading
from .slides import column_of, is_unknown
from .source import Original, Part, Source, Split, digest, numbered, source_of, train_first
from .tree import is_litter, left_out
from .vocabulary import class_of, split_in, split_name

IMAGE, BYTES, LABEL, ID = "image", "bytes", "label", "id"  # as `pcam convert` names them
IMAGES = ("image", "images", "img", "picture", "patch", "tile", "image_bytes", "bytes", "png", "jpg")
OWN = "manifest.json"  # in folders that pcam writes
DEEPEST = 4  # folders below one another
TRAIN = "train"
NUMBERED = re.compile(r"(part|shard|data|file|chunk|default)?[-_]?\d*", re.I)  # a name without a split
NUMBER = re.compile(r"[-_](part|shard|file|chunk)[-_]?\d+$", re.I)  # after a split's name
SUFFIX = ".parquet"
NAME = re.compile(
    rf"(?P<split>\w{{1,64}}?)(-(?P<shard>\d+)-of-(?P<shards>\d+)|-\d+|-[0-9a-f]{{16}})*{SUFFIX}", re.I
)
PROTOCOL = (
    "Patches as stored in Parquet files. Only the author of the files knows whether splits share "
    "slides."
)
LARGEST_GROUP = 1 << 30  # bytes of a row group, uncompressed
MOST_TIMES = 100  # the largest compression ratio of a row group; images are compressed already
KEPT = 2  # cached row groups; batches are read in order
MOST_LISTED = 10_000  # files and folders of a folder that are looked at
Group = tuple[Path, int, str]  # a row group of a file, and the column of images


def file_name(split: str, shard: int, shards: int) -> str:
    return f"{split}-{shard:05d}-of-{shards:05d}{SUFFIX}"


def is_parquet(name: str) -> bool:
    """Whether this is the name of a Parquet file."""
    return name.lower().endswith(SUFFIX) and not is_litter(name)


def files_in(folder: Path) -> list[Path]:
    """The files in a folder; none of one that is not there or cannot be read."""
    try:
        return [file for file in folder.iterdir() if file.is_file()]
    except OSError:
        return []


def listed(path: Path) -> list[Path]:
    """The Parquet files of a source, in the order of their names."""
    if urls.is_url(path):
        return listed_at(path)
    if path.is_file():
        return [path] if is_parquet(path.name) else []
    for folder in (path, path / "data"):
        found = [file for file in sorted(files_in(folder)) if is_parquet(file.name)]
        if found:
            return found
    return sorted(below(path, 0))


def listed_at(path: Path) -> list[Path]:
    """The same at a URL, whose object store is asked for a list once."""
    names = urls.names_below(path, MOST_LISTED)
    if not names:
        return [path] if is_parquet(path.name) and urls.is_file(path) else []
    stores = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == OWN}
    found = [
        PurePosixPath(name)
        for name in names
        if is_parquet(PurePosixPath(name).name)
        and not stores.intersection(PurePosixPath(name).parents)
        and not any(map(is_litter, PurePosixPath(name).parts))
    ]
    for folder in (PurePosixPath(), PurePosixPath("data")):
        if inside := [path / name for name in found if name.parent == folder]:
            return inside
    return [
        path / name for name in found if split_name(name.parent.name) and len(name.parts) <= DEEPEST + 1
    ]


def below(folder: Path, depth: int) -> Iterator[Path]:
    """The Parquet files in folders of splits below a folder.

    The parts of a feature store lie in folders of families, and are none of them.
    """
    return (file for file in elsewhere(folder, depth) if split_name(file.parent.name))


def elsewhere(folder: Path, depth: int) -> Iterator[Path]:
    """The Parquet files below a folder, which is searched only so deep; none of what pcam wrote."""
    if not folder.is_dir() or (folder / OWN).is_file():
        return
    try:
        entries = [entry for entry in os.scandir(folder) if not is_litter(entry.name)]
    except OSError:
        return
    for entry in entries[:MOST_LISTED]:
        if entry.is_dir() and depth < DEEPEST:
            yield from elsewhere(Path(entry.path), depth + 1)
        elif is_parquet(entry.name) and entry.is_file():
            yield Path(entry.path)


def recognize(path: Path) -> bool:
    """Whether there are Parquet files, and not classes in folders with other files beside them."""
    files = listed(path)
    if not files or urls.is_url(path) or not path.is_dir():
        return bool(files)
    return any(map(may_hold_images, files)) or not image_folder.has_known_classes(path)


def may_hold_images(path: Path) -> bool:
    """Whether a file has a column called as those of images; also if it is damaged, which is told."""
    try:
        file, schema = parquet.open_file(path)
        file.close()
    except (OSError, ValueError, MemoryError, pa.ArrowException, InputError):
        return True
    return any(plain(name) in IMAGES for name in schema.names)


def read_group(key: Group) -> pa.Array:
    """The image files of a row group, as bytes. Raises InputError if it is damaged."""
    with urls.told(key[0]):
        return images_in(*key)


def images_in(path: Path, group: int, name: str) -> pa.Array:
    """See `read_group`."""
    try:
        with pq.ParquetFile(parquet.readable(path)) as file:
            nested = pa.types.is_struct(file.schema_arrow.field(name).type)
        column = f"{name}.{BYTES}" if nested else name
        with pq.ParquetFile(parquet.readable(path), read_dictionary=[column]) as file:
            images = file.read_row_group(group, columns=[column])[name].combine_chunks()
        images = images.field(BYTES) if nested else images
        return images.chunk(0) if isinstance(images, pa.ChunkedArray) else images
    except (OSError, KeyError, ValueError, TypeError, MemoryError, pa.ArrowException) as error:
        reason = message_of(error)
        raise InputError(
            f"{path}: row group {group} cannot be read: {reason}; download the file again."
        ) from None


@dataclass(frozen=True)
class Contents:
    """What a file holds beside its images.

    `image` is the column of images and `rows` the number of rows of each row group. `labels` are texts,
    None without a column of labels; `ids`, `slides` and `splits` likewise. `names` are those of labels.
    """

    image: str
    rows: Sequence[int]
    labels: Sequence[str] | None
    ids: list[Any] | None
    slides: list[Any] | None
    splits: list[Any] | None
    names: Sequence[str]


def contents_of(path: Path, reading: Reading) -> Contents:
    """The columns other than images, and the number of rows of each row group.

    Raises InputError if the file is damaged or too large, or has no images.
    """
    try:
        file, schema = parquet.open_file(path)
        with file:
            rows = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
            if sum(rows) > LARGEST_ROWS or min(rows, default=0) < 0:
                raise InputError(
                    f"{path} declares {counted(sum(rows), 'row')}, too many for a data set; check "
                    "the file."
                )
            check_groups(path, file.described)
            names = list(schema.names)
            image = find(names, IMAGES, reading.path_column, "--path-column")
            if image is None or len(set(names)) < len(names):
                raise InputError(
                    f"{path} has no column {IMAGE} with the bytes of images, or two columns of the "
                    f"same name: {shown(names)}; save a table of image files as CSV instead."
                )
            others = [name for name in names if name != image]
            label = label_column(others, reading.label_column, str(path))
            own_id = find(others, (ID,), reading.id_column, "--id-column")
            slide, split = column_of(others), find(others, SPLITS, None, "split")
            check_type(path, image, schema.field(image).type)
            wanted = [name for name in (label, own_id, slide, split) if name is not None]
            table = parquet.read(file, wanted, rows=sum(rows))
            column = {name: table[name].to_pylist() for name in wanted}
            classes = [] if label is None else class_names(schema, label)
            told = None if label is None else texts_of(column[label], classes, reading)
            ids, slides, splits = (column.get(name or "") for name in (own_id, slide, split))
            return Contents(image, rows, told, ids, slides, splits, classes)
    except (OSError, KeyError, ValueError, TypeError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet: {message_of(error)}.") from None


def check_type(path: Path, image: str, kind: pa.DataType) -> None:
    """Raise InputError unless a column has the bytes of images, or structs with them."""
    nested = pa.types.is_struct(kind) and kind.get_field_index(BYTES) >= 0
    own = kind.field(BYTES).type if nested else kind
    own = own.value_type if pa.types.is_dictionary(own) else own
    if not (pa.types.is_binary(own) or pa.types.is_large_binary(own) or pa.types.is_string(own)):
        raise InputError(
            f"{path}: column {image} holds {str(kind)[:60]}, not the bytes of image files; save it as "
            "bytes, or image files with a CSV of their paths and labels."
        )


def check_groups(path: Path, groups: Sequence[Sequence[Column]]) -> None:
    """Raise InputError for a group of rows that would take too much memory."""
    for k, columns in enumerate(groups):
        size, packed = sum(one.size for one in columns), sum(one.packed for one in columns)
        if size > LARGEST_GROUP or size > MOST_TIMES * packed + LARGEST_GROUP // 1024:
            raise InputError(
                f"{path}: row group {k} holds {size >> 20:,} MiB; rewrite the file with smaller row "
                "groups."
            )


def class_names(schema: pa.Schema, label: str) -> list[str]:
    """The names of the labels 0, 1, … in the file's metadata; empty if there are none."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = said["info"]["features"][label]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def is_inverted(names: Sequence[str]) -> bool:
    """Whether label 1 means normal, by the names of two labels."""
    if len(names) != 2:
        return False
    first, second = map(class_of, names)
    told = (first and first.label == 0) or (second and second.label == 1)
    return not told and bool((first and first.label == 1) or (second and second.label == 0))


def texts_of(values: Sequence[Any], names: Sequence[str], reading: Reading) -> list[str]:
    """Labels as texts: numbers, or the names of their classes where these are needed."""
    unclear = len(names) > 2 or (len(names) == 2 and not any(map(class_of, names)))
    by_name = unclear or bool({reading.positive, *reading.classes, *reading.exclude} & set(names))
    inverted = is_inverted(names)

    def text(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool | int) and 0 <= value < len(names) and by_name:
            return names[int(value)]
        if isinstance(value, bool | int):
            return str(1 - int(value) if inverted and value in (0, 1) else int(value))
        return str(value)

    return [text(value) for value in values]


def check_shards(split: str, files: list[Path]) -> None:
    """Raise InputError if the files are numbered k of n and some of the n are missing."""
    found = [NAME.fullmatch(file.name) for file in files]
    said = [(int(m["shard"]), int(m["shards"])) for m in found if m and m["shards"]]
    if said and sorted(said) != [(k, len(files)) for k in range(len(files))]:
        raise InputError(
            f"the {len(files)} {SUFFIX} files of split {split} in {files[0].parent} are not numbered 0 "
            f"to n - 1 of n (the first is {files[0].name}); add the missing files, or "
            "move files of another data set away."
        )


def strings(values: list[Any], path: Path, name: str) -> list[str]:
    """The values of a column of texts or whole numbers, as texts. Raises InputError for others."""
    if not all(isinstance(value, str | int) for value in values):
        raise InputError(f"{path}: column {name} is not text in every row; correct it.")
    return [str(value) for value in values]


def splits_of(name: str, files: list[Path], reading: Reading) -> list[Part]:
    """Open a split from its files, in order, or the splits that a column of them names.

    Raises InputError if they are damaged or incomplete.
    """
    check_shards(name, files)
    where = f"split {name} of {files[0].parent}"
    contents = []
    for path in files:
        with urls.told(path):
            contents.append(contents_of(path, reading))
    counts = [sum(one.rows) for one in contents]
    told = {one.labels is not None for one in contents}
    with_ids = {one.ids is not None for one in contents}
    with_splits = {one.splits is not None for one in contents}
    for what, has in ((LABEL, told), (ID, with_ids), ("split", with_splits)):
        if len(has) > 1:
            raise InputError(
                f"some files of split {name} have a column {what} and some have none; add it to all "
                "files."
            )
    if len({tuple(one.names) for one in contents}) > 1:
        raise InputError(
            f"the files of {where} name the labels in different ways, so it is not clear which is "
            "tumor; save them with the same names."
        )
    texts = [t for one, n in zip(contents, counts, strict=True) for t in one.labels or [""] * n]
    labels = class_labels(texts, reading, where, row_name="row", first=1)
    slides = [
        None if value is None or is_unknown(str(value)) else str(value).strip()
        for one, count in zip(contents, counts, strict=True)
        for value in one.slides or [None] * count
    ]
    own = [
        patch_id
        for path, one in zip(files, contents, strict=True)
        for patch_id in (strings(one.ids, path, ID) if one.ids is not None else ())
    ]
    ids = own if True in with_ids else numbered(name, sum(counts))
    check_ids(ids, where)
    groups = [
        (path, k, one.image)
        for path, one in zip(files, contents, strict=True)
        for k in range(len(one.rows))
    ]
    original = originals(groups, [n for one in contents for n in one.rows], ids)
    content = digest(f"{path.name} {mark_of(path)}" for path in files)
    whole = Split(name, ids, None, slides, lambda *span: content, patches(original), original)
    notes = labels.notes if True in told else [f"no column of labels in split {name}"]
    named = [str(value) for one in contents for value in one.splits or ()]
    parts = parts_of(whole, labels, reading, where, named if True in with_splits else None)
    return [replace(part, notes=[*part.notes, *notes]) for part in parts]


def mark_of(path: Path) -> str:
    """What changes when a file of patches is replaced: its size, and at a URL also its version."""
    return urls.version_of(path) if urls.is_url(path) else str(path.stat().st_size)


def originals(groups: Sequence[Group], sizes: Sequence[int], ids: list[str]) -> Original:
    """A `Split.original` over row groups of these sizes, the last of which are cached."""
    blocks = Blocks(read_group, KEPT)
    starts = [0, *accumulate(sizes)]

    def original(row: int, size: Size | None) -> np.ndarray:
        k = bisect_right(starts, row) - 1
        path = groups[k][0]
        images = blocks[groups[k]]
        data = images[row - starts[k]].as_py() if row - starts[k] < len(images) else None
        if not isinstance(data, bytes):
            raise InputError(
                f"{path} has no bytes of an image for {ids[row]}; remove that row or, if the column "
                "names files, save a CSV of their paths and labels instead."
            )
        return patch_of(data, path / ids[row], size)

    return original


def split_and_set(file: Path, root: Path) -> tuple[str | None, str]:
    """The split that a file is of, None if nothing names it, and the folders that name the data set."""
    match = NAME.fullmatch(file.name)
    own = NUMBER.sub("", match["split"]) if match else None
    folders = file.parent.relative_to(root).parts if file.is_relative_to(root) else ()
    by_folder = next((name for name in map(split_name, reversed(folders)) if name), None)
    rest = "/".join(name for name in folders if split_name(name) is None and name != "data")
    if match and own is not None and split_name(own) is None:
        # A number before `-00000-of-00001` belongs to a split's name: the shard has its own number.
        named = match["shards"] and own[-1].isdigit()
        if by_folder or (NUMBERED.fullmatch(own) and not named):
            return by_folder or TRAIN, rest
    return own or by_folder, rest


def said_by_all(found: Sequence[tuple[Path, str | None, str]]) -> dict[Path, str | None]:
    """The split of each file: what a word of its name says, if no other name says the same."""
    own = {file: name for file, name, _ in found}
    words = {name: split_in(name) for name in set(own.values()) if name and split_name(name) is None}
    said = [word for name, word in words.items() if word] + [split_name(n) for n in own.values() if n]
    clear = {name: word for name, word in words.items() if word and said.count(word) == 1}
    return {
        file: None if name is None else clear.get(name) or split_name(name) or name
        for file, name in own.items()
    }


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open a file or a folder of files. Raises InputError for files in another format."""
    found: dict[str, list[Path]] = {}
    root = path if path.is_dir() else path.parent
    told = [(file, *split_and_set(file, root)) for file in listed(path)]
    for file, name in said_by_all(told).items():
        if name is None:
            raise InputError(
                f"{file} does not name its split; rename it to {file_name('SPLIT', 0, 1)}."
            )
        found.setdefault(name, []).append(file)
    sets = {of_set for *_, of_set in told}
    if len(sets) > 1:
        found_in = ", ".join(sorted(sets)[:5])
        raise InputError(f"{path} holds several data sets ({found_in}); give one of these folders.")
    parts = [part for name in train_first(found) for part in splits_of(name, found[name], reading)]
    check_once(path, [part.split.name for part in parts])
    read = {file for files in found.values() for file in files}
    others = [str(file.relative_to(path)) for file in elsewhere(path, 0) if file not in read]
    source = source_of(Kind.parquet, path, PROTOCOL, parts)
    if not others:
        return source
    beside = left_out("Parquet file in another place", others, str(path), "give its folder")
    return replace(source, unread=[*source.unread, beside])
