"""Fitting: models out of fold across slides, a stack on top, and the scores they earned."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from .. import __version__
from ..errors import InputError
from ..evaluate.intervals import Estimate, auc, percentile_interval, resampled_aucs
from ..families.catalog import ALL, CNN, FAMILIES, listed
from ..store import Store
from . import boosting, rbf
from .bundle import STACK, Bundle, write
from .bundle import VERSION as BUNDLE_VERSION
from .folds import Folds, looks_of, make_folds
from .leakage import gap, random_split_auc
from .models import (
    KERNEL,
    KINDS,
    How,
    Model,
    Values,
    base_models,
    fold_logits,
    groups_of,
    join,
    model_name,
    train,
)
from .stack import fit_stack, out_of_fold

LIBRARIES = ("numpy", "xgboost", "scikit-learn", "numba")


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


def train_models(
    values: Values,
    labels: np.ndarray,
    folds: Folds,
    *,
    device: str,
    threads: int,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[dict[str, Model], np.ndarray]:
    """Each base model trained on everything, and the log-odds (rows, models) each gave out of fold."""
    how: How = {"device": device, "threads": threads, "seed": seed}
    logits, trained = [], {}
    for group, parts in groups_of(list(values)).items():
        matrix = join(values, parts)

        def advance(weight: int = len(parts)) -> None:
            progress(weight)

        for kind in KINDS:
            logits.append(fold_logits(kind, matrix, labels, folds.fold, how, advance))
            trained[model_name(group, kind)] = train(kind, matrix, labels, **how)
            advance()
    return trained, np.stack(logits, axis=1)


def steps(families: list[str], folds: int) -> int:
    """What `progress` counts: the models that a fit trains, each as much as it has families."""
    trained = sum(len(parts) for _, _, parts in base_models(families).values()) * (folds + 1)
    return trained + len(families) * folds  # these for the leakage gap


def fit(
    store: Store,
    path: Path,
    *,
    split: str,
    families: list[str],
    folds: int,
    device: str,
    threads: int,
    seed: int,
    overwrite: bool,
    progress: Callable[[int], None] = lambda done: None,
) -> Bundle:
    """Fit a bundle on a split's features and write it to `path`, whole or not at all.

    Raises InputError for labels or slides that allow no honest estimate.
    """
    patches = store.patches(split)
    look = None
    if "color" in store.families(split):
        columns = store.manifest["families"]["color"]["columns"]
        look = looks_of(store.features(split, "color"), columns)
    dealt = make_folds(patches, folds, seed, look)
    labels = patches["label"].to_numpy(np.int8)
    values = {name: store.features(split, name) for name in families}
    trained, logits = train_models(
        values, labels, dealt, device=device, threads=threads, seed=seed, progress=progress
    )
    models = tuple(trained)
    at_random = random_split_auc(
        join(values, families),
        labels,
        folds=dealt.count,
        seed=seed,
        progress=lambda: progress(len(families)),
    )
    stack = fit_stack(models, logits, labels)
    stacked = out_of_fold(models, logits, labels, dealt.fold)
    probabilities = np.column_stack([expit(logits), stacked])
    scores = score(labels, probabilities.T, dealt.group, seed)
    entry = store.manifest["splits"][split]
    manifest = {
        "bundle_version": BUNDLE_VERSION,
        "pcam_version": __version__,
        "source": store.manifest["source"]
        | {"split": split, "rows": len(labels), "fingerprint": entry["fingerprint"]},
        "families": {name: store.manifest["families"][name] for name in families},
        "folds": {"count": dealt.count, "groups": int(dealt.group.max()) + 1, "seed": seed}
        | {"protocol": dealt.protocol},
        "parameters": boosting.PARAMETERS
        | {"rounds": boosting.ROUNDS, "seed": seed}
        | {KERNEL: {"width": rbf.WIDTH, "penalty": rbf.PENALTY, "clip": rbf.CLIP}},
        "stack": stack.as_dict(),
        "out_of_fold_auc": dict(zip((*models, STACK), (s.as_dict() for s in scores), strict=True)),
        "leakage": gap(auc(labels, logits[:, -1]), at_random, models[-1]),  # the kernel on all
        "device": device,
        "threads": threads,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }
    fold_table = patches.assign(label=labels, group=dealt.group, fold=dealt.fold)
    predicted = pd.DataFrame(
        {"id": patches["id"]} | dict(zip((*models, STACK), probabilities.T, strict=True))
    )
    bundle = Bundle(manifest, trained, stack)
    write(path, bundle, fold_table, predicted, overwrite=overwrite)
    return bundle


def score(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, seed: int
) -> list[Estimate]:
    """Out-of-fold AUC of each row, with intervals from resampling whole groups."""
    draws = resampled_aucs(labels, probabilities, groups, seed=seed)
    return [
        percentile_interval(auc(labels, row), drawn)
        for row, drawn in zip(probabilities, draws, strict=True)
    ]
