"""Converting a source to another layout. Pixels, labels, ids and slides are preserved.

pcam and other programs can read the result. The folder contains `converted.json`, which records the
source and marks the folder as one that `--overwrite` may replace.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..constants import Kind, Layout
from ..errors import InputError, PcamError
from ..execution.executor import Threads
from ..sources.source import Source, Split
from ..storage.files import flush, readable, write_json
from ..storage.folders import check_free, whole_folder
from ..words import message_of
from .layouts import BATCH_ROWS, WRITERS, Writer, write_slides

MARK, KEY = "converted.json", "converted_from"
WHAT = "converted folder"
LONGEST_NAME = 200  # bytes of a file's name; file systems allow 255, and a suffix is added
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
WAITING = 2  # encoded batches that may wait for the writer
TEXT_BYTES = 64  # bytes per patch in tables, besides its id and slide
OTHER_BYTES = 1 << 20  # bytes of a folder besides its patches


@dataclass(frozen=True)
class ConversionPlan:
    """What a conversion will write, and the disk space that it needs.

    Parameters
    ----------
    source
        The path of the source.
    kind
        The layout of the source.
    layout
        The layout to write.
    patches
        The number of patches of each split.
    bytes_at_most
        Maximum disk space that the conversion needs.
    bytes_free
        Disk space that is free.
    """

    source: str
    kind: str
    layout: Layout
    patches: dict[str, int]
    bytes_at_most: int
    bytes_free: int

    def to_dict(self) -> dict[str, Any]:
        """The plan as `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class ConvertedSplit:
    """The entry of a split in `converted.json`.

    Parameters
    ----------
    patches
        Number of patches.
    tumor
        Number of tumor patches; None without labels.
    with_slide
        Number of patches whose slide is known.
    """

    patches: int
    tumor: int | None
    with_slide: int

    @classmethod
    def of(cls, split: Split) -> ConvertedSplit:
        tumor = None if split.labels is None else int(split.labels.sum())
        return cls(len(split), tumor, sum(slide is not None for slide in split.slides))


@dataclass(frozen=True)
class ConversionRecord:
    """The content of `converted.json`: the source and the splits of a converted folder."""

    source: Source
    splits: Sequence[Split]
    layout: Layout

    def to_dict(self) -> dict[str, Any]:
        record = {
            KEY: self.source.path,
            "kind": self.source.kind,
            "protocol": self.source.protocol,
            "layout": self.layout,
            "splits": {split.name: asdict(ConvertedSplit.of(split)) for split in self.splits},
            "pcam_version": __version__,
        }
        return record if self.source.fit is None else record | {"fit": self.source.fit.to_dict()}


def plan(
    source: Source, splits: Sequence[Split], folder: Path, to: Layout, *, overwrite: bool
) -> ConversionPlan:
    """Plan a conversion. Nothing is written.

    Parameters
    ----------
    source, splits
        The patches to write.
    folder
        The folder to create.
    to
        The layout to write.
    overwrite
        Whether an earlier conversion in `folder` may be replaced.

    Returns
    -------
    ConversionPlan
        The numbers of patches and the disk space.

    Raises
    ------
    InputError
        If the folder cannot be created, if the layout cannot store a name, or if the disk has too
        little free space.

    Examples
    --------
    >>> from pcam_features.sources.detect import open_source
    >>> source, _ = open_source("synthetic:40:4:0")
    >>> planned = plan(source, source.only("train"), Path("new"), Layout.hdf5, overwrite=False)
    >>> planned.patches, planned.layout.value, Path("new").exists()
    ({'train': 40}, 'hdf5', False)
    """
    check_apart(source, folder)
    check_free(folder, overwrite=overwrite, what=WHAT, mark=MARK, key=KEY)
    check_splits(splits, to)
    if to == Layout.folder:
        for split in splits:
            check_file_names(split)
        check_slides(splits)
    needed = OTHER_BYTES + sum(most_bytes(split, WRITERS[to].patch_bytes) for split in splits)
    parent = next(one for one in folder.absolute().parents if one.exists())
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise InputError(
            f"{folder} needs up to {readable(needed)} and its disk has {readable(free)} free; free "
            "disk space, give a folder on another disk, or convert fewer splits with --split."
        )
    patches = {split.name: len(split) for split in splits}
    return ConversionPlan(source.path, source.kind, to, patches, needed, free)


def most_bytes(split: Split, patch_bytes: int) -> int:
    """An upper bound on the disk space of a split, whose patches need `patch_bytes` each."""
    texts = sum(len(text.encode()) for text in (*split.ids, *filter(None, split.slides)))
    return len(split) * (patch_bytes + TEXT_BYTES) + 3 * texts  # quoted, and written twice in Parquet


def check_apart(source: Source, folder: Path) -> None:
    """Raise InputError if one of the source and the new folder contains the other."""
    if source.kind == Kind.synthetic:
        return
    ours, theirs = folder.resolve(), Path(source.path).resolve()
    if source.kind == Kind.manifest and ours.exists():
        theirs = theirs.parent  # its images may be in the folder that would be replaced
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise InputError(
            f"{folder} and {source.path} are the same folder, or one contains the other; give another "
            "folder."
        )


def check_splits(splits: Sequence[Split], to: Layout) -> None:
    """Raise InputError for a split whose name the layout cannot store."""
    for split in splits:
        reason = unsafe(split.name)
        if reason is None and not WRITERS[to].holds(split.name):
            reason = "has characters other than letters, digits and _"
        if reason:
            raise InputError(
                f"split {split.name!r} cannot be written to {to}: its name {reason}; rename it in the "
                "source, or leave it out with --split."
            )
    if twins := first_twins([split.name for split in splits]):
        raise InputError(
            f"splits {twins[0]!r} and {twins[1]!r} would have the same file name on disks that ignore "
            "case; choose one with --split."
        )


def check_file_names(split: Split) -> None:
    """Raise InputError for an id that is not a valid file name on every system."""
    elsewhere = f"convert to {Layout.hdf5} or {Layout.parquet} instead"
    for patch_id in split.ids:
        if reason := unsafe(patch_id):
            raise InputError(
                f"id {patch_id[:100]!r} of split {split.name!r} cannot be a file name: it {reason}; "
                f"{elsewhere}."
            )
    if twins := first_twins(split.ids):
        raise InputError(
            f"ids {twins[0][:100]!r} and {twins[1][:100]!r} of split {split.name!r} would have the "
            f"same file name on disks that ignore case or the encoding of accents; {elsewhere}."
        )


def unsafe(name: str) -> str | None:
    """Why a name from the data cannot be a file name; None if it can."""
    if not name or not name.isprintable():  # NUL, line breaks, surrogates
        return "is empty or has characters that cannot be printed"
    if set(name) & set('/\\<>:"|?*'):
        return 'contains one of / \\ < > : " | ? *'
    if name.startswith(".") or name.endswith((".", " ")):
        return "starts with a dot, or ends with a dot or a space"
    if RESERVED.fullmatch(name):
        return "is reserved on Windows"
    if len(name.encode()) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    return None


def first_twins(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names that are the same on file systems that ignore case or normalize accents."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other is not name:
            return other, name
    return None


def check_slides(splits: Sequence[Split]) -> None:
    """Raise InputError if an id has different slides in two splits: slides.csv lists ids only."""
    known: dict[str, tuple[str | None, str]] = {}
    for split in splits:
        for patch_id, slide in zip(split.ids, split.slides, strict=True):
            before, where = known.setdefault(patch_id, (slide, split.name))
            if before != slide:
                raise InputError(
                    f"id {patch_id[:100]!r} has slide {before or 'unknown'} in split {where!r} and "
                    f"{slide or 'unknown'} in {split.name!r}, but slides.csv has one slide per id; "
                    f"convert to {Layout.hdf5} or {Layout.parquet}, or one split at a time."
                )


def convert(
    source: Source,
    splits: Sequence[Split],
    folder: Path,
    to: Layout,
    threads: int,
    *,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
    beside: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Write splits in another layout. The folder is created only when everything is written.

    Parameters
    ----------
    source, splits
        The patches to write.
    folder
        The folder to create.
    to
        The layout to write.
    threads
        Number of threads that read and encode.
    overwrite
        Whether an earlier conversion in `folder` may be replaced.
    progress
        Called with the number of patches that were just encoded.
    beside
        Called with the folder before it is complete, to write further files.

    Raises
    ------
    InputError
        As `plan`, and for patches that cannot be read.
    PcamError
        If writing fails.

    Examples
    --------
    >>> from pcam_features.sources.detect import open_source
    >>> source, _ = open_source("synthetic:8:2:0")
    >>> convert(source, source.only("test"), Path("out"), Layout.hdf5, threads=1)
    >>> for file in sorted(Path("out").iterdir()):
    ...     print(file.name)
    camelyonpatch_level_2_split_test_meta.csv
    camelyonpatch_level_2_split_test_x.h5
    camelyonpatch_level_2_split_test_y.h5
    converted.json
    >>> open_source("out")[0]
    Source('out', kind hdf5, 2 patches: test 2)
    """
    plan(source, splits, folder, to, overwrite=overwrite)
    try:
        with whole_folder(folder, overwrite=overwrite, what=WHAT, mark=MARK, key=KEY) as made:
            for split in splits:
                with closing(batches(split, WRITERS[to], threads, progress)) as ready:
                    WRITERS[to].write(made, split, ready)
            if to == Layout.folder:
                write_slides(made, splits)
            else:
                for file in made.rglob("*.*"):
                    flush(file)
            beside(made)
            write_json(made / MARK, ConversionRecord(source, splits, to).to_dict())
    except (OSError, RuntimeError) as error:  # HDF5's library raises RuntimeError if the disk is full
        reason = getattr(error, "strerror", None) or message_of(error)
        raise PcamError(
            f"{folder} cannot be written: {reason}; nothing was changed there, so free disk space, or "
            "give another folder."
        ) from None


def batches(
    split: Split, writer: Writer, threads: int, progress: Callable[[int], None]
) -> Generator[Any, None, None]:
    """Yield the encoded patches in order.

    Threads read and encode batches. They pause while `WAITING` batches are not written yet.
    """

    def encoded(start: int) -> Any:
        return writer.encode(split.read(start, min(start + BATCH_ROWS, len(split))))

    for batch in Threads(threads, waiting=WAITING).map(encoded, range(0, len(split), BATCH_ROWS)):
        progress(len(batch))
        yield batch
