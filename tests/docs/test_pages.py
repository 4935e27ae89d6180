"""What the tutorials show is run, block by block, and the site is built without a warning."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result

from pcam_features.convert.synthesize import TEST_LABELS
from pcam_features.sources.detect import open_source
from pcam_features.sources.slides import BESIDE

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Pages whose every block is run, or says why not. SMALL stands for Kaggle's folder.
PAGES = ("README.md", "CONTRIBUTING.md", "docs/start.md", "docs/kaggle.md", "docs/own-data.md")
SMALL = ("synth", "data/kaggle", "--patches", 160, "--slides", 8)


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and why it is not run, if it is not."""

    language: str
    text: str
    reason: str | None

    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(found["language"], found["text"], found["reason"]) for found in BLOCK.finditer(text)]


def readers_own(folder: str) -> dict[str, object]:
    """What a reader of the examples in Python has: images, labels, slides and predictions."""
    source, _ = open_source(folder)
    truth = pd.read_csv(f"{folder}/{TEST_LABELS}").set_index("id")["label"]
    slides = pd.read_csv(f"{folder}/{BESIDE}").set_index("id")["slide"]
    noise = np.random.default_rng(0).random((2, len(truth)))
    p1, p2 = (pd.Series(0.4 * truth + 0.6 * one, truth.index) for one in noise)
    images = source.splits["train"].read(0, 8)
    return {"images": images, "truth": truth, "slides": slides, "p1": p1, "p2": p2}


@pytest.mark.parametrize("page", PAGES)
def test_mechanics_the_blocks_of_a_page_run(
    page: str, pcam: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    if "data/kaggle" in (ROOT / page).read_text(encoding="utf-8"):
        assert pcam(*SMALL).code == 0
        names = readers_own("data/kaggle")
    for block in (block for block in blocks(page) if block.reason is None):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)  # our own page
            continue
        assert block.language == "sh", f"{page}: {block.language}"
        for command, *words in block.commands():
            assert command == "pcam", f"{page}: {command}"
            result = pcam(*words)
            assert result.code == 0, f"{page}: pcam {' '.join(words)}: {result.err}"


def test_mechanics_every_page_shows_only_commands_that_there_are(pcam: Run) -> None:
    known = {
        found[1]
        for found in re.finditer(r"^## `pcam ([\w-]+)", (ROOT / "docs/commands.md").read_text(), re.M)
    }
    for page in ("README.md", *(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))):
        indented = re.findall(r"^ {4}pcam ([\w-]+)", (ROOT / page).read_text(), re.MULTILINE)
        fenced = [
            words[1]
            for block in blocks(page)
            if block.language == "sh"
            for words in block.commands()
            if words[0] == "pcam"
        ]
        assert {*indented, *fenced} - {"--install-completion"} <= known, page


def test_mechanics_the_reference_of_commands_is_current(tmp_path: Path) -> None:
    pinned = re.search(r"^typer==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    if version("typer") != pinned[1]:
        pytest.skip(f"the reference is written by typer {pinned[1]}")
    made = tmp_path / "commands.md"
    words = ("-m", "typer", "pcam_features.cli.main", "utils", "docs", "--name", "pcam")
    subprocess.run(
        [sys.executable, *words, "--title", "Commands", "--output", str(made)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    current = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8") == current, "run make docs"


def test_mechanics_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra dev brings MkDocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {page.stem for page in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= pages
    for page in (tmp_path / "site").glob("*.html"):
        loaded = re.findall(
            r'(?:src|href)="(https?:[^"]*)"[^>]*(?:stylesheet|script)', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded[0]}"
