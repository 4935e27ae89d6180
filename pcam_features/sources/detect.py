"""Opening a source. The layout is detected from the path."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..constants import Fitting, Kind
from ..errors import InputError
from ..execution.executor import Threads
from ..storage.parquet import LONGEST
from ..storage.tables import read_table
from ..storage.urls import is_file, is_url
from ..words import counted, form, quoted
from . import (
    arrays,
    hdf5,
    hdf5_files,
    hf_parquet,
    image_folder,
    kaggle,
    manifest,
    synthetic,
    webdataset,
    wilds,
)
from .columns import IDS, PATHS, find, folder_of_tables, shown, tables_in
from .fitting import check_mpp, how_named
from .hdf5 import Unpacking
from .ids import examples
from .images import SUFFIXES
from .opening import NO_SLIDES, Opening
from .reading import EVERYTHING, Reading
from .slides import BESIDE, read_slides
from .source import Source, Split
from .tree import EXCLUDED, is_litter, left_out
from .vocabulary import UNLABELED

# In this order: the first layout that recognizes a path is used.
LAYOUTS = {
    Kind.kaggle: kaggle,
    Kind.hdf5: hdf5,
    Kind.wilds: wilds,
    Kind.parquet: hf_parquet,
    Kind.arrays: arrays,
    Kind.images: image_folder,
    Kind.manifest: manifest,
    Kind.webdataset: webdataset,
}
KNOWN = (
    f"Kaggle's folder (train/*.tif, test/*.tif, {kaggle.LABELS}) or zip, PCam's HDF5 files "
    f"({hdf5.STEM}train_{hdf5.PIXELS}.h5 …), a folder of images (<split>/<class>/* or <class>/*), a "
    f"CSV with a column path, Hugging Face's Parquet files (train-*.parquet), WILDS' camelyon17 "
    f"({wilds.METADATA}, {wilds.PATCHES}/), NumPy's arrays (x_train.npy, train.npz), or WebDataset's "
    "shards (train-000000.tar)"
)
ARCHIVES = (".zip", ".7z", ".rar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
NOT_READ = (
    *(".npy", ".npz", ".mat", ".pt", ".pth", ".pkl", ".pickle", ".zarr", ".lmdb", ".mdb", ".arrow"),
    *(".feather", ".tfrecord", ".tfrecords"),
)
# The layouts that take every option of `Reading`, and which options the others take.
READ_AS_TOLD = {
    Kind.images: image_folder,
    Kind.kaggle: kaggle,
    Kind.manifest: manifest,
    Kind.parquet: hf_parquet,
    Kind.webdataset: webdataset,
}
TITLES = {
    Kind.images: "folders of images",
    Kind.kaggle: "Kaggle's layout",
    Kind.manifest: "tables of images",
    Kind.parquet: "Parquet files",
    Kind.arrays: "arrays",
    Kind.webdataset: "WebDataset's shards",
}
WITH_CLASSES = (Kind.images, Kind.manifest, Kind.parquet, Kind.arrays, Kind.webdataset)
OPTIONS = {
    "positive": WITH_CLASSES,
    "classes": WITH_CLASSES,
    "exclude": WITH_CLASSES,
    "labeled_only": (Kind.kaggle, *WITH_CLASSES),
    "label_column": (Kind.kaggle, Kind.manifest, Kind.parquet, Kind.webdataset),
    "id_column": (Kind.kaggle, Kind.manifest, Kind.parquet),
    "skip_unreadable": tuple(Kind),
    "path_column": (Kind.manifest, Kind.parquet),
}
OWN = "manifest.json"  # in folders that pcam writes
SHOWN = 5  # sources in a message
LOOKED_FOR, MOST_FOLDERS = 3, 100  # levels below a folder, and folders in each, that are looked at
MOST_FILES = 10_000  # that are looked at for a message
ROWS_READ = 128  # patches that a thread reads at a time
UNREADABLE = "unreadable"
SPLIT_NAME = re.compile(r"\w[\w -]{0,63}")  # a split becomes a folder of the feature store


@contextmanager
def silent(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show no progress."""
    yield lambda done: None


