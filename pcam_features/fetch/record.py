"""What was fetched to a folder, where from, and whether there is room for more."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage.files import read_json, readable, write_json

RECORD = "fetched.json"
SMALL = 8 << 20  # bytes: done before a bar is worth it
CHUNK = 4 << 20

Say = Callable[[str], None]
Bar = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
Entry = dict[str, Any]


def read_record(folder: Path) -> dict[str, Entry]:
    """What is recorded of each file, by name. Raises InputError for a record nobody can read."""
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        files = read_json(path, "record").get("files")
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; move it away and run again.") from None
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise InputError(f"record {path} does not list files; move it away and run again.")
    return files


def add_to_record(folder: Path, name: str, entry: Entry) -> None:
    write_json(folder / RECORD, {"files": read_record(folder) | {name: entry}})


def hash_file(path: Path, algorithm: str, progress: Callable[[int], None] = lambda count: None) -> str:
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while content := stream.read(CHUNK):
            found.update(content)
            progress(len(content))
    return found.hexdigest()


def bar_for(bar: Bar, title: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
    """Progress in bytes, where there is enough to wait for."""
    return bar(title, size, "bytes") if size >= SMALL else nullcontext(lambda count: None)


def check_folder(folder: Path) -> None:
    """Raises InputError if `folder` is not one, or cannot be made."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise InputError(f"{there} is not a folder; name one to fetch to.")


def check_room(folder: Path, download: int, room: int, say: Say) -> None:
    """Say what fetching takes. Raises InputError if the disk has less."""
    if not download and not room:
        say("nothing is left to download")
        return
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    say(
        f"to download: at most {readable(download)}; disk it takes at the most crowded moment: "
        f"{readable(room)}, of {readable(free)} free"
    )
    if room > free:
        raise InputError(
            f"the disk of {folder} has {readable(free)} free and fetching takes up to {readable(room)}"
            "; make room or name a folder on another disk."
        )
