"""Fitting a model on a feature store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from ..constants import FOLDS, Device, Shares
from ..engine.devices import choose
from ..errors import InputError
from ..evaluate.outside import Patches, check_unseen, read_outside
from ..evaluate.predictions import Models, names_of, parse_models
from ..execution.cluster import check_cluster, connected
from ..execution.memory import check_room
from ..extraction.transformer import device_of
from ..grouping.folds import TABLE, Folds, known_labels, read_fold_table, read_folds
from ..learn import bundle as bundles
from ..learn import fit as learning
from ..learn.base_models import base_models
from ..learn.blend import CLASSICAL, Outside
from ..learn.names import MANIFEST as BUNDLE_MANIFEST
from ..learn.settings import Compute
from ..learn.stack import COMBINED
from ..learn.steps import kept_steps
from ..learn.training import steps
from ..sources.slides import parse, read_slides
from ..storage.resumable import unfinished
from ..store.names import copies_of
from ..store.store import Store
from ..store.trained_on import optimism
from ..words import counted, form
from .arguments import (
    check_families,
    check_flags,
    check_log,
    check_named,
    check_numbers,
    check_path,
    check_progress,
)
from .data import Log, opened_store, unheard
from .fit_cluster import ready_crew
from .messages import for_python
from .model import Model, open_model
from .progress import Progress, shown


@for_python
def fit(
    store: Store | str | Path,
    path: str | Path,
    *,
    split: str = "train",
    families: str | Sequence[str] | None = None,
    folds: int | None = None,
    folds_from: str | Path | None = None,
    groups: str | Path | None = None,
    trials: int = 0,
    max_memory: float | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    copies: bool = True,
    outside: Models | None = None,
    shares: Shares | str = "equal",
    vouch: bool = False,
    cluster: Any = None,
    progress: Progress = "bar",
    log: Log = unheard,
) -> Model:
    """Fit a model: base models on groups of families, combined, and scored out of fold across slides.

    A fit that was stopped goes on where it was, when it is called again.

    Parameters
    ----------
    store
        A feature store, or its path.
    path
        The model's folder, made whole or not at all.
    split
        The split to learn from.
    families
        Families, comma-separated or in a list; "all" is the hand-crafted ones, "cnn" the embeddings.
        Default: all that the store has. "histogram" is used only if it is named: "all,histogram".
    folds
        Number of folds across slides. Default: 5.
    folds_from
        Folds of another model, or a CSV or Parquet file with id, fold and group.
    groups
        A CSV of groups to use instead of slides, "FILE" or "FILE:COLUMN".
    trials
        Number of trials of a search for better settings, for each kind of base model.
    max_memory
        GiB of memory for the whole process. Features and bins that do not fit are read again when they
        are needed. Default: half of the machine's. On a cluster, for the process of each worker;
        default: nine tenths of the worker's memory limit.
    device
        Where boosted trees are trained: "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    seed
        Seed of everything random.
    overwrite
        Whether to replace a model at `path`.
    copies
        Whether to learn from the changed copies of patches that `extract(..., copies=N)` made as well,
        if the store has them. They also tell what a change of laboratory costs.
    outside
        Out-of-fold predictions of other models for these patches, to combine with: a mapping from name
        to a CSV, a DataFrame with `id` or a Series by id; or a list of "NAME=FILE". `combined` is then
        the combination of the base models together, `classical`, and these, and predicting needs their
        predictions too. A table needs a column `fold`, or a file for each fold; the folder of another
        model that was fitted on these patches stands for its out-of-fold predictions.
    shares
        The shares of `classical` and of each outside model: "equal", or "fitted" across folds.
    vouch
        State that outside predictions without folds are out of fold: each is of a model that had seen
        neither the patch nor its slide.
    cluster
        A Dask cluster that trains; see `extract`. Its workers need the store and the model under the
        same paths. `threads` is then the number of threads of each unit of work, by default one.
    progress
        See `features`; the units are steps of the fit.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    Model
        The fitted model.

    Raises
    ------
    InputError
        For a store that a model cannot be fitted on.

    Examples
    --------
    >>> import pcam_features as pcam
    >>> store = pcam.extract("synthetic:120:12", "features", families="color")
    >>> model = pcam.fit(store, "model", folds=3)
    >>> list(model.scores.index)
    ['color_trees', 'color_kernel', 'combined']
    """
    if folds_from is not None and (folds is not None or groups is not None):
        raise InputError(
            "--folds-from already defines the folds and groups; leave out --folds and --groups."
        )
    check_room()
    check_flags(overwrite=overwrite, copies=copies, vouch=vouch)
    check_named(split=split)
    check_numbers(folds=folds, trials=trials, max_memory=max_memory, threads=threads, seed=seed)
    check_families(families)
    check_progress(progress)
    check_path("path", path, "the path of the model to make")
    check_log(log)
    if folds_from is not None:
        check_path("folds_from", folds_from, "the path of a model, or of a table of folds")
    how = shares_named(shares)
    if outside is None and (how != Shares.equal or vouch):
        raise InputError("--shares and --vouch are for outside predictions; add them --with NAME=FILE.")
    if cluster is not None:
        check_cluster(cluster)
    opened = opened_store(store)
    folder = Path(path)
    bundles.check_free(folder, overwrite=overwrite)
    names = families if families is None or isinstance(families, str) else ",".join(families)
    used = learning.families_to_use(opened, split, names)
    for note in notes_on_families(opened, split, names, used):
        log(note)
    target, why = choose(device_of(device))
    log(why)
    given = None if folds_from is None else read_folds(Path(folds_from), opened.patches(split))
    count = int(folds or FOLDS) if given is None else given.count
    options = learning.FitOptions(
        Compute(target.NAME, int(threads) or (joblib.cpu_count() if cluster is None else 1), int(seed)),
        trials=int(trials),
        overwrite=overwrite,
        copies=copies,
    )
    limit = None if max_memory is None else int(float(max_memory) * 2**30)
    own_limit = limit if cluster is None else None  # the limit is of the processes that train
    memory = learning.plan_memory(opened, split, used, count, options, own_limit)
    log(memory.sentence())
    dealt = deal(opened, split, count, int(seed), groups) if given is None else given
    log(f"folds: {dealt.count}, {dealt.protocol}")
    others = None
    if outside is not None:
        others = outside_of(opened, split, outside, how, log)
        check_unseen(others.predictions, dealt.group, vouched=vouch)
    if kept := kept_steps(folder):
        log(
            f"continuing {unfinished(folder)}: {counted(kept, 'step')} of an earlier run "
            f"{form(kept, 'is', 'are')} reused"
        )
    if not copies and (unread := opened.manifest.splits.get(copies_of(split))):
        log(f"copies: the store's {unread.rows:,} changed copies are not used")
    total = steps(used, dealt.count, trials)
    with ExitStack() as stack, shown(progress, "fit", total, "steps") as advance:
        crew = None
        if cluster is not None:
            executor = stack.enter_context(connected(cluster, options.compute.threads))
            crew = ready_crew(executor, opened, split, used, dealt, options, limit)
        bundle = learning.fit(
            opened,
            folder,
            split=split,
            families=used,
            folds=dealt,
            options=replace(options, memory=memory, outside=others),
            progress=advance,
            crew=crew,
        )
    return Model(folder, bundle)


def notes_on_families(store: Store, split: str, names: str | None, used: Sequence[str]) -> list[str]:
    """Sentences on the families that a fit uses and leaves out; `names` as for `families_to_use`."""
    notes = []
    if unused := learning.families_left_out(store, split, names):
        notes.append(learning.sentence_on_left_out(store, split, names, unused))
    seen = learning.networks_seen(store, split, used)
    return notes + [optimism(name, one, split) for name, one in seen.items() if one.held_out]


def outside_of(store: Store, split: str, given: Models, shares: Shares, log: Log) -> Outside:
    """The predictions of other models for the patches of a split, and how shares are chosen."""
    patches = store.patches(split)
    labels = known_labels(patches).astype(np.int8)
    known = Patches(patches["id"].tolist(), labels, f"split {split!r} of {store.path}")
    taken = (*base_models(store.families(split)), CLASSICAL, COMBINED, "id")
    read = read_outside(with_models_read(given), known, taken)
    if not read:
        raise InputError("no outside models are given; give the predictions of one or more.")
    for note in dict.fromkeys(note for one in read for note in one.notes):
        log(note)
    return Outside(tuple(read), shares)


def with_models_read(models: Models) -> Models:
    """Predictions of other models, with tables in place of the folders of models that pcam fitted."""
    parsed = parse_models(models)
    names = names_of(parsed)
    folders = [len(one.files) == 1 and (one.files[0] / BUNDLE_MANIFEST).is_file() for one in parsed]
    if not any(folders) or len(set(names)) < len(names):
        return models
    read: dict[str, Any] = {}  # a table, or a list of them
    for name, one, is_folder in zip(names, parsed, folders, strict=True):
        read[name] = out_of_fold_table(open_model(one.files[0])) if is_folder else list(one.given)
    return read


def out_of_fold_table(model: Model) -> pd.DataFrame:
    """The out-of-fold predictions of a model: id, label (the probability) and fold."""
    manifest = model.bundle.manifest
    content = bundles.read_file(model.path, manifest, TABLE)
    folds = read_fold_table(model.path / TABLE, content, rows=manifest.source.rows).set_index("id")
    found = model.out_of_fold[COMBINED]
    return pd.DataFrame(
        {"id": found.index, "label": found.to_numpy(), "fold": folds["fold"][found.index].to_numpy()}
    )


def shares_named(name: Shares | str) -> Shares:
    """The way to choose shares of this name. Raises InputError if there is none."""
    try:
        return Shares(name)
    except ValueError:
        raise InputError(f"there are no shares {name!r}; there are: {', '.join(Shares)}.") from None


def deal(store: Store, split: str, folds: int, seed: int, groups: str | Path | None) -> Folds:
    """Deal the patches of a split into folds, by slides or by the groups of a CSV."""
    known = None
    if groups is not None:
        spec = str(groups)
        known = parse(spec)[1] or "slide", read_slides(spec)
    return learning.deal(store, split, folds, seed, known)
