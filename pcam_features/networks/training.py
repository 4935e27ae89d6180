"""Trains a network: augmentation by flips, rotations and stain jitter, a cosine schedule, mixed
precision on CUDA, early stopping on the held-out fold, and checkpoints. A network that is fine-tuned
has a lower rate below its head, label smoothing, and predicts with a moving average of its weights.

All random numbers are determined by the seed and the number of the step. A run that was interrupted
and continued therefore ends with the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..errors import InputError, PcamError
from ..evaluate.intervals import auc
from ..sources.source import Split
from ..storage.fields import Fields
from ..storage.files import whole_file
from ..words import counted, duration, form, message_of
from .architectures import HEAD_PREFIX, Recipe
from .augment import at_random
from .bundle import read_tensors
from .feed import batches, normalized, to_light
from .manifest import Epoch, TrainingOptions
from .memory import peak_mib
from .predict import ROWS, probabilities
from .watch import Pace, Watch

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 120
WARM_UP = 0.05  # share of the steps in which the learning rate rises from zero
STEP_STREAM, EPOCH_STREAM = 1, 2  # separate streams of random numbers
TRIAL_STEPS = (
    3  # of a copy of the network, to measure how long an epoch takes; the first is not counted
)


@dataclass(frozen=True)
class TrainingData:
    """Patches with their labels, 0 or 1, and the rows to train on and to score each epoch on."""

    split: Split
    labels: np.ndarray
    learned: np.ndarray
    held: np.ndarray

    def steps(self, batch: int) -> int:
        """The number of steps of an epoch."""
        return -(-len(self.learned) // batch)


@dataclass
class State:
    """The progress of training.

    Parameters
    ----------
    step
        How many steps are done.
    loss
        The summed loss of the patches of the current epoch.
    curve
        The finished epochs.
    scaler
        The state of the gradient scaler.
    best
        The weights of the best epoch.
    scores, labels
        The predictions of the current epoch's steps, with the labels.
    """

    step: int = 0
    loss: float = 0.0
    curve: list[Epoch] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    scores: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)

    def best_epoch(self) -> int:
        """The index of the epoch with the highest AUC, or -1 before the first epoch has ended."""
        aucs = [epoch.auc for epoch in self.curve]
        return int(np.argmax(aucs)) if aucs else -1

    def add(self, loss: float, scores: np.ndarray, labels: np.ndarray) -> None:
        """Record a step: its mean loss, and its predictions (n,) and labels (n,)."""
        self.step += 1
        self.loss += loss * len(labels)
        self.scores.append(scores)
        self.labels.append(labels.astype(np.int8))

    def patches(self) -> int:
        """The number of patches of the current epoch that are done."""
        return sum(len(part) for part in self.labels)

    def training_auc(self) -> float | None:
        """The AUC of the current epoch's patches so far; None while they have one class."""
        if not self.labels or np.unique(labels := np.concatenate(self.labels)).size < 2:
            return None
        return auc(labels, np.concatenate(self.scores))


