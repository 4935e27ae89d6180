"""The command line answers at once, shows an example everywhere, and runs on real patches."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Result

import pcam_features
from pcam_features.cli.main import app
from pcam_features.families.registry import FAMILIES

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    command.callback.__name__.replace("_", "-")
    for command in app.registered_commands
    if command.callback
)
HEAVY = (
    "numpy",
    "pandas",
    "numba",
    "xgboost",
    "sklearn",
    "scipy",
    "skimage",
    "cv2",
    "tifffile",
    "pyarrow",
    "joblib",
    "onnx",
    "onnxruntime",
    "openvino",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_mechanics_every_command_has_help_and_an_example(command: str, pcam: Run) -> None:
    result = pcam(command, "--help")
    assert result.code == 0
    assert f"Example: pcam {command}" in " ".join(result.out.split())


def test_mechanics_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert f"pcam {command}" in readme, command


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_mechanics_nothing_heavy_is_imported_to_answer(option: str) -> None:
    code = (
        "import sys\nfrom pcam_features.cli.main import main\n"
        f"sys.argv = ['pcam', {option!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_mechanics_runs_from_a_checkout_and_as_a_module(pcam: Run) -> None:
    expected = f"pcam {pcam_features.__version__}\n"
    assert pcam("--version").out == expected
    for command in (["cli.py"], ["-m", "pcam_features"]):
        done = subprocess.run(
            [sys.executable, *command, "--version"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == expected


def test_mechanics_usage_errors_exit_with_2(pcam: Run) -> None:
    for words in (
        ("extract",),
        ("fit", "a", "b", "--folds", "1"),
        ("nonsense",),
        ("extract", "a", "b", "--device", "tpu"),
    ):
        assert pcam(*words).code == 2


def test_mechanics_demo_goes_all_the_way(pcam: Run, tmp_path: Path) -> None:
    for _ in range(2):  # a second demo replaces the first
        result = pcam("demo", tmp_path / "demo", "--patches", 120)
        assert result.code == 0, result.err
    for command in ("synth", "extract", "fit", "predict", "explain", "submit", "compare"):
        assert f"$ pcam {command}" in result.err
    assert "stack − color" in result.out
    assert (tmp_path / "demo" / "report.html").stat().st_size > 4_000_000
    assert "no faults" in result.out
    assert (tmp_path / "demo" / "check.html").stat().st_size > 4_000_000
    assert len(pd.read_csv(tmp_path / "demo" / "submission.csv")) == 30
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'<a href="([^"#]+)"', page)
    assert linked == ["report.html", "explanation.html", "check.html", "submission.csv"]
    assert all((tmp_path / "demo" / name).is_file() for name in linked)
    verdict = next(line for line in result.err.splitlines() if " has the highest AUC" in line)
    assert f'<p class="lead">{verdict[:40]}' in page


def test_mechanics_bench_says_which_library_is_missing(
    pcam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pcam_features.diagnostics.reference.color", None)
    result = pcam("bench", "synthetic:16:4", "--patches", 16, "--repeats", 3)
    assert result.code == 2
    assert "pcam_features.diagnostics.reference.color" in result.err


def test_mechanics_bench_prints_ratios(pcam: Run, synthetic_folder: Path) -> None:
    words = ("--patches", 16, "--repeats", 3, "--only", "families", "--json")
    report = json.loads(pcam("bench", synthetic_folder, *words).out)
    assert "reading" not in report
    assert {row["family"] for row in report["families"]} == set(FAMILIES)
    for row in [*report["families"], report["total"]]:
        assert row["ratio"] == pytest.approx(row["library_ms_per_patch"] / row["ms_per_patch"])


@pytest.mark.real
def test_mechanics_the_road_on_real_kaggle_patches(
    kaggle_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    features, model, out = tmp_path / "features", tmp_path / "model", tmp_path / "submission.csv"
    slides = kaggle_folder / "slides.csv"
    result = pcam("extract", kaggle_folder, features, "--slides", slides, "--verify")
    assert result.code == 0
    assert "known for 597" in result.err
    result = pcam("fit", features, model, "--families", "color,lbp", "--json")
    assert result.code == 0
    report = json.loads(result.out)
    assert report["out_of_fold_auc"]["combined"]["value"] > 0.85
    assert "unknown slide" in report["folds"]["protocol"]
    sample = kaggle_folder / "sample_submission.csv"
    assert pcam("submit", model, features, out, "--sample", sample).code == 0
    ids = pd.read_csv(sample)["id"].tolist()
    assert len(ids) == 501
    assert pd.read_csv(out)["id"].tolist() == ids
