"""Reference networks: training them and predicting with them. They need PyTorch, the extra deep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd

from .. import extras
from ..constants import BATCH, EPOCHS, FOLDS, PATIENCE, Device, Network
from ..errors import InputError
from ..evaluate.predictions import write_predictions
from ..execution.memory import check_room
from ..extraction.transformer import device_of
from ..grouping.folds import Folds, read_folds
from ..sources.source import Source, Split
from ..storage import costs
from ..storage.files import check_html
from ..storage.urls import check_local
from ..words import counted, message_of
from .arguments import check_flags, check_log, check_numbers, check_path, check_progress, check_text
from .data import Log, unheard
from .messages import for_python
from .preparing import opened_source
from .progress import Progress, shown

if TYPE_CHECKING:
    from ..networks.manifest import NetworkManifest


@dataclass(frozen=True)
class NetworkPredictions:
    """Predictions of a reference network.

    Parameters
    ----------
    ids
        The ids of the patches, in the source's order, without those that the network learned from.
    probabilities
        The probability of tumor of each, float64 (n,).
    learned
        How many patches were left out because the network was trained on them.
    held_out
        How many of these patches chose the network's best epoch; scores on them are slightly
        optimistic.
    cost
        The speed and memory of the training and of this prediction.
    """

    ids: list[str]
    probabilities: np.ndarray
    learned: int
    held_out: int
    cost: costs.Cost

    def __repr__(self) -> str:
        return f"<pcam predictions of {counted(len(self.ids), 'patch')} by a network>"

    def to_series(self) -> pd.Series[float]:
        """The probabilities, indexed by id."""
        index = pd.Index(self.ids, name="id")
        return pd.Series(self.probabilities, index=index, name="probability")

    @for_python
    def write(self, path: str | Path) -> Path:
        """Write the predictions as a CSV of id and label, and their cost beside it, as `compare` reads.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        pathlib.Path
            The file of costs.

        Raises
        ------
        InputError
            If a file cannot be written.
        """
        check_path("path", path, "the path of the CSV file to write")
        write_predictions(Path(path), self.ids, self.probabilities, self.cost)
        return costs.beside(Path(path))


@dataclass(frozen=True)
class ReferenceNetwork:
    """A trained reference network; `fit_network` and `open_network` return it.

    Parameters
    ----------
    path
        The network's folder.
    manifest
        The record of its training.
    """

    path: Path
    manifest: NetworkManifest

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve: training loss and AUC on the held-out fold, indexed by epoch from 1."""
        rows = [asdict(epoch) for epoch in self.manifest.curve]
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="epoch"))

    @property
    def held_out_auc(self) -> float:
        """The AUC on the held-out fold, which chose the best epoch: slightly optimistic."""
        return float(self.manifest.held_out_auc)

    @for_python
    def predict_split(
        self,
        source: Source | str | Path,
        split: str = "test",
        *,
        device: Device | str = "auto",
        threads: int = 0,
        progress: Progress = "bar",
        log: Log = unheard,
    ) -> NetworkPredictions:
        """Predict a split of a source. Patches that the network was trained on are left out.

        Parameters
        ----------
        source
            A source, or its path.
        split
            The split.
        device
            "auto", "cpu" or "cuda".
        threads
            Number of threads; 0 is one for each core.
        progress
            See `features`; the units are patches.
        log
            Called with sentences on what is done; `print` prints them.

        Returns
        -------
        NetworkPredictions
            The probabilities of tumor; `write` writes them as `pcam deep predict` does.

        Raises
        ------
        InputError
            If the network was trained on all of these patches, or they cannot be read.
        """
        check_room()
        check_numbers(threads=threads)
        check_text(split=split)
        check_progress(progress)
        check_log(log)
        opened = opened_source("source", source, progress, unheard, strict=True)
        (part,) = opened.only(split)
        return predictions(self.path, part, device_of(device), int(threads), progress, log)

    @for_python
    def report(self, path: str | Path) -> Path:
        """Write the learning curves and settings of the training as an HTML file.

        Parameters
        ----------
        path
            The file; it needs no other file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        InputError
            If the file cannot be written, or the costs in the network's folder are damaged.
        """
        check_path("path", path, "the path of the page to write")
        from ..report import network_page

        check_html(Path(path))
        network_page.write(Path(path), self.manifest, costs.read(self.path / costs.FILE))
        return Path(path)

    def __repr__(self) -> str:
        return (
            f"<pcam network {self.path}: {self.manifest.network}, AUC {self.held_out_auc:.4f} on the "
            "held-out fold>"
        )

    def _repr_html_(self) -> str:
        table = self.curve.to_html(border=0, float_format=lambda value: f"{value:.4f}")
        return (
            f"<p>Network {escape(str(self.path))} ({escape(self.manifest.network)}): AUC "
            f"{self.held_out_auc:.4f} on the held-out fold after epoch {self.manifest.best_epoch}.</p>"
            f"{table}"
        )


