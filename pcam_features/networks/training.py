"""Trains a network: augmentation by flips, rotations and stain jitter, a cosine schedule, mixed
precision on CUDA, early stopping on the held-out fold, and checkpoints.

All random numbers are determined by the seed and the number of the step. A run that was interrupted
and continued therefore ends with the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..errors import InputError, PcamError
from ..evaluate.intervals import auc
from ..sources.source import Split
from ..storage.fields import Fields
from ..storage.files import whole_file
from .architectures import Recipe
from .augment import at_random
from .bundle import read_tensors
from .feed import batches, normalized, to_light
from .manifest import Epoch, TrainingOptions
from .predict import probabilities

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 120
WARM_UP = 0.05  # share of the steps in which the learning rate rises from zero
STEP_STREAM, EPOCH_STREAM = 1, 2  # separate streams of random numbers


@dataclass
class State:
    """The progress of training: steps done, the summed loss of the current epoch, the finished epochs,
    the state of the gradient scaler, and the weights of the best epoch."""

    step: int = 0
    loss: float = 0.0
    curve: list[Epoch] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    def best_epoch(self) -> int:
        """The index of the epoch with the highest AUC, or -1 before the first epoch has ended."""
        aucs = [epoch.auc for epoch in self.curve]
        return int(np.argmax(aucs)) if aucs else -1


class Trainer:
    """A network with its optimizer."""

    def __init__(self, network: nn.Module, recipe: Recipe, how: TrainingOptions) -> None:
        self.network, self.recipe, self.how = network, recipe, how
        kernels = [one for one in network.parameters() if one.dim() > 1]
        others = [one for one in network.parameters() if one.dim() <= 1]
        groups = [
            {"params": kernels, "weight_decay": recipe.decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = recipe.optimizer(groups, lr=how.rate or recipe.rate)
        half = how.device == "cuda" and not torch.cuda.is_bf16_supported()
        self.dtype = torch.float16 if half else torch.bfloat16
        self.scaler = torch.amp.GradScaler(how.device, enabled=half)

    def step(self, pixels: np.ndarray, labels: np.ndarray, number: int, total: int) -> float:
        """Train on one batch; returns its mean loss."""
        self.network.train()
        how = self.how
        torch.manual_seed(int(np.random.SeedSequence([how.seed, number]).generate_state(1)[0]))
        rng = np.random.default_rng([how.seed, STEP_STREAM, number])
        for group in self.optimizer.param_groups:
            group["lr"] = (how.rate or self.recipe.rate) * schedule(number, total)
        light = at_random(to_light(pixels, how.device), rng)
        truth = torch.from_numpy(labels.astype(np.int64)).to(how.device)
        with torch.autocast(how.device, dtype=self.dtype, enabled=how.device == "cuda"):
            loss = nn.functional.cross_entropy(self.network(normalized(light, self.recipe)), truth)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return float(loss.item())

    def save(self, file: Path, state: State) -> None:
        """Write a checkpoint, a file in a folder of the unfinished network."""
        tensors = {f"network.{name}": one for name, one in self.network.state_dict().items()}
        tensors |= {f"best.{name}": one for name, one in state.best.items()}
        for number, held in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": one for name, one in held.items()}
        content = {
            "step": state.step,
            "loss": state.loss,
            "curve": [asdict(epoch) for epoch in state.curve],
            "scaler": self.scaler.state_dict(),
        }
        with whole_file(file, file.parent.parent) as temporary:
            whole = {name: one.detach().contiguous() for name, one in tensors.items()}
            save_file(whole, temporary, metadata={"state": json.dumps(content)})

    def load(self, file: Path, per_epoch: int) -> State:
        """Continue from a checkpoint. Raises InputError if it is damaged."""
        try:
            return self._load(file, per_epoch)
        except (InputError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise InputError(
                f"{file} is damaged ({reason}); remove {file.parent.parent} to start again."
            ) from None

    def _load(self, file: Path, per_epoch: int) -> State:
        with safe_open(file, "pt") as opened:
            known = Fields(json.loads(opened.metadata()["state"]))
        curve = [Epoch.from_fields(epoch) for epoch in known.items("curve")]
        scaler = dict(known.child("scaler").content)
        state = State(known.whole("step"), known.number("loss"), curve, scaler)
        tensors = read_tensors(file)

        def under(start: str) -> dict[str, torch.Tensor]:
            found = {n.removeprefix(start): one for n, one in tensors.items() if n.startswith(start)}
            return {name: one.to(self.how.device) for name, one in found.items()}

        self.network.load_state_dict(under("network."))
        state.best = under("best.")
        check_state(state, per_epoch, self.how, set(self.network.state_dict()))
        fresh = self.optimizer.state_dict()
        held: dict[int, dict[str, torch.Tensor]] = {}
        for name, one in under("optimizer.").items():
            number, _, key = name.partition(".")
            held.setdefault(int(number), {})[key] = one.cpu() if key == "step" else one
        shapes = [one.shape for group in self.optimizer.param_groups for one in group["params"]]
        if [len(held.get(k, {})) for k in range(len(shapes))] != [3] * len(shapes):
            raise ValueError("its optimizer state is incomplete")
        if any(
            held[k]["exp_avg"].shape != s or held[k]["exp_avg_sq"].shape != s
            for k, s in enumerate(shapes)
        ):
            raise ValueError("its optimizer state belongs to another network")
        self.optimizer.load_state_dict({"state": held, "param_groups": fresh["param_groups"]})
        self.scaler.load_state_dict(state.scaler)
        return state


def check_state(state: State, per_epoch: int, how: TrainingOptions, names: set[str]) -> None:
    """Raise ValueError if a state is inconsistent."""
    epochs = len(state.curve)
    steps = epochs * per_epoch <= state.step < (epochs + 1) * per_epoch
    if not steps or epochs > how.epochs:
        raise ValueError("its learning curve and its number of steps do not match")
    if set(state.best) != (names if epochs else set()):
        raise ValueError("the weights of its best epoch are incomplete")


def schedule(step: int, total: int) -> float:
    """The factor of the learning rate at a step: linear warm-up, then cosine decay.

    Examples
    --------
    >>> [round(schedule(step, 100), 2) for step in (0, 4, 50, 99)]
    [0.2, 1.0, 0.5, 0.0]
    """
    warm = max(1.0, WARM_UP * total)
    return min(1.0, (step + 1) / warm) * (1 + cos(pi * step / total)) / 2


def rows_of_steps(
    rows: np.ndarray, how: TrainingOptions, first: int, per_epoch: int
) -> Iterator[np.ndarray]:
    """Yield the rows of each step from step `first` on, shuffled for each epoch."""
    for epoch in range(first // per_epoch, how.epochs):
        order = np.random.default_rng([how.seed, EPOCH_STREAM, epoch]).permutation(rows)
        steps = np.array_split(order, per_epoch)  # sizes differ by at most one
        yield from steps[first - epoch * per_epoch :] if epoch == first // per_epoch else steps


def train(
    trainer: Trainer,
    split: Split,
    labels: np.ndarray,
    learned: np.ndarray,
    held: np.ndarray,
    checkpoint: Path,
    progress: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[State, float]:
    """Train a network, and leave it with the weights of the best epoch.

    Parameters
    ----------
    trainer
        The network and its optimizer.
    split, labels
        The patches, and 0 or 1 for each.
    learned, held
        The rows to train on, and the rows to score each epoch on.
    checkpoint
        The file to continue from, and to save to.
    progress
        Called with the number of steps done since the last call.
    say
        Called with a message after each epoch.

    Returns
    -------
    state
        The state at the end.
    rate
        Training throughput in patches per second.

    Raises
    ------
    PcamError
        If the loss or a prediction is not finite.
    """
    how, network = trainer.how, trainer.network
    per_epoch = -(-len(learned) // how.batch)
    total = per_epoch * how.epochs
    state = trainer.load(checkpoint, per_epoch) if checkpoint.is_file() else State()
    progress(state.step)
    patches, seconds, saved = 0, 0.0, time.monotonic()
    todo = rows_of_steps(learned, how, state.step, per_epoch)
    order = rows_of_steps(learned, how, state.step, per_epoch)
    if is_over(state, how):
        todo = order = iter(())
    for rows, pixels in zip(order, batches(split, todo), strict=True):
        began = time.monotonic()
        loss = trainer.step(pixels, labels[rows], state.step, total)
        if not isfinite(loss):
            raise PcamError(f"the loss became {loss} at step {state.step:,}; use a lower --rate.")
        patches, seconds = patches + len(rows), seconds + time.monotonic() - began
        state.step += 1
        state.loss += loss * len(rows)
        progress(1)
        over = False
        if state.step % per_epoch == 0:
            score_epoch(state, trainer, split, labels, held, len(learned))
            last = state.curve[-1]
            say(
                f"epoch {len(state.curve)} of {how.epochs}: training loss {last.loss:.4f}, "
                f"held-out AUC {last.auc:.4f}"
            )
            over = is_over(state, how)
        if over or state.step % per_epoch == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
            trainer.save(checkpoint, state)
            saved = time.monotonic()
        if over:
            if state.step < total:
                progress(total - state.step)
            break
    network.load_state_dict(state.best)
    return state, patches / seconds if seconds else 0.0


def is_over(state: State, how: TrainingOptions) -> bool:
    """Whether all epochs are done, or `patience` epochs passed without improvement."""
    epochs = len(state.curve)
    return epochs >= how.epochs or epochs - 1 - state.best_epoch() >= how.patience


def score_epoch(
    state: State, trainer: Trainer, split: Split, labels: np.ndarray, held: np.ndarray, count: int
) -> None:
    """Add the epoch that has just ended to the curve; keep its weights if it is the best so far."""
    network, how = trainer.network, trainer.how
    scores = probabilities(network, trainer.recipe, split, held, how.device, views=1)
    if not np.isfinite(scores).all():
        raise PcamError("the network's predictions became non-finite; use a lower --rate.")
    state.curve.append(Epoch(state.loss / count, auc(labels[held], scores)))
    state.loss = 0.0
    if state.best_epoch() == len(state.curve) - 1:
        state.best = {name: one.detach().clone() for name, one in network.state_dict().items()}
