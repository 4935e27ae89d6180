"""Fits a reference network on the patches of a source, with the folds of `pcam fit`."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from ..constants import TIMM, Device
from ..engine import cpu
from ..errors import InputError
from ..evaluate.intervals import auc
from ..execution.executor import Threads
from ..families.registry import FAMILIES, measurer
from ..grouping.appearance import FAMILY, looked_at, looks_of
from ..grouping.folds import TABLE as FOLD_TABLE
from ..grouping.folds import Folds, make_folds
from ..sources.source import Source, Split
from ..storage import costs
from ..storage.resumable import STEPS, check_result, in_the_making
from ..storage.sums import write_bytes, write_sealed
from ..words import counted
from .architectures import Recipe, recipe, weights
from .folder import MANIFEST, WEIGHTS, WHAT, trained_on
from .manifest import (
    KEY,
    HeldOutFold,
    NetworkManifest,
    TrainedPatches,
    TrainingOptions,
    TrainingOutcome,
    TrainingPlan,
)
from .memory import memory_kept, peak_mib
from .predict import probabilities
from .training import CHECKPOINT, Trainer, TrainingData, train
from .watch import Watch

LIBRARIES = ("numpy", "torch")
LOOKED_AT_ROWS = 256  # patches that a thread processes at a time


def choose(device: Device) -> tuple[str, str]:
    """Choose the device for PyTorch; returns it with a sentence for the user.

    Raises InputError if `cuda` cannot be used.
    """
    there = torch.cuda.is_available()
    if device == Device.cuda and not there:
        raise InputError("--device cuda cannot be used: PyTorch finds no CUDA device; use cpu or auto.")
    if device == Device.cpu or not there:
        why = " (auto: PyTorch finds no CUDA device)" if device == Device.auto else ""
        return "cpu", f"device: cpu{why}"
    return "cuda", f"device: cuda, {torch.cuda.get_device_name()}"


def labeled(split: Split) -> pd.DataFrame:
    """A row per patch: id, label, slide. Raises InputError if the split has no labels."""
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
    """Assign a split to the same folds as `pcam fit` does.

    Where slides are unknown, color features are measured to form pseudo-slides.

    Parameters
    ----------
    split
        The patches.
    count
        Number of folds.
    seed
        Seed of the assignment.
    threads
        Number of threads that measure color features.
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
    values = np.concatenate(list(Threads(threads).map(measured, starts)))
    looks = looks_of(values, [columns[k] for k in wanted])
    return make_folds(patches, count, seed, looks)


@dataclass(frozen=True)
class TrainingTask:
    """What a network is trained on.

    Parameters
    ----------
    source, split
        The patches.
    network
        The name of the network.
    folds
        The folds of the split.
    held_out
        The fold to hold out: the best epoch is chosen on it.
    """

    source: Source
    split: Split
    network: str
    folds: Folds
    held_out: int


