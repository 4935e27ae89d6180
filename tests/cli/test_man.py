"""The manual pages: one for each command, in the formatter's language."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pcam_features.cli import man

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return man.write(tmp_path_factory.mktemp("man"))


def test_parity_the_pages_are_those_of_the_reference_of_commands(written: list[Path]) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    commands = re.findall(r"^#{1,3} `(pcam[^`]*)`$", reference, re.MULTILINE)
    assert len(commands) > 20
    assert {page.stem for page in written} == {"pcam", *(name.replace(" ", "-") for name in commands)}


def test_parity_a_page_has_every_option_of_the_reference(written: list[Path]) -> None:
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    section = reference.partition("## `pcam compare`")[2].partition("\n## ")[0]
    options = set(re.findall(r"^\* `(--[\w-]+)", section, re.MULTILINE))
    page = next(page for page in written if page.stem == "pcam-compare").read_text(encoding="utf-8")
    shown = {
        found.replace("\\", "") for found in re.findall(r"^\.B .*?(\\-\\-[\w\\-]+)", page, re.MULTILINE)
    }
    assert len(options) > 10
    assert shown == options


def test_oracle_the_formatter_finds_no_fault(written: list[Path]) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for page in written:
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "-P-cbou", str(page)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stderr == "", page.name
        assert "SYNOPSIS" in done.stdout


def test_invariant_no_text_is_an_instruction() -> None:
    assert man.roff(".SH a\n'b \\fB c-d") == "\\&.SH a\n\\&'b \\efB c\\-d"
