"""From one layout to another, with nothing lost: pixels, labels, ids and slides.

What is written is read again by `sources`, and by other people's programs. Beside it lies
`converted.json`, which says what it was made from and that it may be replaced.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import __version__
from ..constants import Kind, Layout
from ..errors import InputError, PcamError
from ..sources.source import Source, Split
from ..storage.files import check_free, flush, readable, whole_folder, write_json
from .layouts import BATCH_ROWS, WRITERS, Writer, write_slides

MARK, KEY = "converted.json", "converted_from"
WHAT = "converted folder"
LONGEST_NAME = 200  # bytes of a file's name, which may have 255 with what is put around it
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
TEXT_BYTES = 64  # around an id and a slide in tables
OTHER_BYTES = 1 << 20  # what else a folder takes


def plan(
    source: Source, splits: Sequence[Split], folder: Path, to: Layout, *, overwrite: bool
) -> dict[str, Any]:
    """What conversion would write, and the room it needs.

    Nothing is written. Raises InputError for a folder that cannot be made, for names that the layout
    cannot hold, and if the disk has less room than it may take.
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
            f"{folder} may take {readable(needed)} and its disk has {readable(free)} free; make room, "
            "name a folder on another disk, or convert fewer splits with --split."
        )
    return {
        "source": source.path,
        "kind": source.kind,
        "layout": to,
        "patches": {split.name: len(split) for split in splits},
        "bytes_at_most": needed,
        "bytes_free": free,
    }


def most_bytes(split: Split, patch_bytes: int) -> int:
    texts = sum(len(text.encode()) for text in (*split.ids, *filter(None, split.slides)))
    return len(split) * (patch_bytes + TEXT_BYTES) + 3 * texts  # quoted, and twice in Parquet


def check_apart(source: Source, folder: Path) -> None:
    """Raises InputError if the source lies in the folder to be made, or that in the source."""
    if source.kind == Kind.synthetic:
        return
    ours, theirs = folder.resolve(), Path(source.path).resolve()
    if source.kind == Kind.manifest and ours.exists():
        theirs = theirs.parent  # its images may be in what would be replaced
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise InputError(f"{folder} and {source.path} lie in one another; name a folder beside it.")


def check_splits(splits: Sequence[Split], to: Layout) -> None:
    for split in splits:
        reason = unsafe(split.name)
        if reason is None and not WRITERS[to].holds(split.name):
            reason = "has other than letters, digits and _"
        if reason:
            raise InputError(
                f"split {split.name!r} cannot be written to {to}: its name {reason}; rename it in the "
                "source, or leave it out with --split."
            )
    if twins := first_twins([split.name for split in splits]):
        raise InputError(
            f"splits {twins[0]!r} and {twins[1]!r} would be one on disks that do not tell upper from "
            "lower case; choose one with --split."
        )


def check_file_names(split: Split) -> None:
    """Raises InputError for an id that cannot be the name of a file on every system."""
    elsewhere = f"convert to {Layout.hdf5} or {Layout.parquet} instead"
    for patch_id in split.ids:
        if reason := unsafe(patch_id):
            raise InputError(
                f"id {patch_id[:100]!r} of split {split.name!r} cannot be a file's name: it {reason}; "
                f"{elsewhere}."
            )
    if twins := first_twins(split.ids):
        raise InputError(
            f"ids {twins[0][:100]!r} and {twins[1][:100]!r} of split {split.name!r} would be one file "
            f"on disks that do not tell upper from lower case; {elsewhere}."
        )


def unsafe(name: str) -> str | None:
    """Why a name that comes from data is not to be a file's, or None if it may."""
    if not name or not name.isprintable():  # NUL, line ends, surrogates
        return "is empty or has letters that cannot be printed"
    if set(name) & set('/\\<>:"|?*'):
        return 'has one of / \\ < > : " | ? *'
    if name.startswith(".") or name.endswith((".", " ")):
        return "begins with a dot, or ends with a dot or a space"
    if RESERVED.fullmatch(name):
        return "is reserved on Windows"
    if len(name.encode()) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} bytes"
    return None


def first_twins(names: Sequence[str]) -> tuple[str, str] | None:
    """Two names that some file systems take for one: they ignore case, or how accents are written."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other is not name:
            return other, name
    return None


def check_slides(splits: Sequence[Split]) -> None:
    """Raises InputError if an id in two splits has two slides: the table beside images is by id."""
    known: dict[str, tuple[str | None, str]] = {}
    for split in splits:
        for patch_id, slide in zip(split.ids, split.slides, strict=True):
            before, where = known.setdefault(patch_id, (slide, split.name))
            if before != slide:
                raise InputError(
                    f"id {patch_id[:100]!r} has the slide {before} in split {where!r} and {slide} in "
                    f"{split.name!r}, which a folder of images cannot say; convert to {Layout.hdf5} or "
                    f"{Layout.parquet}, or one split at a time."
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
) -> None:
    """Write splits in another layout; `folder` is there once all is written, and never otherwise.

    Raises InputError as `plan` does and for patches that cannot be read, PcamError if writing fails.
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
            write_json(made / MARK, record(source, splits, to))
    except (OSError, RuntimeError) as error:  # HDF5's library says so of a full disk
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise PcamError(
            f"{folder} cannot be written: {reason}; nothing was changed there: make room, or name "
            "another folder."
        ) from None


def record(source: Source, splits: Sequence[Split], to: Layout) -> dict[str, Any]:
    return {
        KEY: source.path,
        "kind": source.kind,
        "protocol": source.protocol,
        "layout": to,
        "splits": {
            split.name: {
                "patches": len(split),
                "tumor": None if split.labels is None else int(split.labels.sum()),
                "with_slide": sum(slide is not None for slide in split.slides),
            }
            for split in splits
        },
        "pcam_version": __version__,
    }


def batches(
    split: Split, writer: Writer, threads: int, progress: Callable[[int], None]
) -> Generator[Any, None, None]:
    """The patches as the writer wants them, in order: read and encoded by several threads, which are
    never far ahead of the one who writes."""

    def work(start: int) -> Any:
        return writer.encode(split.read(start, min(start + BATCH_ROWS, len(split))))

    def done(future: Future[Any]) -> Any:
        batch = future.result()
        progress(len(batch))
        return batch

    ahead: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start in range(0, len(split), BATCH_ROWS):
                ahead.append(pool.submit(work, start))
                if len(ahead) > threads + 1:
                    yield done(ahead.popleft())
            while ahead:
                yield done(ahead.popleft())
        finally:
            for future in ahead:
                future.cancel()