def predictions(
    path: Path, part: Split, device: Device, threads: int, progress: Progress, log: Log
) -> NetworkPredictions:
    """The predictions of the network at `path` for a split; see `ReferenceNetwork.predict_split`."""
    check_installed()
    import torch

    from ..networks import fit as deep
    from ..networks.bundle import read
    from ..networks.memory import memory_kept, peak_mib
    from ..networks.predict import probabilities

    where, why = deep.choose(device)
    log(why)
    trained = read(path)
    known = costs.read(path / costs.FILE)
    rows, held_out, learned = deep.unseen(path, trained.manifest, part)
    if learned or held_out:
        log(
            f"{learned:,} of these patches were used for training and are left out; {held_out:,} of "
            "the rest were used to choose the best epoch"
        )
    if not len(rows):
        raise InputError(f"{path} was trained on all of these patches; predict other patches.")
    workers = threads or joblib.cpu_count()
    torch.set_num_threads(workers)
    model = trained.network.to(where, memory_format=torch.channels_last)
    with memory_kept(), shown(progress, "predict", len(rows), "patches") as advance:
        began = time.monotonic()
        found = probabilities(
            model, trained.recipe, part, rows, where, trained.recipe.views, progress=advance
        )
        seconds = time.monotonic() - began
    cost = replace(
        known,
        predict_patches_per_second=round(len(rows) / seconds, 2),
        predict_memory_mib=peak_mib(where),
        predict_device=deep.device_name(where, workers),
    )
    return NetworkPredictions([part.ids[k] for k in rows], found, learned, held_out, cost)


