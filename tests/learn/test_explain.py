"""Explanations add up to what they explain, and gradients are what numerical integration finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost
from conftest import FITTED, Result
from scipy.integrate import simpson
from scipy.optimize import approx_fprime
from signed import manifest_of, seal, sign

from pcam_features.learn import attribution, boosting, bundle, kernel_ridge, nystroem
from pcam_features.learn.base_models import logits
from pcam_features.learn.explain_patch import PatchPlace, explain_values
from pcam_features.report.card import card
from pcam_features.report.explanation_page import adding_up, sentence
from pcam_features.store.pictures import open_pictures
from pcam_features.store.store import open_store
from pcam_features.store.values import of_arrays, stored

Run = Callable[..., Result]


def kernel_model(columns: int = 5) -> tuple[kernel_ridge.NystroemRidge, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(2, 3, (300, columns)).astype(np.float32)
    labels = (np.sin(values[:, 0]) + values[:, 1] / 3 > 0.5).astype(np.int8)
    ready = nystroem.prepare(of_arrays({"x": values}), ["x"], labels, np.zeros(300, np.int16), seed=0)
    return kernel_ridge.train(ready), values


def test_oracle_integrated_gradients_are_scipys_integral_of_numerical_gradients() -> None:
    model, values = kernel_model()
    found, start = model.contributions(values[:3])
    mean, scale = model.mean.astype(float), model.scale.astype(float)
    landmarks = model.landmarks.astype(float)

    def log_odds(z: np.ndarray) -> float:
        apart = ((z - landmarks) ** 2).mean(axis=1)
        return float(4 * (np.exp(-model.kernel_width * apart) @ model.weights + model.intercept) - 2)

    path = np.linspace(0, 1, 101)
    for row, shares in zip(values[:3], found, strict=True):
        z = np.clip((row - mean) / scale, -nystroem.CLIP, nystroem.CLIP)
        gradients = [approx_fprime(t * z, log_odds, 1e-6) for t in path]
        np.testing.assert_allclose(shares, z * simpson(gradients, x=path, axis=0), atol=1e-3)
        assert np.abs(shares).max() > 0.1
    np.testing.assert_allclose(start, log_odds(np.zeros(5)), atol=1e-6)


def test_invariant_shares_add_up_to_the_kernel_models_log_odds() -> None:
    model, values = kernel_model()
    found, start = model.contributions(values)
    np.testing.assert_allclose(found.sum(axis=1) + start, model.margin(values), atol=2e-4)


def test_regression_threads_that_share_trees_do_not_break_each_other() -> None:
    """XGBoost configures itself at the first prediction after a parameter was set."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(200, 5)).astype(np.float32)
    booster = xgboost.train({}, xgboost.DMatrix(values, values[:, 0]), num_boost_round=5)
    trees = boosting.BoostedTrees(booster)
    expected, shares = trees.margin(values), trees.contributions(values)[0]

    def both(number: int) -> tuple[np.ndarray, np.ndarray]:
        return trees.margin(values, 1 + number % 2), trees.contributions(values)[0]

    with ThreadPoolExecutor(8) as pool:
        for margin, own in pool.map(both, range(300)):
            np.testing.assert_array_equal(margin, expected)
            np.testing.assert_array_equal(own, shares)


def test_oracle_tree_shares_are_shapley_values_by_every_order_of_two_columns() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(400, 2)).astype(np.float32)
    labels = (values[:, 0] + values[:, 0] * values[:, 1] > 0).astype(int)
    parameters = {"objective": "binary:logistic", "max_depth": 2, "base_score": 0.5, "eta": 1.0}
    booster = xgboost.train(parameters, xgboost.DMatrix(values, labels), num_boost_round=1)
    (tree,) = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]

    def expected(node: int, row: np.ndarray, known: set[int]) -> float:
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left == -1:
            return float(tree["split_conditions"][node])
        column = tree["split_indices"][node]
        if column in known:
            child = left if row[column] < tree["split_conditions"][node] else right
            return expected(child, row, known)
        hessians = tree["sum_hessian"]
        return sum(
            hessians[child] / hessians[node] * expected(child, row, known) for child in (left, right)
        )

    found, start = boosting.BoostedTrees(booster).contributions(values[:5])
    for row, shares in zip(values[:5], found, strict=True):
        none, first, second, both = (expected(0, row, known) for known in (set(), {0}, {1}, {0, 1}))
        by_order = [(first - none, both - first), (both - second, second - none)]
        np.testing.assert_allclose(shares, np.mean(by_order, axis=0), atol=1e-5)
        np.testing.assert_allclose(start, none, atol=1e-5)


