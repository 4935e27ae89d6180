"""Which HDF5 files and datasets hold the pixels, labels and slides of which split.

PCam's own names are known. Others are understood by their words: `training_split.h5`, `images` and
`labels` in one file, `x_train` and `x_test`, labels and tables of slides in folders beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..storage.tables import plain
from . import image_folder
from .columns import LABELS as LABEL_COLUMNS
from .tree import has_images, is_litter
from .vocabulary import labels_among, role_of, split_in, words_of

PACKED = ".gz"
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
DEEPEST = 3  # folders below one another
MOST_LISTED = 1000  # files and folders of a folder that are looked at
NETWORKS = ("model", "models", "weights", "checkpoint", "best", "keras", "features", "embeddings")
TRAIN = "train"
PIXELS, LABELS = "pixels", "labels"  # roles of arrays
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Dataset:
    """A dataset of a file."""

    path: Path
    key: str


@dataclass(frozen=True)
class SplitFiles:
    """Where the pixels, labels and meta table of a split are; `others` are datasets beside these."""

    name: str
    pixels: Dataset
    labels: Dataset | None
    meta: Path | None
    others: Sequence[str] = ()


def plain_name(path: Path) -> str:
    """A file's name without `.gz`."""
    return path.name.removesuffix(PACKED)


def stem(path: Path) -> str:
    return Path(plain_name(path)).stem


def is_hdf5(path: Path) -> bool:
    return Path(plain_name(path)).suffix.lower() in SUFFIXES


def below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The files below a folder, which is searched only so deep; not a packed one that is unpacked."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)[:MOST_LISTED]
    except OSError:
        return
    for entry in entries:
        if is_litter(entry.name):
            continue
        if entry.is_dir():
            if depth < DEEPEST:
                yield from below(entry, depth + 1)
        elif entry.is_file():
            unpacked = entry.with_name(plain_name(entry))
            if unpacked == entry or not unpacked.is_file():
                yield entry


def holds_patches(path: Path) -> bool:
    """Whether the name of an HDF5 file says that it holds patches, and not a network."""
    words = words_of(stem(path))
    return not set(NETWORKS) & set(words) and bool(split_in(stem(path)) or role_of(stem(path)))


def recognize(path: Path) -> bool:
    """Whether a file is HDF5, or a folder has files of patches, or folders of pixels and of labels."""
    if path.is_file():
        return is_hdf5(path) and role_of(stem(path)) != LABELS
    if not path.is_dir():
        return False
    files = [file for file in below(path) if is_hdf5(file) and holds_patches(file)]
    if any(file.parent == path for file in files):
        return not image_folder.has_known_classes(path)
    labels = {file.parent for file in files if role_of(stem(file)) == LABELS}
    pixels = {file.parent for file in files if role_of(stem(file)) != LABELS}
    # Otherwise one of the folders is the source, which `detect` names.
    return bool(labels) and bool(pixels) and not labels & pixels and not has_images(path)


def find(path: Path, shapes_of: Callable[[Path], tuple[Path, Shapes]]) -> list[SplitFiles]:
    """The splits in a file, or below a folder, by the names of files and datasets.

    Parameters
    ----------
    path
        The file or folder.
    shapes_of
        Gives, for a file, the path of the unpacked file and the shapes of its datasets.

    Raises
    ------
    InputError
        If a file has no pixels, or two are of the same split.
    """
    root = path if path.is_dir() else path.parent
    there = list(below(root))
    files = [path] if path.is_file() else [f for f in there if is_hdf5(f) and holds_patches(f)]
    labels = [f for f in there if is_hdf5(f) and role_of(stem(f)) == LABELS]
    tables = [f for f in there if "meta" in words_of(f.name) and f.suffix.lower() == ".csv"]
    found: dict[str, SplitFiles] = {}
    pixels = [file for file in files if role_of(stem(file)) != LABELS]
    for file in pixels:
        unpacked, shapes = shapes_of(file)
        for key, in_key in pixel_keys(shapes, unpacked).items():
            name = in_key or split_in(stem(file)) or TRAIN
            if name in found:
                raise InputError(
                    f"{file} and {found[name].pixels.path} both hold split {name}; give one of them, "
                    "or rename one to train.h5, valid.h5 or test.h5."
                )
            own = label_key(unpacked, shapes, in_key)
            told = Dataset(unpacked, own) if own else None
            if told is None and (beside := matching(labels, name, len(pixels) == 1)):
                other, inside = shapes_of(beside)
                key_there = label_key(other, inside, None) or only_one(other, inside)
                told = Dataset(other, key_there) if key_there else None
            meta = matching(tables, name, len(pixels) == 1)
            others = beside_pixels(shapes, key, in_key, own)
            found[name] = SplitFiles(name, Dataset(unpacked, key), told, meta, others)
    return list(found.values())


def beside_pixels(shapes: Shapes, pixels: str, split: str | None, labels: str | None) -> list[str]:
    """The datasets of a split, besides its pixels and labels, that have a value for each patch."""
    return [
        key
        for key, shape in shapes.items()
        if key not in (pixels, labels) and split_in(key) == split and shape[:1] == shapes[pixels][:1]
    ]


def matching(files: Sequence[Path], split: str, alone: bool) -> Path | None:
    """The file of a split by its name, or the only file that names none if `alone`."""
    own = [file for file in files if split_in(stem(file)) == split]
    if not own and alone:
        own = [file for file in files if split_in(stem(file)) is None]
    return own[0] if len(own) == 1 else None


def pixel_keys(shapes: Shapes, path: Path) -> dict[str, str | None]:
    """The datasets of images of a file, with the split that each names. Raises InputError for none."""
    images = {
        key: split_in(key) for key, shape in shapes.items() if len(shape) == 4 and min(shape[1:]) > 1
    }
    named = {key: split for key, split in images.items() if role_of(key) == PIXELS}
    chosen = named or (images if len(images) == 1 else {})
    if len(chosen) > 1 and len(set(chosen.values())) < len(chosen):
        chosen = {}
    if not chosen:
        listed = (
            ", ".join(f"{key} {tuple(shape)}" for key, shape in list(shapes.items())[:10]) or "none"
        )
        named_so = any(role_of(key) == PIXELS for key in shapes)
        advice = (
            "write images with three channels (RGB)" if named_so else "rename the one of patches to x"
        )
        raise InputError(
            f"{path} has no dataset x or images of shape (N, 96, 96, 3); its datasets are: {listed}; "
            f"{advice}."
        )
    return chosen


def label_key(path: Path, shapes: Shapes, split: str | None) -> str | None:
    """The dataset of labels of a split; None if there is none. Raises InputError for several."""
    own = [key for key, shape in shapes.items() if split_in(key) == split and len(shape) < 4]
    found = labels_among(own) or [key for key in own if plain(key) in LABEL_COLUMNS]
    if len(found) > 1:
        raise InputError(not_one(path, found))
    return found[0] if found else None


def only_one(path: Path, shapes: Shapes) -> str | None:
    """The only dataset of a file of labels; None without any. Raises InputError for several."""
    if len(shapes) > 1:
        raise InputError(not_one(path, list(shapes)))
    return next(iter(shapes), None)


def not_one(path: Path, keys: Sequence[str]) -> str:
    return (
        f"{path} has several datasets that may be labels ({', '.join(keys[:10])}); "
        "rename the one of tumor to y."
    )
