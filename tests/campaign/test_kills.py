"""A command that is killed at a system call, or whose call fails, leaves the old or the new whole.

The next run of the command ends as one that nothing happened to, and leaves nothing else behind.
"""

from __future__ import annotations

import random

import pytest

from campaign.harness import (
    KILLED,
    TOTALS,
    Command,
    Place,
    skip_slow,
    state,
    trials,
    without_leftovers,
)

NAMES = ("synth", "convert", "extract", "fit", "deep fit", "run", "predict")
SHARE = {"run": 0.15, "fit": 0.12}  # of the campaign's time; the others are faster
LEAST = {"run": 1, "fit": 1, "deep fit": 1}  # trials; of the others three
GUESS = 150  # calls of a command whose calls were not counted yet
LAST = 25  # calls at the end of a command, when a folder gets its name
FAULTS = ("before", "before", "after", "after", "ENOSPC", "EIO")


COUNTED: dict[tuple[str, bool], int] = {}  # the counted calls of a command, from nothing or not


def prepare(place: Place, command: Command) -> None:
    """Keep the states before and after the command."""
    for name, words in (("old", command.old), ("new", command.new)):
        place.make(f"{command.name}-{name}", lambda words=words: succeed(place, words))


def succeed(place: Place, words: tuple[object, ...]) -> None:
    ended = place.run(words)
    assert ended.code == 0, ended.err


def words_of(command: Command, start: str | None) -> tuple[object, ...]:
    return command.new if start is None else (*command.new, *command.overwrite)


def trial(place: Place, command: Command, numbers: random.Random) -> tuple[str, str | None]:
    """Try one fault; returns what it was, and what went wrong."""
    old, new = (place.kept(f"{command.name}-{name}") for name in ("old", "new"))
    start = numbers.choice([f"{command.name}-old"] * 3 + [None])
    exchange = numbers.random() < 0.7
    key, fault = (command.name, start is None), numbers.choice(FAULTS)
    last, late = COUNTED.get(key, GUESS), numbers.random() < 0.5
    at = numbers.randint(max(1, last - LAST) if late else 1, last)
    place.clean(start)
    ended = place.run(words_of(command, start), at=at, fault=fault, exchange=exchange)
    if len(ended.calls) < at:  # it ended before
        COUNTED[key] = len(ended.calls)
        return trial(place, command, numbers)
    swap = "" if exchange else ", names cannot be exchanged"
    where = ended.calls[at - 1]
    what = f"{command.name} from {start or 'nothing'}, {fault} at call {at}, {where}{swap}"
    problem = None if ended.code == KILLED else ended.problem()
    return what, problem or after(place, command, start, old, new, exchange)


def after(
    place: Place,
    command: Command,
    start: str | None,
    old: dict[str, str],
    new: dict[str, str],
    exchange: bool,
) -> str | None:
    """What is wrong with what a fault left, and with the next run."""
    there = (place.folder / command.result).exists()
    found = result_in(state(place.folder), command)
    whole = without(found, command) in (result_in(old, command), result_in(new, command))
    if start is not None and not whole and (there or exchange):
        return f"neither the old nor the new is whole: {differing(found, old, new)}"
    if start is None and there and not whole and not command.partly:
        return f"what appeared is not whole: {differing(found, old, new)}"
    if start is not None and not there:
        place.run(command.old)
        if without(result_in(state(place.folder), command), command) != result_in(old, command):
            return "the old was not restored by the next run"
    again = place.run(words_of(command, start))
    if again.code != 0 and not (start is None and whole and "exists already" in again.err):
        return f"the next run ended with {again.code}: {again.err[-400:]}"
    if state(place.folder) != new:
        return f"the next run left something else: {differing(state(place.folder), new, new)}"
    return None


def result_in(found: dict[str, str], command: Command) -> dict[str, str]:
    """The part of a state that is the command's result."""
    name = command.result
    return {path: one for path, one in found.items() if path == name or path.startswith(f"{name}/")}


def without(found: dict[str, str], command: Command) -> dict[str, str]:
    """A result without what the next run removes."""
    start = f"{command.result}/"
    inner = {path.removeprefix(start): one for path, one in found.items() if path.startswith(start)}
    kept = {start + path for path in without_leftovers(inner)}
    return {path: one for path, one in found.items() if path in kept or path == command.result}


def differing(found: dict[str, str], old: dict[str, str], new: dict[str, str]) -> str:
    names = [
        name for name in found | old | new if found.get(name) not in (old.get(name), new.get(name))
    ]
    return f"{', '.join(names[:5])}; there are {', '.join(list(found)[:8])}"


@pytest.mark.parametrize("name", NAMES)
def test_invariant_the_old_or_the_new_is_whole_after_a_kill(
    name: str, place: Place, commands: dict[str, Command], request: pytest.FixtureRequest
) -> None:
    kind = f"kills and errors: {name}"
    skip_slow(kind, name)
    if name == "predict":
        request.getfixturevalue("models")
    prepare(place, commands[name])
    for numbers in trials(kind, SHARE.get(name, 0.07), least=LEAST.get(name, 3)):
        TOTALS.record(kind, *trial(place, commands[name], numbers))
    TOTALS.check(kind)
