"""WebDataset's shards: `train-000000.tar`, in which `KEY.png` is an image and `KEY.cls` its label.

The split is what a shard's name or its folder says. `KEY.json` may have the label (`label`), the slide
(`slide`) and the split (`split`). A key ends at its first dot, or at its last if several images would
have the same key. Images are read from the shards at their positions; nothing is unpacked.
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
from .class_labels import check_once, class_labels, not_read, parts_of
from .fitting import Size
from .images import LARGEST_FILE, by_id, patch_of, patches
from .positions import Positions
from .reading import EVERYTHING, Reading
from .slides import column_of, is_unknown
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
    ending: str = ""  # of the image's name
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


def files_of(shards: Sequence[Path]) -> list[tuple[PurePosixPath, Member]]:
    """The names and places of the files of a split's shards, in order."""
    found: list[tuple[PurePosixPath, Member]] = []
    for k, path in enumerate(shards):
        for name, member in members_of(k, path):
            if len(found) >= MOST_MEMBERS:
                raise InputError(f"{path.parent} has more than {MOST_MEMBERS:,} files in its shards.")
            whole = PurePosixPath(name)
            if not (tree.is_litter(whole.name) or whole.name.startswith("__")):
                found.append((whole, member))
    return found


def samples_of(shards: Sequence[Path]) -> tuple[list[Sample], list[str]]:
    """The samples of a split's shards, in order, and the names of files that belong to none.

    `KEY.png` is the image of a key that has `KEY.mask.png` as well.
    """
    files = files_of(shards)
    images: dict[tuple[int, PurePosixPath], list[str]] = {}
    for name, member in files:
        stem, _, ending = name.name.partition(".")
        if tree.is_image(f"x.{ending}"):
            images.setdefault((member.shard, name.with_name(stem)), []).append(ending)
    at_last_dot = any(
        len(endings) > 1 and all("." in ending for ending in endings) for endings in images.values()
    )
    found: dict[tuple[int, str], Sample] = {}
    others: list[str] = []
    for name, member in files:
        parts = name.name.rpartition(".") if at_last_dot else name.name.partition(".")
        stem, ending = (parts[0], parts[2].lower()) if parts[1] else (name.name, "")
        key = str(name.with_name(stem)) if stem else str(name)
        sample = found.setdefault((member.shard, key), Sample(key))
        if tree.is_image(f"x.{ending}") and not sample.image:
            sample.image, sample.ending = member, ending
        elif tree.is_image(f"x.{ending}") and "." in sample.ending and "." not in ending:
            others.append(f"{shards[member.shard].name}: {key}.{sample.ending}")
            sample.image, sample.ending = member, ending
        elif ending in (*LABELS, JSON) or ending in columns.SLIDES:
            sample.texts[ending] = member
        else:
            others.append(f"{shards[member.shard].name}: {name}")
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


def texts_of(sample: Sample, shards: Shards, reading: Reading) -> tuple[str, str | None, str | None]:
    """The label, the slide and the split of a sample as texts; an empty label if it has none."""
    wanted = next((name for name in LABELS if name in sample.texts), None)
    label = shards.text(sample.texts[wanted]) if wanted else ""
    slide = next((name for name in columns.SLIDES if name in sample.texts), None)
    said = shards.text(sample.texts[slide]) if slide else None
    split: str | None = None
    if JSON in sample.texts:
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
        by_name = columns.find(names, columns.SPLITS, None, "split")
        split = str(told[by_name]) if by_name is not None and told[by_name] is not None else None
    return label, None if said is None or is_unknown(said) else said.strip(), split


def splits_of(name: str, paths: Sequence[Path], reading: Reading) -> list[Part]:
    """Open a split from its shards, or the splits that the records of samples name.

    Raises InputError if they are damaged, or hold no images.
    """
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
    in_shards = [(f"{paths[one.image.shard].stem}_{key}", one) for key, one in short if one.image]
    named = next(
        (keys for keys in (short, with_image, in_shards) if len({key for key, _ in keys}) == len(keys)),
        with_image,
    )
    found, twice = by_id(named)
    ids, images = list(found), list(found.values())
    told = [texts_of(sample, shards, reading) for sample in images]
    labels = class_labels([label for label, *_ in told], reading, where, row_name="sample", first=1)

    def original(row: int, size: Size | None) -> np.ndarray:
        member = images[row].image
        assert member is not None
        data = shards.read(member, LARGEST_FILE)
        return patch_of(data, paths[member.shard] / ids[row], size)

    content = digest(f"{path.name} {path.stat().st_size}" for path in paths)
    slides = [slide for _, slide, _ in told]
    whole = Split(name, ids, None, slides, lambda *span: content, patches(original), original)
    by_record = [split or "" for *_, split in told]
    parts = parts_of(whole, labels, reading, where, by_record if any(by_record) else None)
    unread = []
    if others:
        unread.append(tree.left_out(tree.OTHER, others, where))
    if bare:
        unread.append(not_read(tree.NO_FILE, bare, where, reading))
    notes = labels.notes if any(label for label, *_ in told) else [f"no labels in split {name}"]
    first = parts[0]
    whole_part = Part(first.split, twice, [*first.unread, *unread], [*first.notes, *notes])
    return [whole_part, *parts[1:]]


def in_folders(images: Sequence[tuple[str, Sample]]) -> bool:
    """Whether images lie in several folders of a shard, whose names may be classes."""
    return len({PurePosixPath(key).parent for key, _ in images}) > 1


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open a shard, or a folder of shards. Raises InputError if one is damaged."""
    root = path if path.is_dir() else path.parent
    found: dict[str, list[Path]] = {}
    for shard in shards_in(path):
        found.setdefault(split_named(shard, root), []).append(shard)
    parts = [part for name in train_first(found) for part in splits_of(name, found[name], reading)]
    check_once(path, [part.split.name for part in parts])
    return source_of(Kind.webdataset, path, PROTOCOL, parts)