def check_path(path: str) -> Path:
    """The path of a file or folder. Raises InputError if there is none."""
    if not path or "\0" in path or not Path(path).exists():
        raise InputError(f"there is no folder or file {path!r}; give the path of the patches.")
    if not (Path(path).is_file() or Path(path).is_dir()):
        raise InputError(f"{path} is neither a file nor a folder; give the path of the patches.")
    return Path(path)


def kind_of(path: Path) -> Kind | None:
    """The layout that recognizes a path; None if none does."""
    return next((kind for kind, layout in LAYOUTS.items() if layout.recognize(path)), None)


def table_of(folder: Path) -> Path | None:
    """The table of labels beside the images of a folder, or the folder if its splits have a table each.

    None if there is none, or classes are folders. Raises InputError if there are several.
    """
    if not folder.is_dir() or image_folder.has_known_classes(folder):
        return None
    if manifest.tables_by_split(folder):
        return folder
    tables = tables_in(folder_of_tables(folder), besides=kaggle.tables_of(folder))
    if len(tables) > 1:
        raise InputError(
            f"{folder} has several tables of labels ({', '.join(table.name for table in tables[:5])}); "
            f"give one of them, such as {tables[0]}."
        )
    return tables[0] if tables else None


def located(path: str, kind: Kind | None) -> tuple[Kind, Path]:
    """The layout of a source, and the file or folder to open.

    Raises InputError if there is no source of this layout.
    """
    if is_url(path):
        if kind not in (None, Kind.parquet) or not hf_parquet.listed(Path(path)):
            raise InputError(
                f"there are no Parquet files of patches at {path}, and other layouts are read from a "
                f"disk only; convert them with --to parquet, or give {path.rstrip('/')}/FOLDER."
            )
        return Kind.parquet, Path(path)
    if kind is None:
        kind = detect(path)
        if kind == Kind.images and (table := table_of(Path(path))):
            return Kind.manifest, table
    elif kind in LAYOUTS and not LAYOUTS[kind].recognize(check_path(path)):
        raise InputError(
            f"{path} holds no patches of layout {kind}; leave out --kind to detect the layout."
        )
    return kind, Path(path) if kind == Kind.synthetic else check_path(path)


def detect(path: str) -> Kind:
    """The layout of the source at a path. Raises InputError if no layout matches."""
    if path.startswith(f"{Kind.synthetic}:"):
        return Kind.synthetic
    there = check_path(path)
    found = kind_of(there)
    if found not in (None, Kind.images):
        return found
    # The folder of a split or a class also looks like a source of images; tables may lie beside these.
    tables = folder_of_tables(there)
    inside = [(at, kind) for at, kind in sources_inside(there) if kind != Kind.images and at != tables]
    if len(inside) == 1:
        raise InputError(
            f"{path} is not a source itself but contains one ({inside[0][1]}); give {inside[0][0]}."
        )
    if inside:
        listed = ", ".join(f"{at} ({kind})" for at, kind in inside[:SHOWN])
        raise InputError(
            f"{path} is not a source itself but contains {len(inside)}; give one of them: {listed}."
        )
    if found:
        return found
    if unknown := not_read_in(there):
        raise InputError(
            f"{unknown} is an archive; unpack it and give the folder."
            if unknown.name.lower().endswith(ARCHIVES)
            else f"{unknown} holds no patches in a form that is read; write uint8 images "
            "(N, 96, 96, 3) and labels (N,) with numpy.savez('train.npz', x=images, y=labels), or "
            "image files and a CSV with the columns path and label."
        )
    if there.is_file() and hdf5_files.is_hdf5(there):
        raise InputError(
            f"{path} holds labels, as its name says, and no patches; give the file of the patches, or "
            "the folder of both."
        )
    if unnamed := next(filter(hdf5_files.is_hdf5, first_files(there)), None):
        raise InputError(
            f"{unnamed} does not say in its name which split it is; give the file itself, or "
            "rename it to train.h5, valid.h5 or test.h5."
        )
    if above := source_above(there):
        raise InputError(f"{path} is part of a source; give the whole source, {above}.")
    raise InputError(
        f"{path} has none of the known layouts: {KNOWN}; if it holds images without classes, move them "
        f"to <split>/{UNLABELED}/."
    )


