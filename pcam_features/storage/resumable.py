"""Resumable folders: completed steps are kept, so that interrupted work can continue.

The folder is called NAME.unfinished, and is renamed to NAME when it is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from .files import (
    LOCK,
    TEMPORARY,
    check_free,
    clear_folder,
    is_marked,
    one_process,
    read_json,
    replace_folder,
    sweep,
    write_json,
)

ENDING = ".unfinished"
PLAN, KEY = "plan.json", "plan_version"
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

    It becomes `path` at the end of the block. If the block fails, the folder stays for the next
    attempt. Raises InputError if it belongs to another plan, or if `path` exists, unless `overwrite` is
    true. Raises PcamError while another process fills it.
    """
    check = partial(check_free, path, overwrite=overwrite, what=what, mark=mark, key=key)
    check()
    folder = unfinished(path)
    if folder.exists() and not is_marked(folder, PLAN, KEY) and not is_bare(folder):
        raise InputError(
            f"{folder} was not created by pcam as an unfinished {what}; move it, or choose another "
            f"name for the {what}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with one_process(folder, f"fitting {path}") as check_lock:
        known = read_json(folder / PLAN, "plan") if (folder / PLAN).exists() else plan
        if known != plan and not overwrite:
            raise InputError(
                f"{folder} is an unfinished fit that differs in {differences(known, plan)}; use the "
                "same settings to continue it, or --overwrite to start again."
            )
        if known != plan:
            clear_folder(
                folder, PLAN, LOCK
            )  # remove the old plan last, because it marks the folder as pcam's
        sweep(folder)
        write_json(folder / PLAN, plan)
        yield folder
        check_lock()  # check again, because filling the folder took time
        check()
        replace_folder(folder, path)
    # Only after renaming, because a fit that is killed before that continues from these steps.
    shutil.rmtree(path / STEPS, ignore_errors=True)
    for name in (PLAN, LOCK):
        (path / name).unlink(missing_ok=True)


def is_bare(folder: Path) -> bool:
    """Whether a folder contains only what a fit leaves behind if it is stopped at its start."""
    return folder.is_dir() and all(
        entry.name == LOCK or entry.name.endswith(TEMPORARY) for entry in folder.iterdir()
    )
