"""A model in the making: what is finished is kept in a folder, so that a fit that was stopped goes on.

The folder, MODEL.unfinished, becomes the model once all is there. Steps are kept whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import (
    LOCK,
    TEMPORARY,
    clear_folder,
    is_marked,
    one_process,
    read_json,
    replace_folder,
    sweep,
    whole_file,
    write_json,
)
from . import bundle
from .models import Model

PLAN = "plan.json"
KEY = "plan_version"
STEPS = "steps"  # arrays that a finished model has no need of


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


def unfinished(path: Path) -> Path:
    return path.with_name(path.name + bundle.UNFINISHED)


def kept_steps(path: Path) -> int:
    """How many steps an unfinished fit of a model has kept."""
    return len(list((unfinished(path) / STEPS).glob("*.npy")))


def differences(known: dict[str, Any], now: dict[str, Any]) -> str:
    return ", ".join(key for key in known | now if known.get(key) != now.get(key))


@contextmanager
def open_work(path: Path, plan: dict[str, Any], *, overwrite: bool) -> Iterator[Work]:
    """The folder in which the model `path` is made, with what an earlier fit of this plan has left.

    It becomes `path` at the end of the block; if that fails, it stays for the next try. Raises
    InputError if it is of another plan or `path` exists, unless `overwrite`, and PcamError while
    another fit fills it.
    """
    bundle.check_free(path, overwrite=overwrite)
    folder = unfinished(path)
    if folder.exists() and not is_marked(folder, PLAN, KEY) and not is_bare(folder):
        raise InputError(
            f"{folder} is not an unfinished model of pcam's; move it, or name another model."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"fitting {path}"):
        known = read_json(folder / PLAN, "plan") if (folder / PLAN).exists() else plan
        if known != plan and not overwrite:
            raise InputError(
                f"{folder} holds an unfinished fit that differs in {differences(known, plan)}; fit as "
                "before to go on with it, or with --overwrite to begin anew."
            )
        if known != plan:
            clear_folder(folder, PLAN, LOCK)  # the old plan goes last: until then the folder is ours
        sweep(folder)
        write_json(folder / PLAN, plan)
        yield Work(folder)
        bundle.check_free(path, overwrite=overwrite)  # once more: it took a while
        replace_folder(folder, path)
    # Only now: until it has its name, a fit that is killed goes on from here.
    shutil.rmtree(path / STEPS, ignore_errors=True)
    for name in (PLAN, LOCK):
        (path / name).unlink(missing_ok=True)


def is_bare(folder: Path) -> bool:
    """Whether a folder holds no more than a fit that was stopped in its first moment leaves."""
    return folder.is_dir() and all(
        entry.name == LOCK or entry.name.endswith(TEMPORARY) for entry in folder.iterdir()
    )