def not_read_in(path: Path) -> Path | None:
    """A file of arrays or records, or an archive, that is not read: at a path or below it; or None."""
    named = (
        file
        for file in first_files(path)
        if file.name.lower().endswith((*ARCHIVES, *NOT_READ)) or ".tfrecord" in file.name.lower()
    )
    return next(named, None)


def first_files(path: Path) -> Iterator[Path]:
    """A file, or the first files below a folder."""
    return islice([path] if path.is_file() else hdf5_files.below(path), MOST_FILES)


def source_above(path: Path) -> Path | None:
    """The source that a folder of images, or a file, is clearly part of; None if there is none."""
    of_images = path.is_dir() and any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    if not of_images and path.suffix.lower() not in (*SUFFIXES, ".h5"):
        return None
    for above in list(path.absolute().parents)[:2]:
        kind = kind_of(above)
        known_class = image_folder.is_known_class(path.absolute().name)
        if kind and (kind != Kind.images or known_class):
            return above
    return None


def sources_inside(folder: Path, depth: int = 1) -> Iterator[tuple[Path, Kind]]:
    """Yield the sources in a folder, down to `LOOKED_FOR` levels; images alone only directly in it.

    Folders that cannot be read are skipped.
    """
    try:
        folders = sorted(f for f in folder.iterdir() if f.is_dir() and not is_litter(f.name))
    except OSError:
        return
    for inside in folders[:MOST_FOLDERS]:
        if (inside / OWN).is_file():
            continue  # a feature store or a model
        try:
            kind = kind_of(inside)
        except OSError:
            continue
        if kind and (kind != Kind.images or depth == 1):
            yield inside, kind
        if kind in (None, Kind.images) and depth < LOOKED_FOR:
            yield from sources_inside(inside, depth + 1)


def open_source(
    path: str,
    *,
    kind: Kind | None = None,
    slides: str | None = None,
    reading: Reading = EVERYTHING,
    fit: str | None = None,
    mpp: float | None = None,
    unpacking: Unpacking = silent,
    strict: bool = True,
) -> tuple[Source, str]:
    """Open patches in any layout.

    Parameters
    ----------
    path
        A folder or file of patches, or `synthetic:PATCHES[:SLIDES[:SEED]]`.
    kind
        The layout; None to detect it from the path.
    slides
        A CSV with the slide of each patch, as `FILE` or `FILE:COLUMN`. With None, a `slides.csv` in
        the folder is used, or else the slides that the layout names. With `none`, slides are unknown.
    reading
        What of the source is read, and how its tables are understood.
    fit
        How patches of another size are brought to 96×96 pixels: `resize`, `crop` or `tile`. With None,
        they are refused. See `fitting`.
    mpp
        Micrometers per pixel of the images; None if unknown.
    unpacking
        Shows the progress if a file must be unpacked.
    strict
        Whether to refuse a source with faulty patches. If false, the faults are in `Source.problems`.

    Returns
    -------
    tuple
        The source, and a sentence on its layout and on where its slides come from.

    Raises
    ------
    InputError
        If the path or an option is invalid, or if the source is damaged.

    Examples
    --------
    >>> source, sentence = open_source("synthetic:40:4:0")
    >>> source
    Source('synthetic:40:4:0', kind synthetic, 50 patches: train 40, test 10)
    >>> sentence
    'synthetic:40:4:0, read as synthetic; slides: known for 50 of 50 patches'
    """
    how = fitting_of(fit, mpp)
    opening = Opening(path, kind, slides, reading, fit, mpp)
    kind, there = located(path, kind)
    check_options(reading.without_tables(), kind, path)
    layout_reading = reading.without_tables()
    if kind == Kind.synthetic:
        source = synthetic.open_source(path)
    elif kind in READ_AS_TOLD:
        source = READ_AS_TOLD[kind].open_source(there, layout_reading)
    elif kind == Kind.arrays:
        source = arrays.open_source(there, layout_reading, unpacking, any_size=how is not None)
    elif kind == Kind.hdf5:
        source = hdf5.open_source(there, unpacking, any_size=how is not None)
    else:
        source = LAYOUTS[kind].open_source(there)
    check(source, strict)
    for table in reading.excluded_tables:
        source = without_ids(source, table, reading.id_column)
    if how is not None:
        source = source.fitted(how, mpp)
    if reading.skip_unreadable:
        source = without_unreadable(source, unpacking)
    elif how is None and strict and kind != Kind.synthetic:
        source.check_size()
    return with_known_slides(replace(source, reading=reading, opening=opening), path, slides)


