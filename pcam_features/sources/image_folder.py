"""A folder of images: `<split>/<class>/*`, or `<class>/*` for a single split named `train`.

A split whose only class is `unlabeled` has no labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..constants import Kind
from ..errors import InputError
from .images import SUFFIXES, by_id, content_of, list_images, originals, patches
from .source import Problem, Source, Split, source_of, train_first

PROTOCOL = (
    "The class of a patch is its folder. Only the author of the folder knows whether splits share "
    "slides."
)
TUMOR, NORMAL, UNLABELED = "tumor", "normal", "unlabeled"  # class folders that pcam writes
POSITIVE = {"1", TUMOR, "tumour", "positive", "pos", "malignant", "cancer", "metastasis", "true"}
NEGATIVE = {"0", NORMAL, "negative", "neg", "benign", "healthy", "false", "no_tumor", "non_tumor"}
KNOWN = POSITIVE | NEGATIVE | {UNLABELED}


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _has_images(folder: Path) -> bool:
    return any(f.suffix.lower() in SUFFIXES for f in folder.iterdir())


def _class_folders(path: Path) -> list[Path]:
    return [folder for folder in _folders(path) if _has_images(folder)]


def recognize(path: Path) -> bool:
    return path.is_dir() and (
        bool(_class_folders(path)) or any(_class_folders(f) for f in _folders(path))
    )


def positive_class(names: list[str], path: Path, given: str | None) -> str | None:
    """The class that is tumor; None if the split has no labels.

    Raises InputError if that is not clear from the names.
    """
    if names == [UNLABELED]:
        return None
    if UNLABELED in names:
        raise InputError(
            f"{path} has {UNLABELED} patches beside labeled ones; move them to a split of their own."
        )
    if given is not None:
        if given not in names:
            raise InputError(
                f"--positive {given}: {path} has no such class; it has: {', '.join(names)}."
            )
        return given
    if all(name.lower() in NEGATIVE for name in names):
        return TUMOR  # the split has no tumor patches
    found = [name for name in names if name.lower() in POSITIVE]
    rest = [name for name in names if name.lower() not in POSITIVE | NEGATIVE]
    if len(found) != 1 or (rest and len(names) > 2):
        raise InputError(
            f"it is not clear which class of {path} is tumor ({', '.join(names)}); name it with "
            "--positive CLASS."
        )
    return found[0]


def _split(name: str, path: Path, positive: str | None) -> tuple[Split, list[Problem]]:
    classes = _class_folders(path)
    tumor = positive_class([folder.name for folder in classes], path, positive)
    listed = [list_images(folder) for folder in classes]
    found, twice = by_id(one for files, _ in listed for one in files.items())
    ids = sorted(found)
    paths = [found[i] for i in ids]
    labels = None
    if tumor is not None:
        labels = np.array([file.parent.name == tumor for file in paths], np.int8)
    slides: list[str | None] = [None] * len(ids)
    problems = [one for _, problems in listed for one in problems] + twice
    original = originals(paths)
    split = Split(name, ids, labels, slides, content_of(paths), patches(original), original)
    return split, problems


def open_source(path: Path, *, positive: str | None = None) -> Source:
    """Open a folder of images.

    If two files of a split have the same id, the first is used and the source has a problem. Raises
    InputError if the tumor class is not clear.
    """
    parts = {"train": path} if _class_folders(path) else {f.name: f for f in _folders(path)}
    named = [name for name, folder in parts.items() if _class_folders(folder)]
    made = {name: _split(name, parts[name], positive) for name in train_first(named)}
    return source_of(Kind.images, path, PROTOCOL, made)
