"""The doctor finds healthy families healthy, and a wrong number wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_features.diagnostics import doctor
from pcam_features.engine import cpu
from pcam_features.engine.devices import cuda_problem
from pcam_features.families.registry import FAMILIES


def test_mechanics_every_family_passes_here(pcam: Any) -> None:
    result = pcam("doctor", "--device", "cpu", "--json")
    found = {check["name"]: check["verdict"] for check in json.loads(result.out)}
    assert result.code == 0
    names = [*FAMILIES, "cnn"]
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
