"""What is damaged on the disk gives the same answer or a refusal, never a different answer.

One file of a store, a model or an unfinished fit is damaged: a bit is flipped, bytes are lost, added,
zeroed or exchanged, a digit is changed, or a file of the same name of another store or model is put in
its place. Then a command reads it. What a refusal advises is done, and must work.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from campaign.harness import SEED, TOTALS, Ended, Place, Server, state, trials
from pcam_features.storage.sums import MANIFEST

SMALL = ("--families", "color", "--threads", 1)
BLOCK = 64  # bytes that are zeroed or exchanged
DIGITS = b"0123456789"
LEFT = ("lock", "measured.json")  # files that no answer depends on


def flipped(content: bytes, numbers: random.Random) -> bytes:
    """One bit."""
    place, bit = numbers.randrange(len(content)), numbers.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def cut(content: bytes, numbers: random.Random) -> bytes:
    """The end is lost."""
    return content[: numbers.randrange(len(content))]


def grown(content: bytes, numbers: random.Random) -> bytes:
    """Bytes are added."""
    return content + numbers.randbytes(numbers.randrange(1, BLOCK))


def zeroed(content: bytes, numbers: random.Random) -> bytes:
    """A block is zero, as after a power failure."""
    place = numbers.randrange(len(content))
    return content[:place] + bytes(len(content[place : place + BLOCK])) + content[place + BLOCK :]


def exchanged(content: bytes, numbers: random.Random) -> bytes:
    """Two blocks have changed places."""
    blocks = [content[k : k + BLOCK] for k in range(0, len(content), BLOCK)]
    one, other = numbers.randrange(len(blocks)), numbers.randrange(len(blocks))
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


def other_digit(content: bytes, numbers: random.Random) -> bytes:
    """A digit of a text is another."""
    places = [place for place, byte in enumerate(content) if byte in DIGITS]
    if not places:
        return flipped(content, numbers)
    place = numbers.choice(places)
    digit = numbers.choice([byte for byte in DIGITS if byte != content[place]])
    return content[:place] + bytes([digit]) + content[place + 1 :]


BINARY = (flipped, flipped, flipped, flipped, cut, grown, zeroed, exchanged)
TEXT = (flipped, flipped, other_digit, other_digit, cut, exchanged)


def damage(file: Path, numbers: random.Random) -> str:
    """Damage a file; returns how."""
    content = file.read_bytes()
    ways = TEXT if file.suffix in (".json", ".sum") else BINARY
    how = numbers.choice(ways if content else (grown,))
    file.write_bytes(how(content, numbers))
    return how.__name__


@dataclass(frozen=True)
class Question:
    """A command whose answer is known.

    Parameters
    ----------
    words
        The command.
    written
        The file that it writes; None if it prints its answer.
    """

    words: tuple[object, ...]
    written: str | None = None

    def asked(self, place: Place) -> tuple[Ended, bytes]:
        """How the command ended, and its answer."""
        ended = place.run(self.words)
        file = None if self.written is None else place.folder / self.written
        answer = ended.out.encode() if file is None else b""
        if file is not None and file.exists():
            answer = file.read_bytes()
            file.unlink()
        return ended, answer


PREDICT = ("predict", "@model", "@store", "@out.csv", "--threads", 1, "--split")
QUESTIONS = {
    "predict test": Question((*PREDICT, "test"), "out.csv"),
    "predict train": Question((*PREDICT, "train"), "out.csv"),
    "submit": Question(("submit", "@model", "@store", "@out.csv", "--split", "test"), "out.csv"),
    "explain": Question(("explain", "@model", "@store", "--id", "@@id", "--json")),
    "model": Question(("model", "@model", "--json")),
    "folds": Question(
        ("fit", "@store", "@again", *SMALL, "--folds-from", "@model"), "again/out_of_fold.parquet"
    ),
}
OF_STORE = ("predict test", "predict test", "predict train", "explain")
OF_MODEL = ("predict test", "predict train", "submit", "explain", "model", "folds")
SELDOM = "folds"  # it takes as long as all others


@dataclass(frozen=True)
class Scene:
    """Folders to damage, and the answers of questions while they are whole."""

    place: Place
    source: Path
    other_store: Path
    other_model: Path
    answers: dict[str, bytes]
    questions: dict[str, Question]

    def ask(self, name: str) -> tuple[Ended, str | None]:
        """Ask a question; returns how it ended, and what is wrong with the answer."""
        shutil.rmtree(self.place.folder / "again", ignore_errors=True)
        shutil.rmtree(self.place.folder / "again.unfinished", ignore_errors=True)
        ended, answer = self.questions[name].asked(self.place)
        problem = ended.problem()
        if problem is None and ended.code == 0 and answer != self.answers[name]:
            problem = "a different answer"
        if problem is None and ended.code != 0 and answer:
            problem = "an answer beside the refusal"
        return ended, problem


@pytest.fixture(scope="module")
def scene(server: Server, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("corruption")
    place = Place(folder / "place", folder / "kept", server)
    # Another store with the same ids: the pixels of each patch are those of the next.
    source, turned = models / "one", folder / "turned"
    shutil.copytree(source, turned)
    for split in ("train", "test"):
        files = sorted((source / split).iterdir())
        for file, other in zip(files, files[1:] + files[:1], strict=True):
            shutil.copyfile(other, turned / split / file.name)
    server.make("extract", turned, folder / "other", *SMALL, "--copies", 0)
    server.make("fit", folder / "other", folder / "other_model", *SMALL, "--folds", 3)
    place.make("whole", lambda: fill(place, models))
    patch = next(iter(sorted((source / "test").iterdir()))).stem
    questions = {
        name: Question(
            tuple(patch if word == "@@id" else word for word in question.words), question.written
        )
        for name, question in QUESTIONS.items()
    }
    answers = {}
    for name, question in questions.items():
        place.clean("whole")
        ended, answers[name] = question.asked(place)
        assert ended.code == 0, ended.err
        assert answers[name]
    return Scene(place, source, folder / "other", folder / "other_model", answers, questions)


def fill(place: Place, inputs: Path) -> None:
    shutil.copytree(inputs / "store", place.folder / "store")
    shutil.copytree(inputs / "first", place.folder / "model")


def files_in(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name not in LEFT]


def spoil(scene: Scene, inside: str, other: Path, numbers: random.Random) -> tuple[str, Path]:
    """Damage a file of a folder of the place, or exchange it with the same of another."""
    folder = scene.place.folder / inside
    file = numbers.choice(files_in(folder))
    name = file.relative_to(folder)
    if numbers.random() < 0.15 and (other / name).is_file():
        shutil.copyfile(other / name, file)
        return f"{inside}/{name} of another", file
    return f"{inside}/{name} {damage(file, numbers)}", file


def undiagnosed(scene: Scene, inside: str, file: Path) -> str | None:
    """What is wrong with the diagnosis of a damaged file; None if `pcam doctor` finds it.

    If the manifest is that of another, the files that it does not fit are found instead.
    """
    folder = scene.place.folder / inside
    found = scene.place.run(("doctor", f"@{inside}"))
    name = str(file.relative_to(folder))
    if found.code == 1 and (name in found.out or (name == MANIFEST and "damaged  " in found.out)):
        return None
    return f"doctor does not find it: {found.code} {found.out[-200:]} {found.err[-200:]}"


def store_trial(scene: Scene, numbers: random.Random) -> tuple[str, str | None]:
    """Damage a store, ask, and do what is advised."""
    scene.place.clean("whole")
    what, file = spoil(scene, "store", scene.other_store, numbers)
    name = numbers.choice(OF_STORE)
    ended, problem = scene.ask(name)
    if problem is None and ended.code != 0:
        problem = mend(scene, name, ended, file)
    return f"{what}, {name}", problem


def mend(scene: Scene, name: str, ended: Ended, file: Path) -> str | None:
    """Do what a refusal of a damaged store advises; returns what is wrong with what came of it."""
    missed = undiagnosed(scene, "store", file)
    if missed:
        return missed
    words: tuple[object, ...] = ("extract", scene.source, "@store", *SMALL, "--copies", 0)
    if "--overwrite" in ended.err:
        words = (*words, "--overwrite")
    elif "run pcam extract again" not in ended.err:
        return f"it does not say what to do: {ended.err[-300:]}"
    advised = scene.place.run(words)
    if advised.code != 0:
        return f"the advice does not work: {advised.code} {advised.err[-300:]}"
    again, problem = scene.ask(name)
    if problem is None and again.code != 0:
        problem = f"the advice did not help: {again.err[-300:]}"
    return problem


def model_trial(scene: Scene, numbers: random.Random) -> tuple[str, str | None]:
    """Damage a model, and ask."""
    scene.place.clean("whole")
    what, file = spoil(scene, "model", scene.other_model, numbers)
    name = numbers.choice(OF_MODEL)
    if name == SELDOM and numbers.random() < 0.7:
        name = OF_MODEL[0]
    ended, problem = scene.ask(name)
    if problem is None and ended.code != 0:
        problem = undiagnosed(scene, "model", file)
    return f"{what}, {name}", problem


FIT = ("fit", "@store", "@new", *SMALL, "--folds", 3)


def begin_fits(scene: Scene) -> tuple[dict[str, str], list[str]]:
    """Keep a fit that was killed late, one in the middle, and the files of the model it ends in."""
    place = scene.place
    place.clean("whole")
    calls = len(place.run(FIT).calls)
    whole = {name: one for name, one in state(place.folder).items() if name.startswith("new/")}
    names = []
    for share in (0.5, 0.75, 0.95):
        name = f"unfinished at {share}"
        place.clean("whole")
        place.run(FIT, at=int(calls * share), fault="before")
        if (place.folder / "new.unfinished").is_dir():
            place.store(name)
            names.append(name)
    return whole, names


def step_trial(
    scene: Scene, whole: dict[str, str], begun: list[str], numbers: random.Random
) -> tuple[str, str | None]:
    """Damage an unfinished fit, and go on with it."""
    start = numbers.choice(begun)
    scene.place.clean(start)
    folder = scene.place.folder / "new.unfinished"
    file = numbers.choice([f for f in files_in(folder) if f.stat().st_size])
    what = f"{start}, {file.relative_to(folder)} {damage(file, numbers)}"
    ended = scene.place.run(FIT)
    problem = ended.problem()
    if problem is None and ended.code == 0:
        found = state(scene.place.folder)
        different = sorted(name for name, one in whole.items() if found.get(name) != one)
        problem = f"a different model: {', '.join(different)}" if different else None
    if problem is None and ended.code != 0:
        again = scene.place.run((*FIT, "--overwrite"))
        if again.code != 0 and folder.name not in ended.err:
            problem = f"it does not say what to do: {ended.err[-300:]}"
    return what, problem


Trial = Callable[[random.Random], tuple[str, str | None]]


def run_trials(kind: str, share: float, least: int, trial: Trial) -> None:
    for numbers in trials(kind, share, least):
        TOTALS.record(kind, *trial(numbers))
    TOTALS.check(kind)


def test_invariant_a_damaged_store_gives_the_same_answer_or_none(scene: Scene) -> None:
    run_trials("corruption: store", 0.1, 8, lambda numbers: store_trial(scene, numbers))


def test_invariant_a_damaged_model_gives_the_same_answer_or_none(scene: Scene) -> None:
    run_trials("corruption: model", 0.1, 8, lambda numbers: model_trial(scene, numbers))


def test_invariant_a_fit_goes_on_from_damage_to_the_same_model_or_none(scene: Scene) -> None:
    whole, begun = begin_fits(scene)
    assert begun

    def trial(numbers: random.Random) -> tuple[str, str | None]:
        return step_trial(scene, whole, begun, numbers)

    run_trials("corruption: unfinished fit", 0.1, 4, trial)


@pytest.mark.parametrize("how", sorted({*BINARY, *TEXT}, key=lambda how: how.__name__))
def test_mechanics_damage_is_done(how: Callable[[bytes, random.Random], bytes]) -> None:
    content = random.Random(SEED).randbytes(500) + b"123"
    assert any(how(content, random.Random(seed)) != content for seed in range(5))


def test_mechanics_files_of_two_stores_can_be_exchanged(scene: Scene) -> None:
    """Both stores have the same ids and files of the same names, but other values."""
    scene.place.clean("whole")
    names = {str(f.relative_to(scene.other_store)) for f in files_in(scene.other_store)}
    assert names == {
        str(f.relative_to(scene.place.folder / "store")) for f in files_in(scene.place.folder / "store")
    }
    for name, same in (("train/patches", True), ("train/color", False)):
        part = Path(name) / "part-00000.parquet"
        first = (scene.place.folder / "store" / part).read_bytes()
        assert (first == (scene.other_store / part).read_bytes()) is same
