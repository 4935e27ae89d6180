"""Resumable folders: completed steps are kept, so that interrupted work can continue.

The folder is called NAME.unfinished, and is renamed to NAME when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import LOCK, TEMPORARY, read_json, write_json
from .folders import (
    check_free,
    clear_folder,
    is_marked,
    one_process,
    recover,
    remove,
    replace_folder,
    sweep,
)
from .links import check_written
from .urls import check_local

ENDING = ".unfinished"
PLAN, PLAN_KEY = "plan.json", "plan_version"
STEPS = "steps"  # a folder of intermediate results, removed at the end


def unfinished(path: Path) -> Path:
    """The unfinished folder of `path`."""
    return path.with_name(path.name + ENDING)


def differences(known: dict[str, Any], now: dict[str, Any]) -> str:
    """The names of the settings in which two plans differ."""
    return ", ".join(key for key in known | now if known.get(key) != now.get(key))


@contextmanager
def in_the_making(
    path: Path, plan: dict[str, Any], *, overwrite: bool, what: str, mark: str, key: str
) -> Iterator[Path]:
    """Yield the unfinished folder of `path`, with the results of earlier work on the same plan.

    It becomes `path` at the end of the block, and a folder of this name stays until then. If the block
    fails, the unfinished folder stays for the next attempt.

    Raises InputError if it belongs to another plan, or if `path` exists, unless `overwrite` is true.
    Raises PcamError while another process fills it.
    """
    check = partial(check_free, path, overwrite=overwrite, what=what, mark=mark, key=key)
    check_result(path, overwrite=overwrite, what=what, mark=mark, key=key)
    folder = unfinished(path)
    ours = is_marked(folder, PLAN, PLAN_KEY) or is_bare(folder)
    if folder.is_symlink() or (folder.exists() and not ours):
        raise InputError(
            f"{folder} was not created by pcam as an unfinished {what}; move it, or choose another "
            f"name for the {what}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"making {path}") as check_lock:
        check_written(folder)
        anew = f"remove {folder} to start again"
        known = read_json(folder / PLAN, "plan", anew) if (folder / PLAN).exists() else plan
        if known != plan and not overwrite:
            raise InputError(
                f"{folder} is an unfinished {what} that differs in {differences(known, plan)}; use the "
                "same settings to continue it, or --overwrite to start again."
            )
        if known != plan:
            clear_folder(
                folder, PLAN, LOCK
            )  # remove the old plan last, because it marks the folder as pcam's
        sweep(folder)
        write_json(folder / PLAN, plan, folder)
        yield folder
        check_lock()  # check again, because filling the folder took time
        check()
        sweep(folder)  # of workers of a cluster that were killed, while others did their work
        replace_folder(folder, path)
        if not folder.exists():  # else something of what was replaced could not be removed
            tidy(path)


def check_result(path: Path, *, overwrite: bool, what: str, mark: str, key: str) -> None:
    """Check before the work that `in_the_making` can make `path`, after what an earlier one left to do.

    Raises InputError as `check_free` does.
    """
    check_local(path, f"a {what} to write")
    recover(path, mark, key)
    settle(path, mark, key)
    check_free(path, overwrite=overwrite, what=what, mark=mark, key=key)


def settle(path: Path, mark: str, key: str) -> None:
    """Do what is left of an earlier `in_the_making` that did not end after its folder became `path`.

    Then the plan is still in it, and what it replaced may have the name of an unfinished folder.
    """
    if not (is_marked(path, PLAN, PLAN_KEY) and is_marked(path, mark, key)):
        return
    with one_process(path, f"making {path}"):
        check_written(path)
        old = unfinished(path)
        if not is_marked(old, PLAN, PLAN_KEY):
            remove(old)
        tidy(path)


def tidy(path: Path) -> None:
    """Remove from a complete folder what only an unfinished one needs.

    This follows the renaming, because a process that is killed before it continues from these steps.
    The plan goes last: `settle` recognizes by it that something is left to do.
    """
    for name in (STEPS, LOCK, PLAN):
        remove(path / name)


def is_bare(folder: Path) -> bool:
    """Whether a folder contains only what a fit leaves behind if it is stopped at its start."""
    return folder.is_dir() and all(
        entry.name == LOCK or entry.name.endswith(TEMPORARY) for entry in folder.iterdir()
    )
