"""Fits a reference network on the patches of a source, with the folds of `pcam fit`."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from safetensors.torch import save

from .. import __version__
from ..constants import TIMM, Device
from ..engine import cpu
from ..errors import InputError
from ..evaluate.intervals import auc
from ..families.registry import FAMILIES, measurer
from ..grouping.appearance import FAMILY, looked_at, looks_of
from ..grouping.folds import TABLE as FOLD_TABLE
from ..grouping.folds import Folds, make_folds, read_fold_table
from ..sources.source import Source, Split
from ..storage import costs
from ..storage.files import check_free, sha256, whole_file, write_json
from ..storage.resumable import KEY as PLAN_KEY
from ..storage.resumable import STEPS, in_the_making
from . import bundle
from .architectures import recipe, weights
from .predict import probabilities
from .training import CHECKPOINT, How, State, Trainer, train

PLAN_VERSION = 1
LIBRARIES = ("numpy", "torch")
LOOKED_AT_ROWS = 256  # patches that a thread processes at a time


def choose(device: Device) -> tuple[str, str]:
    """The device of PyTorch, and a message with the reason. Raises InputError if it is unavailable."""
    there = torch.cuda.is_available()
    if device == Device.cuda and not there:
        raise InputError("--device cuda cannot be used: PyTorch finds no CUDA device. Use cpu or auto.")
    if device == Device.cpu or not there:
        why = " (auto: PyTorch finds no CUDA device)" if device == Device.auto else ""
        return "cpu", f"device: cpu{why}"
    return "cuda", f"device: cuda, {torch.cuda.get_device_name()}"


def labeled(split: Split) -> pd.DataFrame:
    """The patches of a split as a table of id, label and slide. Raises InputError without labels."""
    if split.labels is None:
        raise InputError(f"split {split.name!r} has no labels to train on; choose another --split.")
    return pd.DataFrame(
        {
            "id": split.ids,
            "label": split.labels.astype(np.float64),
            "slide": pd.Series(split.slides, dtype=object),
        }
    )


def deal(split: Split, count: int, seed: int, threads: int) -> Folds:
    """The same folds that `pcam fit` creates for these patches.

    Where slides are unknown, color features are computed for this.
    """
    patches = labeled(split)
    if all(split.slides):
        return make_folds(patches, count, seed)
    color = FAMILIES[FAMILY]
    columns = list(color.columns)
    wanted = looked_at(columns)
    measure = measurer([color], cpu)

    def measured(start: int) -> np.ndarray:
        batch = split.read(start, min(start + LOOKED_AT_ROWS, len(split)))
        return measure(batch, [color.name])[color.name][:, wanted]

    starts = range(0, len(split), LOOKED_AT_ROWS)
    found = Parallel(n_jobs=threads, backend="threading")(delayed(measured)(k) for k in starts)
    looks = looks_of(np.concatenate(found), [columns[k] for k in wanted])
    return make_folds(patches, count, seed, looks)


def fit(
    source: Source,
    path: Path,
    *,
    split: Split,
    network: str,
    folds: Folds,
    fold: int,
    how: How,
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Train `network` on all folds except `fold`, which chooses the best epoch.

    The network is written to the folder `path`, which is complete or absent. Returns its manifest.

    Raises InputError for what cannot be trained on, PcamError if training fails.
    """
    patches = labeled(split)
    if not 0 <= fold < folds.count:
        raise InputError(f"there is no fold {fold}; choose one from 0 to {folds.count - 1}.")
    labels = patches["label"].to_numpy(np.int8)
    learned, held = np.flatnonzero(folds.fold != fold), np.flatnonzero(folds.fold == fold)
    for rows, what in ((learned, "the set of the other folds"), (held, f"fold {fold}")):
        if np.unique(labels[rows]).size < 2:
            raise InputError(f"{what} has only one class; choose another --fold to hold out.")
    known = {
        "what": bundle.WHAT,
        "mark": bundle.MANIFEST,
        "key": bundle.KEY,
    }
    check_free(path, overwrite=overwrite, **known)
    torch.set_num_threads(how.threads)
    torch.manual_seed(how.seed)
    started = recipe(network, pretrained=True)
    model = started.build().to(how.device, memory_format=torch.channels_last)
    plan = {
        PLAN_KEY: PLAN_VERSION,
        "pcam_version": __version__,
        "network": plain_name(network),
        "started_from": network,
        "source": {"kind": source.kind, "path": source.path, "protocol": source.protocol}
        | {"split": split.name, "rows": len(split), "fingerprint": split.fingerprint()},
        "folds": {"count": folds.count, "held_out": fold, "protocol": folds.protocol}
        | {"fingerprint": folds.fingerprint()},
        "how": asdict(how) | {"rate": how.rate or started.rate},
        "optimizer": started.optimizer.__name__,
        "decay": started.decay,
        "views": started.views,
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    }
    with in_the_making(path, plan, overwrite=overwrite, **known) as folder:
        (folder / STEPS).mkdir(exist_ok=True)
        trainer = Trainer(model, started, how)
        checkpoint = folder / STEPS / CHECKPOINT
        state, rate = train(trainer, split, labels, learned, held, checkpoint, progress, say)
        found = probabilities(model, started, split, held, how.device, started.views)
        plan.pop(PLAN_KEY)
        manifest = plan | finished(state, auc(labels[held], found), labels)
        write(folder, manifest, trainer, patches.assign(label=labels), folds)
        costs.write(folder / costs.FILE, cost(trainer, rate / len(state.curve)))
    return manifest


