"""Fitting: models out of fold across slides, what they say together, and the scores that earned."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from .. import __version__
from ..errors import InputError
from ..evaluate.intervals import auc, resampled_intervals
from ..evaluate.metrics import metrics
from ..families.registry import ALL, CNN, FAMILIES, listed
from ..grouping.appearance import looks_in
from ..grouping.folds import TABLE as FOLD_TABLE
from ..grouping.folds import Folds, make_folds, torn_slides
from ..storage import costs
from ..storage.resumable import KEY as PLAN_KEY
from ..store.store import Store
from ..store.values import Values, stored
from . import bundle, memory, stack
from .attribution import importance
from .base_models import Model, parameters
from .leakage import gap
from .steps import Work, kept_steps, open_work
from .training import How, Settings, at_random, train_models

LIBRARIES = ("numpy", "scipy", "xgboost", "scikit-learn", "numba")
PLAN_VERSION = 1
CALIBRATION = ("brier", "log_loss", "ece")  # metrics of what probabilities mean


def families_to_use(store: Store, split: str, names: str | None) -> list[str]:
    """The families in a comma-separated list, `all` for the hand-made and `cnn` for the embeddings
    that are finished; for None both. Raises InputError if the store has none, or not those asked for.
    """
    finished = store.families(split)
    groups = {
        ALL: [name for name in finished if name in FAMILIES],
        CNN: [name for name in finished if name not in FAMILIES],
    }
    asked = [] if names is None else listed(names) or [names]
    wanted = [name for word in asked for name in groups.get(word) or [word]]
    for name in wanted:
        if name not in finished:
            raise InputError(
                f"feature store {store.path} has no finished {name} features in split {split!r} "
                f"(finished: {', '.join(finished) or 'none'}); run pcam extract first."
            )
    if not finished:
        raise InputError(f"no family is finished in split {split!r} of {store.path}; extract first.")
    return [name for name in finished if name in wanted or not wanted]


def deal(
    store: Store, split: str, count: int, seed: int, groups: tuple[str, dict[str, str]] | None = None
) -> Folds:
    """Folds of a split by slide, or by `groups`: what these are, and the group of each id."""
    patches = store.patches(split)
    given, unit = patches, "slide"
    if groups is not None:
        unit, known = groups
        missing = sum(i not in known for i in patches["id"])
        if missing:
            raise InputError(
                f"{missing:,} of {len(patches):,} patches are not in the table of --groups; it has to "
                "know all of them."
            )
        patches = patches.assign(slide=pd.Series([known[i] for i in patches["id"]], dtype=object))
    found = make_folds(patches, count, seed, looks_in(store, split), unit)
    return replace(found, protocol=found.protocol + torn_slides(given, found.fold))


def versions(*others: str) -> dict[str, str]:
    return {"python": platform.python_version()} | {n: version(n) for n in (*LIBRARIES, *others)}


def fit(
    store: Store,
    path: Path,
    *,
    split: str,
    families: list[str],
    folds: Folds,
    how: How,
    limit: int | None = None,
    trials: int = 0,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> bundle.Bundle:
    """Fit a model on a split's features in `path`, whole or not at all; what a fit with the same
    arguments has finished before it was stopped is not done again.

    `limit` is the memory for features, in bytes: half of the machine's unless it is given.
    """
    entry = store.manifest.splits[split]
    known = {name: store.manifest.families[name].to_dict() for name in families}
    columns = sum(len(one["columns"]) for one in known.values())
    keep, bins = memory.fits(entry.rows, columns, limit or int(memory.SHARE * memory.machine_bytes()))
    values = stored(store, split, families, keep=keep)
    how = replace(how, on_disk=not bins)
    store.check_finished(split, families)
    plan: dict[str, Any] = {
        PLAN_KEY: PLAN_VERSION,
        "pcam_version": __version__,
        "source": store.manifest.source.to_dict()
        | {"split": split, "rows": entry.rows, "fingerprint": entry.fingerprint.to_dict()},
        "families": known,
        "folds": {"count": folds.count, "groups": int(folds.group.max()) + 1}
        | {"protocol": folds.protocol, "fingerprint": folds.fingerprint()},
        "features": store.digest(split, families),
        "seed": how.seed,
        "trials": trials,
        "device": how.device,
        "threads": how.threads,
        "versions": versions(*(["optuna"] if trials else [])),
    }
    began = time.monotonic()
    with open_work(path, plan, overwrite=overwrite) as work:
        kept = kept_steps(path)
        patches = store.patches(split)
        labels = patches["label"].to_numpy(np.int8)
        settings, searched = Settings(), None
        if trials:
            from .search import search

            settings, searched = search(
                work, values, labels, folds, how, trials, lambda: progress(len(families))
            )
        names = {name: one["columns"] for name, one in known.items()}
        manifest, made = learn(work, values, labels, folds, how, settings, names, progress)
        bundle.write_table(
            work.folder,
            FOLD_TABLE,
            patches.assign(label=labels, group=folds.group, fold=folds.fold),
        )
        bundle.write_table(
            work.folder, bundle.OUT_OF_FOLD, pd.DataFrame({"id": patches["id"]} | made["predicted"])
        )
        bundle.write_table(work.folder, bundle.IMPORTANCE, made["importance"])
        plan.pop(PLAN_KEY)
        plan["source"]["positive"] = int(labels.sum())
        whole = {bundle.KEY: bundle.VERSION} | plan | manifest
        if searched:
            whole["search"] = searched
        bundle.write_manifest(work.folder, whole)
        seconds = None if kept else time.monotonic() - began
        costs.write(work.folder / costs.FILE, cost(made["models"], entry.rows, seconds, how))
    return bundle.Bundle(whole, made["models"], made["stack"])


def cost(models: dict[str, Model], rows: int, seconds: float | None, how: How) -> dict[str, Any]:
    """What a fit has cost; how fast it was is not known of one that went on with steps of another."""
    return {
        "parameters": sum(parameters(one) for one in models.values()),
        "train_patches_per_second": None if seconds is None else round(rows / seconds, 2),
        "train_memory_mib": costs.peak_memory_mib(),
        "train_device": "cuda" if how.device == "cuda" else costs.cpu_name(how.threads),
    }


def learn(
    work: Work,
    values: Values,
    labels: np.ndarray,
    folds: Folds,
    how: How,
    settings: Settings,
    names_of: dict[str, list[str]],
    progress: Callable[[int], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a manifest says of models with these settings, and the models, their stack, their
    out-of-fold predictions and the importance of columns."""
    trained, logits = train_models(work, values, labels, folds.fold, how, settings, progress)
    models = tuple(trained)
    random_auc = at_random(work, values, labels, folds.count, how, settings)
    progress(len(values.families))
    together, candidates = stack.fit_stack(models, logits, labels, folds.fold)
    before, after = stack.out_of_fold(logits, labels, folds.fold)
    probabilities = np.column_stack([expit(logits), after])
    names = (*models, stack.COMBINED)
    scores = resampled_intervals(labels, probabilities.T, folds.group, seed=how.seed)
    table, of_families = importance(trained, together, values, names_of)
    manifest = {
        "settings": {
            "trees": settings.trees | {"rounds": settings.rounds},
            "kernel": {"width": settings.width, "penalty": settings.penalty},
        },
        "stack": together.as_dict(),
        "candidates": candidates,
        "out_of_fold_auc": dict(zip(names, (s.as_dict() for s in scores), strict=True)),
        "calibration": {
            when: {name: found[name] for name in CALIBRATION}
            for when, found in (("before", metrics(labels, before)), ("after", metrics(labels, after)))
        },
        "leakage": gap(auc(labels, logits[:, -1]), random_auc, models[-1]),  # the kernel on all
        "importance": of_families,
    }
    return manifest, {
        "models": trained,
        "stack": together,
        "predicted": dict(zip(names, probabilities.T, strict=True)),
        "importance": table,
    }
