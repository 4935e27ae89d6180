"""Manifests as somebody hostile would write them are refused in a sentence, and harm nothing."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from conftest import Result

import pcam_features as pcam
from pcam_features.api.run_record import KEY, RECORD, VERSION, RunRecord
from pcam_features.cli import show
from pcam_features.errors import InputError
from pcam_features.storage import costs
from pcam_features.storage.sums import SUM, sealed
from pcam_features.store.store import open_store
from pcam_features.words import is_one_line

# As they stand in a file: numbers without end, of another kind, too large to compute with; text that
# fakes a heading, steers a terminal or is none; objects and lists where there are none, and deep ones.
HOSTILE = (
    *("1e999", "-1e999", "NaN", "Infinity", "null", "true", "-1", "0", "0.5", "1e308", "1e-320"),
    *("123456789012345678901234567890", "9" * 5000, '""', '"text"', '"1"', '"../../etc/passwd"'),
    *('"\\ud800"', '"a\\n# Not a heading"', '"\\u001b[2J"', '"\\u202e"', '"' + "x" * 100_000 + '"'),
    *("[]", "{}", "[1e999]", '{"a": NaN}', "[" * 50 + "]" * 50, '{"a":' * 50 + "1" + "}" * 50),
    *('{"\\u001b[2J\\n# a": 1}', '["\\n", {}]', "[[[]]]", '"/dev/zero"', '"synthetic:1000000"'),
)
MARK = "@hostile@"
Place = tuple[str | int, ...]


def places(content: Any, here: Place = ()) -> Iterator[Place]:
    """Every value of a JSON value, itself included.

    Of a list, one value that the seed chooses; of records with the same entries, such as families, two.
    """
    yield here
    if isinstance(content, dict):
        alike: Counter[object] = Counter()
        for name, value in content.items():
            shape: object = frozenset(value) if isinstance(value, dict) and value else name
            alike[shape] += 1
            if alike[shape] <= 2:
                yield from places(value, (*here, name))
    elif isinstance(content, list) and content:
        k = random.Random(str(here)).randrange(len(content))
        yield from places(content[k], (*here, k))


def mutants(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Where the content was changed, and its text, whose own sum fits if it has one.

    What JSON cannot hold has no sum; it is refused before.
    """
    for place in list(places(content))[1:]:
        changed = copy.deepcopy(content)
        parent = changed
        for name in place[:-1]:
            parent = parent[name]
        for value in HOSTILE:
            parent[place[-1]] = MARK
            text = json.dumps(changed).replace(f'"{MARK}"', value)
            if SUM in changed and place != (SUM,):
                text = signed(text)
            yield f"{'.'.join(map(str, place))} = {value[:40]}", text


def signed(text: str) -> str:
    """The text with a sum of its own that fits, or as it is if it cannot have one."""
    try:
        return json.dumps(sealed(json.loads(text)))
    except ValueError:
        return text


def check_sentence(refusal: InputError, where: str) -> None:
    sentence = str(refusal)
    assert sentence.endswith("."), where
    assert is_one_line(sentence), where
    assert len(sentence) < 1500, where


def look_at_model(folder: Path) -> None:
    """Everything of a model that only the manifest decides."""
    from pcam_features.learn.bundle import read_manifest
    from pcam_features.report.card import card

    manifest = read_manifest(folder)
    text = card(manifest)
    assert [line for line in text.split("\n") if line.startswith("#")] == HEADINGS
    assert all(map(is_one_line, text.split("\n")))
    json.dumps(show.public(manifest), allow_nan=False).encode()
    assert json.loads(json.dumps(manifest.to_dict(), allow_nan=False))


def look_at_store(folder: Path) -> None:
    """Everything of a store that only the manifest decides, and one of its tables."""
    store = pcam.open_store(folder)
    assert all(map(is_one_line, repr(store).split("\n")))
    assert is_one_line(unescape(store._repr_html_()).replace("\n", " "))
    assert json.dumps(store.manifest.to_dict(), allow_nan=False).encode()
    for split in store.splits:
        assert len(store.patches(split)) == store.split(split).rows


