"""Changed copies of training patches: drawn, stored, learned from, and scored out of fold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Result
from sklearn.metrics import roc_auc_score

from pcam_features.api.data import Extraction
from pcam_features.extraction.selection import families_named
from pcam_features.extraction.shifts import COPIES_SEED, KINDS, copies, draw_view
from pcam_features.grouping.folds import Folds
from pcam_features.learn.context import FitContext
from pcam_features.learn.copies import Copies, copies_in, scores_elsewhere, with_copies
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
        patch, _, kind = name.rpartition("~")
        row = split.ids.index(patch)
        expected = draw_view(kind, "moderate", COPIES_SEED).of(split.read(row, row + 1), row)
        np.testing.assert_array_equal(made.read(k, k + 1), expected)
        assert (made.labels[k], made.slides[k]) == (split.labels[row], split.slides[row])
    counts = [sum(name.endswith(f"~{kind}") for name in made.ids) for kind in KINDS]
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


def some_copies() -> tuple[np.ndarray, Copies]:
    labels = np.array([0, 1] * 90, np.int8)
    rows = np.arange(130)
    kinds = np.where(rows < 60, "blur", np.where(rows < 120, "noise", "jpeg"))
    values = of_arrays({"a": np.zeros((130, 1), np.float32)})
    return labels, Copies(values, rows, kinds)


def test_oracle_scores_elsewhere_are_scikit_learns() -> None:
    labels, made = some_copies()
    rng = np.random.default_rng(1)
    here, there = labels + rng.normal(0, 0.5, 180), labels[made.rows] + rng.normal(0, 1, 130)
    scores = scores_elsewhere(labels, here, there, made)
    assert list(scores) == ["blur", "noise"]  # of jpeg there are too few
    for kind, score in scores.items():
        own = made.kinds == kind
        assert score.patches == own.sum()
        assert score.auc == pytest.approx(roc_auc_score(labels[made.rows[own]], there[own]))
        expected = roc_auc_score(labels[made.rows[own]], here[made.rows[own]])
        assert score.as_they_are == pytest.approx(expected)
        assert score.loss == pytest.approx(score.as_they_are - score.auc)


def test_mechanics_a_kind_of_one_class_has_no_score() -> None:
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
    assert set(shown["elsewhere"]) == set(KINDS)
    assert sum(score["patches"] for score in shown["elsewhere"].values()) == 364
    assert shown["copies"] == 364
    plain = tmp_path / "plain"
    assert pcam("extract", "synthetic:400:12:0", plain, "--families", "color").code == 0
    assert pcam("fit", plain, tmp_path / "other", "--folds", 3).code == 0
    other = json.loads(pcam("model", tmp_path / "other", "--json").out)
    assert "elsewhere" not in other
    assert other["out_of_fold_auc"] != shown["out_of_fold_auc"]
    assert pcam("predict", model, store, tmp_path / "p.csv").code == 0


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
    assert "too few of each kind" in card
    other = pcam("extract", *words, "color", "--copies", 21)
    assert other.code == 2
    assert "use --copies 20 again" in other.err
    for command in (("fit", store, tmp_path / "m"), ("predict", tmp_path / "few", store, "p.csv")):
        refused = pcam(*command, "--split", "train~copies")
        assert refused.code == 2
        assert "holds changed copies of training patches; use 'train'" in refused.err
    assert pcam("extract", *words, "nuclei").code == 0
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
