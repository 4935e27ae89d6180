"""Changed copies of training patches: drawn, stored, learned from, and scored out of fold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from signed import seal, sign
from sklearn.metrics import roc_auc_score

import pcam_features as pcam_api
from pcam_features.api.data import Extraction
from pcam_features.errors import InputError
from pcam_features.evaluate.intervals import resampling_quantile, share_interval
from pcam_features.evaluate.resampling import draws, stratify
from pcam_features.evaluate.spread import contributions
from pcam_features.extraction.selection import families_named
from pcam_features.extraction.shifts import SHIFTS, copies, draw_copy, views
from pcam_features.grouping.folds import Folds
from pcam_features.learn import bundle as bundles
from pcam_features.learn.context import FitContext
from pcam_features.learn.copies import (
    Copies,
    copies_in,
    expected_elsewhere,
    scores_elsewhere,
    with_copies,
)
from pcam_features.learn.settings import Compute
from pcam_features.learn.steps import Work
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Source
from pcam_features.store.store import open_store
from pcam_features.store.values import Values, joined, of_arrays

Run = Callable[..., Result]


def whole(values: Values) -> np.ndarray:
    return np.concatenate([block for _, block in values.blocks(values.families)])


def test_oracle_a_copy_is_its_patch_seen_in_a_moderate_view() -> None:
    split = open_source("synthetic:60:6:0")[0].splits["train"]
    made = copies(split, 20)
    assert (made.name, len(made)) == ("train~copies", 20)
    assert made.labels is not None
    assert split.labels is not None
    for k, name in enumerate(made.ids):
        patch, _, shift = name.rpartition("~")
        row = split.ids.index(patch)
        expected = draw_copy(shift, row).of(split.read(row, row + 1), row)
        np.testing.assert_array_equal(made.read(k, k + 1), expected)
        assert (made.labels[k], made.slides[k]) == (split.labels[row], split.slides[row])
    counts = [sum(name.endswith(f"~{shift}") for name in made.ids) for shift in SHIFTS]
    assert max(counts) - min(counts) <= 1
    assert len(copies(split, 1000)) == len(split)


def test_oracle_joined_values_are_numpys_concatenation() -> None:
    rng = np.random.default_rng(0)
    arrays = [{"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 2))} for n in (2500, 2100)]
    both = joined(of_arrays(arrays[0]), of_arrays(arrays[1]))
    expected = np.concatenate([np.concatenate([one["a"], one["b"]], axis=1) for one in arrays])
    np.testing.assert_array_equal(whole(both), expected)
    assert both.rows == len(expected)
    wanted = np.array([0, 2047, 2048, 2499, 2500, 4547, 4548, 4599])
    np.testing.assert_array_equal(both.take(["a", "b"], wanted), expected[wanted])


def test_invariant_no_two_copies_and_no_view_share_a_laboratory() -> None:
    split = open_source("synthetic:500:6:0")[0].splits["train"]
    drawn = [
        (name.rpartition("~")[2], split.ids.index(name.rpartition("~")[0]))
        for name in copies(split, 400).ids
    ]
    recipes = [(shift, str(draw_copy(shift, row).recipes[0])) for shift, row in drawn]
    yardstick = {(view.shift, str(recipe)) for view in views().values() for recipe in view.recipes}
    fine = [recipe for recipe in recipes if recipe[0] != "jpeg"]  # its qualities are whole numbers
    assert len(fine) > 300
    assert len(set(fine)) == len(fine)
    assert not set(fine) & yardstick


def some_copies() -> tuple[np.ndarray, Copies]:
    labels = np.array([0, 1] * 90, np.int8)
    rows = np.arange(130)
    shifts = np.where(rows < 60, "blur", np.where(rows < 120, "noise", "jpeg"))
    values = of_arrays({"a": np.zeros((130, 1), np.float32)})
    return labels, Copies(values, rows, shifts)


def test_oracle_scores_elsewhere_are_scikit_learns() -> None:
    labels, made = some_copies()
    rng = np.random.default_rng(1)
    here, there = labels + rng.normal(0, 0.5, 180), labels[made.rows] + rng.normal(0, 1, 130)
    scores = scores_elsewhere(labels, here, there, made)
    assert list(scores) == ["blur", "noise"]  # of jpeg there are too few
    for shift, score in scores.items():
        own = made.shifts == shift
        assert score.patches == own.sum()
        assert score.auc == pytest.approx(roc_auc_score(labels[made.rows[own]], there[own]))
        expected = roc_auc_score(labels[made.rows[own]], here[made.rows[own]])
        assert score.as_they_are == pytest.approx(expected)
        assert score.loss == pytest.approx(score.as_they_are - score.auc)


def test_oracle_the_expected_auc_and_its_spread_are_those_of_scikit_learn_on_resamples() -> None:
    labels, made = some_copies()
    rng = np.random.default_rng(1)
    here, there = labels + rng.normal(0, 0.5, 180), labels[made.rows] + rng.normal(0, 1, 130)
    groups = np.arange(180) // 9

    def expected(weights: np.ndarray) -> float:
        losses = [
            roc_auc_score(labels[rows], here[rows], sample_weight=weights[rows])
            - roc_auc_score(labels[rows], there[own], sample_weight=weights[rows])
            for own in (made.shifts == "blur", made.shifts == "noise")
            for rows in [made.rows[own]]
        ]
        return float(roc_auc_score(labels, here, sample_weight=weights) - np.mean(losses))

    found = expected_elsewhere(labels, here, there, made, groups, resamples=100, seed=4)
    assert found is not None
    assert found.value == pytest.approx(expected(np.ones(180)))
    stratified = stratify(labels, groups)
    drawn = np.concatenate(list(draws(labels, stratified, 100, 4)))
    values = np.array([expected(times[groups].astype(float)) for times in drawn])
    of_all = [roc_auc_score(labels, here, sample_weight=times[groups]) for times in drawn]
    spread = contributions(labels, here[None], groups).spread(np.ones(1))
    likewise = share_interval(found.value, values, resampling_quantile(spread, np.array(of_all)))
    assert (found.low, found.high) == pytest.approx((likewise.low, likewise.high))
    assert found.low < found.value < found.high
    none = Copies(made.values, made.rows[:9], made.shifts[:9])
    assert expected_elsewhere(labels, here, there[:9], none, groups) is None


def test_invariant_the_expected_auc_tells_what_laboratories_cost() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 2000).astype(np.int8)
    here = labels + rng.normal(0, 0.7, 2000)
    rows = np.arange(1400)
    values = of_arrays({"a": np.zeros((1400, 1), np.float32)})
    made = Copies(values, rows, np.where(rows % 2, "blur", "noise"))
    groups = np.arange(2000) // 50
    moved = here[rows] + rng.normal(0, 1, 1400)  # each laboratory moves the scores of its patches
    same, lower = (
        expected_elsewhere(labels, here, changed, made, groups, resamples=200)
        for changed in (here[rows], moved)
    )
    assert same is not None
    assert lower is not None
    assert same.value == pytest.approx(roc_auc_score(labels, here))
    assert lower.high < same.low
    truth = roc_auc_score(labels[rows], moved)
    assert lower.low < truth < lower.high


def test_mechanics_a_shift_of_one_class_has_no_score() -> None:
    labels, made = some_copies()
    alone = Copies(made.values, made.rows, np.where(labels[made.rows] == 1, "blur", "noise"))
    assert scores_elsewhere(labels, labels.astype(float), labels[made.rows], alone) == {}


def test_invariant_a_copy_is_in_the_fold_and_group_of_its_patch(tmp_path: Path) -> None:
    labels, made = some_copies()
    folds = Folds(np.arange(180) // 4, np.arange(180) // 4 % 3, 3, "")
    values = of_arrays({"a": np.ones((180, 1), np.float32)})
    context = FitContext(Work(tmp_path), values, labels, folds, Compute("cpu", 1, 0))
    both = with_copies(context, made)
    assert both.values.rows == len(both.labels) == len(both.fold) == 310
    np.testing.assert_array_equal(both.fold[180:], folds.fold[made.rows])
    np.testing.assert_array_equal(both.folds.group[180:], folds.group[made.rows])
    np.testing.assert_array_equal(both.labels[180:], labels[made.rows])
    assert with_copies(context, None) is context


def test_mechanics_extract_and_fit_with_copies(pcam: Run, tmp_path: Path) -> None:
    store, model = tmp_path / "features", tmp_path / "model"
    made = pcam(
        "extract", "synthetic:400:12:0", store, "--families", "color", "--copies", 364, "--json"
    )
    assert made.code == 0, made.err
    assert json.loads(made.out)["patches"]["train~copies"] == 364
    assert open_store(store).splits == ["train", "test"]
    fitted = pcam("fit", store, model, "--folds", 3)
    assert fitted.code == 0, fitted.err
    assert "AUC to expect after a change of laboratory: 0." in fitted.err + fitted.out
    shown = json.loads(pcam("model", model, "--json").out)
    assert set(shown["elsewhere"]) == set(SHIFTS)
    assert sum(score["patches"] for score in shown["elsewhere"].values()) == 364
    assert shown["copies"] == 364
    expected = shown["elsewhere_auc"]
    assert expected["low"] < expected["value"] < expected["high"]
    printed = f"change of laboratory: {expected['value']:.3f} [{expected['low']:.3f}, "
    assert printed in fitted.err + fitted.out
    assert printed.partition(" [")[0] in pcam("model", model).out
    plain = tmp_path / "plain"
    assert pcam("extract", "synthetic:400:12:0", plain, "--families", "color").code == 0
    assert pcam("fit", plain, tmp_path / "other", "--folds", 3).code == 0
    other = json.loads(pcam("model", tmp_path / "other", "--json").out)
    assert "elsewhere" not in other
    assert other["out_of_fold_auc"] != shown["out_of_fold_auc"]
    assert pcam("predict", model, store, tmp_path / "p.csv").code == 0
    without = pcam("fit", store, tmp_path / "without", "--folds", 3, "--no-copies")
    assert without.code == 0, without.err
    assert "copies: the store's 364 changed copies are not used" in without.err
    left_out = json.loads(pcam("model", tmp_path / "without", "--json").out)
    assert left_out["out_of_fold_auc"] == other["out_of_fold_auc"]
    assert "elsewhere" not in left_out


def test_oracle_training_moments_are_those_of_the_patches_without_copies(tmp_path: Path) -> None:
    store = pcam_api.extract("synthetic:120:6:0", tmp_path / "s", families="color", copies=90)
    model = pcam_api.fit(store, tmp_path / "m", folds=3, progress=None)
    values = store.features("train", "color").astype(np.float64)
    for bundle in (model.bundle, bundles.read(tmp_path / "m")):
        mean, deviation = bundle.training_moments()
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5)
        vary = values.std(axis=0) > 1e-4 * np.abs(mean)
        np.testing.assert_allclose(deviation[vary], values.std(axis=0)[vary], rtol=1e-3)
        with_copies_too, _ = bundle.models["color_kernel"].moments() or (mean, None)
        assert not np.allclose(with_copies_too, mean, rtol=1e-4)
    speed = json.loads((tmp_path / "m" / "cost.json").read_text())["train_patches_per_second"]
    assert speed > 0
    alone = pcam_api.fit(store, tmp_path / "alone", folds=3, progress=None, copies=False)
    assert not (tmp_path / "alone" / "moments.npy").exists()
    np.testing.assert_array_equal(alone.bundle.training_moments()[0], mean)


@pytest.mark.parametrize("damage", ["checksum", "shape", "deviation", "none kept"])
def test_mechanics_damaged_training_moments_are_refused(damage: str, tmp_path: Path) -> None:
    store = pcam_api.extract("synthetic:120:6:0", tmp_path / "s", families="color", copies=90)
    pcam_api.fit(store, tmp_path / "m", folds=3, progress=None)
    file, manifest = tmp_path / "m" / "moments.npy", tmp_path / "m" / "manifest.json"
    known = json.loads(manifest.read_text())
    moments = np.load(file)
    if damage == "none kept":  # as versions before this one wrote it
        del known["files"]["moments.npy"]
        seal(tmp_path / "m", known)
        with pytest.raises(InputError, match=r"older version of pcam.*fit it anew"):
            bundles.read(tmp_path / "m").training_moments()
        return
    np.save(file, moments[:, 1:] if damage == "shape" else moments * [[1], [-1]])
    np.save(file, np.load(file).astype("<f4"))
    if damage != "checksum":
        sign(tmp_path / "m")
    with pytest.raises(InputError, match=r"is damaged.*moments\.npy"):
        bundles.read(tmp_path / "m")


def test_mechanics_copies_that_cannot_be_used_are_refused(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    unlabeled = pcam("extract", synthetic_folder, tmp_path / "s", "--split", "test", "--copies", 9)
    assert unlabeled.code == 2
    assert "--copies needs one labeled split to train on" in unlabeled.err
    store = tmp_path / "features"
    words = ("synthetic:60:6:0", store, "--families")
    assert pcam("extract", *words, "color", "--copies", 20).code == 0
    assert pcam("fit", store, tmp_path / "few", "--folds", 3, "--families", "color").code == 0
    card = pcam("model", tmp_path / "few").out
    assert "learned from 20 changed copies" in card
    assert "too few copies of each shift" in card
    other = pcam("extract", *words, "color", "--copies", 21)
    assert other.code == 2
    assert "use --copies 20 again" in other.err
    for command in (("fit", store, tmp_path / "m"), ("predict", tmp_path / "few", store, "p.csv")):
        refused = pcam(*command, "--split", "train~copies")
        assert refused.code == 2
        assert "holds changed copies of training patches; use 'train'" in refused.err
    assert pcam("extract", *words, "nuclei", "--copies", 0).code == 0
    fitted = pcam("fit", store, tmp_path / "model", "--folds", 3)
    assert fitted.code == 2
    assert "no finished nuclei features" in fitted.err
    assert "--copies 20" in fitted.err
    found = copies_in(open_store(store), "train", ["color"], keep=True)
    assert found is not None
    assert found.values.rows == 20
    assert copies_in(open_store(store), "test", ["color"], keep=True) is None


def test_regression_a_source_without_patches_can_be_planned(tmp_path: Path) -> None:
    empty = Source("synthetic", "nothing", "", {})
    work = Extraction(tmp_path / "features", empty, families_named("color"))
    assert work.splits == []
    assert work.plan().patches_to_measure == 0
