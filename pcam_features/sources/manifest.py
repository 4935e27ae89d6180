"""A table of image files: a CSV with paths and optionally ids, labels, slides and splits.

Columns are found by their names, see `columns`. Paths are relative to the table's folder and must stay
in it; if that is a folder of tables, such as `labels`, in the folder above. If no file is where its
path says, files are looked for below the folder by their names, as they are for a table of ids. Without
ids, the id is the file's name without suffix, with its folders before it if names repeat. Without
splits, they are what the folders say, or all patches are in `train`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from ..constants import Kind
from ..errors import InputError
from ..storage.tables import read_table
from . import kaggle, tree
from .class_labels import ClassLabels, check_agreement, class_labels, not_read
from .columns import (
    IDS,
    MORE_PATHS,
    PATHS,
    SPLITS,
    find,
    folder_of_tables,
    is_of_tables,
    is_table,
    label_column,
    one_hot,
    shown,
    split_cells,
    tables_in,
)
from .ids import number as number_of
from .ids import stem
from .images import by_id, content_of, originals, patches
from .reading import EVERYTHING, Reading
from .slides import BESIDE, UNKNOWN, column_of
from .slides import known as known_slides
from .source import Part, Problem, Source, Split, source_of, train_first, whole_labels
from .vocabulary import is_masks, split_in, split_name

NAME = "manifest.csv"  # the table's name in a folder that is given as the source
ID, LABEL, SPLIT = "id", "label", "split"
TRAIN = "train"
PROTOCOL = (
    "Patches as listed in a table. Only the author of the table knows whether splits share slides."
)
ABOVE = re.compile(r"(\./)*(/|\.\./)[./]*")  # the start of a path that leads out of its folder
UNLISTED = "image not in the table"
MOST_PARTS = 1000  # where one path is the end of the other


def recognize(path: Path) -> bool:
    if path.is_file():
        return is_table(path)
    return (path / NAME).is_file() or bool(tables_by_split(path))


def tables_by_split(folder: Path) -> dict[str, Path]:
    """The table of each split: train.csv, test.csv …, or train/metadata.csv …; empty without such."""
    there, besides = folder_of_tables(folder), kaggle.tables_of(folder)
    tables = tables_in(there, besides, labeled=False)
    stems = [table.name.partition(".")[0] for table in tables]
    told = [split_name(stem) or split_in(stem) for stem in stems]
    labeled = tables_in(there, besides)
    if len(tables) > 1 and labeled and all(told) and len(set(told)) == len(told):
        named = {split: table for split, table in zip(told, tables, strict=True) if split}
        return {split: named[split] for split in train_first(named)}
    if labeled or not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for inside in sorted(folder.iterdir()):
        split = None if tree.is_litter(inside.name) else split_name(inside.name)
        own = tables_in(inside) if split else []
        if split and len(own) == 1 and split not in found:
            found[split] = own[0]
    return {split: found[split] for split in train_first(found)}


def folder_of_images(folder: Path, paths: Sequence[str]) -> Path:
    """The folder below which the files of a table in `folder` are: this, or the one above it.

    It is the one above a folder of tables, if paths lead to files there or begin with `..`, or if there
    are none, and images are there alone.
    """
    whole = folder.absolute()
    if not is_of_tables(whole):
        return folder
    above = whole.parent
    plain = [name for name in paths if "\0" not in name]
    leads = any(name.startswith("..") or os.path.isfile(above / name) for name in plain)
    alone = not paths and not tree.has_images(whole) and tree.has_images(above)
    return above if leads or alone else folder


def inside(folder: Path, path: str, where: str) -> Path:
    """The file at a relative path. Raises InputError if it leads out of the table's folder."""
    root = os.path.normpath(folder.absolute())
    if "\0" in path or not path:
        raise InputError(f"{where} is not the path of a file: {path[:100]!r}; correct it.")
    found = os.path.normpath(os.path.join(root, path))
    if os.path.commonpath([root, found]) != root or found == root:
        raise InputError(
            f"{where} leads out of {root}: {path[:100]!r}; move the table to a folder above its images."
        )
    return Path(found)


