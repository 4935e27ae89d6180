"""A model that answers otherwise than when it was made is refused, whatever the cause."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from signed import manifest_of, seal, sign

from pcam_features.errors import InputError
from pcam_features.learn import boosting, bundle, known_answers
from pcam_features.learn.fit import questions_and_answers
from pcam_features.learn.known_answers import ROWS, TOLERANCE, KnownAnswers
from pcam_features.store.store import open_store
from pcam_features.store.values import stored


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def change_manifest(model: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = manifest_of(model)
    change(content)
    seal(model, content)


def signed(model: Path, file: Path, content: bytes) -> None:
    """Write a file of a model with its sum."""
    file.write_bytes(content)
    sign(model)


def test_regression_trees_whose_base_score_is_read_otherwise_are_refused(copy: Path) -> None:
    """XGBoost 3.0 reads the base score of trees written by 3.1 and later as one half."""
    file = boosting.booster_path(copy, "all")
    booster = xgboost.Booster(model_file=bytearray(file.read_bytes()))
    model = json.loads(booster.save_raw("json"))
    given = model["learner"]["learner_model_param"]
    share = float(given["base_score"].strip("[]"))
    assert abs(share - 0.5) > 0.01
    given["base_score"] = "[5E-1]"
    shifted = xgboost.Booster(model_file=bytearray(json.dumps(model).encode()))
    signed(copy, file, bytes(shifted.save_raw("ubj")))
    moved = abs(np.log(share / (1 - share)))
    with pytest.raises(InputError) as refused:
        bundle.read(copy)
    message = str(refused.value)
    assert "does not answer as when it was fitted" in message
    assert f"all_trees differs by up to {moved:.3g} in log-odds" in message
    assert message.count(". ") == 0


@pytest.mark.parametrize(
    ("entry", "name"), [("intercept", "intercept"), ("calibration", "low"), ("calibration", "shift")]
)
def test_invariant_another_combination_is_refused(entry: str, name: str, copy: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        place = content["stack"] if entry == name else content["stack"][entry]
        place[name] += 0.5

    change_manifest(copy, change)
    with pytest.raises(InputError, match=r"combined differs by up to .* in probability"):
        bundle.read(copy)


def test_oracle_answers_are_those_of_xgboost_and_of_the_stack(
    model_folder: Path, store_folder: Path
) -> None:
    manifest = bundle.read(model_folder).manifest
    answers, store = manifest.known_answers, open_store(store_folder)
    rows = np.linspace(0, manifest.source.rows - 1, ROWS).astype(int)
    features = np.concatenate([store.features("train", f)[rows] for f in manifest.families], axis=1)
    booster = xgboost.Booster(model_file=str(boosting.booster_path(model_folder, "all")))
    expected = booster.predict(xgboost.DMatrix(features), output_margin=True)
    np.testing.assert_allclose(answers.margins["all_trees"], expected, atol=1e-6)
    logits = np.stack([answers.margins[name] for name in manifest.stack.models], axis=1)
    np.testing.assert_allclose(answers.probabilities, manifest.stack.probability(logits))


@pytest.mark.parametrize("processor", ["Prescott", "Haswell"])
def test_invariant_answers_are_those_of_other_processors(processor: str, model_folder: Path) -> None:
    """OpenBLAS has other kernels for each kind of processor, which sum in another order."""
    if platform.machine() != "x86_64":
        pytest.skip(f"{processor} is a kind of x86-64")
    code = (
        "import sys; from pathlib import Path; from pcam_features.learn import bundle\n"
        "from threadpoolctl import threadpool_info\n"
        "bundle.read(Path(sys.argv[1]))\n"
        "print({one.get('architecture') for one in threadpool_info()})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(model_folder)],
        env=os.environ | {"OPENBLAS_CORETYPE": processor},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"'{processor}'" in ended.stdout


def test_mechanics_only_models_with_a_share_are_asked(model_folder: Path, store_folder: Path) -> None:
    opened = bundle.read(model_folder)
    families, stack = opened.families, opened.stack
    values = stored(open_store(store_folder), "train", families, keep=False)
    weights = tuple(float(name == "color_kernel") for name in stack.models)
    rows, answers = questions_and_answers(opened.models, replace(stack, weights=weights), values)
    assert set(answers.margins) == {"color_kernel"}
    assert rows.shape == (ROWS, values.widths["color"])


def test_mechanics_the_message_names_the_libraries_that_differ(tmp_path: Path) -> None:
    known = KnownAnswers({"a": (1.0, 2.0)}, (0.5, 0.5))
    near = KnownAnswers({"a": (1.0, 2.0 + TOLERANCE / 2)}, (0.5, 0.5))
    far = KnownAnswers({"a": (1.0, 2.25)}, (0.5, 0.5))
    fitted = {"xgboost": "3.3.0", "numpy": "2.0.0", "scipy": "\x1b[2J"}
    known_answers.check(tmp_path, known, near, fitted, lambda library: "2.0.0")
    with pytest.raises(InputError) as refused:
        known_answers.check(tmp_path, known, far, fitted, lambda library: "2.0.0")
    assert "a differs by up to 0.25 in log-odds (0.001 is allowed)" in str(refused.value)
    assert "fitted with xgboost 3.3.0 (here: 2.0.0), so install that" in str(refused.value)
    with pytest.raises(InputError, match="run pcam doctor"):
        known_answers.check(tmp_path, known, far, fitted, lambda library: fitted[library])
    endless = KnownAnswers({"a": (1.0, float("nan"))}, (0.5, 0.5))
    with pytest.raises(InputError, match="differs by up to inf"):
        known_answers.check(tmp_path, known, endless, {}, lambda library: "1")


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "none": lambda known: known["probabilities"].clear(),
    "fewer": lambda known: known["probabilities"].pop(),
    "a model less": lambda known: known["margins"].pop("all_trees"),
    "a model more": lambda known: known["margins"].update({"../x": [0.0] * ROWS}),
    "many": lambda known: known.update(probabilities=[0.5] * 10**5),
    "not a number": lambda known: known["margins"].update(all_trees=[None] * ROWS),
    "not a list": lambda known: known["margins"].update(all_trees=3),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_mechanics_hostile_answers_are_refused(how: str, copy: Path) -> None:
    change_manifest(copy, lambda content: HOSTILE[how](content["known_answers"]))
    with pytest.raises(InputError, match=r"damaged .*known_answers"):
        bundle.read(copy)


def test_mechanics_hostile_questions_are_refused(copy: Path) -> None:
    file = copy / "known_answers.npy"
    rows = np.load(file)
    for changed in (rows[:3], rows[:, :-1], rows.astype("<f8"), np.full_like(rows, np.nan)):
        np.save(file, changed)
        signed(copy, file, file.read_bytes())
        with pytest.raises(InputError, match=r"damaged .*; fit it anew\.$"):
            bundle.read(copy)
    file.unlink()
    with pytest.raises(InputError, match=r"known_answers\.npy: it is missing"):
        bundle.read(copy)
