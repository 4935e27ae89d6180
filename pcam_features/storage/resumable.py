"""A folder in the making: what is finished is kept, so that work that was stopped goes on.

The folder, NAME.unfinished, becomes NAME once all is there.
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
STEPS = "steps"  # a folder of what the finished one has no need of


def unfinished(path: Path) -> Path:
    return path.with_name(path.name + ENDING)


def differences(known: dict[str, Any], now: dict[str, Any]) -> str:
    return ", ".join(key for key in known | now if known.get(key) != now.get(key))


@contextmanager
def in_the_making(
    path: Path, plan: dict[str, Any], *, overwrite: bool, what: str, mark: str, key: str
) -> Iterator[Path]:
    """The folder in which `path` is made, with what earlier work of this plan has left.

    It becomes `path` at the end of the block; if that fails, it stays for the next try. Raises
    InputError if it is of another plan or `path` exists, unless `overwrite`, and PcamError while
    another process fills it.
    """
    check = partial(check_free, path, overwrite=overwrite, what=what, mark=mark, key=key)
    check()
    folder = unfinished(path)
    if folder.exists() and not is_marked(folder, PLAN, KEY) and not is_bare(folder):
        raise InputError(
            f"{folder} is not an unfinished {what} of pcam's; move it, or name another {what}."
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
        yield folder
        check()  # once more: it took a while
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
