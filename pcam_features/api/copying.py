"""Copying feature stores, models and networks, to URLs and from them, with their sums verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..diagnostics.integrity import KINDS, LISTINGS, Listed
from ..errors import InputError, PcamError
from ..execution.executor import Threads
from ..storage import costs, json_text, urls
from ..storage.files import read_at_most, readable
from ..storage.folders import whole_folder
from ..storage.links import check_read
from ..storage.sums import MANIFEST, FileSum, check_seal, read_verified, write_bytes
from ..store.layout import LARGEST_PART
from ..words import counted
from .arguments import check_log, check_path, check_progress
from .data import Log, unheard
from .messages import for_python
from .progress import Progress, shown

BESIDE = (costs.FILE, costs.MEASURED)  # files that no manifest lists; they have sums of their own
THREADS = 4  # files on their way at the same time


@dataclass(frozen=True)
class Listing:
    """What a folder or a URL holds.

    Parameters
    ----------
    path
        The folder or the URL.
    key
        What marks its manifest: that of a feature store, a model or a network.
    manifest
        The manifest as it is written.
    files
        The sums of its files by their names.
    """

    path: Path
    key: str
    manifest: bytes
    files: Listed

    @classmethod
    def of(cls, path: Path) -> Listing:
        """Raises InputError if there is no feature store, model or network, or it is damaged."""
        where = urls.text_of(path)
        if not urls.is_file(path / MANIFEST):
            raise InputError(
                f"{where} is no feature store, model or network (no {MANIFEST}); give one of them."
            )
        if not urls.is_url(path):
            check_read(path)
        try:
            manifest = read_at_most(path / MANIFEST, json_text.LARGEST)
            content = json_text.parse(manifest)
            key = next((key for key in KINDS if key in content), None)
            if key is None:
                raise ValueError("it is of something else")
            check_seal(content)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise InputError(f"the manifest of {where} cannot be used: {error}.") from None
        files, _ = LISTINGS[key](path, content)
        if large := [name for name, known in files.items() if known.size > LARGEST_PART]:
            raise InputError(f"{where}: {large[0]} is too large to be copied.")
        return cls(path, key, manifest, files)

    def check_unchanged(self) -> None:
        """Raise PcamError if the manifest was replaced since it was read."""
        if read_at_most(self.path / MANIFEST, json_text.LARGEST) != self.manifest:
            raise PcamError(
                f"{urls.text_of(self.path)} was changed by another program while it was "
                "copied; run this command again when the other has finished."
            )


@for_python
def copy(
    source: str | Path,
    target: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> None:
    """Copy a feature store, a model or a network to a URL, from a URL, or from folder to folder.

    Every file has to have its sum. A copy on a disk is complete or absent. At a URL, the manifest is
    written last, and removed first if `overwrite` replaces another: without it, nothing is there.

    Parameters
    ----------
    source
        A folder, or a URL such as "s3://bucket/features".
    target
        The folder or the URL of the copy.
    overwrite
        Whether to replace what is there.
    progress
        See `features`; the units are files.
    log
        Called with a sentence on what was copied; `print` prints it.

    Raises
    ------
    InputError
        If there is nothing to copy, a file is damaged, or the target exists.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> store = pcam.extract("synthetic:120:12", "features", families="color")
    >>> pcam.copy("features", "copied")
    >>> pcam.open_store("copied").splits
    ['train', 'test']
    """
    check_path("source", source, "the path or URL of a feature store, a model or a network")
    check_path("target", target, "the path or URL of the copy")
    check_progress(progress)
    check_log(log)
    found, path = Listing.of(Path(source)), Path(target)
    with shown(progress, "copy", len(found.files), "files") as advance:
        if urls.is_url(path):
            to_url(found, path, overwrite=overwrite, advance=advance)
        else:
            what = KINDS[found.key]
            with whole_folder(
                path, overwrite=overwrite, what=what, mark=MANIFEST, key=found.key
            ) as folder:
                send(found, partial(to_folder, folder), advance)
                found.check_unchanged()
                to_folder(folder, MANIFEST, found.manifest)
    size = readable(sum(known.size for known in found.files.values()))
    original = urls.text_of(found.path)
    log(
        f"{urls.text_of(path)}: a copy of {KINDS[found.key]} {original}, "
        f"{counted(len(found.files), 'file')}, {size}, sums verified"
    )


def to_url(found: Listing, path: Path, *, overwrite: bool, advance: Callable[[int], None]) -> None:
    """Copy to a URL. Raises InputError if something is there, unless it is to be replaced."""
    old: Listed = {}
    if urls.size_of(path / MANIFEST) is not None:
        if not overwrite:
            raise InputError(
                f"{urls.url_of(path)} exists already; choose another name or use --overwrite."
            )
        old = Listing.of(path).files
        urls.remove(path / MANIFEST)
    send(found, partial(to_object, path), advance)
    found.check_unchanged()
    urls.write(path / MANIFEST, found.manifest, new=True)
    for name in old.keys() - found.files.keys():
        urls.remove(path / name)


def send(found: Listing, write: Callable[[str, bytes], object], advance: Callable[[int], None]) -> None:
    """Have every file written except the manifest, each with its sum verified."""

    def send_one(one: tuple[str, FileSum]) -> int:
        name, known = one
        try:
            content = read_verified(found.path / name, known)
        except ValueError as error:
            raise InputError(
                f"{urls.text_of(found.path)}: {name} is damaged ({error}); verify the "
                "original with pcam doctor."
            ) from None
        write(name, content)
        return 1

    for done in Threads(THREADS).map(send_one, found.files.items()):
        advance(done)
    for name in BESIDE:
        if urls.is_file(found.path / name):
            content = read_at_most(found.path / name, json_text.LARGEST)
            if len(content) > json_text.LARGEST:
                raise InputError(f"{found.path / name} is too large to be copied; remove it.")
            write(name, content)


def to_folder(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a copy on a disk."""
    write_bytes(folder / name, content, folder)


def to_object(path: Path, name: str, content: bytes) -> None:
    """Write an object of a copy at a URL."""
    urls.write(path / name, content)