class Trainer:
    """A network with its optimizer and, if its recipe has one, the moving average of its weights."""

    def __init__(self, network: nn.Module, recipe: Recipe, how: TrainingOptions) -> None:
        self.network, self.recipe, self.how = network, recipe, how
        self.optimizer = recipe.optimizer(groups(network, recipe), lr=self.rate)
        self.average = (
            AveragedModel(network, multi_avg_fn=averaging(recipe.averaging), use_buffers=True)
            if recipe.averaging
            else None
        )
        half = how.device == "cuda" and not torch.cuda.is_bf16_supported()
        self.dtype = torch.float16 if half else torch.bfloat16
        self.scaler = torch.amp.GradScaler(how.device, enabled=half)

    @property
    def rate(self) -> float:
        """The highest learning rate."""
        return self.how.rate or self.recipe.rate

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts: the average, or the network itself."""
        return self.network if self.average is None else self.average.module

    def step(
        self, pixels: np.ndarray, labels: np.ndarray, number: int, total: int
    ) -> tuple[float, np.ndarray]:
        """Train on one batch; returns its mean loss, and the probabilities before the step (n,)."""
        self.network.train()
        how = self.how
        torch.manual_seed(int(np.random.SeedSequence([how.seed, number]).generate_state(1)[0]))
        rng = np.random.default_rng([how.seed, STEP_STREAM, number])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["share"] * schedule(number, total)
        light = at_random(to_light(pixels, how.device), rng)
        truth = torch.from_numpy(labels.astype(np.int64)).to(how.device)
        with torch.autocast(how.device, dtype=self.dtype, enabled=how.device == "cuda"):
            found = self.network(normalized(light, self.recipe))
            loss = nn.functional.cross_entropy(found, truth, label_smoothing=self.recipe.smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.network)
        scores = torch.softmax(found.detach().float(), dim=1)[:, 1]
        return float(loss.item()), scores.cpu().numpy()

    def save(self, file: Path, state: State) -> None:
        """Write a checkpoint, a file in a folder of the unfinished network."""
        tensors = {f"network.{name}": one for name, one in self.network.state_dict().items()}
        tensors |= {f"best.{name}": one for name, one in state.best.items()}
        if self.average is not None:
            averaged = self.average.module.state_dict()
            tensors |= {f"average.{name}": one for name, one in averaged.items()}
        for number, held in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": one for name, one in held.items()}
        tensors["epoch.scores"] = torch.from_numpy(joined(state.scores, np.float32))
        tensors["epoch.labels"] = torch.from_numpy(joined(state.labels, np.int8))
        content = {
            "step": state.step,
            "loss": state.loss,
            "curve": [asdict(epoch) for epoch in state.curve],
            "scaler": self.scaler.state_dict(),
        }
        with whole_file(file, file.parent.parent) as temporary:
            whole = {name: one.detach().contiguous() for name, one in tensors.items()}
            save_file(whole, temporary, metadata={"state": json.dumps(content)})

    def load(self, file: Path, patches: int) -> State:
        """Continue from a checkpoint of a training with `patches` an epoch.

        Raises InputError if it is damaged.
        """
        try:
            return self._load(file, patches)
        except (InputError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = message_of(error, 200).rstrip(".")
            raise InputError(
                f"{file} is damaged ({reason}); remove {file.parent.parent} to start again."
            ) from None

    def _load(self, file: Path, patches: int) -> State:
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
        if self.average is not None:
            self.average.module.load_state_dict(under("average."))
            self.average.n_averaged.fill_(state.step)
        state.best = under("best.")
        state.scores = [tensors["epoch.scores"].numpy()]
        state.labels = [tensors["epoch.labels"].numpy()]
        check_state(state, patches, self.how, set(self.network.state_dict()))
        self._load_optimizer(under("optimizer."))
        self.scaler.load_state_dict(state.scaler)
        return state

    def _load_optimizer(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from the optimizer's tensors. Raises ValueError if they are not this network's."""
        held: dict[int, dict[str, torch.Tensor]] = {}
        for name, one in tensors.items():
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
        fresh = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": held, "param_groups": fresh["param_groups"]})


def groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters by their weight decay and by the share of the learning rate that they have."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, one in network.named_parameters():
        decay = recipe.decay if one.dim() > 1 else 0.0
        share = 1.0 if name.startswith(HEAD_PREFIX) else recipe.body_rate
        found.setdefault((decay, share), []).append(one)
    return [
        {"params": own, "weight_decay": decay, "share": share} for (decay, share), own in found.items()
    ]


def averaging(
    decay: float,
) -> Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Any], None]:
    """What moves averages toward tensors, after `done` steps. The first steps count more, because there
    are few before them.

    Examples
    --------
    >>> average = [torch.tensor(0.0), torch.tensor(0.0)]
    >>> averaging(0.99)(average, [torch.tensor(1.0), torch.tensor(2.0)], 8)
    >>> [round(float(one), 2) for one in average]
    [0.5, 1.0]
    """

    def move(averages: Sequence[torch.Tensor], now: Sequence[torch.Tensor], done: Any) -> None:
        share = 1 - min(decay, float((1 + done) / (10 + done)))
        for average, one in zip(averages, now, strict=True):
            if average.is_floating_point():
                average.lerp_(one, share)
            else:  # a count of batches
                average.copy_(one)

    return move


def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    """Arrays (n,) one after the other; empty if there are none."""
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)