def fit(
    task: TrainingTask,
    path: Path,
    how: TrainingOptions,
    *,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> NetworkManifest:
    """Train a network on all folds but one, on which the best epoch is chosen.

    Parameters
    ----------
    task
        The network, the patches and the folds.
    path
        The network's folder. It appears only when it is complete.
    how
        The options of the training.
    overwrite
        Whether to replace an existing network.
    watch
        Shows the progress; None shows none.

    Returns
    -------
    NetworkManifest
        The manifest of the trained network.

    Raises
    ------
    InputError
        If the patches cannot be trained on, or `path` cannot be written.
    PcamError
        If training fails.
    """
    patches = labeled(task.split)
    labels = patches["label"].to_numpy(np.int8)
    learned, held = rows_of_folds(task, labels)
    names = {"what": WHAT, "mark": MANIFEST, "key": KEY}
    check_result(path, overwrite=overwrite, **names)
    torch.set_num_threads(how.threads)
    torch.manual_seed(how.seed)
    known = recipe(task.network, pretrained=True)
    model = known.build().to(how.device, memory_format=torch.channels_last)
    plan = plan_of(task, known, how)
    making = in_the_making(path, plan.to_dict(), overwrite=overwrite, **names)
    with memory_kept(), making as folder:
        (folder / STEPS).mkdir(exist_ok=True)
        trainer = Trainer(model, known, how)
        checkpoint = folder / STEPS / CHECKPOINT
        data = TrainingData(task.split, labels, learned, held)
        shown = watch or Watch()
        state, rate = train(trainer, data, checkpoint, shown)
        shown.say(
            f"training has ended; epoch {state.best_epoch() + 1} was the best: predicting "
            f"{counted(len(held), 'held-out patch')} with it, in {counted(known.views, 'orientation')}"
        )
        scores = probabilities(
            model,
            known,
            task.split,
            held,
            how.device,
            known.views,
            progress=shown.predicting(len(held)),
        )
        outcome = TrainingOutcome(
            positive=int(labels.sum()),
            curve=tuple(state.curve),
            best_epoch=state.best_epoch() + 1,
            held_out_auc=auc(labels[held], scores),
        )
        table = patches.assign(label=labels, group=task.folds.group, fold=task.folds.fold)
        manifest = write(folder, NetworkManifest.of(plan, outcome), trainer, table)
        costs.write_sum(folder, cost(trainer, len(learned), rate / len(state.curve)))
    return manifest


def rows_of_folds(task: TrainingTask, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and the rows held out. Raises InputError if either has only one class."""
    folds, fold = task.folds, task.held_out
    if not 0 <= fold < folds.count:
        raise InputError(f"there is no fold {fold}; choose --fold from 0 to {folds.count - 1}.")
    learned, held = np.flatnonzero(folds.fold != fold), np.flatnonzero(folds.fold == fold)
    for rows, what in ((learned, f"the split without fold {fold}"), (held, f"fold {fold}")):
        if np.unique(labels[rows]).size < 2:
            raise InputError(f"{what} has only one class; hold out another --fold.")
    return learned, held


def plan_of(task: TrainingTask, known: Recipe, how: TrainingOptions) -> TrainingPlan:
    """The plan of a training: everything that determines its result."""
    return TrainingPlan(
        network=plain_name(task.network),
        started_from=task.network,
        source=TrainedPatches.of(task.source, task.split),
        folds=HeldOutFold.of(task.folds, task.held_out),
        how=replace(how, rate=how.rate or known.rate),
        optimizer=known.optimizer.__name__,
        decay=known.decay,
        views=known.views,
        body_rate=known.body_rate,
        smoothing=known.smoothing,
        averaging=known.averaging,
        versions={"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
    )


def unseen(path: Path, manifest: NetworkManifest, split: Split) -> tuple[np.ndarray, int, int]:
    """Find the patches that a network was not trained on.

    Parameters
    ----------
    path, manifest
        The network's folder and manifest.
    split
        The patches to predict.

    Returns
    -------
    rows
        The rows of the split that it was not trained on.
    of_held
        How many of these are in its held-out fold.
    learned
        How many rows it was trained on.

    Raises
    ------
    InputError
        If the table of folds does not match the manifest.
    """
    known = trained_on(path, manifest)
    seen = known.among(split)
    return np.array(known.rows_unseen(split), int), seen.held_out, seen.learned


def plain_name(network: str) -> str:
    """A network's name without the weight file it started from.

    Examples
    --------
    >>> plain_name("timm:resnet18:weights.pth")
    'timm:resnet18'
    """
    return TIMM + network.split(":")[1] if network.startswith(TIMM) else network


def write(
    folder: Path, manifest: NetworkManifest, trainer: Trainer, table: pd.DataFrame
) -> NetworkManifest:
    """Write a network's files, the manifest last; returns the manifest with their sums."""
    tensors = trainer.network.state_dict().items()
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}
    content: bytes = table.to_parquet(index=False)
    manifest = manifest.with_files(
        {
            # `save_file` would make the file readable by its owner only.
            WEIGHTS: write_bytes(folder / WEIGHTS, save(whole), folder),
            FOLD_TABLE: write_bytes(folder / FOLD_TABLE, content, folder),
        }
    )
    write_sealed(folder / MANIFEST, manifest.to_dict(), folder)
    return manifest


def cost(trainer: Trainer, patches: int, patches_per_second: float) -> costs.Cost:
    """The cost of a training on some patches, which it has learned from so many per second in all."""
    how = trainer.how
    return costs.Cost(
        parameters=weights(trainer.network),
        train_seconds=round(patches / patches_per_second, 1) if patches_per_second else None,
        train_patches_per_second=round(patches_per_second, 2) or None,
        train_memory_mib=peak_mib(how.device),
        train_device=device_name(how.device, how.threads),
    )


def device_name(device: str, threads: int) -> str:
    """The name of a device in a table of costs."""
    return f"cuda, {torch.cuda.get_device_name()}" if device == "cuda" else costs.cpu_name(threads)
