"""A model in the making: its steps are kept, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..storage.files import whole_file
from ..storage.resumable import STEPS, in_the_making, unfinished
from . import bundle
from .base_models import Model


@dataclass(frozen=True)
class Work:
    folder: Path

    def array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a step, made only if it is not there."""
        file = self.folder / STEPS / f"{name}.npy"
        if file.is_file():
            try:
                kept: np.ndarray = np.load(file, allow_pickle=False)
                return kept
            except (ValueError, EOFError):
                pass  # damaged: made anew
        found = make()
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, found, allow_pickle=False)
        return found

    def model(self, group: str, kind: str, make: Callable[[], Model]) -> Model:
        """The base model of a group, made only if it is not there."""
        if all(file.is_file() for file in bundle.model_files(self.folder, group, kind)):
            try:
                return bundle.read_model(self.folder, group, kind)
            except (ValueError, InputError):
                pass  # damaged: made anew
        found = make()
        bundle.write_model(self.folder, group, found)
        return found

    def pages(self, name: str) -> Path:
        """Where XGBoost may keep bins: the beginning of files' names."""
        folder = self.folder / STEPS / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def kept_steps(path: Path) -> int:
    """How many steps an unfinished fit of a model has kept."""
    return len(list((unfinished(path) / STEPS).glob("*.npy")))


@contextmanager
def open_work(path: Path, plan: dict[str, Any], *, overwrite: bool) -> Iterator[Work]:
    """The model `path` in the making, as `in_the_making` has it."""
    known = {"what": bundle.WHAT, "mark": bundle.MANIFEST, "key": bundle.KEY}
    with in_the_making(path, plan, overwrite=overwrite, **known) as folder:
        yield Work(folder)
