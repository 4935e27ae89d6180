"""Links in folders that strangers made: none leads a reader or a writer out of the folder.

The folder itself may be a link, because its user chose it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

CURE = "remove the link, or copy the folder with its links resolved (cp -rL)"


def within(root: Path, path: Path) -> Path:
    """A path below a folder, to write to or to remove.

    Parameters
    ----------
    root
        The folder.
    path
        A path below it, which need not exist.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    InputError
        If the path, or a folder between it and `root`, is a link.
    """
    place = root
    for name in path.relative_to(root).parts:
        place = place / name
        if place.is_symlink():
            raise InputError(
                f"{place} is a link, and nothing in {root} is written through links; {CURE}."
            )
    return path


def links_in(root: Path) -> Iterator[Path]:
    """The links below a folder. Links are not followed."""
    waiting = [os.fspath(root)] if root.is_dir() else []
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def check_read(root: Path) -> None:
    """Raise InputError if a link below a folder, which is about to be read, leads out of it."""
    top = Path(os.path.realpath(root))
    for link in links_in(root):
        if not Path(os.path.realpath(link)).is_relative_to(top):
            raise InputError(f"{link} is a link that leads out of {root}; {CURE}.")


def check_written(root: Path) -> None:
    """Raise InputError if there is a link below a folder, which is about to be written to.

    `within` checks each path once more when it is written. Libraries that open files by themselves
    depend on this check alone.
    """
    for link in links_in(root):
        within(root, link)
