"""The doctor finds healthy families healthy, and a wrong number wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_features.diagnostics import doctor, models
from pcam_features.engine import cpu
from pcam_features.engine.devices import cuda_problem
from pcam_features.families.registry import FAMILIES
from pcam_features.learn.settings import Compute


def test_mechanics_every_family_and_model_passes_here(pcam: Any, tmp_path: Path) -> None:
    result = pcam("doctor", "--device", "cpu", "--json", "--report", tmp_path / "doctor.md")
    found = {check["name"]: check["verdict"] for check in json.loads(result.out)}
    assert result.code == 0
    names = [*FAMILIES, "cnn", "kernel model", "trees"]
    rows = (tmp_path / "doctor.md").read_text().splitlines()[4:]
    assert [row.split("|")[2].strip() for row in rows] == list(found)
    assert {name: found[name] for name in names} == dict.fromkeys(names, "PASS")


def test_mechanics_embeddings_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from pcam_features.encoders import runtimes

    honest = runtimes.RUNTIMES["onnxruntime"]

    def off(*given: Any, **how: Any) -> Any:
        run = honest(*given, **how)
        return lambda pixels: run(pixels) * np.float32(1.01)

    monkeypatch.setitem(runtimes.RUNTIMES, "onnxruntime", off)
    batch = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    assert doctor.check_embeddings(batch).verdict == doctor.Verdict.FAIL


def test_mechanics_a_missing_card_fails_and_says_why(pcam: Any) -> None:
    if cuda_problem() is None:
        pytest.skip("there is a card here")
    result = pcam("doctor", "--device", "cuda")
    assert result.code == 1
    assert "FAIL  device" in result.out


@pytest.mark.parametrize("wrong", [1.5, np.nan, np.inf])
def test_mechanics_a_wrong_number_is_found(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from pcam_features.diagnostics.reference import lbp

    honest = lbp.features
    columns = FAMILIES["lbp"].columns
    column = columns[7]
    monkeypatch.setattr(lbp, "features", lambda named: honest(named) | {column: wrong})
    batch = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    check = doctor.check_cpu("lbp", batch)
    assert check.verdict == doctor.Verdict.FAIL
    assert f"1 of {len(columns)}" in check.detail
    assert column in check.detail


def test_mechanics_the_card_is_judged_column_by_column() -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    check = doctor.check_card("color", cpu, batch)  # the CPU in the card's place
    assert check.verdict == doctor.Verdict.PASS
    assert f"{len(FAMILIES['color'].columns)} columns equal" in check.detail


def test_mechanics_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "file"))
    check = doctor.check_cache()
    assert check.verdict == doctor.Verdict.FAIL
    assert "PCAM_CACHE_DIR" in check.detail


def test_regression_where_nothing_is_allowed_equal_numbers_agree_and_others_do_not() -> None:
    exact = doctor.Tolerance(rtol=1e-7, atol=0.0)
    zeros = np.zeros(3)
    assert doctor.worst(zeros, zeros, exact) == 0
    assert doctor.worst(np.array([0, 1e-12, 0]), zeros, exact) == np.inf
    assert doctor.worst(np.array([0.0, 2 + 1e-7]), np.array([0.0, 2.0]), exact) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["kernel model", "trees"])
def test_mechanics_models_that_differ_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card that multiplies or splits wrongly; the CPU stands in its place."""
    monkeypatch.setattr(models, "kernel_on", lambda compute: models.Trial(0.5, 1.0, 1.0))
    monkeypatch.setattr(models, "trees_on", lambda compute: models.Trial(float("nan"), 1.0, 1.0))
    found = {check.name: check for check in doctor.check_models("cuda")}
    assert found[name].verdict == doctor.Verdict.FAIL


def test_mechanics_a_library_that_fails_on_the_card_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(compute: Any) -> Any:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(models, "trees_on", fails)
    monkeypatch.setattr(models, "kernel_on", lambda compute: models.Trial(0.0, 1.0, 1.0))
    kernel, trees = doctor.check_models("cuda")
    assert (kernel.verdict, trees.verdict) == (doctor.Verdict.PASS, doctor.Verdict.FAIL)
    assert "RuntimeError: no kernel image is available" in trees.detail


def test_parity_a_device_that_is_the_cpu_has_the_models_of_the_cpu() -> None:
    compute = Compute("cpu", 1, 0)
    assert models.kernel_on(compute).apart == 0
    assert models.trees_on(compute).apart == 0
