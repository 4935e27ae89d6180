"""Kaggle's *Histopathologic Cancer Detection* folder.

train/<id>.tif   test/<id>.tif   train_labels.csv (id,label)   sample_submission.csv
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..choices import Kind
from ..errors import InputError
from ..files import read_table
from .images import content_of, list_images, reader
from .source import Source, Split

LABELS = "train_labels.csv"
SAMPLE = "sample_submission.csv"
PROTOCOL = (
    "A patch is positive if its center 32x32 holds tumor. Patches of one slide belong together; "
    "the competition names no slides, and its test patches come from other slides than train's."
)


def recognize(path: Path) -> bool:
    if (path / LABELS).is_file() or (path / SAMPLE).is_file():
        return True
    folders = [path / "train", path / "test"]
    return any(f.suffix == ".tif" for folder in folders if folder.is_dir() for f in folder.iterdir())


def read_labels(path: Path) -> dict[str, int]:
    """The labels by id, in the file's order. Raises InputError for one that is not 0 or 1."""
    table = read_table(path, ("id", "label"), "label table")
    labels = {"0": 0, "1": 1}
    for row, (patch_id, label) in enumerate(zip(table["id"], table["label"], strict=True)):
        if label not in labels:
            raise InputError(
                f"{path}, line {row + 2}: the label of {patch_id} is {label!r}, not 0 or 1."
            )
    return {i: labels[label] for i, label in zip(table["id"], table["label"], strict=True)}


def _train(path: Path) -> Split:
    if not (path / LABELS).is_file():
        raise InputError(f"{path} has a train folder but no {LABELS}; put the competition's beside it.")
    labels, files = read_labels(path / LABELS), list_images(path / "train")
    without_file = [i for i in labels if i not in files]
    without_label = [i for i in files if i not in labels]
    if without_file:
        raise InputError(
            f"{path / LABELS} lists {len(without_file)} id(s) with no file in {path / 'train'}, "
            f"the first {without_file[0]}; complete the folder or the table."
        )
    if without_label:
        raise InputError(
            f"{path / 'train'} has {len(without_label)} file(s) with no label in {LABELS}, "
            f"the first {files[without_label[0]].name}; complete the table or remove them."
        )
    ids = list(labels)
    paths = [files[i] for i in ids]
    values = np.array(list(labels.values()), np.int8)
    slides: list[str | None] = [None] * len(ids)
    return Split("train", ids, values, slides, content_of(paths), reader(paths))


def _test(path: Path) -> Split:
    files = list_images(path / "test")
    ids, paths = list(files), list(files.values())
    slides: list[str | None] = [None] * len(ids)
    return Split("test", ids, None, slides, content_of(paths), reader(paths))


def open_source(path: Path) -> Source:
    """Raises InputError where labels and files do not belong together."""
    splits = {}
    if (path / LABELS).exists() and not (path / "train").is_dir():
        raise InputError(f"{path} has {LABELS} but no train folder; unpack the competition's there.")
    if (path / "train").is_dir():
        splits["train"] = _train(path)
    if (path / "test").is_dir():
        splits["test"] = _test(path)
    return Source(Kind.kaggle, str(path), PROTOCOL, splits)
