"""Fitting is honest across slides, repeatable, and opens safely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost
from conftest import FITTED, Result
from scipy.special import expit
from sklearn.metrics import adjusted_mutual_info_score, roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from pcam_features.engine import cpu
from pcam_features.families.registry import FAMILIES, chosen, measurer
from pcam_features.grouping.appearance import Looks, looks_of, near_duplicates
from pcam_features.grouping.folds import Folds, make_folds
from pcam_features.grouping.groups import PSEUDO_SLIDES
from pcam_features.learn.base_models import GROUPS, ON_REQUEST, groups_of
from pcam_features.learn.context import FitContext
from pcam_features.learn.fit import families_left_out, families_to_use
from pcam_features.learn.leakage import random_split_auc
from pcam_features.learn.settings import Compute
from pcam_features.learn.steps import Work
from pcam_features.learn.training import train_models
from pcam_features.sources.detect import open_source
from pcam_features.storage.costs import FILE as COST
from pcam_features.store.store import open_store
from pcam_features.store.values import of_arrays

Run = Callable[..., Result]


def patches(slides: list[str | None], labels: np.ndarray) -> pd.DataFrame:
    ids = [f"p{k}" for k in range(len(labels))]
    return pd.DataFrame(
        {"id": ids, "label": labels.astype(float), "slide": pd.Series(slides, dtype=object)}
    )


def out_of_fold_auc(values: np.ndarray, table: pd.DataFrame, folder: Path) -> float:
    """Of trees and kernel model, the one that is farther from a half."""
    labels = table["label"].to_numpy(np.int8)
    folds = make_folds(table, 5, 0)
    known = of_arrays({"lbp": values})
    compute = Compute("cpu", threads=2, seed=0)
    _, logits = train_models(FitContext(Work(folder), known, labels, folds, compute))
    aucs = [float(roc_auc_score(labels, column)) for column in logits.T]
    return max(aucs, key=lambda auc: abs(auc - 0.5))


def test_oracle_features_that_only_name_the_slide_score_a_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    slides = rng.integers(0, 40, 1200)
    prevalence = rng.uniform(0.2, 0.8, 40)
    labels = (rng.random(1200) < prevalence[slides]).astype(int)
    values = rng.normal(size=(40, 12))[slides].astype(np.float32)
    table = patches([f"s{k}" for k in slides], labels)
    assert abs(out_of_fold_auc(values, table, tmp_path / "by slide") - 0.5) < 0.12
    # The same features do give the label away if patches of a slide may be on both sides.
    alone = table.assign(slide=pd.Series([None] * 1200, dtype=object))
    assert out_of_fold_auc(values, alone, tmp_path / "alone") > 0.65


def at_random(values: np.ndarray, labels: np.ndarray, folder: Path) -> float:
    rows = np.arange(len(labels))
    folds = Folds(rows, (rows % 5).astype(np.int16), 5, "each alone")
    compute = Compute("cpu", threads=1, seed=0)
    context = FitContext(Work(folder), of_arrays({"lbp": values}), labels, folds, compute)
    return random_split_auc(context)


def test_oracle_the_leakage_gap_is_what_the_names_of_slides_are_worth(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    slides = rng.integers(0, 40, 1200)
    prevalence = rng.uniform(0.1, 0.9, 40)
    labels = (rng.random(1200) < prevalence[slides]).astype(np.int8)
    names = rng.normal(size=(40, 12))[slides].astype(np.float32)
    # The best that can be known of a patch by its slide is the slide's share of tumor.
    best = float(roc_auc_score(labels, prevalence[slides]))
    assert abs(at_random(names, labels, tmp_path) - best) < 0.05
    assert best > 0.65
    nothing = rng.normal(size=(1200, 12)).astype(np.float32)
    assert abs(at_random(nothing, labels, tmp_path) - 0.5) < 0.06


def test_mechanics_the_leakage_gap_is_told(model_folder: Path) -> None:
    manifest = json.loads((model_folder / "manifest.json").read_text())
    leak = manifest["leakage"]
    assert leak["model"] == "kernel"
    # Of so few patches, all are landmarks, so it is the base model.
    assert leak["auc"] == manifest["out_of_fold_auc"]["all_kernel"]["value"]
    assert leak["gap"] == leak["auc_at_random"] - leak["auc"]


def test_oracle_permuted_labels_score_a_half(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 1000)
    values = rng.normal(size=(1000, 20)).astype(np.float32)
    values[:, 0] += 3 * labels
    slides: list[str | None] = [f"s{k}" for k in rng.integers(0, 25, 1000)]
    assert out_of_fold_auc(values, patches(slides, labels), tmp_path / "true") > 0.95
    permuted = patches(slides, rng.permutation(labels))
    assert abs(out_of_fold_auc(values, permuted, tmp_path / "permuted") - 0.5) < 0.06


def test_invariant_no_slide_is_in_two_folds(store_folder: Path) -> None:
    table = open_store(store_folder).patches("train")
    folds = make_folds(table, 4, seed=3)
    for _, rows in table.groupby("slide"):
        assert len(set(folds.fold[rows.index])) == 1
    assert set(folds.fold) == {0, 1, 2, 3}
    assert "none in two folds" in folds.protocol


def test_mechanics_unknown_slides_are_said_to_be() -> None:
    labels = np.tile([0, 1], 20)
    slides: list[str | None] = ["a", "b"] * 10 + [None] * 20
    folds = make_folds(patches(slides, labels), 5, seed=0)
    assert "20 patches of unknown slide" in folds.protocol
    assert "scores on new slides may be lower" in folds.protocol


@pytest.mark.real
def test_oracle_near_duplicates_are_those_of_the_real_patches(pcam_folder: Path) -> None:
    source, _ = open_source(str(pcam_folder), slides=f"{pcam_folder / 'labels.csv'}:dup_group")
    train = source.splits["train"]
    truth = pd.Series(train.slides[:5000])
    color = measurer(chosen("color"), cpu)(train.read(0, 5000), ["color"])["color"]
    found = pd.Series(near_duplicates(looks_of(color, FAMILIES["color"].columns).copies))
    pairs = {
        name: {tuple(rows) for rows in by.groupby(by).groups.values() if len(rows) > 1}
        for name, by in (("truth", truth), ("found", found))
    }
    assert len(pairs["truth"]) > 30
    agreed = len(pairs["truth"] & pairs["found"])
    assert agreed == len(pairs["truth"])
    assert agreed / len(pairs["found"]) > 0.9  # the others are hard to tell apart by eye


@pytest.mark.real
def test_oracle_pseudo_slides_tell_of_the_slides_that_are_known(kaggle_folder: Path) -> None:
    source, _ = open_source(str(kaggle_folder), slides=str(kaggle_folder / "slides.csv"))
    train = source.splits["train"]
    color = measurer(chosen("color"), cpu)(train.read(0, len(train)), ["color"])["color"]
    assert train.labels is not None
    table = patches([None] * len(train), train.labels)
    folds = make_folds(table, 5, 0, looks_of(color, FAMILIES["color"].columns))
    assert f"{PSEUDO_SLIDES} pseudo-slides" in folds.protocol
    assert folds.group.max() + 1 == PSEUDO_SLIDES
    known = np.array([slide is not None for slide in train.slides])
    slides = np.array([str(slide) for slide in train.slides])
    # Adjusted for chance: 0 for groups dealt at random, whatever their number.
    assert adjusted_mutual_info_score(slides[known], folds.group[known]) > 0.15
    assert adjusted_mutual_info_score(train.labels, folds.group) < 0.15  # not what patches show


def test_mechanics_pseudo_slides_split_no_copies_and_join_no_slides() -> None:
    rng = np.random.default_rng(0)
    look = rng.normal(size=(6, 8))[rng.integers(0, 6, 300)] + rng.normal(size=(300, 8)) / 10
    looks = Looks(np.tile(rng.normal(size=(300, 5)), (2, 1)), np.tile(look, (2, 1)))
    slides: list[str | None] = [f"s{k % 4}" for k in range(40)] + [None] * 560
    folds = make_folds(patches(slides, np.tile([0, 1], 300)), 5, 0, looks)
    np.testing.assert_array_equal(folds.group[:300], folds.group[300:])
    of_slides = [set(folds.group[:40][k::4]) for k in range(4)]
    assert [len(groups) for groups in of_slides] == [1] * 4
    assert len(set.union(*of_slides)) == 4
    assert not set.union(*of_slides) & set(folds.group[40:300])
    assert "40 patches grouped by slide, 560 patches of unknown slide" in folds.protocol
    assert "13 pseudo-slides" in folds.protocol
    few = make_folds(patches([None] * 80, np.tile([0, 1], 40)), 5, 0, Looks(look[:80], look[:80]))
    assert "near-duplicates" in few.protocol  # 20 patches each would make four


def test_mechanics_a_copy_of_a_patch_joins_its_slide(synthetic_batch: np.ndarray) -> None:
    batch = np.concatenate([synthetic_batch, synthetic_batch])
    color = measurer(chosen("color"), cpu)(batch, ["color"])["color"]
    slides: list[str | None] = [f"s{k % 8}" for k in range(24)] + [None] * 24
    look = looks_of(color, FAMILIES["color"].columns)
    folds = make_folds(patches(slides, np.tile([0, 1], 24)), 4, 0, look)
    np.testing.assert_array_equal(folds.group[:24], folds.group[24:])
    assert folds.group.max() + 1 == 8


def test_mechanics_patches_a_model_was_fitted_on_get_their_out_of_fold_predictions(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    result = pcam("predict", model_folder, store_folder, tmp_path / "p.csv", "--split", "train")
    assert "out-of-fold" in result.err
    expected = pd.read_parquet(model_folder / "out_of_fold.parquet")
    found = pd.read_csv(tmp_path / "p.csv")
    assert found["id"].tolist() == expected["id"].tolist()
    np.testing.assert_allclose(found["label"], expected["combined"], rtol=1e-12)


def test_mechanics_copies_of_unknown_slide_stay_in_one_fold(synthetic_batch: np.ndarray) -> None:
    turned = synthetic_batch[:, ::-1].transpose(0, 2, 1, 3)
    batch = np.concatenate([synthetic_batch, turned, synthetic_batch])
    color = measurer(chosen("color"), cpu)(np.ascontiguousarray(batch), ["color"])["color"]
    table = patches([None] * 72, np.tile([0, 1], 36))
    folds = make_folds(table, 4, 0, looks_of(color, FAMILIES["color"].columns))
    for k in range(24):
        assert len(set(folds.fold[[k, k + 24, k + 48]])) == 1
    assert folds.group.max() + 1 == 24
    assert "grouped by near-duplicates" in folds.protocol


def test_mechanics_every_family_has_one_group() -> None:
    found = [family for known in GROUPS.values() for family in known]
    assert sorted(found) == sorted(FAMILIES)
    assert set(ON_REQUEST) <= set(FAMILIES)
    assert groups_of(["color", "histogram"]) == {"color": ["color", "histogram"]}
    assert list(groups_of(["lbp"])) == ["texture"]
    assert groups_of(["color", "lbp"]) == {
        "color": ["color"],
        "texture": ["lbp"],
        "all": ["color", "lbp"],
    }
    assert groups_of(["color", "lbp", "net_96px"]) == {
        "net_96px": ["net_96px"],
        "all": ["color", "lbp", "net_96px"],
    }


def test_mechanics_histogram_is_learned_from_only_if_it_is_named(store_folder: Path) -> None:
    store = open_store(store_folder)
    usual = [name for name in FAMILIES if name != "histogram"]
    assert store.families("train") == list(FAMILIES)
    for names in (None, "all"):
        assert families_to_use(store, "train", names) == usual
        assert families_left_out(store, "train", names) == ["histogram"]
    assert families_to_use(store, "train", "all,histogram") == list(FAMILIES)
    assert families_to_use(store, "train", "lbp,histogram") == ["histogram", "lbp"]
    for names in ("all,histogram", "lbp", "histogram"):
        assert families_left_out(store, "train", names) == []


def test_mechanics_a_store_of_histograms_alone_is_learned_from(
    synthetic_folder: Path, tmp_path: Path, pcam: Run
) -> None:
    store, model = tmp_path / "store", tmp_path / "model"
    assert pcam("extract", synthetic_folder, store, "--families", "histogram").code == 0
    found = pcam("fit", store, model, "--folds", "3")
    assert found.code == 0, found.err
    assert "is not used" not in found.err
    assert list(json.loads((model / "manifest.json").read_text())["families"]) == ["histogram"]
    # A family that joins the store later leaves the model as it is.
    assert pcam("extract", synthetic_folder, store, "--families", "lbp").code == 0
    assert pcam("predict", model, store, tmp_path / "p.csv").code == 0
    named = pcam("fit", store, tmp_path / "other", "--folds", "3")
    assert "histogram is not used" in named.err
    assert "--families all,histogram" in named.err
    assert list(json.loads((tmp_path / "other" / "manifest.json").read_text())["families"]) == ["lbp"]


def rbf_logits(folder: Path, values: np.ndarray) -> np.ndarray:
    """What the kernel model's arrays say, by scikit-learn's kernel."""
    mean, scale, *landmarks = np.load(folder / "landmarks.npy").astype(float)
    intercept, width, *weights = np.load(folder / "weights.npy")
    rows = np.clip((values - mean) / scale, -4, 4)
    like = rbf_kernel(rows, np.array(landmarks), gamma=width / values.shape[1])
    return np.asarray(4 * (like @ weights + intercept) - 2)


def test_oracle_bundle_gives_xgboosts_and_scikit_learns_numbers(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    assert pcam("predict", model_folder, store_folder, out).code == 0
    mine = pd.read_csv(out)
    families = list(FITTED)
    tables = {name: pd.read_parquet(store_folder / "test" / name) for name in families}
    assert mine["id"].tolist() == tables["color"]["id"].tolist()
    each = {name: table.drop(columns="id").to_numpy(np.float32) for name, table in tables.items()}
    groups = {"color": ["color"], "texture": ["glcm", "lbp"], "all": families}
    values = {group: np.concatenate([each[f] for f in parts], 1) for group, parts in groups.items()}
    stack = json.loads((model_folder / "manifest.json").read_text())["stack"]
    total = np.full(len(mine), stack["intercept"])
    assert list(stack["weights"]) == ["color_kernel", "texture_kernel", "all_trees", "all_kernel"]
    booster = xgboost.Booster(model_file=model_folder / "all" / "trees.ubj")
    margin = booster.predict(xgboost.DMatrix(values["all"]), output_margin=True)
    total += stack["weights"]["all_trees"] * margin
    for name, matrix in values.items():
        total += stack["weights"][f"{name}_kernel"] * rbf_logits(model_folder / name, matrix)
    curve = stack["calibration"]
    p = expit(total)
    calibrated = curve["low"] * np.log(p) - curve["high"] * np.log(1 - p) + curve["shift"]
    np.testing.assert_allclose(mine["label"], expit(calibrated), rtol=1e-4)

    folds = pd.read_parquet(model_folder / "folds.parquet")
    predicted = pd.read_parquet(model_folder / "out_of_fold.parquet")
    scores = json.loads((model_folder / "manifest.json").read_text())["out_of_fold_auc"]
    for name, score in scores.items():
        expected = roc_auc_score(folds["label"], predicted[name])
        np.testing.assert_allclose(score["value"], expected, rtol=1e-9)
        assert score["low"] <= score["value"] <= score["high"]


def test_mechanics_same_seed_same_bytes(
    model_folder: Path, store_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    again = tmp_path / "model"
    families = ["--families", ",".join(FITTED)]
    assert pcam("fit", store_folder, again, "--folds", 3, "--threads", 2, *families).code == 0
    for path in sorted(model_folder.rglob("*")):
        if path.is_file() and path.name != COST:  # of another run: other times
            assert path.read_bytes() == (again / path.relative_to(model_folder)).read_bytes(), path


def test_mechanics_an_existing_model_is_not_replaced_unasked(
    model_folder: Path, store_folder: Path, pcam: Run
) -> None:
    before = (model_folder / "manifest.json").read_bytes()
    assert pcam("fit", store_folder, model_folder).code == 2
    assert (model_folder / "manifest.json").read_bytes() == before


def test_regression_threads_of_xgboost_wait_without_spinning() -> None:
    code = "import pcam_features.learn.fit, os; print(os.environ['OMP_WAIT_POLICY'])"
    without = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    early = """
import os, sys
class Look:
    def find_spec(self, name, *rest):
        if name == "xgboost":
            print(os.environ.get("OMP_WAIT_POLICY"))
sys.meta_path.insert(0, Look())
"""
    done = subprocess.run(
        [sys.executable, "-c", early + code], env=without, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["passive", "passive"]  # as XGBoost is looked for, and after
