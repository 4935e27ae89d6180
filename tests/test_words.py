"""A word that depends on a number has the form that the number asks for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pcam_features.check.check import check
from pcam_features.cli import console
from pcam_features.constants import Adapt
from pcam_features.learn.adapt import Adaptation
from pcam_features.sources import synthetic
from pcam_features.words import counted, form, of_units, plural

PACKAGE = Path(__file__).parents[1] / "pcam_features"
BOTH_FORMS = re.compile(r"[a-z]\((s|es|ies)\)(?!\?)")  # a question mark: a regular expression


def texts() -> Iterator[tuple[Path, str]]:
    """Every literal text of the package that is neither a docstring nor the text of a feature."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name in ("families", "reference"):
            continue  # formulas: sums over p(s)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value


def test_invariant_no_message_leaves_the_form_of_a_word_open() -> None:
    assert not [(path.name, text) for path, text in texts() if BOTH_FORMS.search(text)]
    assert BOTH_FORMS.search("3 patch(es)")


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("patch", "patches"),
        ("near-duplicate", "near-duplicates"),
        ("pseudo-slide", "pseudo-slides"),
        ("family", "families"),
        ("day", "days"),
        ("class", "classes"),
        ("box", "boxes"),
        ("file", "files"),
    ],
)
def test_oracle_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many
    assert counted(1, noun) == of_units(1, many) == f"1 {noun}"
    assert counted(1200, noun) == of_units(1200, many) == f"1,200 {many}"
    assert counted(0, noun) == of_units(0, many) == f"0 {many}"


def test_mechanics_one_is_one_of_any_kind_of_number() -> None:
    assert form(np.int64(1), "is", "are") == "is"
    assert counted(np.int64(1), "slide") == "1 slide"


def test_regression_progress_of_one_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("extract", 1, "patches") as advance:
        advance(1)
    assert capsys.readouterr().err.startswith("extract: 1 patch in ")


def test_regression_a_finding_on_one_patch() -> None:
    source = synthetic.open_source("synthetic:40:8:1")
    split = source.splits["train"]
    pixels = split.read(0, 40)
    pixels[3] = 255
    changed = type(split)(**vars(split) | {"read": lambda start, stop: pixels[start:stop]})
    result = check(source, [changed])
    (blank,) = [finding for finding in result.findings if finding.what == "blank"]
    assert blank.says.startswith("1 patch of train is blank")
    assert result.verdict.startswith("40 patches checked")


def test_regression_an_adaptation_of_one_patch() -> None:
    assert Adaptation(Adapt.whole, 1, 1).sentence() == "1 patch adapted to the split"
    assert Adaptation(Adapt.slide, 2, 400).sentence() == "400 patches adapted to each of 2 slides"