def unseen(path: Path, manifest: dict[str, Any], split: Split) -> tuple[np.ndarray, int, int]:
    """The rows of a split on which a network was not trained.

    Returns these rows, the number of them in its held-out fold, and the number of rows on which it was
    trained. Raises InputError if its table of folds is not that of its training.
    """
    table = read_fold_table(path / FOLD_TABLE)
    held = manifest["folds"]["held_out"]
    known = sha256((path / FOLD_TABLE).read_bytes()) == manifest["folds"]["sha256"]
    if not known or type(held) is not int or held not in set(table["fold"]):
        raise InputError(
            f"network {path} is damaged: its folds do not match its manifest; train it again."
        )
    fold_of = dict(zip(table["id"], table["fold"], strict=True))
    folds = [fold_of.get(name) for name in split.ids]
    rows = np.array([k for k, fold in enumerate(folds) if fold in (None, held)], int)
    of_held = sum(fold == held for fold in folds)
    return rows, of_held, len(folds) - len(rows)


def plain_name(network: str) -> str:
    """The name of a network without the file of its initial weights."""
    return TIMM + network.split(":")[1] if network.startswith(TIMM) else network


def finished(state: State, held_out_auc: float, labels: np.ndarray) -> dict[str, Any]:
    return {
        bundle.KEY: bundle.VERSION,
        "positive": int(labels.sum()),
        "curve": state.curve,
        "best_epoch": state.best_epoch() + 1,
        "held_out_auc": held_out_auc,
    }


def write(
    folder: Path, manifest: dict[str, Any], trainer: Trainer, patches: pd.DataFrame, folds: Folds
) -> None:
    weight_file = folder / bundle.WEIGHTS
    with whole_file(weight_file) as temporary:
        tensors = trainer.network.state_dict().items()
        whole = {name: one.detach().cpu().contiguous() for name, one in tensors}
        temporary.write_bytes(
            save(whole)
        )  # safetensors would create a file that only its owner may read
    with whole_file(folder / FOLD_TABLE) as temporary:
        patches.assign(group=folds.group, fold=folds.fold).to_parquet(temporary, index=False)
    manifest["folds"]["sha256"] = sha256((folder / FOLD_TABLE).read_bytes())
    write_json(folder / bundle.MANIFEST, manifest | {"sha256": sha256(weight_file.read_bytes())})


def cost(trainer: Trainer, patches_per_second: float) -> dict[str, Any]:
    how = trainer.how
    on_card = how.device == "cuda"
    return {
        "parameters": weights(trainer.network),
        "train_patches_per_second": round(patches_per_second, 2) or None,
        "train_memory_mib": card_memory_mib() if on_card else costs.peak_memory_mib(),
        "train_device": device_name(how.device, how.threads),
    }


def card_memory_mib() -> float:
    return round(float(torch.cuda.max_memory_allocated()) / 2**20, 1)


def device_name(device: str, threads: int) -> str:
    return f"cuda, {torch.cuda.get_device_name()}" if device == "cuda" else costs.cpu_name(threads)
