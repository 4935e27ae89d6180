"""Downloading published datasets."""

from __future__ import annotations

from pathlib import Path

from ..constants import PublishedDataset
from ..errors import InputError
from ..fetch import kaggle, pcam
from ..fetch.record import FetchResult
from ..storage.urls import check_local
from .arguments import check_flags, check_log, check_path, check_progress, check_text, told
from .data import Log, unheard
from .messages import for_python
from .progress import Progress, display_of, in_mebibytes


@for_python
def fetch_dataset(
    dataset: PublishedDataset | str,
    path: str | Path,
    *,
    mirror: str | None = None,
    keep_packed: bool = False,
    dry_run: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> FetchResult:
    """Download PatchCamelyon or Kaggle's patches, and verify checksums.

    A download that was stopped goes on where it was, when this is called again.

    Parameters
    ----------
    dataset
        "pcam" (PatchCamelyon) or "kaggle" (Kaggle's competition). For "kaggle", install the extra
        kaggle, create an API token and accept the competition's rules.
    path
        The folder to download to.
    mirror
        Address of a folder on another server with the same files. Default: Zenodo for "pcam", Kaggle's
        client for "kaggle".
    keep_packed
        Whether to keep PatchCamelyon's .gz files after unpacking.
    dry_run
        Whether to say only what a download would take.
    progress
        See `features`; the units are MiB, or files where the files of a zip are checked.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    FetchResult
        `bytes_to_download` and `bytes_of_disk`, at most, and `files`: the record of each file by its
        name, or None after a dry run.

    Raises
    ------
    InputError
        If the folder has other files of these names, or the disk has too little free space.
    PcamError
        If a file cannot be downloaded.
    """
    check_path("path", path, "the folder to download to")
    check_local(path, "the folder to download to")
    check_flags(keep_packed=keep_packed, dry_run=dry_run)
    check_text(mirror=mirror)
    check_progress(progress)
    check_log(log)
    folder, bar = Path(path), in_mebibytes(display_of(progress))
    if dataset_named(dataset) == PublishedDataset.pcam:
        return pcam.fetch(
            folder, mirror=mirror, keep_packed=keep_packed, dry_run=dry_run, bar=bar, say=log
        )
    if keep_packed:
        raise InputError(
            "--keep-packed applies only to pcam, because Kaggle's zip is never unpacked; leave it out."
        )
    return kaggle.fetch(folder, mirror=mirror, dry_run=dry_run, bar=bar, say=log)


def dataset_named(name: PublishedDataset | str) -> PublishedDataset:
    """The dataset of this name. Raises InputError if there is none."""
    try:
        return PublishedDataset(name)
    except ValueError:
        raise InputError(
            f"dataset= is {told(name)}; give one of: {', '.join(PublishedDataset)}."
        ) from None