def split_of(name: str, rows: pd.DataFrame, where: str, reading: Reading) -> Part:
    """A split from rows with ID, `file` (a Path), LABEL and `slide`, if the file exists."""
    files, twice = by_id(zip(rows[ID], rows["file"], strict=True))
    there = {
        i: file for i, file in files.items() if os.path.isfile(file)
    }  # also false for impossible names
    gone = [str(files[i]) for i in files if i not in there]
    rows_by_id = rows.drop_duplicates(ID).set_index(ID)
    ids, paths = list(there), list(there.values())
    labels = whole_labels(rows_by_id.loc[ids, LABEL].tolist())
    slides = known_slides(rows_by_id.loc[ids, "slide"])
    original = originals(paths)
    split = Split(name, ids, labels, slides, content_of(paths), patches(original), original)
    return Part(split, twice, [not_read(tree.NO_FILE, gone, where, reading)] if gone else [])


@dataclass(frozen=True)
class Files:
    """The file of each row of a table, the images in no row, what else is not read, and notes."""

    paths: Sequence[Path]
    others: Sequence[Path] = ()
    unread: Sequence[Problem] = ()
    notes: Sequence[str] = ()


def locate(
    named: Sequence[str], folder: Path, where: str, hints: Sequence[Sequence[str]], *, by_path: bool
) -> Files:
    """Find the files that a table names by paths, or by ids.

    `hints` are folders that each one may be in, where the names of files do not tell. Raises InputError
    for a path that leads out of the folder.
    """
    on_windows = [name for name in named if "\\" in name]
    if by_path and on_windows and not any(os.path.lexists(folder / name) for name in on_windows):
        named = [name.replace("\\", "/") for name in named]
    if by_path and all(is_elsewhere(name, folder) for name in named):
        # of another machine: only the names count
        named = [ABOVE.sub("", name, count=1) for name in named]
    whole = folder.absolute()  # once, because it takes time
    direct = [inside(whole, name, f"{where}, line {k + 2}") for k, name in enumerate(named)]
    if by_path and any(os.path.isfile(path) for path in direct):
        listed = set(direct)
        return Files(direct, [path for path in images_beside(direct) if path not in listed])
    found = tree.walk(folder.absolute())
    images = [path for paths in found.folders.values() for path in paths]
    by_name = by_names(named, images, hints)
    if not by_name:
        return Files(direct)
    paths = [by_name.get(row, there) for row, there in enumerate(direct)]
    listed = set(paths)
    others = [path for path in images if path not in listed]
    return Files(paths, others, found.problems(), [f"files were found by their names below {folder}"])


def images_beside(files: Sequence[Path]) -> list[Path]:
    """The images in the folders of some files."""
    folders = sorted({file.parent for file in files})
    there = [folder for folder in folders if folder.is_dir()]
    return [one for folder in there for one in sorted(folder.iterdir()) if tree.is_patch(one)]


def is_elsewhere(name: str, folder: Path) -> bool:
    """Whether a path leads out of a folder, to nothing that is on this machine."""
    return bool(ABOVE.match(name)) and "\0" not in name and not os.path.lexists(folder / name)


