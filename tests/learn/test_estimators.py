"""The classifier and the splitter behave as scikit-learn asks, and are the model and folds of `fit`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pcam_features.engine import cpu
from pcam_features.errors import InputError
from pcam_features.extraction.extract import extract
from pcam_features.families.registry import chosen
from pcam_features.grouping.appearance import looks_in
from pcam_features.grouping.folds import make_folds
from pcam_features.learn import kernel_ridge, nystroem
from pcam_features.learn.bundle import read
from pcam_features.learn.estimators import (
    APPEARANCE_COLUMNS,
    NystroemRidgeClassifier,
    PseudoSlideKFold,
    appearance_array,
)
from pcam_features.sources.detect import open_source
from pcam_features.store.store import Store, open_store


@parametrize_with_checks([NystroemRidgeClassifier(), NystroemRidgeClassifier(n_landmarks=20)])
def test_oracle_scikit_learns_checks_pass(estimator: Any, check: Any) -> None:
    check(estimator)


def data(rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (rows, 7)).astype(np.float32)
    return values, (np.sin(values[:, 0]) + rng.normal(0, 0.5, rows) > 0.2).astype(np.int8)


def test_oracle_it_is_nystroem_and_ridge() -> None:
    (values, labels), (others, _) = data(), data(100, seed=1)
    landmarks, penalty, width = 60, 0.5, 1.0
    scaler = StandardScaler().fit(values)

    def scaled(rows: np.ndarray) -> np.ndarray:
        return np.clip(scaler.transform(rows), -nystroem.CLIP, nystroem.CLIP)

    ours = NystroemRidgeClassifier(landmarks, width, penalty, random_state=3).fit(values, labels)
    features = Nystroem(gamma=width / values.shape[1], n_components=landmarks)
    features.fit(ours.model_.landmarks.astype(float))  # draws all of them: ours
    ridge = Ridge(alpha=penalty).fit(features.transform(scaled(values)), labels)
    expected = ridge.predict(features.transform(scaled(others)))
    assert expected.std() > 0.1
    found = (ours.decision_function(others) + 2) / 4
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_array_equal(ours.predict(others), (found > 0.5).astype(int))
    np.testing.assert_allclose(ours.predict_proba(others)[:, 1], expit(4 * found - 2), rtol=1e-12)


def test_parity_it_is_the_kernel_model_of_a_bundle(model_folder: Path, store_folder: Path) -> None:
    store = open_store(store_folder)
    values = store.features("train", "color")
    labels = store.patches("train")["label"].astype(int)
    in_bundle = read(model_folder).models["color_kernel"]
    assert isinstance(in_bundle, kernel_ridge.NystroemRidge)
    ours = NystroemRidgeClassifier().fit(values, labels)
    np.testing.assert_array_equal(ours.model_.landmarks, in_bundle.landmarks)
    # Sums over one fold and over three round otherwise, and products by processor.
    largest = np.abs(in_bundle.weights).max()
    np.testing.assert_allclose(ours.model_.weights, in_bundle.weights, rtol=0, atol=1e-3 * largest)
    expected = in_bundle.margin(values)
    np.testing.assert_allclose(ours.model_.margin(values), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(values), expected, rtol=0, atol=3e-4)


def test_mechanics_names_classes_and_clones_are_kept() -> None:
    values, labels = data()
    table = pd.DataFrame(values, columns=list("abcdefg"))
    words = np.where(labels == 1, "tumor", "normal")
    fitted = NystroemRidgeClassifier(n_landmarks=50, random_state=4).fit(table, words)
    assert fitted.classes_.tolist() == ["normal", "tumor"]
    assert fitted.feature_names_in_.tolist() == list("abcdefg")
    assert set(fitted.predict(table)) == {"normal", "tumor"}
    again = clone(fitted).fit(table, words)
    np.testing.assert_array_equal(again.decision_function(table), fitted.decision_function(table))
    kept = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(kept.predict_proba(table), fitted.predict_proba(table))
    other = NystroemRidgeClassifier(n_landmarks=50, random_state=5).fit(table, words)
    assert not np.array_equal(other.decision_function(table), fitted.decision_function(table))


@pytest.mark.parametrize(
    "parameters", [{"n_landmarks": 0}, {"n_landmarks": 1.5}, {"width": 0}, {"penalty": np.nan}]
)
def test_mechanics_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(parameters))):
        NystroemRidgeClassifier(**parameters).fit(*data())


@pytest.fixture(scope="module")
def real_store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The color features of real patches whose slides are unknown."""
    folder = tmp_path_factory.mktemp("folds") / "store"
    source, _ = open_source(str(kaggle_folder))
    extract(folder, source, source.only("train"), chosen("color"), cpu, threads=2)
    return open_store(folder)