def reopen(opening: Opening) -> Source:
    """Open a source as another process has opened it, which has reported its faults.

    Raises InputError if it cannot be opened here.
    """
    source, _ = open_source(
        opening.path,
        kind=opening.kind,
        slides=opening.slides,
        reading=opening.reading,
        fit=opening.fit,
        mpp=opening.mpp,
        strict=False,
    )
    return source


def without_ids(source: Source, table: str, id_column: str | None) -> Source:
    """The source without the ids in a table, which may be file names; `exclude` names the table.

    Raises InputError if the table has no ids, or none of them is in the source.
    """
    read = read_table(Path(table), (), "--exclude table")
    columns = list(read.columns)
    column = find(columns, (*IDS, *PATHS), id_column, "--id-column")
    if column is None and len(columns) > 1:
        raise InputError(f"--exclude {table} has no column id; its columns are: {shown(columns)}.")
    listed = [*columns, *read[columns[0]]] if column is None else read[column].tolist()
    names = dict.fromkeys(name.strip() for name in listed if name.strip())
    hit = source.named_in(names)
    rows = {
        name: [row for row, i in enumerate(split.ids) if i not in hit[name]]
        for name, split in source.splits.items()
    }
    gone = [i for name, split in source.splits.items() for i in split.ids if i in hit[name]]
    if not gone:
        raise InputError(
            f"none of the ids in --exclude {table} is in {source.path} (they are such as "
            f"{examples(names)}, the source's {examples(source.ids)}); correct the table."
        )
    used = {by for found in hit.values() for by in found.values()}
    unused = [name for name in names if name not in used and name not in columns]
    advice = f"listed in {table}"
    if unused:
        are = form(len(unused), "is", "are")
        advice += f", of which {counted(len(unused), 'id')} {are} not there: {examples(unused)}"
    return source.with_rows(rows, left_out(EXCLUDED, gone, source.path, advice))


def without_unreadable(source: Source, display: Unpacking) -> Source:
    """The source without the patches that cannot be read; every patch is read once.

    Raises InputError if none can be read.
    """
    reasons: dict[str, str] = {}
    rows = {}
    with display("read", len(source), "patches") as advance:
        for name, split in source.splits.items():
            wrong = unreadable(split, advance)
            reasons |= {f"{name}/{split.ids[row]}": reason for row, reason in wrong.items()}
            rows[name] = [row for row in range(len(split)) if row not in wrong]
    if not reasons:
        return source
    first = next(iter(reasons.values()))
    if not any(rows.values()):
        raise InputError(first)
    advice = f"skipped as you asked; the first: {first.removesuffix('.')}"
    record = left_out(UNREADABLE, list(reasons), source.path, advice, fault=True)
    return source.with_rows(rows, record)


