"""The one who prints. Stdout is data, stderr is progress and messages."""

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

QUIET_SECONDS = 10  # between two lines of progress where stderr is not a terminal


def say(message: str) -> None:
    """Strangers' files and servers may have a word in it: nothing that steers a terminal is printed."""
    print(printable(message), file=sys.stderr, flush=True)


def error(message: str) -> None:
    say("error: " + message.replace("\n", " "))


def printable(text: str) -> str:
    """A text without anything that steers a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)


def data(text: str) -> None:
    print(text, flush=True)


def as_json(content: Any) -> None:
    data(json.dumps(content, indent=2, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], text: bool = False) -> None:
    """A table on stdout: the first column to the left, the others to the right, unless they are
    text, which stands to the left and may go over several lines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD)
    for k, column in enumerate(columns):
        left = k == 0 or text
        made.add_column(column, justify="left" if left else "right", no_wrap=k == 0 or not text)
    for row in rows:
        made.add_row(*map(printable, row))
    console = Console(emoji=False, highlight=False, markup=False)
    if not text:  # a number is never cut: a line that is too long goes over two
        unbound = Console(emoji=False, highlight=False, markup=False, width=1000)
        console = Console(
            emoji=False,
            highlight=False,
            markup=False,
            width=max(console.width, unbound.measure(made).maximum),
        )
    elif not console.is_terminal:  # a pipe has no width that a table would have to fit
        console = Console(emoji=False, highlight=False, markup=False, width=200)
    console.print(made)


def picture(pixels: Any) -> None:
    """A small picture, uint8 (rows, columns, 3), in half blocks; nothing where stdout is no terminal
    that shows colors."""
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
def stops_at_once(message: str) -> Iterator[None]:
    """Ctrl-C ends the process with a message: inside XGBoost's calls back to Python an exception is
    lost, or breaks what calls. Only for work that is kept as it is done."""

    def stop(number: int, frame: object) -> None:
        if sys.stderr.isatty():
            print("\x1b[?25h", end="", file=sys.stderr)  # a progress bar hides the cursor
        say(f"\n{message}")
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # where nobody can ask for it
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Progress with time left: a bar on a terminal, now and then a line elsewhere.

    It is told of units as they are done; 0 says that the work begins only now.
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
            say(f"{title}: {finished:,} of {total:,} {unit}, about {left:.0f} s left")

    yield advance
    say(f"{title}: {finished:,} {unit} in {time.monotonic() - started:.1f} s")


@contextmanager
def bytes_or_units(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Progress, where bytes are told as such and shown in MiB; fewer of them are taken back."""
    shift = 20 if unit == "bytes" else 0
    finished = 0
    with progress(title, total >> shift, "MiB" if shift else unit) as advance:

        def count(done: int) -> None:
            nonlocal finished
            before, finished = finished >> shift, finished + done
            if (finished >> shift) != before:  # 0 would say that the work begins only now
                advance((finished >> shift) - before)

        yield count