def check_state(state: State, patches: int, how: TrainingOptions, names: set[str]) -> None:
    """Raise ValueError if a state is inconsistent, in a training with `patches` an epoch."""
    epochs, per_epoch = len(state.curve), -(-patches // how.batch)
    steps = epochs * per_epoch <= state.step < (epochs + 1) * per_epoch
    if not steps or epochs > how.epochs:
        raise ValueError("its learning curve and its number of steps do not match")
    if set(state.best) != (names if epochs else set()):
        raise ValueError("the weights of its best epoch are incomplete")
    done = sum(
        len(part) for part in np.array_split(np.arange(patches), per_epoch)[: state.step % per_epoch]
    )
    (scores,), (labels,) = state.scores, state.labels
    if scores.shape != (done,) or labels.shape != (done,) or not np.isin(labels, (0, 1)).all():
        raise ValueError("the predictions of its unfinished epoch are incomplete")


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


def train(trainer: Trainer, data: TrainingData, checkpoint: Path, watch: Watch) -> tuple[State, float]:
    """Train a network, and leave it with the weights of the best epoch.

    Parameters
    ----------
    trainer
        The network and its optimizer.
    data
        The patches.
    checkpoint
        The file to continue from, and to save to.
    watch
        Shows the progress.

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
    how, per_epoch = trainer.how, data.steps(trainer.how.batch)
    state = trainer.load(checkpoint, len(data.learned)) if checkpoint.is_file() else State()
    pace, over = Pace(), is_over(state, how)
    if not over:
        watch.say(expectation(trainer, data, len(state.curve)))
    watch.begin(state.step, per_epoch, how.epochs)
    if not over:
        go_on(state, trainer, data, checkpoint, watch, pace)
    watch.end(per_epoch * how.epochs - state.step)
    trainer.network.load_state_dict(state.best)
    return state, pace.per_second()


def go_on(
    state: State,
    trainer: Trainer,
    data: TrainingData,
    checkpoint: Path,
    watch: Watch,
    pace: Pace,
) -> None:
    """Train from a state to the end; see `train`. The state and the pace are changed."""
    how, per_epoch = trainer.how, data.steps(trainer.how.batch)
    total, saved = per_epoch * how.epochs, time.monotonic()
    todo, order = (rows_of_steps(data.learned, how, state.step, per_epoch) for _ in range(2))
    for rows, pixels in zip(order, batches(data.split, todo), strict=True):
        began = time.monotonic()
        labels = data.labels[rows]
        loss, scores = trainer.step(pixels, labels, state.step, total)
        if not isfinite(loss):
            raise PcamError(f"the loss became {loss} at step {state.step:,}; use a lower --rate.")
        pace.add(len(rows), time.monotonic() - began)
        state.add(loss, scores, labels)
        watch.step(state.step, loss, trainer.rate * schedule(state.step - 1, total))
        ended = state.step % per_epoch == 0
        if ended:
            end_epoch(state, trainer, data, watch)
            watch.epoch(len(state.curve), state.curve[-1], pace)
        elif watch.is_due():
            watch.within(state.patches() / len(data.learned), state.training_auc(), pace)
        if ended or time.monotonic() - saved > CHECKPOINT_SECONDS:
            trainer.save(checkpoint, state)
            saved = time.monotonic()
        if ended and is_over(state, how):
            break


def expectation(trainer: Trainer, data: TrainingData, done: int) -> str:
    """A sentence on the time and memory of an epoch here, after `done` epochs, measured with a copy."""
    how, per_epoch = trainer.how, data.steps(trainer.how.batch)
    copy = Trainer(deepcopy(trainer.network), trainer.recipe, how)
    size = min(how.batch, len(data.learned))
    todo = np.resize(data.learned, (TRIAL_STEPS, size))
    began = 0.0
    for number, pixels in enumerate(batches(data.split, todo)):
        copy.step(pixels, data.labels[todo[number]], number, TRIAL_STEPS)
        began = began or time.monotonic()
    step = (time.monotonic() - began) / (TRIAL_STEPS - 1)
    some = data.held[:ROWS]
    began = time.monotonic()
    probabilities(copy.network, copy.recipe, data.split, some, how.device, views=1)
    patch = (time.monotonic() - began) / len(some)
    epoch = per_epoch * step + len(data.held) * patch
    left = how.epochs - done
    peak = peak_mib(how.device)
    memory = "" if peak is None else f"; {peak / 1024:,.1f} GiB of memory used at most so far"
    return (
        f"an epoch takes about {duration(epoch)} here ({counted(per_epoch, 'step')} of "
        f"{counted(size, 'patch')}, then {counted(len(data.held), 'held-out patch')}; measured on "
        f"{counted(TRIAL_STEPS - 1, 'step')}); {left:,} {form(left, 'epoch', 'epochs')} "
        f"{form(left, 'takes', 'take')} at most {duration(left * epoch)}{memory}"
    )


def is_over(state: State, how: TrainingOptions) -> bool:
    """Whether all epochs are done, or `patience` epochs passed without improvement."""
    epochs = len(state.curve)
    return epochs >= how.epochs or epochs - 1 - state.best_epoch() >= how.patience


def end_epoch(state: State, trainer: Trainer, data: TrainingData, watch: Watch) -> None:
    """Add the epoch that has just ended to the curve; keep its weights if it is the best so far."""
    network, how, held = trainer.predictor, trainer.how, data.held
    scores = probabilities(
        network,
        trainer.recipe,
        data.split,
        held,
        how.device,
        views=1,
        progress=watch.predicting(len(held)),
    )
    if not np.isfinite(scores).all():
        raise PcamError("the network's predictions became non-finite; use a lower --rate.")
    training_auc = state.training_auc()
    if training_auc is None:
        raise PcamError("the training patches have only one class; hold out another --fold.")
    held_out_auc = auc(data.labels[held], scores)
    state.curve.append(Epoch(state.loss / len(data.learned), held_out_auc, training_auc))
    state.loss, state.scores, state.labels = 0.0, [], []
    if state.best_epoch() == len(state.curve) - 1:
        state.best = {name: one.detach().clone() for name, one in network.state_dict().items()}
