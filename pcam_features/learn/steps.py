"""An unfinished model: finished steps are kept, so that a stopped fit goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from ..errors import InputError
from ..storage.resumable import STEPS, in_the_making, unfinished
from .names import KEY, MANIFEST, WHAT
from .safe_files import kept_array, write_array


class SavedModel(Protocol):
    """A base model that can be written and read again."""

    @staticmethod
    def files(folder: Path, group: str) -> Sequence[Path]: ...
    @classmethod
    def load(cls, folder: Path, group: str) -> Self: ...
    def save(self, folder: Path, group: str) -> None: ...


Saved = TypeVar("Saved", bound=SavedModel)


@dataclass(frozen=True)
class Work:
    """The folder of an unfinished model."""

    folder: Path

    def array(
        self, name: str, make: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: str
    ) -> np.ndarray:
        """Return the array of a step; `make` is called only if it is not kept yet, or damaged.

        Parameters
        ----------
        name
            The name of the step.
        make
            Makes the array.
        shape, dtype
            What the array must be to be kept: its shape, of one or two axes, and its type, as in
            "<f4". Its numbers must be finite.
        """
        file = self.folder / STEPS / f"{name}.npy"
        kept = kept_array(file, shape, dtype)
        if kept is not None:
            return kept
        array = make().astype(dtype, copy=False)
        write_array(file, array)
        return array

    def model(self, kind: type[Saved], group: str, make: Callable[[], Saved]) -> Saved:
        """Return the base model of a group; `make` is called only if it is not kept yet."""
        if all(file.is_file() for file in kind.files(self.folder, group)):
            try:
                return kind.load(self.folder, group)
            except (ValueError, InputError):
                pass  # damaged: made again
        model = make()
        model.save(self.folder, group)
        return model

    def pages(self, name: str) -> Path:
        """Return the beginning of the names of files in which XGBoost may keep bins."""
        folder = self.folder / STEPS / "pages"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def kept_steps(path: Path) -> int:
    """Return how many steps an unfinished fit of the model `path` has kept."""
    return len(list((unfinished(path) / STEPS).glob("*.npy")))


@contextmanager
def open_work(path: Path, plan: dict[str, Any], *, overwrite: bool) -> Iterator[Work]:
    """Open the unfinished model that becomes `path` when the block ends; see `in_the_making`."""
    with in_the_making(path, plan, overwrite=overwrite, what=WHAT, mark=MANIFEST, key=KEY) as folder:
        yield Work(folder)