def by_names(
    named: Sequence[str], images: Sequence[Path], hints: Sequence[Sequence[str]]
) -> dict[int, Path]:
    """The image of each row by its file's name, with suffix or without; rows that are not clear lack.

    Of several images of a name, the one whose path ends like the row's is taken, or else the one in
    folders called as its hints. An image that rows of several paths would have is that of the row whose
    path ends most like its own.
    """
    of_name: dict[str, list[Path]] = {}
    for path in images:
        for name in {path.name, path.stem}:
            of_name.setdefault(name, []).append(path)
    if not any(PurePosixPath(text).name in of_name for text in named):
        of_name |= by_numbers(images)
    found: dict[int, tuple[int, Path]] = {}
    for row, text in enumerate(named):
        name = PurePosixPath(text).name
        there = of_name.get(name) or (of_name.get(stem(name)) if tree.is_image(name) else None)
        ends = [(same_end(path, text), path) for path in there or ()]
        most = max((count for count, _ in ends), default=0)
        best = [(count, path) for count, path in ends if count == most]
        told = [(count, path) for count, path in best if {*hints[row]} & named_by(path)]
        if len(best) == 1 or len(told) == 1:
            found[row] = best[0] if len(best) == 1 else told[0]
    counts: dict[Path, dict[str, int]] = {}  # of the paths that would have an image
    for row, (count, path) in found.items():
        counts.setdefault(path, {})[named[row]] = count
    owner = {
        path: max(by_text, key=by_text.__getitem__)
        for path, by_text in counts.items()
        if [*by_text.values()].count(max(by_text.values())) == 1
    }
    return {row: path for row, (_, path) in found.items() if owner.get(path) == named[row]}


def by_numbers(images: Sequence[Path]) -> dict[str, list[Path]]:
    """Images whose names are numbers, by these without zeros at their start; empty if one is not."""
    found: dict[str, list[Path]] = {}
    for path in images:
        number = number_of(path.name)
        if number is None:
            return {}
        found.setdefault(number, []).append(path)
    return found


def named_by(path: Path) -> set[str]:
    """The names of a file's folders, and the splits that they stand for."""
    parts = path.parent.parts
    return {*parts, *filter(None, map(split_name, parts))}


def same_end(path: Path, named: str) -> int:
    """How many folders a file's path and a path in a table have in common at their ends."""
    pairs = zip(path.parts[-2::-1], PurePosixPath(named).parts[-2::-1], strict=False)
    return next((k for k, (one, other) in enumerate(pairs) if one != other), MOST_PARTS)


def ids_of(paths: Sequence[Path], folder: Path) -> tuple[list[str], list[str]]:
    """Ids for files: their names, with the folders' before them if names repeat; and a note if so."""
    stems = [path.stem if tree.is_image(path.name) else path.name for path in paths]
    if len(set(stems)) == len(set(paths)):
        return stems, []
    root = folder.absolute()
    below = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    ids = ["_".join(path.with_suffix("").parts) for path in below]
    return ids, ["ids name their folder, because file names repeat"]


def splits_of(paths: Sequence[Path], folder: Path) -> list[str | None]:
    """The split of each file by the names of its folders; None where they name none."""
    by_folder: dict[Path, str | None] = {}
    for parent in {path.parent for path in paths}:
        below = os.path.relpath(parent, folder.absolute()).split(os.sep)
        by_folder[parent] = next(filter(None, map(split_name, below)), None)
    return [by_folder[path.parent] for path in paths]


