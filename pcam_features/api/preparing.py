"""Preparing a source of patches: checking it before it is used, and converting it to another layout."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from ..check import check as checking
from ..check.check import Crew, ThreadCrew
from ..check.look import color_measure, kernels
from ..check.pictures import gather
from ..check.result import CheckResult
from ..constants import Fitting, Layout
from ..convert import convert as converting
from ..convert.convert import ConversionPlan
from ..engine import cpu
from ..errors import InputError
from ..execution.cluster import check_cluster, joined
from ..sources.source import Source
from ..storage.files import check_html, check_output, whole_file
from .arguments import (
    check_flags,
    check_log,
    check_numbers,
    check_path,
    check_progress,
    check_text,
    told,
)
from .check_cluster import ready_crew
from .data import Log, open_source, unheard
from .messages import for_python
from .progress import Progress, shown

TABLE_START = b"id,split,label,slide,readable,"  # how tables of `SourceCheck.write_patches` begin


@dataclass(frozen=True)
class SourceCheck:
    """What a check of a source found; `check_source` returns it. A notebook shows the findings.

    Parameters
    ----------
    result
        The record; `result.to_dict()` is `pcam check --json`.
    """

    result: CheckResult

    @property
    def verdict(self) -> str:
        """Whether the data can be used, in a sentence."""
        return self.result.verdict

    @property
    def faults(self) -> int:
        """The number of faults found."""
        return self.result.faults

    @property
    def findings(self) -> pd.DataFrame:
        """A row per finding, with what was found, its grade, the number of patches and a sentence."""
        return pd.DataFrame([asdict(finding) for finding in self.result.findings])

    def to_frame(self) -> pd.DataFrame:
        """A row per patch: id, split, label, slide, image quality and groups of duplicates."""
        return self.result.to_frame()

    def to_dict(self) -> dict[str, Any]:
        """The check as `pcam check --json` prints it."""
        return self.result.to_dict()

    @for_python
    def report(self, path: str | Path) -> Path:
        """Write the check as an HTML file that needs no other file.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        from ..report import check_page  # loads a library of charts

        check_path("path", path, "the path of the page to write")
        check_html(Path(path))
        check_page.write(Path(path), self.result, gather(self.result))
        return Path(path)

    @for_python
    def write_patches(self, path: str | Path) -> Path:
        """Write the table of `to_frame` as a CSV file, whole or not at all.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        check_path("path", path, "the path of the CSV file to write")
        check_output(Path(path), TABLE_START)
        with whole_file(Path(path)) as temporary:
            self.to_frame().to_csv(temporary, index=False)
        return Path(path)

    def __repr__(self) -> str:
        return f"<pcam check of {self.result.source}: {self.verdict}>"

    def _repr_html_(self) -> str:
        return self.result._repr_html_()


@for_python
def check_source(
    source: Source | str | Path,
    *,
    against: Source | str | Path | None = None,
    split: str | None = None,
    threads: int = 0,
    cluster: Any = None,
    progress: Progress = "bar",
    log: Log = unheard,
) -> SourceCheck:
    """Check patches before use: faults, duplicates, image quality, class balance, drift, overlap.

    Parameters
    ----------
    source
        A source, or its path. ``open_source(..., strict=False)`` opens one that has faults, as this
        function does with a path.
    against
        Another source, or its path: patches and slides that are in both are reported.
    split
        The splits to check, comma-separated. Default: all.
    threads
        Number of threads; 0 is one for each core.
    cluster
        A Dask cluster that measures patches; see `extract`. Its workers need the sources under the same
        paths. `threads` is then the number of threads of each unit of work, by default one.
    progress
        See `features`; the units are patches.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    SourceCheck
        `verdict`, `findings`, `to_frame()` with a row per patch, and `report("check.html")`.

    Raises
    ------
    InputError
        If there is no source, or it cannot be read at all; for a cluster whose workers lack what they
        need.
    PcamError
        If the scheduler or the workers of a cluster are gone.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> checked = pcam.check_source("synthetic:40")
    >>> checked.faults, len(checked.to_frame())
    (0, 50)
    """
    check_numbers(threads=threads)
    check_text(split=split)
    check_progress(progress)
    check_log(log)
    if cluster is not None:
        check_cluster(cluster)
    opened = opened_source("source", source, progress, log, strict=False)
    other = (
        None if against is None else opened_source("against", against, progress, unheard, strict=False)
    )
    splits = opened.only(split)
    others = [split for split in other.splits.values() if len(split)] if other else []
    total = sum(map(len, [*splits, *others]))
    with ExitStack() as stack:
        crew: Crew
        if cluster is None:
            if not cpu.compiled_before(kernels()):
                log("compiling the kernels of family color; this takes a few seconds, once")
            advance = stack.enter_context(shown(progress, "check", total, "patches"))
            crew = ThreadCrew(color_measure(), int(threads) or joblib.cpu_count())
        else:
            executor = stack.enter_context(joined(cluster, int(threads) or 1, log))
            advance = stack.enter_context(shown(progress, "check", total, "patches"))
            sources = [(opened, splits), *([(other, others)] if other else [])]
            crew = ready_crew(executor, sources, int(threads) or 1)
        return SourceCheck(checking.check(opened, splits, other, crew, advance))


def opened_source(
    name: str, source: Source | str | Path, progress: Progress, log: Log, *, strict: bool
) -> Source:
    """A source, which may be given as its path. Unless it is `strict`, it may have faults."""
    if isinstance(source, Source):
        return source
    check_path(name, source, "a source that open_source opened, or its path")
    return open_source(source, strict=strict, progress=progress, log=log)


@for_python
def convert_source(
    source: Source | str | Path,
    path: str | Path,
    *,
    to: Layout | str,
    split: str | None = None,
    threads: int = 0,
    overwrite: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> ConversionPlan:
    """Convert patches to another layout. Pixels, labels, ids and slides are preserved.

    Parameters
    ----------
    source
        A source, or its path.
    path
        The folder to create, whole or not at all.
    to
        The layout to write: "hdf5" is PCam's HDF5 files, "folder" is PNG images by split and class,
        and "parquet" is Hugging Face's Parquet files.
    split
        The splits to write, comma-separated. Default: all.
    threads
        Number of threads; 0 is one for each core.
    overwrite
        Whether to replace an earlier conversion at `path`.
    progress
        See `features`; the units are patches.
    log
        Called with a sentence on what was opened; `print` prints it.

    Returns
    -------
    ConversionPlan
        The patches that were written, by split.

    Raises
    ------
    InputError
        If the patches cannot be read, or the folder or the layout cannot hold them.
    PcamError
        If writing fails.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> pcam.convert_source("synthetic:40", "converted", to="hdf5").patches
    {'train': 40, 'test': 10}
    >>> pcam.open_source("converted").splits["train"].images[0].shape
    (96, 96, 3)
    """
    check_path("path", path, "the path of the folder to create")
    check_flags(overwrite=overwrite)
    check_numbers(threads=threads)
    check_text(split=split)
    check_progress(progress)
    check_log(log)
    layout, folder = layout_named(to), Path(path)
    opened = opened_source("source", source, progress, log, strict=True)
    work = Conversion(opened, folder, layout, split=split, threads=threads, overwrite=overwrite)
    return work.run(progress)


class Conversion:
    """A conversion that can be planned, and then run; the command line uses it.

    Parameters
    ----------
    source, path, to, split, threads, overwrite
        See `convert_source`.
    """

    def __init__(
        self,
        source: Source,
        path: Path,
        to: Layout,
        *,
        split: str | None = None,
        threads: int = 0,
        overwrite: bool = False,
    ) -> None:
        if source.fit is not None and source.fit.how == Fitting.tile:
            raise InputError(
                "--fit tile is for features, averaged over tiles, and a conversion writes one "
                "image per patch; open the source with --fit resize or crop."
            )
        self.source, self.path, self.layout = source, path, to
        self.splits = source.only(split)
        self.threads = threads or joblib.cpu_count()
        self.overwrite = overwrite

    @for_python
    def plan(self) -> ConversionPlan:
        """What will be written. Raises InputError if it cannot be."""
        return converting.plan(
            self.source, self.splits, self.path, self.layout, overwrite=self.overwrite
        )

    @for_python
    def run(self, progress: Progress) -> ConversionPlan:
        """Write the folder; returns what was written."""
        plan = self.plan()
        with shown(progress, "convert", sum(map(len, self.splits)), "patches") as advance:
            converting.convert(
                self.source,
                self.splits,
                self.path,
                self.layout,
                self.threads,
                overwrite=self.overwrite,
                progress=advance,
            )
        return plan


def layout_named(name: Layout | str) -> Layout:
    """The layout of this name. Raises InputError if there is none."""
    try:
        return Layout(name)
    except ValueError:
        raise InputError(f"to= is {told(name)}; give one of: {', '.join(Layout)}.") from None
