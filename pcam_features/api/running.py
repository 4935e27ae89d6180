"""The whole road in one call: check, extract, fit, predict, report. What is done is not done again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from ..constants import FOLDS, Adapt, Device
from ..encoders.options import EncoderOptions
from ..errors import InputError
from ..execution.cluster import check_cluster, connected
from ..extraction.on_cluster import opening_of
from ..extraction.selection import Families, families_named
from ..extraction.transformer import device_of
from ..families.family import FeatureFamily
from ..families.registry import listed
from ..learn.base_models import ON_REQUEST
from ..sources.kaggle import SAMPLE
from ..sources.source import Source
from ..storage.files import readable
from ..storage.urls import check_local
from ..words import counted, duration
from .arguments import check_families, check_flags, check_log, check_numbers, check_path, check_progress
from .data import (
    Log,
    encoder_named,
    open_source,
    unheard,
    usual_copies,
)
from .estimating import RunPlan
from .messages import for_python
from .model import Model, open_model
from .predicting import adapt_named
from .progress import Progress
from .run_record import RunOptions
from .run_stages import MODEL, Run


@dataclass(frozen=True)
class RunResult:
    """What a run has made; `run` returns it.

    Parameters
    ----------
    path
        The folder.
    plan
        What there was to do.
    files
        The files and folders in it by name: "check", "features", "model", "card", "submission",
        "report", and for other labeled splits "report-NAME" and the predictions NAME; empty after a dry
        run.
    """

    path: Path
    plan: RunPlan
    files: dict[str, Path]

    @property
    def model(self) -> Model:
        """The fitted model."""
        return open_model(self.path / MODEL)

    def to_dict(self) -> dict[str, Any]:
        """The result as `pcam run --json` prints it."""
        files = {name: str(file) for name, file in self.files.items()}
        return {"folder": str(self.path), "plan": self.plan.to_dict(), "files": files}

    def __repr__(self) -> str:
        what = ", ".join(self.files) or "planned"
        return f"<pcam run {self.path}: {what}>"


@for_python
def run(
    source: Source | str | Path,
    path: str | Path,
    *,
    slides: str | Path | None = None,
    families: Families = None,
    encoder: EncoderOptions | str | None = None,
    sample: str | Path | None = None,
    copies: int | None = None,
    folds: int = FOLDS,
    trials: int = 0,
    adapt: Adapt | str = "none",
    max_memory: float | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    seed: int = 0,
    strict: bool = False,
    cluster: Any = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress = "bar",
    log: Log = unheard,
) -> RunResult:
    """Check patches, compute features, fit a model, predict and report, in one folder.

    A run that was stopped goes on where it was, when it is called again, and ends in the same files. It
    calls `check_source`, `extract`, `fit`, `Model.predict_split` and `compare`.

    Parameters
    ----------
    source
        A source, or its path.
    path
        The folder for all results.
    slides
        For the path of a source: see `open_source`.
    families
        See `extract`. "histogram" is computed only if it is named, because `fit` uses it only then.
    encoder, copies
        See `extract`.
    sample
        Kaggle's sample submission, whose ids the submission has in its order. Default:
        sample_submission.csv in the source's folder, if there is one.
    folds, trials, max_memory, seed
        See `fit`.
    adapt
        See `Model.predict_split`.
    device
        Where kernels run and boosted trees are trained: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    strict
        Whether to stop if the check finds faults. Otherwise it stops only for patches that cannot be
        read.
    cluster
        A Dask cluster that does the stages but the reports; see `extract`. Its workers need the source
        and the folder under the same paths. `threads` is then the number of threads of each unit of
        work, by default one.
    overwrite
        Whether to replace what a finished run, or a run of other settings, has left in the folder. It
        stays until the new run is complete. Features of the same patches are kept.
    dry_run
        Whether to plan only; nothing is written.
    progress
        See `features`; the units are percent of the whole.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    RunResult
        `model` is the model, `files` names what was written.

    Raises
    ------
    InputError
        For patches that cannot be read or learned from, a folder of another run, too little free disk
        space, and a cluster whose workers lack what they need.
    PcamError
        If the scheduler or the workers of a cluster are gone; the same call goes on.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> result = pcam.run("synthetic:120:12", "out", families="color", folds=3)
    >>> sorted(result.files)
    ['card', 'check', 'features', 'model', 'report', 'report-test', 'test']
    >>> result.model.scores.index[-1]
    'combined'
    """
    check_path("path", path, "the folder for all results")
    check_local(path, "the folder for all results")
    check_families(families)
    check_flags(strict=strict, overwrite=overwrite, dry_run=dry_run)
    check_numbers(
        copies=copies,
        folds=folds,
        trials=trials,
        max_memory=max_memory,
        threads=threads,
        seed=seed,
    )
    check_progress(progress)
    check_log(log)
    if cluster is not None:
        check_cluster(cluster)
    chosen = encoder_named(encoder)
    if not isinstance(source, Source):
        check_path("source", source, "a source that open_source opened, or its path")
        source = open_source(source, slides=slides, strict=False, progress=progress, log=log)
    elif slides is not None:
        raise InputError("slides= is for the path of a source; give it to open_source.")
    options = RunOptions(
        families_to_run(families, chosen),
        sample_of(source, sample),
        usual_copies(source.only(None)) if copies is None else int(copies),
        int(folds),
        int(trials),
        adapt_named(adapt),
        None if max_memory is None else float(max_memory),
        device_of(device),
        int(threads) or (joblib.cpu_count() if cluster is None else 1),
        int(seed),
        bool(strict),
    )
    work = Run(source, Path(path), options, overwrite=overwrite, log=log)
    with ExitStack() as stack:
        if cluster is not None and work.left:
            opening_of(source)
            work.use(stack.enter_context(connected(cluster, options.threads)))
        plan = work.plan()
        log(sentence_on(plan))
        files = {} if dry_run else work.run(plan, progress)
    return RunResult(Path(path), plan, files)


def families_to_run(names: Families, encoder: EncoderOptions) -> list[FeatureFamily]:
    """The families to compute: those that `fit` learns from."""
    families = families_named(names, encoder)
    words: Iterable[Any] = listed(names) if isinstance(names, str) else names or ()
    named = [getattr(word, "name", word) for word in words]
    return [one for one in families if one.name in named or one.name not in ON_REQUEST]


def sample_of(source: Source, sample: str | Path | None) -> Path | None:
    """The sample submission that was given, or the one in the source's folder; None without one."""
    if sample is not None:
        check_path("sample", sample, "the path of a sample submission")
        if not Path(sample).is_file():
            raise InputError(f"there is no sample submission {sample}; give --sample another file.")
        return Path(sample)
    place = Path(source.path)
    beside = (place if place.is_dir() else place.parent) / SAMPLE
    return beside if beside.is_file() else None


def sentence_on(plan: RunPlan) -> str:
    """What a run will take, in a sentence."""
    if not plan.seconds:
        return "nothing is left to do"
    patches = ", ".join(f"{name} {rows:,}" for name, rows in plan.patches.items())
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in plan.seconds.items())
    done = f"; done before: {', '.join(plan.done)}" if plan.done else ""
    return (
        f"patches: {patches}; {counted(sum(plan.columns.values()), 'column')}; estimated time: "
        f"{duration(plan.total_seconds)} ({stages}); disk space: at most "
        f"{readable(plan.disk_bytes)} of {readable(plan.free_bytes)} free; memory: "
        f"at most {readable(plan.memory_bytes)}{done}"
    )
