"""What a caller sees of a training while it runs: steps, sentences, and logs for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..words import counted
from .manifest import Epoch

TOLD_SECONDS = 60  # between two sentences within an epoch


@dataclass
class Pace:
    """The patches that this process has trained on, and the seconds that this took."""

    patches: int = 0
    seconds: float = 0.0

    def add(self, patches: int, seconds: float) -> None:
        self.patches, self.seconds = self.patches + patches, self.seconds + seconds

    def per_second(self) -> float:
        """Patches per second; 0 before the first."""
        return self.patches / self.seconds if self.seconds else 0.0


def check_logs(folder: Path | None) -> None:
    """Raise InputError if TensorBoard's logs cannot be written to this folder; None asks for none."""
    if folder is None:
        return
    if find_spec("tensorboard") is None:
        raise InputError(
            "--log-dir needs the package tensorboard, which is not installed; run pip install "
            "tensorboard, or leave out --log-dir."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--log-dir {folder} is a file; choose a folder.")


def nothing(_: Any) -> None:
    """Show nothing."""


class Watch:
    """Shows the progress of a training.

    Parameters
    ----------
    progress
        Called with the number of steps done since the last call.
    say
        Called with sentences: how long an epoch takes, and how far the training is.
    log_dir
        The folder for TensorBoard's logs; None writes none.
    """

    def __init__(
        self,
        progress: Callable[[int], None] = nothing,
        say: Callable[[str], None] = nothing,
        log_dir: Path | None = None,
    ) -> None:
        self.progress, self.say, self.log_dir = progress, say, log_dir
        self.step_number = self.per_epoch = self.epochs = 0
        self.told = time.monotonic()
        self.writer: Any = None

    def begin(self, step: int, per_epoch: int, epochs: int) -> None:
        """Training continues after `step` steps. Raises InputError if logs cannot be written."""
        self.step_number, self.per_epoch, self.epochs = step, per_epoch, epochs
        self.told = time.monotonic()
        if self.log_dir is not None:
            from torch.utils.tensorboard import SummaryWriter

            try:
                # Steps that an interrupted training had logged after its last checkpoint are dropped.
                self.writer = SummaryWriter(str(self.log_dir), purge_step=step + 1)
            except OSError as error:
                raise InputError(
                    f"--log-dir {self.log_dir} cannot be written: {error.strerror}; choose another."
                ) from None
        self.progress(step)

    def step(self, number: int, loss: float, rate: float) -> None:
        """Step `number` is done, with this loss and learning rate."""
        self.step_number = number
        self.progress(1)
        self.log({"loss/step": loss, "rate": rate})

    def is_due(self) -> bool:
        """Whether it is time for a sentence within an epoch."""
        return time.monotonic() - self.told > TOLD_SECONDS

    def within(self, share: float, auc: float | None, pace: Pace) -> None:
        """A share of an epoch is done; its patches so far have this AUC."""
        self.told = time.monotonic()
        known = "" if auc is None else f", training AUC so far {auc:.4f}"
        number = self.step_number // self.per_epoch + 1
        self.say(
            f"epoch {number} of {self.epochs}, {share:.0%} done: {pace.per_second():,.1f} patches/s"
            f"{known}"
        )
        self.log({"patches_per_second": pace.per_second()})

    def epoch(self, number: int, epoch: Epoch, pace: Pace) -> None:
        """An epoch has ended."""
        self.told = time.monotonic()
        self.say(
            f"epoch {number} of {self.epochs}: {pace.per_second():,.1f} patches/s, training loss "
            f"{epoch.loss:.4f}, training AUC {epoch.training_auc:.4f}, held-out AUC {epoch.auc:.4f}"
        )
        self.log(
            {
                "loss/epoch": epoch.loss,
                "auc/training": epoch.training_auc,
                "auc/held_out": epoch.auc,
                "patches_per_second": pace.per_second(),
            }
        )

    def predicting(self, patches: int) -> Callable[[int], None]:
        """What is told of held-out patches as they are predicted: a sentence is due now and then."""
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if self.is_due():
                self.told = time.monotonic()
                self.say(f"{done / patches:.0%} of {counted(patches, 'held-out patch')} predicted")

        return tell

    def end(self, left: int) -> None:
        """Training has ended, with `left` steps not needed."""
        if left:
            self.progress(left)
        if self.writer is not None:
            self.writer.close()

    def log(self, values: dict[str, float]) -> None:
        """Write values of the last step for TensorBoard, if asked to."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, self.step_number)
