"""Sources of patches and stores of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib

from ..constants import TRAIN, Device, Kind
from ..encoders.options import EncoderOptions
from ..engine.devices import Target, choose
from ..errors import InputError
from ..execution.cluster import check_cluster, connected, name_of
from ..extraction import extract as extraction
from ..extraction.embedding_tables import for_splits, tables_among
from ..extraction.extract import ExtractionPlan, forecast, left_to_cpu
from ..extraction.measuring import kernels_in
from ..extraction.on_cluster import ready_crew
from ..extraction.selection import Families, families_named
from ..extraction.shifts import copies as copies_made
from ..extraction.shifts import usual_count
from ..extraction.trained_networks import leaks, unseen_parts
from ..extraction.transformer import device_of
from ..families.family import FeatureFamily
from ..sources import detect
from ..sources.reading import Names, reading_of
from ..sources.source import Source, Split
from ..storage.urls import check_local
from ..store import store as stores
from ..store.layout import MANIFEST
from ..store.names import copies_of
from ..store.parts import Verifier
from ..store.store import Store
from ..words import counted, form
from .arguments import (
    check_families,
    check_flags,
    check_log,
    check_numbers,
    check_path,
    check_progress,
    check_scale,
    check_text,
    check_texts,
    told,
)
from .messages import for_python
from .progress import Progress, display_of, shown

Log = Callable[[str], None]


def unheard(sentence: str) -> None:
    """Nothing is printed unless it is asked for."""


@for_python
def open_source(
    path: str | Path,
    *,
    slides: str | Path | None = None,
    kind: Kind | str | None = None,
    positive: str | None = None,
    classes: Names = None,
    exclude: Names = None,
    labeled_only: bool = False,
    label_column: str | None = None,
    id_column: str | None = None,
    path_column: str | None = None,
    skip_unreadable: bool = False,
    fit: str | None = None,
    mpp: float | None = None,
    strict: bool = True,
    progress: Progress = "bar",
    log: Log = unheard,
) -> Source:
    """Open a source of patches; its layout is detected from the path.

    Parameters
    ----------
    path
        Kaggle's folder or zip, PCam's HDF5 files, a folder of images, a CSV of paths, Hugging Face's
        Parquet files, WILDS' folder, or "synthetic:PATCHES".
    slides
        A CSV with `id` and `slide`, or "FILE:COLUMN"; "none" leaves slides unknown. Default: slides.csv
        in the folder, or what the layout says.
    kind
        The layout, if it is not to be detected.
    positive
        The class of tumor: a folder of images, or a label in a table.
    classes
        The classes to read, as `positive`, comma-separated or in a list. Default: all.
    exclude
        Classes or folders to leave out, or tables (CSV) of ids, comma-separated or in a list.
    labeled_only
        Whether patches without a label, and labels without a patch, are left out; otherwise they are
        faults.
    label_column, id_column, path_column
        For a table: its columns, where their names do not say what they are.
    skip_unreadable
        Whether patches that cannot be read are left out, and reported. Every patch is read for it once.
    fit
        How patches of another size are brought to 96×96 pixels: "resize", "crop" or "tile".
    mpp
        Micrometers per pixel of the patches.
    strict
        Whether to refuse a source with faulty patches. If False, the faults are in `Source.problems`.
    progress
        Shown while a file is unpacked; see `features`.
    log
        Called with a sentence on what was opened; `print` prints it.

    Returns
    -------
    Source
        It has a length, `ids`, `labels`, `slides`, `images[i]`, and `sample(9)` shows pictures.

    Raises
    ------
    InputError
        If there is no source, or it is damaged.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> pcam.open_source("synthetic:100").protocol
    'Rendered by pcam, not tissue. Slides are independent; no slide is in two splits.'
    """
    check_path("path", path, "the path of a source")
    check_scale(mpp)
    check_flags(labeled_only=labeled_only, skip_unreadable=skip_unreadable, strict=strict)
    check_text(
        positive=positive, label_column=label_column, id_column=id_column, path_column=path_column
    )
    check_texts(classes=classes, exclude=exclude)
    check_progress(progress)
    check_log(log)
    source, sentence = detect.open_source(
        str(path),
        slides=None if slides is None else str(slides),
        kind=None if kind is None else kind_named(kind),
        reading=reading_of(
            positive=positive,
            classes=classes,
            exclude=exclude,
            labeled_only=labeled_only,
            label_column=label_column,
            id_column=id_column,
            path_column=path_column,
            skip_unreadable=skip_unreadable,
        ),
        fit=fit,
        mpp=mpp,
        unpacking=display_of(progress),
        strict=strict,
    )
    log(sentence)
    return source


def kind_named(name: Kind | str) -> Kind:
    """The layout of this name. Raises InputError if there is none."""
    try:
        return Kind(name)
    except ValueError:
        raise InputError(f"there is no kind {name!r}; there are: {', '.join(Kind)}.") from None


@for_python
def open_store(path: str | Path) -> Store:
    """Open a feature store.

    Parameters
    ----------
    path
        The store's folder.

    Returns
    -------
    Store
        `store.frame("train")` is a table of id, label, slide and features.

    Raises
    ------
    InputError
        If there is no feature store, or it is of another version.
    """
    check_path("path", path, "the path of a feature store")
    return stores.open_store(Path(path))


def opened_store(store: Any) -> Store:
    """A store, which may be given as its path. Raises InputError for anything else."""
    if isinstance(store, Store):
        return store
    check_path("store", store, "a feature store or its path")
    return open_store(store)


@for_python
def extract(
    source: Source | str | Path,
    path: str | Path,
    *,
    families: Families = None,
    encoder: EncoderOptions | str | None = None,
    split: str | None = None,
    slides: str | Path | None = None,
    fit: str | None = None,
    mpp: float | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    verify: bool = False,
    copies: int | None = None,
    unseen: bool = False,
    cluster: Any = None,
    overwrite: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> Store:
    """Compute features of a source and keep them in a store, a folder of Parquet files.

    What the store has already is not computed again: an extraction that was stopped goes on, and
    families and splits can be added.

    Parameters
    ----------
    source
        A source, or its path.
    path
        The store's folder.
    families
        Names of families, comma-separated or in a list: "all" is every hand-crafted family and the
        default; "cnn" is embeddings. A table of embeddings that was made elsewhere is named by its
        file, "FILE.parquet" or "FILE.npz", or as "NAME=FILE".
    encoder
        The encoder that "cnn" stands for: its name, the folder of a network that `fit_network` trained,
        or `EncoderOptions`.
    split
        The splits to compute, comma-separated. Default: all.
    slides, fit, mpp
        For a path: see `open_source`.
    device
        Where kernels run: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    verify
        Whether to check first that each id is the SHA-1 of the patch's pixels.
    copies
        How many training patches are computed a second time, changed as by another laboratory: `fit`
        learns from them, and tells what a change of laboratory costs. Default: a third of the training
        patches, at most 20,000, and none of fewer than 1,050; or as many as a store has already.
    unseen
        For a network of `fit_network` as the encoder: whether to leave out the patches that it has
        learned from, which `fit` refuses.
    cluster
        A Dask cluster that computes (extra `cluster`): a `distributed.Client`, an address such as
        "tcp://scheduler:8786", a scheduler file, or "local:4" for four processes on this machine. Its
        workers need the source and the store under the same paths. `threads` is then the number of
        threads of each unit of work, by default one.
    overwrite
        Whether to remove what the store holds first.
    progress
        See `features`.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    Store
        The store, open.

    Raises
    ------
    InputError
        For patches that cannot be read, a store of other patches, and a cluster whose workers lack
        what they need.
    PcamError
        If the scheduler or the workers of a cluster are gone; the same call goes on.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> store = pcam.extract("synthetic:40", "features", families="color")
    >>> store.frame("train").shape
    (40, 366)
    """
    check_path("path", path, "the path of a feature store")
    check_local(path, "a feature store to write")
    check_families(families)
    check_flags(verify=verify, unseen=unseen, overwrite=overwrite)
    check_numbers(threads=threads, copies=copies)
    check_progress(progress)
    check_text(split=split)
    check_log(log)
    options = encoder_named(encoder)
    if not isinstance(source, Source):
        check_path("source", source, "a source that open_source opened, or its path")
        source = open_source(source, slides=slides, fit=fit, mpp=mpp, progress=progress, log=log)
    elif (slides, fit, mpp) != (None, None, None):
        raise InputError(
            "slides=, fit= and mpp= are for the path of a source; give them to open_source."
        )
    work = Extraction(
        Path(path),
        source,
        families_named(families, options),
        split=split,
        device=device_of(device),
        threads=threads,
        copies=copies,
        unseen=unseen,
        cluster=cluster,
        overwrite=overwrite,
        log=log,
    )
    if verify:
        work.verify(progress)
    work.run(progress)
    return open_store(path)


def encoder_named(encoder: EncoderOptions | str | None) -> EncoderOptions:
    """The options of an encoder that may be named; None stands for the default. Raises InputError."""
    if encoder is None or isinstance(encoder, EncoderOptions):
        return encoder or EncoderOptions()
    if not isinstance(encoder, str):
        raise InputError(f"encoder= is {told(encoder)}; give its name, or EncoderOptions.")
    return EncoderOptions(encoder)


class Extraction:
    """An extraction that can be planned, and then run; the command line uses it.

    Parameters
    ----------
    path, source, families, split, device, threads, copies, unseen, cluster, overwrite, log
        See `extract`.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        families: Sequence[FeatureFamily],
        *,
        split: str | None = None,
        device: Device = Device.auto,
        threads: int = 0,
        copies: int | None = None,
        unseen: bool = False,
        cluster: Any = None,
        overwrite: bool = False,
        log: Log = unheard,
    ) -> None:
        if cluster is not None:
            check_cluster(cluster)
        self.path, self.source, self.overwrite = path, source, overwrite
        self.originals = source.only(split)
        if unseen and cluster is not None:
            raise InputError("--unseen does not go with --cluster; leave out one of them.")
        if unseen:
            self.originals = unseen_parts(self.originals, families, log)
        for sentence in leaks(self.originals, families):
            log(sentence)
        self.families = for_splits(families, self.originals, log)
        wanted = copies_in_place(path, self.originals, overwrite) if copies is None else copies
        if tables := [table.name for table in tables_among(families)]:
            wanted = copies_beside_tables(tables, wanted, copies, log)
        changed = changed_copies(self.originals, wanted)
        self.splits = [*self.originals, *changed]
        for made in changed:
            each = ", one of each" if len(made) < wanted else ""
            log(f"copies: {len(made):,} of training patches, as other laboratories make them{each}")
        self.device, self.cluster, self.log = device, cluster, log
        self.threads = threads or (joblib.cpu_count() if cluster is None else 1)
        self.verifier = Verifier()
        self.target: Target | None = None  # the workers of a cluster choose themselves
        if cluster is None:
            self.target, why = choose(device)
            log(why)
            for name in left_to_cpu(families, self.target.NAME):
                log(f"{name} is computed on the CPU; add --runtime cuda to compute it on the GPU")

    def verify(self, progress: Progress) -> None:
        """Raises InputError for a patch whose id is not the SHA-1 of its pixels."""
        if self.source.fit:
            raise InputError("--verify compares ids with unchanged 96×96 patches; leave out --verify.")
        with shown(progress, "verify", sum(map(len, self.originals)), "patches") as advance:
            extraction.verify(self.originals, self.threads, advance)

    def plan(self) -> ExtractionPlan:
        """What there is to do. Raises InputError if the store at `path` does not fit."""
        return forecast(
            self.path,
            self.source,
            self.splits,
            self.families,
            self.device if self.target is None else self.target.NAME,
            overwrite=self.overwrite,
            verifier=self.verifier,
        )

    def run(self, progress: Progress) -> ExtractionPlan:
        """Compute what the store lacks; returns what that was."""
        plan = self.plan()
        if plan.damaged:
            self.log(
                f"{counted(plan.damaged, 'file')} of {self.path} "
                f"{form(plan.damaged, 'is', 'are')} damaged or missing: measuring these patches again"
            )
        if self.target is None:
            self._run_on_cluster(plan, progress)
        else:
            self._run_here(self.target, plan, progress)
        return plan

    def _run_here(self, target: Target, plan: ExtractionPlan, progress: Progress) -> None:
        kernels = kernels_in(self.families)
        compiling = plan.patches_to_measure and not target.compiled_before(kernels)
        if compiling:
            self.log(
                f"compiling {counted(len(kernels), 'kernel')} for {target.NAME}; this takes "
                "about a minute, once"
            )
        with shown(progress, "extract", plan.patches_to_measure, "patches") as advance:
            extraction.extract(
                self.path,
                self.source,
                self.splits,
                self.families,
                target,
                self.threads,
                overwrite=self.overwrite,
                progress=advance,
                verifier=self.verifier,
            )

    def _run_on_cluster(self, plan: ExtractionPlan, progress: Progress) -> None:
        with connected(self.cluster, self.threads) as executor:
            self.log(executor.sentence(name_of(self.cluster)))
            with shown(progress, "extract", plan.patches_to_measure, "patches") as advance:
                extraction.fill_store(
                    self.path,
                    self.source,
                    self.splits,
                    self.families,
                    ready_crew(
                        executor,
                        self.source,
                        self.splits,
                        self.families,
                        device=self.device,
                        threads=self.threads,
                    ),
                    overwrite=self.overwrite,
                    progress=advance,
                    verifier=self.verifier,
                )


