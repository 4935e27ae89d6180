"""A folder of images: `<split>/<class>/*` or, for one split called `train`, `<class>/*`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..choices import Kind
from ..errors import InputError
from .images import SUFFIXES, content_of, list_images, reader
from .source import Source, Split

PROTOCOL = (
    "A patch's class is its folder. Whether splits share slides is for the one who made them to say."
)
POSITIVE = {"1", "tumor", "tumour", "positive", "pos", "malignant", "cancer", "metastasis", "true"}
NEGATIVE = {"0", "normal", "negative", "neg", "benign", "healthy", "false", "no_tumor", "non_tumor"}


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _has_images(folder: Path) -> bool:
    return any(f.suffix.lower() in SUFFIXES for f in folder.iterdir())


def _class_folders(path: Path) -> list[Path]:
    return [folder for folder in _folders(path) if _has_images(folder)]


def recognize(path: Path) -> bool:
    return bool(_class_folders(path)) or any(_class_folders(f) for f in _folders(path))


def positive_class(names: list[str], path: Path, given: str | None) -> str:
    """Which of a split's classes is tumor. Raises InputError if that cannot be told."""
    if given is not None:
        if given not in names:
            raise InputError(
                f"--positive {given}: {path} has no such class; it has: {', '.join(names)}."
            )
        return given
    found = [name for name in names if name.lower() in POSITIVE]
    rest = [name for name in names if name.lower() not in POSITIVE | NEGATIVE]
    if len(found) != 1 or (rest and len(names) > 2):
        raise InputError(
            f"cannot tell which class of {path} is tumor among: {', '.join(names)}; "
            "say so with --positive NAME."
        )
    return found[0]


def _split(name: str, path: Path, positive: str | None) -> Split:
    classes = _class_folders(path)
    tumor = positive_class([folder.name for folder in classes], path, positive)
    found: dict[str, tuple[Path, int]] = {}
    for folder in classes:
        for patch_id, file in list_images(folder).items():
            if patch_id in found:
                raise InputError(
                    f"{file} and {found[patch_id][0]} have the same id; ids are unique in a split."
                )
            found[patch_id] = (file, int(folder.name == tumor))
    ids = sorted(found)
    paths = [found[i][0] for i in ids]
    labels = np.array([found[i][1] for i in ids], np.int8)
    slides: list[str | None] = [None] * len(ids)
    return Split(name, ids, labels, slides, content_of(paths), reader(paths))


def open_source(path: Path, *, positive: str | None = None) -> Source:
    """Raises InputError if a class cannot be told or an id stands twice."""
    parts = {"train": path} if _class_folders(path) else {f.name: f for f in _folders(path)}
    splits = {
        name: _split(name, folder, positive) for name, folder in parts.items() if _class_folders(folder)
    }
    return Source(Kind.images, str(path), PROTOCOL, splits)
