"""Progress of long calls: a bar in a terminal or a notebook, a callback, or nothing."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

Advance = Callable[[int], None]
# Opens a display for work of so many units: (title, total, unit) -> what is told of units done.
Display = Callable[[str, int, str], AbstractContextManager[Advance]]
Progress = Callable[[int], None] | Literal["bar"] | None

SECONDS = 0.25  # between two updates in a notebook


class Reporter:
    """A display of the caller's own, given as `progress`; the command line has one.

    Parameters
    ----------
    display
        Called with a title, the number of units and what a unit is.
    """

    def __init__(self, display: Display) -> None:
        self.display = display

    def __call__(self, done: int) -> None:
        """Nothing: progress is told to what `display` yields."""


def in_mebibytes(display: Display) -> Display:
    """A display whose units are MiB where those of the work are bytes; a negative count takes back."""

    @contextmanager
    def shifted(title: str, total: int, unit: str) -> Iterator[Advance]:
        shift = 20 if unit == "bytes" else 0
        finished = 0
        with display(title, total >> shift, "MiB" if shift else unit) as advance:

            def count(done: int) -> None:
                nonlocal finished
                before, finished = finished >> shift, finished + done
                if (finished >> shift) != before:  # 0 would mean that the work starts now
                    advance((finished >> shift) - before)

            yield count

    return shifted


@contextmanager
def shown(progress: Progress, title: str, total: int, unit: str) -> Iterator[Advance]:
    """Show progress as the caller wants it; see `display_of`."""
    with display_of(progress)(title, total, unit) as advance:
        yield advance


def display_of(progress: Progress) -> Display:
    """The display for a function's argument `progress`.

    Parameters
    ----------
    progress
        "bar" is a bar in a terminal or a notebook, and nothing elsewhere. None is nothing. A function
        is called with the number of units done, and with 0 when the work begins.
    """
    if isinstance(progress, Reporter):
        return progress.display
    if callable(progress):
        return called(progress)
    if progress == "bar" and in_main_thread():
        if in_notebook():
            return notebook_bar
        if sys.stderr is not None and sys.stderr.isatty():
            return terminal_bar
    return nothing


def in_main_thread() -> bool:
    """Whether this is the main thread of the main process: others' bars would run into each other."""
    main = threading.current_thread() is threading.main_thread()
    return main and multiprocessing.current_process().name == "MainProcess"


def in_notebook() -> bool:
    """Whether the interpreter is a notebook's kernel."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def called(function: Callable[[int], None]) -> Display:
    """A display that is the caller's function."""

    @contextmanager
    def display(title: str, total: int, unit: str) -> Iterator[Advance]:
        yield function

    return display


@contextmanager
def nothing(title: str, total: int, unit: str) -> Iterator[Advance]:
    """Show nothing."""
    yield lambda done: None


@contextmanager
def terminal_bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    """A bar on stderr, removed at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.advance(task, done) if done else bar.reset(task)


@contextmanager
def notebook_bar(title: str, total: int, unit: str) -> Iterator[Advance]:
    """A bar below a notebook's cell, removed at the end."""
    from IPython.display import HTML, display

    def bar(done: int) -> Any:
        return HTML(
            f"<div>{title} <progress value='{done}' max='{total}'></progress> "
            f"{done:,} of {total:,} {unit}</div>"
        )

    handle = display(bar(0), display_id=True)
    finished, updated = 0, time.monotonic()

    def advance(done: int) -> None:
        nonlocal finished, updated
        finished += done
        if time.monotonic() - updated >= SECONDS:
            updated = time.monotonic()
            handle.update(bar(finished))

    try:
        yield advance
    finally:
        handle.update(HTML(""))
