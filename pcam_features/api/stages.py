"""One display of progress for several calls in a row, each of which would show its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .progress import Advance, Progress, Reporter, shown

PERCENT = 100


class Stages:
    """Progress over stages of known weight, in percent of the whole.

    Parameters
    ----------
    weights
        The weight of each stage that is left, in order: its estimated seconds.
    advance
        Told how many percent have been done since the last call.
    """

    def __init__(self, weights: Mapping[str, float], advance: Advance) -> None:
        self.weights, self.advance = dict(weights), advance
        self.finished: list[str] = []
        self.told = 0

    def within(self, stage: str) -> Progress:
        """What to hand to the calls of a stage as `progress`.

        The units of all its calls count alike: of each, their share of its total is the share of the
        stage that is done. So a stage should have one call that takes long.
        """

        @contextmanager
        def display(title: str, total: int, unit: str) -> Iterator[Advance]:
            done = 0

            def count(units: int) -> None:
                nonlocal done
                done += units
                self._tell(stage, done / total if total else 1)

            yield count

        return Reporter(display)

    def finish(self, stage: str) -> None:
        """A stage has ended."""
        self._tell(stage, 1)
        self.finished.append(stage)

    def _tell(self, stage: str, share: float) -> None:
        """Tell what is new. Progress never goes back, as a second call of a stage would make it."""
        whole = sum(self.weights.values()) or 1
        weight = sum(self.weights[name] for name in self.finished)
        weight += self.weights[stage] * min(share, 1)
        percent = int(PERCENT * weight / whole + 1e-9)
        if percent > self.told:
            self.advance(percent - self.told)
            self.told = percent


@contextmanager
def staged(progress: Progress, title: str, weights: Mapping[str, float]) -> Iterator[Stages]:
    """Show one progress for stages, as `progress.shown` does for one call."""
    with shown(progress, title, PERCENT, "%") as advance:
        yield Stages(weights, advance)