def frame(store: Store) -> pd.DataFrame:
    columns = pd.read_parquet(next((store.path / "train" / "color").glob("*.parquet"))).columns[1:]
    return pd.DataFrame(
        store.features("train", "color"), columns=columns, index=store.patches("train")["id"]
    )


@pytest.mark.parametrize("known", ["none", "stored", "all"])
@pytest.mark.parametrize("count", [3, 5])
def test_parity_folds_are_those_of_fit_on_real_patches(
    real_store: Store, known: str, count: int
) -> None:
    patches = real_store.patches("train")
    slides = patches["slide"]
    assert 0 < slides.isna().sum() < len(slides)
    if known == "none":
        slides = slides.where(slides.isna(), None)
    if known == "all":
        slides = pd.Series([f"s{k % 23}" for k in range(len(slides))], dtype=object)
    expected = make_folds(patches.assign(slide=slides), count, 7, looks_in(real_store, "train"))
    splitter = PseudoSlideKFold(count, random_state=7)
    groups = None if known == "none" else slides
    colors, labels = frame(real_store), patches["label"].to_numpy()
    found = splitter.folds(colors, labels, groups)
    np.testing.assert_array_equal(found.fold, expected.fold)
    np.testing.assert_array_equal(found.group, expected.group)
    assert found.protocol == expected.protocol
    for k, (train, test) in enumerate(splitter.split(colors, labels, groups)):
        np.testing.assert_array_equal(test, np.flatnonzero(expected.fold == k))
        np.testing.assert_array_equal(train, np.flatnonzero(expected.fold != k))
    assert ("pseudo-slides" in found.protocol) == (known != "all")


def test_invariant_none_nan_and_empty_are_unknown_slides(real_store: Store) -> None:
    patches, colors = real_store.patches("train"), frame(real_store)
    splitter = PseudoSlideKFold(3)
    expected = splitter.folds(colors, patches["label"], patches["slide"]).fold
    for unknown in ("", np.nan, pd.NA):
        groups = [unknown if slide is None else slide for slide in patches["slide"]]
        found = splitter.folds(colors, patches["label"], groups).fold
        np.testing.assert_array_equal(found, expected)


def test_invariant_every_form_of_appearance_gives_the_same_folds(real_store: Store) -> None:
    colors = frame(real_store)
    labels = real_store.patches("train")["label"].map({0.0: "normal", 1.0: "tumor"})
    splitter = PseudoSlideKFold(4)
    expected = splitter.folds(colors.to_numpy(), labels).fold
    looks = looks_in(real_store, "train")
    forms = {
        "table without ids": colors.reset_index(drop=True),
        "table in another order": colors.reset_index(drop=True)[colors.columns[::-1]],
        "appearance": appearance_array(colors.to_numpy()),
        "list": colors[list(APPEARANCE_COLUMNS)].to_numpy().tolist(),
        "looks": looks,
    }
    for name, form in forms.items():
        np.testing.assert_array_equal(splitter.folds(form, labels).fold, expected, err_msg=name)
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    kept = PseudoSlideKFold(4, appearance=colors.to_numpy())
    np.testing.assert_array_equal(kept.folds(images, labels).fold, expected)


def test_mechanics_what_cannot_be_split_is_refused(real_store: Store) -> None:
    colors = frame(real_store)
    labels = real_store.patches("train")["label"].to_numpy()
    cases: list[tuple[str, PseudoSlideKFold, Any, Any]] = [
        ("n_splits= is 2", PseudoSlideKFold(2), colors, None),
        ("lacks the column color__mean", PseudoSlideKFold(), colors.iloc[:, 300:], None),
        ("does not tell how patches look", PseudoSlideKFold(), np.zeros((len(labels), 5)), None),
        ("rows of finite numbers", PseudoSlideKFold(), colors * np.nan, None),
        ("one for each", PseudoSlideKFold(), colors, ["a"]),
        ("1 slide for 5 folds", PseudoSlideKFold(), colors, ["a"] * len(labels)),
    ]
    for message, splitter, table, groups in cases:
        with pytest.raises(InputError, match=message):
            splitter.folds(table, labels, groups)


def test_mechanics_it_serves_cross_validation() -> None:
    values, labels = make_classification(300, 8, random_state=0)
    groups = np.repeat(np.arange(15), 20)
    splitter = PseudoSlideKFold(3)
    assert splitter.get_n_splits() == 3
    assert "n_splits=3" in repr(splitter)
    scores = cross_val_score(
        NystroemRidgeClassifier(), values, labels, groups=groups, cv=splitter, scoring="roc_auc"
    )
    assert len(scores) == 3
    assert (scores > 0.8).all()
