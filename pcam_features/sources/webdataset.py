"""WebDataset's shards: `train-000000.tar`, in which `KEY.png` is an image and `KEY.cls` its label.

The split is what a shard's name or its folder says. `KEY.json` may have the label (`label`) and the
slide (`slide`). Images are read from the shards at their positions; nothing is unpacked.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..constants import LARGEST_ROWS, Kind
from ..errors import InputError
from ..words import message_of
from . import columns, tree
from .class_labels import class_labels, labeled, not_read
from .fitting import Size
from .images import LARGEST_FILE, by_id, patch_of, patches
from .positions import Positions
from .reading import EVERYTHING, Reading
from .slides import UNKNOWN, column_of
from .source import Part, Source, Split, digest, source_of, train_first
from .vocabulary import split_name, split_of_file

SUFFIX = ".tar"
PROTOCOL = (
    "Patches as stored in shards. Only the author of the shards knows whether splits share slides."
)
TRAIN = "train"
LABELS = ("cls", "label", "cls.txt", "label.txt", "class", "target", "y")
JSON = "json"
LARGEST_TEXT = 1 << 16  # bytes of a label or a record
MOST_MEMBERS = 4 * LARGEST_ROWS
MOST_LISTED = 10_000


@dataclass(frozen=True)
class Member:
    """Where a file lies in a shard."""

    shard: int
    start: int
    size: int


@dataclass
class Sample:
    """The files of one key: its image, and texts by their endings."""

    name: str
    image: Member | None = None
    texts: dict[str, Member] = field(default_factory=dict)


def shards_in(path: Path) -> list[Path]:
    """The shards of a source by name: the file, or those in a folder and in its folders of splits."""
    if path.is_file():
        return [path] if path.suffix.lower() == SUFFIX else []
    if not path.is_dir():
        return []
    found = []
    for entry in sorted(path.iterdir())[:MOST_LISTED]:
        if tree.is_litter(entry.name):
            continue
        if entry.suffix.lower() == SUFFIX and entry.is_file():
            found.append(entry)
        elif split_name(entry.name) and entry.is_dir():
            found += [one for one in sorted(entry.iterdir()) if one.suffix.lower() == SUFFIX]
    return found


def recognize(path: Path) -> bool:
    return bool(shards_in(path))


def members_of(shard: int, path: Path) -> Iterator[tuple[str, Member]]:
    """The names and places of the plain files of a shard. Raises InputError if it is damaged."""
    try:
        with tarfile.open(path, "r:") as opened:
            for info in opened:
                opened.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
                if info.isreg() and not info.issparse():
                    yield info.name, Member(shard, info.offset_data, info.size)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        reason = message_of(error)
        raise InputError(
            f"{path} cannot be read as a tar without compression: {reason}; unpack it if it is "
            "compressed, or copy it again."
        ) from None


def samples_of(shards: Sequence[Path]) -> tuple[list[Sample], list[str]]:
    """The samples of a split's shards, in order, and the names of files that belong to none."""
    found: dict[tuple[int, str], Sample] = {}
    others: list[str] = []
    count = 0
    for k, path in enumerate(shards):
        for name, member in members_of(k, path):
            count += 1
            if count > MOST_MEMBERS:
                raise InputError(f"{path.parent} has more than {MOST_MEMBERS:,} files in its shards.")
            whole = PurePosixPath(name)
            if tree.is_litter(whole.name) or whole.name.startswith("__"):
                continue
            stem, _, ending = whole.name.partition(".")
            key = str(whole.with_name(stem))
            sample = found.setdefault((k, key), Sample(key))
            if tree.is_image(f"x.{ending}"):
                sample.image = sample.image or member
            elif ending.lower() in (*LABELS, JSON) or ending.lower() in columns.SLIDES:
                sample.texts[ending.lower()] = member
            else:
                others.append(f"{path.name}: {name}")
    return list(found.values()), others


def split_named(shard: Path, root: Path) -> str:
    """The split that a shard is of, by its name or its folder's."""
    return split_of_file(shard, root) or TRAIN