def to_train_on(splits: Sequence[Split]) -> list[Split]:
    """The labeled splits that a model may be trained on: the training split, or all."""
    labeled = [split for split in splits if split.labels is not None]
    return [split for split in labeled if split.name == TRAIN] or labeled


def usual_copies(splits: Sequence[Split]) -> int:
    """How many copies are made of new patches if no number is given.

    There are none if it is not clear which split is to be trained on.
    """
    training = to_train_on(splits)
    clear = len(training) == 1 and training[0].tiles is None
    return usual_count(len(training[0])) if clear else 0


def copies_in_place(path: Path, splits: Sequence[Split], overwrite: bool) -> int:
    """How many copies are made if no number is given: as many as the store at `path` has, if it has the
    training split already, and otherwise `usual_copies`."""
    training = to_train_on(splits)
    if len(training) == 1 and not overwrite and (path / MANIFEST).is_file():
        known = open_store(path).manifest.splits
        if training[0].name in known:
            changed = known.get(copies_of(training[0].name))
            return changed.rows if changed else 0
    return usual_copies(splits)


def copies_beside_tables(tables: Sequence[str], wanted: int, asked: int | None, log: Log) -> int:
    """How many copies are made if families are read from tables, which have no copies: none.

    Raises InputError if copies were asked for.
    """
    which = ", ".join(tables)
    if asked:
        raise InputError(
            f"a table has no embeddings of changed copies of patches, and {which} is read from one; "
            "use --copies 0."
        )
    if wanted:
        log(f"copies: none, because {which} is read from a table, which has none of changed patches")
    return 0


def changed_copies(splits: Sequence[Split], count: int) -> list[Split]:
    """Copies of patches of the training split, changed as by other laboratories; see `shifts.copies`.

    Raises InputError if it is not clear which split is to be trained on.
    """
    if not count:
        return []
    training = to_train_on(splits)
    if len(training) != 1:
        names = ", ".join(split.name for split in training) or "none"
        raise InputError(
            f"--copies needs one labeled split to train on, and there are: {names}; choose it with "
            "--split."
        )
    if training[0].tiles is not None:
        raise InputError("--copies does not go with --fit tile; use --fit resize or crop.")
    return [copies_made(training[0], count)]