def look_at_run(folder: Path) -> None:
    record = RunRecord.read(folder)
    json.dumps(record.settings, allow_nan=False)
    seconds, processor = (sum(times.values()) for times in record.times)
    record.with_stage("fit", seconds, processor, {"card.md": "0"})


def look_at_costs(folder: Path) -> None:
    json.dumps(costs.read(folder / costs.FILE).to_dict(), allow_nan=False)


def look_at_measured(folder: Path) -> None:
    seconds = costs.measuring_seconds(folder, ["color"])
    assert seconds is None or 0 < seconds < costs.LARGEST_SECONDS


HEADINGS = [
    "# Model card: classical model fitted with pcam",
    "## Data and protocol",
    "## Out-of-fold scores",
    "## Contribution of each family",
    "## Software",
]
RUN = {
    KEY: VERSION,
    "settings": {"families": ["color"], "sample": None, "folds": 5, "versions": {"python": "3"}},
    "seconds": {"check": 1.5},
    "processor_seconds": {"check": 2},
    "sums": {"check.html": "0"},
}
LOOKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "model": ("manifest.json", look_at_model),
    "store": ("manifest.json", look_at_store),
    "run": (RECORD, look_at_run),
    "costs": (costs.FILE, look_at_costs),
    "measured": (costs.MEASURED, look_at_measured),
}


@pytest.fixture
def folders(store_folder: Path, model_folder: Path, tmp_path: Path) -> dict[str, Path]:
    """A folder that has the file of each of LOOKS."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECORD).write_text(json.dumps(RUN))
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    return {"model": model, "store": store, "run": tmp_path / "run", "costs": model, "measured": store}


@pytest.mark.parametrize("what", LOOKS)
def test_invariant_a_hostile_value_is_refused_in_a_sentence_or_does_no_harm(
    what: str, folders: dict[str, Path]
) -> None:
    """Of every value in the file, each hostile one in its place. Harm is any other exception, a text
    that steers a terminal or fakes a heading, and a number that is none."""
    folder, (name, look) = folders[what], LOOKS[what]
    look(folder)
    refused = tried = 0
    for where, text in mutants(json.loads((folder / name).read_text())):
        (folder / name).write_text(text)
        tried += 1
        try:
            look(folder)
        except InputError as refusal:
            refused += 1
            check_sentence(refusal, where)
        except Exception as error:
            raise AssertionError(f"{what}: {where}: {type(error).__name__}: {error}") from error
    assert tried >= len(HOSTILE)
    assert refused > tried / 2 or what == "measured"  # damaged timings count as unknown


@pytest.mark.parametrize("what", ["model", "store"])
def test_invariant_commands_refuse_hostile_manifests_with_one_line(
    what: str, folders: dict[str, Path], pcam: Callable[..., Result], tmp_path: Path
) -> None:
    """Of twenty draws with a seed: exit code 0, or 1 or 2 with one line and no file written."""
    manifest = folders[what] / "manifest.json"
    drawn = random.Random(7).sample(list(mutants(json.loads(manifest.read_text()))), 20)
    first = open_store(folders["store"]).patches("test")["id"][0]
    commands = (
        ("predict", folders["model"], folders["store"], tmp_path / "out.csv", "--threads", 1),
        ("explain", folders["model"], folders["store"], "--id", first),
    )
    for number, (where, text) in enumerate(drawn):
        manifest.write_text(text)
        result = pcam(*commands[number % 2])
        errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert result.code in (0, 1, 2), where
        assert len(errors) == (result.code != 0), (where, result.err)
        assert "Traceback" not in result.err, where
        assert result.code == 0 or not (tmp_path / "out.csv").exists(), where
        (tmp_path / "out.csv").unlink(missing_ok=True)
