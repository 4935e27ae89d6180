"""All printing of the command line: results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import with_urls
from ..words import of_units

QUIET_SECONDS = 10  # between two progress lines when stderr is not a terminal


def say(message: str) -> None:
    """Print a message to stderr. It may quote untrusted input, so control characters are stripped."""
    print(printable(with_urls(message)), file=sys.stderr, flush=True)


def note(message: str) -> None:
    """Print a message to stderr, unless it is empty."""
    if message:
        say(message)


def error(message: str) -> None:
    say("error: " + message.replace("\n", " "))


def printable(text: str) -> str:
    """Replace control characters, which could steer a terminal, by spaces."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def data(text: str) -> None:
    """Print a result to stdout. It may quote untrusted input, so control characters are stripped."""
    print(printable(text), flush=True)


def as_json(content: Any) -> None:
    data(json.dumps(content, indent=2, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], text: bool = False) -> None:
    """Print a table to stdout.

    The first column is left-aligned and the others are right-aligned. With `text`, all columns are
    left-aligned and long cells wrap.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD)
    for k, column in enumerate(columns):
        left = k == 0 or text
        grid.add_column(column, justify="left" if left else "right", no_wrap=k == 0 or not text)
    for row in rows:
        grid.add_row(*map(printable, row))
    console = Console(emoji=False, highlight=False, markup=False)
    if not text:  # never truncate a number: let the terminal wrap a line that is too long
        unbound = Console(emoji=False, highlight=False, markup=False, width=1000)
        console = Console(
            emoji=False,
            highlight=False,
            markup=False,
            width=max(console.width, unbound.measure(grid).maximum),
        )
    elif not console.is_terminal:  # a pipe has no width to fit the table to
        console = Console(emoji=False, highlight=False, markup=False, width=200)
    console.print(grid)


def picture(pixels: Any) -> None:
    """Draw an image, uint8 (rows, columns, 3), with half-block characters.

    Nothing is printed unless stdout is a terminal with at least 256 colors.
    """
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    console = Console()
    if not console.is_terminal or console.color_system not in ("256", "truecolor"):
        return
    for above, below in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        line = Text()
        for (r, g, b), (s, h, c) in zip(above, below, strict=True):
            line.append("▀", Style.parse(f"rgb({r},{g},{b}) on rgb({s},{h},{c})"))
        console.print(line)


@contextmanager
def on_ctrl_c(stop: Callable[[int, Any], None]) -> Iterator[None]:
    """Let Ctrl-C call a function during the block, if this is the main thread: no other can set it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stops_at_once(message: str) -> Iterator[None]:
    """Make Ctrl-C print a message and end the process at once.

    An exception raised inside XGBoost's callbacks into Python is lost or breaks the caller. Use this
    only for work that is saved step by step.
    """

    def stop(number: int, frame: object) -> None:
        if sys.stderr.isatty():
            print("\x1b[?25h", end="", file=sys.stderr)  # a progress bar hides the cursor
        say(f"\n{message}")
        os._exit(128 + number)

    with on_ctrl_c(stop):
        yield


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress and the estimated time left: a bar on a terminal, otherwise a line every
    `QUIET_SECONDS` seconds.

    Yields a function that takes the number of units just finished. 0 means that the work starts now.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        parts = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*parts, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.advance(task, done) if done else bar.reset(task)
        return
    started = spoke = time.monotonic()
    finished = 0

    def advance(done: int) -> None:
        nonlocal finished, started, spoke
        finished += done
        now = time.monotonic()
        if not done:
            started = spoke = now
        if now - spoke >= QUIET_SECONDS and 0 < finished < total:
            spoke = now
            left = (now - started) / finished * (total - finished)
            say(f"{title}: {finished:,} of {of_units(total, unit)}, about {left:.0f} s left")

    yield advance
    say(f"{title}: {of_units(finished, unit)} in {time.monotonic() - started:.1f} s")