@for_python
def fit_network(
    source: Source | str | Path,
    path: str | Path,
    *,
    arch: str = Network.residual.value,
    split: str = "train",
    folds: int | None = None,
    folds_from: str | Path | None = None,
    fold: int = 0,
    epochs: int = EPOCHS,
    patience: int = PATIENCE,
    batch: int = BATCH,
    rate: float | None = None,
    device: Device | str = "auto",
    threads: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    log_dir: str | Path | None = None,
    progress: Progress = "bar",
    log: Log = unheard,
) -> ReferenceNetwork:
    """Train a reference network on all folds but one, for comparison with a model of `fit`.

    It needs PyTorch, the extra deep. A training that was stopped goes on where it was, when this is
    called again.

    Parameters
    ----------
    source
        A source, or its path.
    path
        The network's folder, made whole or not at all.
    arch
        "cnn_one", "cnn_two", "cnn_three", "cnn_four", "residual", "efficientnet_lite0" (or lite1,
        lite2), "p4m_densenet" or "timm:NAME[:WEIGHTS]".
    split
        The split to learn from.
    folds
        Number of folds across slides. Default: 5.
    folds_from
        Folds of a model or network, or a CSV or Parquet file with id, fold and group.
    fold
        The held-out fold, which chooses the best epoch.
    epochs
        Maximum number of epochs.
    patience
        Stop after this many epochs without improvement.
    batch
        Patches per step.
    rate
        The learning rate. Default: depends on the architecture.
    device
        "auto", "cpu" or "cuda".
    threads
        Number of threads; 0 is one for each core.
    seed
        Seed of everything random.
    overwrite
        Whether to replace a network at `path`.
    log_dir
        Folder for TensorBoard's logs; needs the package tensorboard. Default: no logs.
    progress
        See `features`; the units are steps of the training.
    log
        Called with sentences on what is done; `print` prints them.

    Returns
    -------
    ReferenceNetwork
        The trained network; `curve` is its learning curve.

    Raises
    ------
    InputError
        If PyTorch is not installed, or the patches cannot be trained on.
    PcamError
        If training fails.
    """
    check_room()
    check_numbers(
        folds=folds,
        fold=fold,
        epochs=epochs,
        patience=patience,
        batch=batch,
        rate=rate,
        threads=threads,
        seed=seed,
    )
    check_flags(overwrite=overwrite)
    check_text(arch=arch, split=split)
    check_path("path", path, "the path of the network to make")
    check_progress(progress)
    check_log(log)
    if log_dir is not None:
        check_path("log_dir", log_dir, "the path of a folder for TensorBoard's logs")
    if folds_from is not None:
        check_path("folds_from", folds_from, "the path of a model, or of a table of folds")
        if folds is not None:
            raise InputError("--folds-from already defines the number of folds; leave out --folds.")
    check_installed()
    from ..networks import fit as deep
    from ..networks.manifest import TrainingOptions
    from ..networks.watch import Watch, check_logs

    logs = None if log_dir is None else Path(log_dir)
    check_logs(logs)
    opened = opened_source("source", source, progress, log, strict=True)
    (part,) = opened.only(split)
    where, why = deep.choose(device_of(device))
    log(why)
    workers = int(threads) or joblib.cpu_count()
    if folds_from is not None:
        dealt: Folds = read_folds(Path(folds_from), deep.labeled(part))
    else:
        dealt = deep.deal(part, int(folds or FOLDS), int(seed), workers)
    log(f"folds: {dealt.count}, {dealt.protocol}; fold {fold} is held out")
    learned = int((dealt.fold != fold).sum())
    how = TrainingOptions(
        int(epochs), int(batch), int(patience), int(seed), where, workers, as_rate(rate)
    )
    task = deep.TrainingTask(opened, part, arch, dealt, held_out=int(fold))
    with shown(progress, f"train {arch}", -(-learned // how.batch) * how.epochs, "steps") as advance:
        watch = Watch(advance, log, logs)
        manifest = deep.fit(task, Path(path), how, overwrite=overwrite, watch=watch)
    return ReferenceNetwork(Path(path), manifest)


@for_python
def open_network(path: str | Path) -> ReferenceNetwork:
    """Open a trained reference network.

    Parameters
    ----------
    path
        The network's folder.

    Returns
    -------
    ReferenceNetwork
        The network.

    Raises
    ------
    InputError
        If PyTorch is not installed, or there is no network, or it is damaged or of another version.
    """
    check_path("path", path, "the path of a network")
    check_local(path, "a network to read")
    check_installed()
    from ..networks.bundle import read

    return ReferenceNetwork(Path(path), read(Path(path)).manifest)


def as_rate(rate: Any) -> float | None:
    """A learning rate as Python's number; None stays None."""
    return None if rate is None else float(rate)


def check_installed(modules: Sequence[str] = ("torch", "safetensors")) -> None:
    """Raise InputError if PyTorch or safetensors is not installed, or cannot be imported."""
    for module in modules:
        extras.check_installed(module)
        try:
            import_module(module)
        except Exception as error:  # a broken library raises OSError, RuntimeError and others
            reason = message_of(error, 200).rstrip(".")
            raise InputError(
                f"{module} cannot be imported: {reason}; reinstall it with pip install "
                f"--force-reinstall {module}."
            ) from None