def with_splits(rows: pd.DataFrame, files: Files, folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows with splits by their folders, and notes.

    Images in no row are added, without labels, if their folder is a split of which no row is.
    """
    own = splits_of(files.paths, folder)
    others = dict(zip(files.others, splits_of(files.others, folder), strict=True))
    more = {path: split for path, split in others.items() if split and split not in own}
    notes = [f"not in the table and without labels: {', '.join(sorted(set(more.values())))}"]
    names = {split or TRAIN for split in own}
    if len(names) == 1 and not more:
        return rows.assign(**{SPLIT: TRAIN}), []
    whole = pd.concat(
        [
            rows.assign(**{SPLIT: [split or TRAIN for split in own]}),
            without_labels(list(more), folder).assign(**{SPLIT: list(more.values())}),
        ],
        ignore_index=True,
    )
    said = [f"splits are folders: {', '.join(sorted(names))}"] if len(names) > 1 else []
    return whole, said + notes * bool(more)


def without_labels(files: Sequence[Path], folder: Path) -> pd.DataFrame:
    """Rows for images that no table lists."""
    none = pd.Series([None] * len(files), dtype="object")
    return pd.DataFrame({ID: ids_of(files, folder)[0], "file": files, LABEL: none, "slide": ""})


def without_table(
    files: Sequence[Path], folder: Path, splits: Container[str | None]
) -> dict[str, list[Path]]:
    """The images in folders of splits that have no table, by split."""
    found: dict[str, list[Path]] = {}
    for file, split in zip(files, splits_of(files, folder), strict=True):
        if split and split not in splits and not any(map(is_masks, file.parts)):
            found.setdefault(split, []).append(file)
    return found


def splits_named(cells: Sequence[str]) -> list[str]:
    """The splits that the cells of a column name, as folders of these names would be."""
    told = {cell: cell.strip() for cell in set(cells)}
    names = {
        cell: TRAIN if text in UNKNOWN else split_name(text) or text for cell, text in told.items()
    }
    return [names[cell] for cell in cells]


@dataclass(frozen=True)
class Listed:
    """What a table lists: its splits, what is not read, notes, its files, images in no row (`others`).

    All of them are below `folder`.
    """

    parts: Sequence[Part]
    unread: Sequence[Problem]
    notes: Sequence[str]
    files: frozenset[Path]
    others: Sequence[Path]
    folder: Path


def open_source(path: Path, reading: Reading = EVERYTHING) -> Source:
    """Open a table of image files, or a folder that has one, or one for each split.

    Raises InputError for a damaged table, for a path that leads out of its folder, and for labels that
    are not understood. Labels may be absent in a whole split.
    """
    tables: dict[str | None, Path] = {None: path if path.is_file() else path / NAME}
    if path.is_dir() and not (path / NAME).is_file():
        tables = dict[str | None, Path](tables_by_split(path).items())
    path = path if len(tables) > 1 or None not in tables else tables[None]
    root = path if path.is_dir() else path.parent
    listed = [read_listed(table, reading, split, root) for split, table in tables.items()]
    above = {one.folder for one in listed} - {table.parent for table in tables.values()}
    root = above.pop() if len(above) == 1 else root
    parts = [part for one in listed for part in one.parts]
    others = [file for one in listed for file in one.others]
    notes = list(dict.fromkeys(note for one in listed for note in one.notes))
    read = frozenset[Path]().union(*(one.files for one in listed))
    if None not in tables:
        found = tree.walk(root.absolute())
        others = [file for files in found.folders.values() for file in files if file not in read]
        more = without_table(others, root, tables)
        parts += [split_of(n, without_labels(own, root), str(path), reading) for n, own in more.items()]
        read = read.union(*more.values())
        names = (os.path.relpath(table, path) for table in tables.values())
        notes = [f"each split has its table: {', '.join(names)}", *notes]
        notes += [f"without a table and labels: {', '.join(more)}"] * bool(more)
    source = source_of(Kind.manifest, path, PROTOCOL, parts)
    unread = [one for each in listed for one in each.unread]
    folder = next(iter(tables.values())).parent
    chosen = [table.name for table in (*tables.values(), *tables_in(folder))]  # by the user, if several
    if rest := tables_in(folder, (kaggle.SAMPLE, BESIDE, *chosen), labeled=False):
        unread.append(tree.left_out(tree.TABLE, [one.name for one in rest], f"manifest {path}"))
    if unlisted := sorted({os.path.relpath(file, root) for file in others if file not in read}):
        advice = "add rows for them, or move them away"
        unread.append(tree.left_out(UNLISTED, unlisted, f"manifest {path}", advice))
    return replace(source, unread=[*source.unread, *unread], notes=notes)


def read_listed(path: Path, reading: Reading, name: str | None, root: Path) -> Listed:
    """Read a table of image files below `root`, all of split `name` if that is given.

    Raises InputError.
    """
    if path.name in kaggle.tables_of(path.parent):
        raise InputError(f"{path} is Kaggle's label table; give its folder: {path.parent}.")
    table = read_table(path, (), "manifest")
    where, columns = f"manifest {path}", list(table.columns)
    by_path = find(columns, PATHS, reading.path_column, "--path-column")
    by_id_column = find(columns, IDS, reading.id_column, "--id-column")
    if by_path is None and by_id_column is None:
        by_path = find(columns, MORE_PATHS, None, "path")
    named = by_path or by_id_column
    if named is None:
        raise InputError(
            f"{where} has no column {PATHS[0]} of image files; its columns are: {shown(columns)}; name "
            "one with --path-column or --id-column."
        )
    # Of metadata.csv in train/ and in test/, each is beside its images.
    folder = root if is_of_tables(path.parent.absolute()) else path.parent
    if folder == path.parent:
        folder = folder_of_images(folder, table[by_path].tolist() if by_path else [])
    split, slide = find(columns, SPLITS, None, "split"), column_of(columns)
    cells = table[[column for column in (split, slide) if column]].to_numpy().tolist()
    hints = [[*own, name] if name else own for own in cells]
    files = locate(table[named].str.strip().tolist(), folder, where, hints, by_path=by_path is not None)
    used = [column for column in (by_path, by_id_column, split, slide) if column]
    labels, notes = labels_of(table, used, reading, where)
    notes = [*files.notes, *notes]
    if by_id_column is not None and (by_path is not None or reading.id_column):
        ids = table[by_id_column].tolist()
    else:
        ids, more = ids_of(files.paths, folder)
        notes += more
    rows = pd.DataFrame(
        {
            ID: ids,
            "file": files.paths,
            LABEL: pd.Series(list(labels.labels), dtype="object"),
            "slide": table[slide] if slide else "",
        }
    )
    if name is not None:
        rows = rows.assign(**{SPLIT: name})
    elif split:
        rows = rows.assign(**{SPLIT: splits_named(table[split].tolist())})
    else:
        rows, more = with_splits(rows, files, folder)
        if not more and (in_cells := split_cells(table, used, where)):
            rows, more = rows.assign(**{SPLIT: in_cells.rows}), [in_cells.note]
        notes += more
    listed = frozenset(rows["file"])
    rows, unread = rows_read(rows, labels.left_out, reading, where)
    groups = rows.groupby(SPLIT, sort=False)
    parts = [split_of(str(of_split), part, where, reading) for of_split, part in groups]
    return Listed(parts, [*unread, *files.unread], notes, listed, files.others, folder)


def labels_of(
    table: pd.DataFrame, used: Sequence[str], reading: Reading, where: str
) -> tuple[ClassLabels, list[str]]:
    """The labels of a table whose columns `used` hold other things, and notes.

    They are in one column, or in a column of 0 and 1 for each class. Raises InputError if it is not
    clear which column has them, or what they mean.
    """
    columns = list(table.columns)
    told = label_column(columns, reading.label_column, where)
    if told is None:
        texts = one_hot(table, used)
        if texts is None:
            without = f"no label column among: {shown(columns)} (--label-column names one)"
            return class_labels([""] * len(table), reading, where), [without]
        labels = class_labels(texts, reading, where)
        return labels, [f"labels are in columns: {shown(list(dict.fromkeys(texts)))}", *labels.notes]
    if reading.label_column is None:
        check_agreement(table, told, where)
    labels = class_labels(table[told].tolist(), reading, where)
    return labels, [*labels.notes]


def rows_read(
    rows: pd.DataFrame, left_out: Sequence[str | None], reading: Reading, where: str
) -> tuple[pd.DataFrame, list[Problem]]:
    """The rows that are read, and records of the others: without a label, or left out by the user."""
    reasons = pd.Series([*left_out, *[None] * (len(rows) - len(left_out))], rows.index, "object")
    labeled = rows[LABEL].notna()
    partly = labeled.groupby(rows[SPLIT]).transform("any")
    reasons = reasons.where(reasons.notna() | labeled | ~partly, tree.NO_LABEL)
    unread = [
        not_read(reason, rows.loc[reasons == reason, ID].tolist(), where, reading)
        for reason in reasons.dropna().unique()
    ]
    return rows[reasons.isna()], unread
