"""A link in a store, an unfinished model or a run of a stranger leads nobody out of it."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path

import pytest

from campaign.harness import (
    REFUSED,
    TOTALS,
    Command,
    Place,
    Server,
    skip_slow,
    state,
    trials,
)

WRITERS = ("extract", "fit", "run", "unpack")
READERS = ("model", "store")
SHARE = {"fit": 0.08, "run": 0.08}
LEAST = {"run": 1, "fit": 1}  # trials; of the others three
TRANSIENT = ("lock", "plan.json", "steps", "steps/pages", "steps/at_random.npy", "search.sqlite")
LINKS = ("to a file", "to a folder", "to a copy", "to nothing")


def begin(place: Place, command: Command) -> None:
    """Bring the folder to a state with something left to do, as a stranger could give it."""
    if command.name == "extract":
        assert place.run(command.old).code == 0
        next((place.folder / "out").glob("train/color/*")).unlink()
    elif command.name == "unpack":
        assert place.run(command.old).code == 0
        for file in (place.folder / "out").glob("*.h5"):
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    else:
        calls = len(place.run(command.old).calls)
        place.clean()
        place.run(command.old, at=calls // 2, fault="before")


def writer(name: str, commands: dict[str, Command]) -> Command:
    """A command that writes below a folder that was there before."""
    if name != "unpack":
        return commands[name]
    _, source, _, *small = commands["extract"].old
    convert = ("convert", source, "@out", "--to", "hdf5")
    return Command("unpack", convert, ("extract", "@out", "@features", *small), overwrite=())


def places_for_links(place: Place, command: Command) -> list[str]:
    """The paths at which a link is tried: all that are there, and those that are made for a while."""
    found = [name for name in state(place.folder) if "/" in name]
    roots = {name.split("/")[0] for name in found}
    more = [f"{root}/{name}" for root in roots for name in TRANSIENT]
    if command.name == "unpack":
        more = [name.removesuffix(".gz") for name in found if name.endswith(".gz")]
    whole = [name for name in place.kept(f"{command.name}-whole") if "/" in name]
    later = [name.replace("out/", f"{root}/", 1) for root in roots for name in whole]
    unfinished = ["out.unfinished"] if command.name == "fit" else []
    return sorted({*found, *more, *later, *unfinished})


def plant(path: Path, outside: Path, how: str) -> None:
    """Replace a file or folder, or put beside others, a link to what is outside."""
    shutil.rmtree(outside, ignore_errors=True)
    (outside / "folder").mkdir(parents=True)
    (outside / "folder" / "thesis.txt").write_text("years of work")
    (outside / "file").write_text("years of work")
    target = outside / how.rsplit(maxsplit=1)[-1]
    if how == "to a copy":
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True)
        elif path.is_file():
            shutil.copy(path, target)
        else:
            target.write_text("{}")
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def tried(place: Place, command: Command, numbers: random.Random) -> tuple[str, str | None]:
    """Plant one link and run the command; returns what it was, and what went wrong."""
    place.clean(f"{command.name}-begun")
    name = numbers.choice(places_for_links(place, command))
    how = numbers.choice(LINKS)
    outside = place.folder.with_name("outside")
    plant(place.folder / name, outside, how)
    words = command.new if command.name == "unpack" else command.old
    if numbers.random() < 0.3:
        words = (*words, *command.overwrite)
    before = state(outside)
    ended = place.run(words)
    changed = state(outside)
    what = f"{command.name}, link {how} at {name}, {words[-1]}"
    if changed != before:
        names = [one for one in before | changed if before.get(one) != changed.get(one)]
        return what, f"outside, {', '.join(names)} changed"
    return what, ended.problem()


@pytest.mark.parametrize("name", WRITERS)
def test_invariant_nothing_is_written_through_a_link(
    name: str, place: Place, commands: dict[str, Command]
) -> None:
    kind = f"links: {name}"
    skip_slow(kind, name)
    command = writer(name, commands)
    whole = command.new if name == "unpack" else command.old
    place.make(f"{name}-begun", lambda: begin(place, command))
    place.make(f"{name}-whole", lambda: finish(place, command, whole))
    for numbers in trials(kind, SHARE.get(name, 0.04), least=LEAST.get(name, 3)):
        TOTALS.record(kind, *tried(place, command, numbers))
    TOTALS.check(kind)


def finish(place: Place, command: Command, words: tuple[object, ...]) -> None:
    place.clean(f"{command.name}-begun")
    ended = place.run(words)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("what", READERS)
def test_invariant_nothing_is_read_through_a_link_that_leads_out(
    what: str, place: Place, models: Path, server: Server
) -> None:
    def given() -> None:
        shutil.copytree(models / "first", place.folder / "model")
        shutil.copytree(models / "store", place.folder / "store")

    place.make("readers", given)
    kind, out = f"links read: {what}", place.folder / "p.csv"
    for numbers in trials(kind, 0.02, least=2):
        place.clean("readers")
        names = sorted(name for name in state(place.folder) if name.startswith(f"{what}/"))
        name = numbers.choice(names)
        plant(place.folder / name, place.folder.with_name("outside"), "to a copy")
        ended = server("predict", place.folder / "model", place.folder / "store", out)
        problem = ended.problem()
        refused = ended.code == REFUSED and "leads out of" in ended.err and not out.exists()
        if problem is None and not refused:
            problem = f"it was read; exit code {ended.code}: {ended.err[-300:]}"
        TOTALS.record(kind, f"predict, link at {name}", problem)
    TOTALS.check(kind)
