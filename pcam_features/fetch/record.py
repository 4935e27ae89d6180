"""The record of downloaded files, and the disk space that a download needs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..storage.fields import Fields
from ..storage.files import read_json, readable, write_json

RECORD = "fetched.json"
SMALL = 8 << 20  # bytes; smaller files are shown without a progress bar
CHUNK = 4 << 20

Say = Callable[[str], None]
Bar = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Unpacked:
    """The file that was unpacked from a downloaded one."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def from_fields(cls, known: Fields) -> Unpacked:
        """Raises ValueError if a field is missing or wrong."""
        return cls(known.text("name"), known.whole("bytes"), known.text("sha256"))


@dataclass(frozen=True)
class FetchRecord:
    """The entry of one downloaded file in `fetched.json`.

    Parameters
    ----------
    url
        Where the file was downloaded from.
    bytes
        The size of the file.
    md5, sha256
        Its checksum; None for the one that was not computed.
    keeps_packed
        Whether the packed file is kept after unpacking; None for a file that is not packed.
    unpacked
        The unpacked file; None for a file that is not packed.
    """

    url: str
    bytes: int
    md5: str | None = None
    sha256: str | None = None
    keeps_packed: bool | None = None
    unpacked: Unpacked | None = None

    @classmethod
    def from_dict(cls, entry: Any) -> FetchRecord:
        """Read an entry. Raises ValueError if it is damaged."""
        known = Fields(entry, "an entry")
        unpacked = known.optional("unpacked")
        return cls(
            known.text("url"),
            known.whole("bytes"),
            known.text("md5") if "md5" in known else None,
            known.text("sha256") if "sha256" in known else None,
            known.flag("keeps_packed") if "keeps_packed" in known else None,
            None if unpacked is None else Unpacked.from_fields(unpacked),
        )

    def to_dict(self) -> dict[str, Any]:
        """The entry in JSON: address, checksums and sizes. Unknown values are left out."""
        order = ("url", "md5", "bytes", "sha256", "keeps_packed", "unpacked")
        entry = asdict(self)
        return {key: entry[key] for key in order if entry[key] is not None}


@dataclass(frozen=True)
class FetchResult:
    """The size of a download and, once it is finished, the files in the folder.

    Parameters
    ----------
    bytes_to_download
        Maximum number of bytes to download.
    bytes_of_disk
        Maximum disk space in use at any time during the download, in bytes.
    files
        The record of each file, by name; None if nothing was downloaded.
    """

    bytes_to_download: int
    bytes_of_disk: int
    files: dict[str, FetchRecord] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result as `--json` prints it."""
        sizes = {"bytes_to_download": self.bytes_to_download, "bytes_of_disk": self.bytes_of_disk}
        if self.files is None:
            return sizes
        return sizes | {"files": {name: record.to_dict() for name, record in self.files.items()}}


def read_record(folder: Path) -> dict[str, FetchRecord]:
    """The records of the files that were downloaded to a folder, by name.

    Raises InputError if the file that lists them is damaged.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        content = read_json(path, "record")
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; move it away and run the command again.") from None
    try:
        files = Fields(content).children("files")
        return {name: FetchRecord.from_dict(entry.content) for name, entry in files.items()}
    except ValueError as error:
        raise InputError(
            f"record {path} has no valid list of files ({error}); move it away and run the command "
            "again."
        ) from None


def add_to_record(folder: Path, name: str, record: FetchRecord) -> None:
    """Add a file to the record, or replace its entry."""
    records = read_record(folder) | {name: record}
    files = {key: one.to_dict() for key, one in records.items()}
    write_json(folder / RECORD, {"files": files}, folder)


def hash_file(path: Path, algorithm: str, progress: Callable[[int], None] = lambda count: None) -> str:
    """The checksum of a file. `progress` is called with the number of new bytes."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while content := stream.read(CHUNK):
            found.update(content)
            progress(len(content))
    return found.hexdigest()


def bar_for(bar: Bar, title: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
    """A progress bar in bytes; none for small files."""
    return bar(title, size, "bytes") if size >= SMALL else nullcontext(lambda count: None)


def check_folder(folder: Path) -> None:
    """Raise InputError if `folder` is not a folder, or cannot be created."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise InputError(f"{there} is not a folder; give another folder to download to.")


def check_room(folder: Path, download: int, room: int, say: Say) -> None:
    """Print how much will be downloaded. Raises InputError if the disk has too little free space."""
    if not download and not room:
        say("nothing is left to download")
        return
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    say(
        f"to download: at most {readable(download)}; disk space needed: at most {readable(room)} of "
        f"{readable(free)} free"
    )
    if room > free:
        raise InputError(
            f"the disk of {folder} has {readable(free)} free, and the download needs up to "
            f"{readable(room)}; free disk space or give a folder on another disk."
        )
