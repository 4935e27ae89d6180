"""What is not installed is named with the line to type, and the rest works without it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from pcam_features import extras
from pcam_features.errors import InputError

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("checkout", "prefix", "expected"),
    [
        (Path("/home/me/pcam"), "/usr", "pip install -e '/home/me/pcam[cnn]'"),
        (None, "/home/me/project/.venv", "pip install 'pcam-features[cnn]'"),
        (
            None,
            "/home/me/.local/share/pipx/venvs/pcam-features",
            "pipx install --force 'pcam-features[cnn]'",
        ),
        (
            None,
            "/home/me/.local/share/uv/tools/pcam-features",
            "uv tool install 'pcam-features[cnn]'",
        ),
    ],
)
def test_mechanics_an_extra_is_installed_as_pcam_was(
    checkout: Path | None, prefix: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "_checkout", lambda: checkout)
    monkeypatch.setattr(sys, "prefix", prefix)
    assert extras.how_to_install("cnn") == expected


def test_mechanics_a_module_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.check_installed("onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        InputError, match=r"^an embedding needs onnx, which is not installed; run .*\[cnn\]'\.$"
    ):
        extras.check_installed("onnx", "an embedding")


@pytest.mark.parametrize(
    ("hidden", "words", "named"),
    [
        ("onnx", ("extract", "synthetic:8:4", "store", "--families", "cnn"), "[cnn]"),
        ("openvino", ("extract", "synthetic:8:4", "store", "--families", "cnn"), "[cnn]"),
    ],
)
def test_mechanics_a_command_says_which_extra_it_lacks(
    hidden: str,
    words: tuple[str, ...],
    named: str,
    pcam: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, hidden, None)
    result = pcam(*words)
    assert result.code == 2
    assert f"needs {hidden}, which is not installed; run" in result.err
    assert named in result.err
    assert not (tmp_path / "store").exists()


def test_mechanics_the_core_works_without_extras(tmp_path: Path) -> None:
    steps = (
        ("extract", "synthetic:160:8", "store", "--families", "color,stain"),
        ("fit", "store", "model", "--folds", "3"),
        ("predict", "model", "store", "new.csv"),
        ("compare", "truth.csv", "new.csv", "--report", "report.html"),
    )
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name.partition('.')[0] in {tuple(extras.EXTRAS)!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "import pandas\n"
        "from pcam_features.__main__ import main\n"
        f"for words in {steps!r}:\n"
        "    if words[0] == 'compare':\n"
        "        patches = pandas.read_parquet('store/test/patches')\n"
        "        patches[['id', 'label']].to_csv('truth.csv', index=False)\n"
        "    sys.argv = ['pcam', *words]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code, words\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "report.html").exists()