def test_invariant_all_shares_add_up_to_what_the_models_say_together(
    model_folder: Path, store_folder: Path
) -> None:
    opened, store = bundle.read(model_folder), open_store(store_folder)
    values = stored(store, "test", list(FITTED), keep=True)
    rows = np.array([0, 7, 59])
    moved, start = attribution.contributions(opened.models, opened.stack, values, rows)
    together = logits(opened.models, values, 1) @ opened.stack.weights + opened.stack.intercept
    np.testing.assert_allclose(moved.sum(axis=1) + start, together[rows], atol=1e-4)


def test_regression_shares_of_gain_are_at_most_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding made some a little more, and the model was refused as damaged."""
    shares = np.array([0.5, 0.5 + 2**-52])
    assert shares.sum() > 1
    monkeypatch.setattr(attribution, "gains", lambda *parts: shares)
    monkeypatch.setattr(attribution, "contributions", lambda *parts: (np.ones((3, 2)), 0.0))
    values = of_arrays({"color": np.zeros((3, 2), np.float32)})
    _, families = attribution.importance({}, None, values, {"color": ["a", "b"]})
    assert families["color"].gain == 1


def test_invariant_importance_of_columns_and_families(model_folder: Path) -> None:
    table = pd.read_parquet(model_folder / "importance.parquet")
    manifest = json.loads((model_folder / "manifest.json").read_text())
    assert table["column"].tolist() == [
        c for family in FITTED for c in manifest["families"][family]["columns"]
    ]
    np.testing.assert_allclose(table["gain"].sum(), 1)
    assert (table["contribution"] >= 0).all()
    for family, known in manifest["importance"].items():
        own = table[table["family"] == family]
        np.testing.assert_allclose(known["gain"], own["gain"].sum())
        assert 0 < known["contribution"] <= own["contribution"].sum() + 1e-9


@pytest.fixture
def patch_id(store_folder: Path) -> str:
    return str(open_store(store_folder).patches("test")["id"][3])


def test_mechanics_a_patch_is_explained(
    pcam: Run, model_folder: Path, store_folder: Path, patch_id: str, tmp_path: Path
) -> None:
    out = tmp_path / "why.html"
    command = ("explain", model_folder, store_folder, "--id", patch_id, "--out", out)
    result = pcam(*command, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert pcam("predict", model_folder, store_folder, tmp_path / "p.csv").code == 0
    expected = pd.read_csv(tmp_path / "p.csv").set_index("id")["label"][patch_id]
    np.testing.assert_allclose(found["probability"], expected, atol=1e-4)
    assert len(found["columns"]) == 10
    sizes = [abs(one["contribution"]) for one in found["columns"]]
    assert sizes == sorted(sizes, reverse=True)
    family, column = found["columns"][0]["column"].split("__")[0], found["columns"][0]["column"]
    stored_value = pd.read_parquet(store_folder / "test" / family).set_index("id")[column][patch_id]
    np.testing.assert_allclose(found["columns"][0]["value"], stored_value)
    shown = sum(one["contribution"] for one in found["columns"])
    np.testing.assert_allclose(found["start"] + shown + found["others"], found["sum"])
    np.testing.assert_allclose(found["start"] + sum(found["families"].values()), found["sum"])
    assert found["out_of_fold_probability"] is None
    where = column.split("__")[2].replace("_", " ")
    assert found["columns"][0]["meaning"].endswith(f" ({where})")
    text = out.read_text()
    assert text.count("<tr><td>") == 10
    assert "data:image/png;base64," in text
    assert not any(word in text for word in ("http://", "https://", "<script", ' src="/'))
    spoken = pcam(*command)
    assert patch_id in spoken.out
    assert column in spoken.out
    assert f"{found['probability']:.3f}" in spoken.out


@pytest.mark.parametrize("curve", [(1.0, 1.0, 0.0), (1.3, 0.8, 0.2), (1.0, 1.0, 1e-12)])
def test_regression_explain_says_of_calibration_what_the_card_says(
    curve: tuple[float, float, float], model_folder: Path, store_folder: Path
) -> None:
    opened = bundle.read(model_folder)
    low, high, shift = curve
    stack = replace(opened.stack, low=low, high=high, shift=shift)
    opened = replace(opened, manifest=replace(opened.manifest, stack=stack))
    values = stored(open_store(store_folder), "test", list(FITTED), keep=True)
    record = explain_values(opened, values, PatchPlace("p", "test", 3))
    left_out = "calibration does not help and is left out" in card(opened.manifest)
    assert left_out == (curve == (1.0, 1.0, 0.0))
    assert ("calibrat" in f"{sentence(record)} {adding_up(record)}") == (not left_out)
    assert record.to_dict()["is_calibrated"] == (not left_out)


def test_mechanics_of_a_training_patch_the_out_of_fold_probability_comes_first(
    pcam: Run, model_folder: Path, store_folder: Path
) -> None:
    known = pd.read_parquet(model_folder / "out_of_fold.parquet")
    patch, expected = known["id"][5], known["combined"][5]
    found = json.loads(pcam("explain", model_folder, store_folder, "--id", patch, "--json").out)
    np.testing.assert_allclose(found["out_of_fold_probability"], expected)
    said = pcam("explain", model_folder, store_folder, "--id", patch).out
    assert f"probability of tumor {expected:.3f} out of fold" in said


def test_mechanics_the_picture_is_the_patch(store_folder: Path, synthetic_folder: Path) -> None:
    from pcam_features.sources.detect import open_source

    store = open_store(store_folder)
    expected = open_source(str(synthetic_folder))[0].splits["test"].read(3, 4)[0]
    np.testing.assert_array_equal(open_pictures(store, "test", None)(3), expected)
    np.testing.assert_array_equal(open_pictures(store, "test", str(synthetic_folder))(3), expected)


def test_mechanics_a_picture_of_other_patches_is_not_shown(
    pcam: Run, model_folder: Path, store_folder: Path, patch_id: str
) -> None:
    words = ("explain", model_folder, store_folder, "--id", patch_id)
    result = pcam(*words, "--source", "synthetic:240:12:9")
    assert result.code == 2
    assert "does not have the patches" in result.err
    unknown = pcam(*words[:-1], "nobody")
    assert unknown.code == 2
    assert "no patch 'nobody'" in unknown.err


def test_mechanics_the_card_says_what_matters(pcam: Run, model_folder: Path) -> None:
    result = pcam("model", model_folder)
    assert result.code == 0, result.err
    for word in (
        "not a medical device",
        "leakage gap",
        "calibration",
        "240 patches",
        "seed 0",
        "xgboost",
    ):
        assert word in result.out
    for family in FITTED:
        assert f"| {family} |" in result.out
    manifest = json.loads(pcam("model", model_folder, "--json").out)
    assert manifest["folds"]["count"] == 3
    assert {"source", "stack", "calibration", "importance", "versions"} <= set(manifest)


def test_mechanics_strangers_names_do_not_steer_the_terminal(
    pcam: Run, model_folder: Path, store_folder: Path, patch_id: str, tmp_path: Path
) -> None:
    import shutil

    import pyarrow.parquet as pq

    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))

    def renamed(name: str) -> str:
        return name if name == "id" else f"\x1b[31m<script>{name}"

    for folder in (hostile, store):
        manifest = manifest_of(folder)
        for family in FITTED:
            known = manifest["families"][family]
            known["columns"] = [renamed(name) for name in known["columns"]]
        seal(folder, manifest)
    for file in (file for family in FITTED for file in (store / "test" / family).iterdir()):
        table = pq.read_table(file)
        pq.write_table(table.rename_columns([renamed(name) for name in table.column_names]), file)
    sign(store)
    out = tmp_path / "why.html"
    result = pcam("explain", hostile, store, "--id", patch_id, "--out", out)
    assert result.code == 2
    assert "is not a list of texts of one line" in result.err
    assert "\x1b" not in result.err + result.out
    assert not out.exists()


def test_mechanics_a_strangers_card_does_not_steer_the_terminal(
    pcam: Run, model_folder: Path, tmp_path: Path
) -> None:
    import shutil

    hostile = Path(shutil.copytree(model_folder, tmp_path / "model"))
    manifest = json.loads((hostile / "manifest.json").read_text())
    manifest["source"]["path"] = "\x1b[2Jgone"
    seal(hostile, manifest)
    assert "\x1b" not in pcam("model", hostile).out
    del manifest["folds"]
    seal(hostile, manifest)
    refused = pcam("model", hostile)
    assert refused.code == 2
    assert "damaged" in refused.err
