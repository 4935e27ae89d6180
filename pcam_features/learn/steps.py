"""An unfinished model: finished steps are kept, so that a stopped fit goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from ..errors import InputError, PcamError
from ..storage.files import write_text
from ..storage.resumable import PLAN, STEPS, in_the_making, unfinished
from ..storage.sums import FileSum, check_sum
from .names import KEY, MANIFEST, WHAT
from .safe_files import kept_array, write_array

LONGEST_SUM = 200  # characters


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
    """The folder of an unfinished model.

    Beside each file of a step, `steps` has the file's sum, with that of the plan and the name of the
    file. A step whose files do not have their sums, or are of another plan, is made again.
    """

    folder: Path

    @cached_property
    def plan(self) -> str:
        """The sum of the plan; empty for a folder without one."""
        file = self.folder / PLAN
        return str(FileSum.of_file(file)) if file.is_file() else ""

    def _mark(self, file: Path) -> str:
        """What says that a file is that step of this plan."""
        return FileSum.of(f"{self.plan}\n{file.relative_to(self.folder)}".encode()).digest

    def _beside(self, file: Path) -> Path:
        """Where the sum of a step's file is."""
        return self.folder / STEPS / f"{'-'.join(file.relative_to(self.folder).parts)}.sum"

    def _note(self, file: Path, known: FileSum) -> None:
        """Write the sum of a step's file."""
        write_text(self._beside(file), f"{known}\n{self._mark(file)}\n", self.folder)

    def _noted(self, file: Path) -> FileSum:
        """The sum that `_note` wrote. Raises OSError or ValueError if it is missing or damaged."""
        with self._beside(file).open(encoding="utf-8") as stream:
            known, _, mark = stream.read(LONGEST_SUM).rstrip("\n").partition("\n")
        if mark != self._mark(file):
            raise ValueError("it is of another fit")
        return FileSum.parse(known)

    def _is_whole(self, files: Sequence[Path]) -> bool:
        """Whether files of a step are there and have their sums."""
        try:
            for file in files:
                check_sum(file, self._noted(file))
        except (OSError, ValueError):
            return False
        return True

    def sum_of(self, file: Path) -> FileSum:
        """The sum that a file of a base model had when it was made.

        Raises PcamError if the sum was removed or damaged since then.
        """
        try:
            return self._noted(file)
        except (OSError, ValueError) as error:
            raise PcamError(
                f"{self._beside(file)} was removed or damaged during the fit ({error}); run the same "
                "fit again."
            ) from None

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
        kept = self.kept(name, shape, dtype)
        if kept is not None:
            return kept
        array = make().astype(dtype, copy=False)
        self.keep(name, array)
        return array

    def kept(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
        """The array of a step; None if it is not kept yet, or damaged. See `array`."""
        file = self._array_file(name)
        return kept_array(file, shape, dtype) if self._is_whole([file]) else None

    def keep(self, name: str, array: np.ndarray) -> None:
        """Keep the array of a step."""
        file = self._array_file(name)
        self._note(file, write_array(self.folder, file, array))

    def _array_file(self, name: str) -> Path:
        return self.folder / STEPS / f"{name}.npy"

    def model(self, kind: type[Saved], group: str, make: Callable[[], Saved]) -> Saved:
        """Return the base model of a group; `make` is called only if it is not kept yet."""
        files = kind.files(self.folder, group)
        if self._is_whole(files):
            try:
                return kind.load(self.folder, group)
            except (ValueError, InputError):
                pass  # damaged: made again
        model = make()
        model.save(self.folder, group)
        for file in files:
            self._note(file, FileSum.of_file(file))
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
