"""Little memory and other text encodings: one sentence or the same answer, and nothing half-written."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pandas as pd
import pytest

from campaign.harness import TOTALS, Command, Ended, Place, Server, trials
from campaign.test_kills import after, prepare, words_of

LEAST, MOST = 20, 31  # memory that a command may take beside what it begins with, as powers of two
NAMES = ("convert", "extract", "fit", "predict")
ENCODINGS = ("ascii", "latin-1", "cp1252", "cp437", "koi8-r", "cp1251")  # of one byte a character
STRANGE = "Größe → 数据 é"


def short_of_memory(place: Place, command: Command, numbers: random.Random) -> tuple[str, str | None]:
    """Run a command that may take so much memory; returns how much, and what went wrong."""
    old, new = (place.kept(f"{command.name}-{name}") for name in ("old", "new"))
    start = numbers.choice([f"{command.name}-old", None])
    memory = int(2 ** numbers.uniform(LEAST, MOST))
    place.clean(start)
    ended = place.run(words_of(command, start), memory=memory)
    what = f"{command.name} from {start or 'nothing'}, {memory:,} bytes"
    return what, ended.problem() or after(place, command, start, old, new, True)


@pytest.mark.parametrize("name", NAMES)
def test_invariant_little_memory_spoils_nothing(
    name: str, place: Place, commands: dict[str, Command], request: pytest.FixtureRequest
) -> None:
    kind = "little memory"
    if sys.platform != "linux":
        TOTALS.skipped[kind] = "memory is limited on Linux alone"
        pytest.skip(TOTALS.skipped[kind])
    if name == "predict":
        request.getfixturevalue("models")
    prepare(place, commands[name])
    for numbers in trials(f"{kind}: {name}", 0.01, least=2):
        TOTALS.record(kind, *short_of_memory(place, commands[name], numbers))
    TOTALS.check(kind)


@pytest.fixture(scope="module")
def readers(models: Path, server: Server) -> list[tuple[object, ...]]:
    """Commands that print, with names of many alphabets."""
    table = pd.read_parquet(models / "store" / "train" / "patches")
    table[["id", "label"]].to_csv(models / f"{STRANGE}.csv", index=False)
    for name in ("first", "second"):
        words = ("predict", models / name, models / "store", models / f"{name}.csv")
        server.make(*words, "--split", "train")
    given = [f"{STRANGE}={models / 'first.csv'}", models / "second.csv"]
    return [
        ("compare", models / f"{STRANGE}.csv", *given, "--resamples", 100),
        ("compare", models / f"{STRANGE}.csv", *given, "--resamples", 100, "--json"),
        ("model", models / "first"),
        ("features", "color"),
        ("check", models / "one"),
        ("check", models / STRANGE),
    ]


def letters(ended: Ended) -> str:
    """What was printed, as far as every encoding has it."""
    return "".join(c for c in ended.out if c.isascii() and c.isalnum())


def test_invariant_other_encodings_of_the_output_change_no_answer(
    server: Server, readers: list[tuple[object, ...]]
) -> None:
    kind = "encodings"
    for numbers in trials(kind, 0.02, least=6):
        words, encoding = numbers.choice(readers), numbers.choice(ENCODINGS)
        plain, other = server(*words), server(*words, encoding=encoding)
        problem = other.problem()
        if problem is None and (other.code, letters(other)) != (plain.code, letters(plain)):
            problem = f"it ended with {other.code} and not {plain.code}, or printed something else"
        TOTALS.record(kind, f"{words[0]} in {encoding}", problem)
    TOTALS.check(kind)