class Shards:
    """The files of shards, read at their positions."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = [Positions(path) for path in paths]

    def read(self, member: Member, most: int) -> bytes:
        """The bytes of a file in a shard; one more than `most` at the most."""
        return self.files[member.shard].read(member.start, min(member.size, most + 1))

    def text(self, member: Member) -> str:
        """The text of a label or record. Raises InputError if it is none."""
        data = self.read(member, LARGEST_TEXT)
        try:
            if len(data) > LARGEST_TEXT:
                raise ValueError("it is too long")
            return data.decode().strip()
        except ValueError as error:
            where = self.files[member.shard].path
            raise InputError(
                f"{where}: the text at byte {member.start:,} cannot be read: {error}; correct it."
            ) from None

    def record(self, member: Member) -> Mapping[str, Any]:
        """A JSON record; empty if it is none."""
        try:
            told = json.loads(self.text(member))
        except (ValueError, RecursionError):
            return {}
        return told if isinstance(told, dict) else {}


def texts_of(sample: Sample, shards: Shards, reading: Reading) -> tuple[str, str | None]:
    """The label and the slide of a sample as texts; an empty label if it has none."""
    wanted = next((name for name in LABELS if name in sample.texts), None)
    label = shards.text(sample.texts[wanted]) if wanted else ""
    slide = next((name for name in columns.SLIDES if name in sample.texts), None)
    said = shards.text(sample.texts[slide]) if slide else None
    if JSON in sample.texts and (not wanted or not slide):
        told = shards.record(sample.texts[JSON])
        names = list(told)
        if not wanted:
            where = f"the record of {sample.name}"
            by_name = columns.label_column(names, reading.label_column, where)
            value = told.get(by_name or "")
            label = "" if value is None else str(value)
        by_name = column_of(names)
        if not slide and by_name is not None and told[by_name] is not None:
            said = str(told[by_name])
    return label, None if said is None or said in UNKNOWN else said


def split_of(name: str, paths: Sequence[Path], reading: Reading) -> Part:
    """Open a split from its shards. Raises InputError if they are damaged, or hold no images."""
    where = f"split {name} of {paths[0].parent}"
    samples, others = samples_of(paths)
    shards = Shards(paths)
    with_image = [(sample.name, sample) for sample in samples if sample.image is not None]
    bare = [sample.name for sample in samples if sample.image is None and sample.texts]
    if not with_image:
        raise InputError(
            f"{paths[0]} holds no images named KEY.png with KEY.cls beside them; unpack it and give "
            "the folder."
        )
    if not any(sample.texts for sample in samples) and in_folders(with_image):
        raise InputError(
            f"{paths[0]} holds folders of images, and no labels KEY.cls; unpack it and give the folder."
        )
    short = [(PurePosixPath(key).name, sample) for key, sample in with_image]
    unique = len({key for key, _ in short}) == len(short)
    found, twice = by_id(short if unique else with_image)
    ids, images = list(found), list(found.values())
    told = [texts_of(sample, shards, reading) for sample in images]
    labels = class_labels([label for label, _ in told], reading, where, row_name="sample", first=1)

    def original(row: int, size: Size | None) -> np.ndarray:
        member = images[row].image
        assert member is not None
        data = shards.read(member, LARGEST_FILE)
        return patch_of(data, paths[member.shard] / ids[row], size)

    content = digest(f"{path.name} {path.stat().st_size}" for path in paths)
    slides = [slide for _, slide in told]
    whole = Split(name, ids, None, slides, lambda *span: content, patches(original), original)
    split, unread = labeled(whole, labels, reading, where)
    if others:
        unread.append(tree.left_out(tree.OTHER, others, where))
    if bare:
        unread.append(not_read(tree.NO_FILE, bare, where, reading))
    notes = labels.notes if any(label for label, _ in told) else [f"no labels in split {name}"]
    return Part(split, twice, unread, notes)


def in_folders(images: Sequence[tuple[str, Sample]]) -> bool:
    """Whether images lie in several folders of a shard, whose names may be classes."""
    return len({PurePosixPath(key).parent for key, _ in images}) > 1


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open a shard, or a folder of shards. Raises InputError if one is damaged."""
    root = path if path.is_dir() else path.parent
    found: dict[str, list[Path]] = {}
    for shard in shards_in(path):
        found.setdefault(split_named(shard, root), []).append(shard)
    parts = [split_of(name, found[name], reading) for name in train_first(found)]
    return source_of(Kind.webdataset, path, PROTOCOL, parts)