def unreadable(split: Split, advance: Callable[[int], None]) -> dict[int, str]:
    """The rows that cannot be read, and why."""

    def look(start: int) -> dict[int, str]:
        stop = min(start + ROWS_READ, len(split))
        try:
            split.read(start, stop)
        except InputError:
            return dict(filter(None, (why_not(row) for row in range(start, stop))))
        return {}

    def why_not(row: int) -> tuple[int, str] | None:
        try:
            split.read(row, row + 1)
        except InputError as error:
            return row, str(error)
        return None

    found: dict[int, str] = {}
    for wrong in Threads(os.cpu_count() or 1).map(look, range(0, len(split), ROWS_READ)):
        found |= wrong
        advance(min(ROWS_READ, len(split)))
    return found


def check_options(reading: Reading, kind: Kind, path: str) -> None:
    """Raise InputError for an option that does not apply to a layout."""
    for name in reading.given():
        if kind not in OPTIONS[name]:
            layouts = " and ".join(TITLES[one] for one in OPTIONS[name])
            raise InputError(
                f"--{name.replace('_', '-')} is for {layouts}; {path} has layout {kind}, so leave it "
                "out."
            )


def fitting_of(fit: str | None, mpp: float | None) -> Fitting | None:
    """The value of --fit, checked together with --mpp. Raises InputError if they are invalid."""
    check_mpp(mpp)
    if fit is not None:
        return how_named(fit)
    if mpp is not None:
        raise InputError(f"--mpp {mpp:g} needs --fit; add --fit with one of: {', '.join(Fitting)}.")
    return None


def with_known_slides(source: Source, path: str, slides: str | None) -> tuple[Source, str]:
    """The source with its known slides, and a sentence on its layout and slides."""
    if slides is None and source.kind != Kind.synthetic and is_file(Path(path) / BESIDE):
        slides = str(Path(path) / BESIDE)
    if slides == NO_SLIDES:
        slides, source = None, source.without_slides()
    if slides is not None:
        source = source.with_slides(read_slides(slides), slides)
        check_texts(source, slides)
    known = sum(slide is not None for split in source.splits.values() for slide in split.slides)
    total = sum(len(split) for split in source.splits.values())
    origin = f" from {slides}" if slides else ""
    what = f"{source.path}, read as {source.kind}"
    fitted = f"; {source.fit.sentence()}" if source.fit else ""
    notes = "".join(f"; {note}" for note in source.notes)
    return source, (
        f"{what}{notes}; slides: known for {known:,} of {counted(total, 'patch')}{origin}{fitted}"
        f"{not_read(source)}"
    )


def not_read(source: Source) -> str:
    """What is not read, with examples, to end a sentence with; empty if everything is read."""
    if not source.unread:
        return ""
    parts = (
        f"{one.count:,} × {one.kind} ({', '.join(one.examples[:2])}{', …' if one.count > 2 else ''})"
        for one in source.unread
    )
    return f"; NOT READ: {'; '.join(parts)}"


def check(source: Source, strict: bool) -> None:
    """Raise InputError for a source without patches, or with names that cannot be stored."""
    empty = not any(len(split) for split in source.splits.values())
    if source.problems and (strict or empty):
        raise InputError(source.problems[0].says)
    lost = [one for one in source.unread if one.serious]
    if empty and lost:
        raise InputError(lost[0].says)
    if empty:
        raise InputError(
            f"{source.path} holds no patches of layout {source.kind}; give another path or --kind."
        )
    for name in source.splits:
        if not SPLIT_NAME.fullmatch(name):
            raise InputError(
                f"{source.path} has a split {name[:100]!r}; rename it with at most 64 letters, digits, "
                "spaces, _ and -."
            )
    check_texts(source, source.path)


def check_texts(source: Source, where: str) -> None:
    """Raise InputError for an id or slide that cannot be stored and printed; `where` names its file."""
    for name, split in source.splits.items():
        for text in (*split.ids, *filter(None, split.slides)):
            if len(text) > LONGEST or not text.isprintable() or not text.strip():
                raise InputError(
                    f"{where} has an id or slide {quoted(text)} in split {name!r}; rename it with at "
                    f"most {LONGEST} printable characters."
                )
