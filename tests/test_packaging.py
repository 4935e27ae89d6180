"""What is built: the sdist has what git has, and the wheel what users need."""

from __future__ import annotations

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import pcam_features

ROOT = Path(__file__).parents[1]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Files for those who work in the checkout, not for those who package a release.
OF_THE_CHECKOUT = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")


def test_invariant_the_sdist_has_every_file_that_git_has() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    included = CONFIGURATION["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    patterns = [pattern.removeprefix("/") for pattern in included]
    left_out = [
        name
        for name in listed.stdout.splitlines()
        if not name.startswith(OF_THE_CHECKOUT)
        and not any(
            fnmatch(name, pattern)
            if "*" in pattern
            else name == pattern or name.startswith(f"{pattern}/")
            for pattern in patterns
        )
    ]
    assert left_out == []


def test_invariant_the_package_is_typed_and_licensed() -> None:
    package = ROOT / CONFIGURATION["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"][0]
    assert (package / "py.typed").is_file()
    for name in CONFIGURATION["project"]["license-files"]:
        assert (ROOT / name).is_file()


def test_parity_the_citation_has_the_version_of_the_package() -> None:
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {pcam_features.__version__}\n" in cited
