"""scikit-learn's side: transformers of images in pipelines, and the model of `fit` as an estimator."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import FITTED
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.utils import estimator_checks

from pcam_features.errors import InputError
from pcam_features.families.registry import FAMILIES
from pcam_features.learn.base_models import logits
from pcam_features.learn.bundle import read
from pcam_features.sklearn import (
    NystroemRidgeClassifier,
    PatchClassifier,
    PatchEmbeddings,
    PatchFeatures,
    PseudoSlideKFold,
)
from pcam_features.sources.detect import open_source
from pcam_features.store.store import Store, open_store
from pcam_features.store.values import stored

FEW = "color,lbp"
SMALL = {"views": 1, "depths": ["block02"], "pools": ["mean"], "threads": 1}


@pytest.fixture(scope="module")
def real(kaggle_folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and slides of some real patches whose slides are known."""
    split = open_source(str(kaggle_folder))[0].splits["train"]
    known = [k for k, slide in enumerate(split.slides) if slide][:180]
    images = np.concatenate([split.read(k, k + 1) for k in known])
    labels = np.array([int(split.labels[k]) for k in known])
    return images, labels, np.array([split.slides[k] for k in known])


@pytest.fixture(scope="module")
def synthetic(synthetic_folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    split = open_source(str(synthetic_folder))[0].splits["train"]
    images = split.read(0, len(split))
    return images, np.array(split.labels, int), list(split.slides)


@pytest.fixture(scope="module")
def store(store_folder: Path) -> Store:
    return open_store(store_folder)


def parquet(store: Store, families: tuple[str, ...] | list[str]) -> pd.DataFrame:
    """A store's Parquet of its training split, read by pandas alone."""
    tables = []
    for name in families:
        parts = sorted((store.path / "train" / name).glob("*.parquet"))
        tables.append(pd.concat([pd.read_parquet(part) for part in parts]).set_index("id"))
    return pd.concat(tables, axis=1)


def test_parity_features_are_those_of_the_store_to_the_bit(
    synthetic: tuple[np.ndarray, Any, Any], store: Store
) -> None:
    features = PatchFeatures(threads=2)
    found = features.fit_transform(synthetic[0])
    expected = parquet(store, list(FAMILIES))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.to_numpy())
    assert features.get_feature_names_out().tolist() == list(expected.columns)
    assert features.n_features_out_ == 3728
    np.testing.assert_array_equal(
        PatchFeatures(["lbp"]).transform(synthetic[0]), expected.filter(regex="^lbp_")
    )


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_oracle_a_pipeline_scores_the_same_wherever_it_runs(
    real: tuple[np.ndarray, np.ndarray, np.ndarray], backend: str
) -> None:
    images, labels, slides = real
    pipeline = make_pipeline(PatchFeatures(FEW, threads=1), NystroemRidgeClassifier())
    common = {"groups": slides, "cv": GroupKFold(3), "scoring": "roc_auc"}
    alone = cross_val_score(pipeline, images, labels, **common)
    with joblib.parallel_backend(backend, n_jobs=2):
        found = cross_val_score(pipeline, images, labels, n_jobs=2, **common)
    np.testing.assert_allclose(found, alone, atol=1e-9)
    assert alone.mean() > 0.6  # patches of other slides are ranked better than by chance
    columns = PatchFeatures(FEW).transform(images)
    by_columns = cross_val_score(NystroemRidgeClassifier(), columns, labels, **common)
    np.testing.assert_allclose(by_columns, alone, atol=1e-9)


@pytest.mark.parametrize(
    "transformer",
    [PatchFeatures(FEW, threads=1), PatchEmbeddings(**SMALL)],
    ids=["features", "embeddings"],
)
def test_mechanics_pandas_clone_and_pickle(transformer: Any, synthetic_batch: np.ndarray) -> None:
    expected = transformer.transform(synthetic_batch)  # needs no fit
    again = clone(transformer).fit(synthetic_batch)
    assert again.get_params() == transformer.get_params()
    assert again.n_features_out_ == expected.shape[1]
    loaded = pickle.loads(pickle.dumps(again))
    np.testing.assert_array_equal(loaded.transform(synthetic_batch), expected)
    table = again.set_output(transform="pandas").transform(synthetic_batch)
    assert isinstance(table, pd.DataFrame)
    assert (table.dtypes == np.float32).all()
    assert table.columns.tolist() == again.get_feature_names_out().tolist()
    np.testing.assert_array_equal(table.to_numpy(), expected)


def test_invariant_paths_and_pictures_are_the_same_images(
    synthetic_batch: np.ndarray, tmp_path: Path
) -> None:
    features = PatchFeatures("color", threads=1).set_output(transform="pandas")
    expected = features.fit_transform(synthetic_batch[:5])
    pictures = [Image.fromarray(pixels) for pixels in synthetic_batch[:5]]
    paths = [tmp_path / f"{k}.png" for k in range(5)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    for given in (pictures, paths, [str(path) for path in paths]):
        pd.testing.assert_frame_equal(features.fit_transform(given), expected)
    named = pd.Series(map(str, paths), index=list("abcde"))
    assert features.transform(named).index.tolist() == list("abcde")


def test_mechanics_unions_name_families_and_feed_the_classifier(
    synthetic: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    images, labels, slides = synthetic
    union = make_union(
        PatchFeatures("lbp", threads=1), PatchEmbeddings(**SMALL), verbose_feature_names_out=False
    )
    pipeline = make_pipeline(union, PatchClassifier(n_splits=3, threads=1))
    pipeline.set_output(transform="pandas")
    pipeline.fit(images, labels, patchclassifier__groups=slides)
    assert list(pipeline[-1].families_) == ["lbp", "efficientnet_lite0_96px"]
    assert "all_trees" in pipeline[-1].models_
    assert pipeline.score(images, labels) > 0.7


def test_mechanics_wrong_images_and_families_are_refused(synthetic_batch: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be uint8"):
        PatchFeatures().fit(synthetic_batch / 255)
    with pytest.raises(InputError, match="colour"):
        PatchFeatures("colour").fit(synthetic_batch)
    with pytest.raises(InputError, match="encoder"):
        PatchEmbeddings("resnet").fit(synthetic_batch)


@pytest.fixture(scope="module")
def fitted(store: Store) -> PatchClassifier:
    """Fitted as `model_folder` is, on the same table."""
    patches = store.patches("train")
    table = parquet(store, FITTED)
    classifier = PatchClassifier(n_splits=3, threads=2)
    return classifier.fit(table, patches["label"].astype(int), groups=patches["slide"])


def test_parity_it_is_the_model_that_fit_makes(
    fitted: PatchClassifier, model_folder: Path, store: Store
) -> None:
    bundle = read(model_folder)
    assert list(fitted.models_) == list(bundle.models)
    assert fitted.stack_ == bundle.manifest.stack
    folds = pd.read_parquet(model_folder / "folds.parquet")
    np.testing.assert_array_equal(fitted.folds_.fold, folds["fold"])
    out_of_fold = pd.read_parquet(model_folder / "out_of_fold.parquet").drop(columns="id")
    pd.testing.assert_frame_equal(fitted.out_of_fold_, out_of_fold)
    pd.testing.assert_frame_equal(
        fitted.importance_, pd.read_parquet(model_folder / "importance.parquet")
    )
    values = stored(store, "train", list(FITTED), keep=True)
    expected = bundle.manifest.stack.probability(logits(bundle.models, values, 1))
    found = fitted.predict_proba(parquet(store, FITTED))
    np.testing.assert_array_equal(found[:, 1], expected)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_invariant_images_tables_and_arrays_give_the_same_model(
    fitted: PatchClassifier, synthetic: tuple[np.ndarray, np.ndarray, list[str]], store: Store
) -> None:
    images, labels, slides = synthetic
    expected = fitted.predict_proba(parquet(store, FITTED))
    np.testing.assert_array_equal(fitted.predict_proba(images), expected)
    chosen = PatchClassifier(list(FITTED), n_splits=3, threads=2)
    by_images = clone(chosen).fit(images, labels, groups=slides)
    np.testing.assert_array_equal(by_images.predict_proba(images), expected)
    np.testing.assert_array_equal(by_images.predict_proba(parquet(store, list(FAMILIES))), expected)
    array = parquet(store, FITTED).to_numpy()
    by_array = clone(chosen).fit(array, labels, groups=slides)
    assert list(by_array.families_) == list(FITTED)
    np.testing.assert_array_equal(by_array.predict_proba(array), expected)
    everything = clone(chosen).fit(parquet(store, list(FAMILIES)), labels, groups=slides)
    np.testing.assert_array_equal(everything.predict_proba(images), expected)


def test_mechanics_pickles_and_words_for_classes(
    fitted: PatchClassifier, store: Store, tmp_path: Path
) -> None:
    table = parquet(store, FITTED)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict_proba(table), fitted.predict_proba(table))
    joblib.dump(fitted, tmp_path / "model.joblib")
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "model.joblib").predict(table), fitted.predict(table)
    )
    small, labels = table.filter(regex="^lbp__"), store.patches("train")["label"]
    words = labels.map({0.0: "normal", 1.0: "tumor"})
    named = PatchClassifier(n_splits=3, threads=2).fit(
        small, words, groups=store.patches("train")["slide"]
    )
    assert named.classes_.tolist() == ["normal", "tumor"]
    predicted = named.predict(small)
    np.testing.assert_array_equal(predicted == "tumor", named.predict_proba(small)[:, 1] > 0.5)
    np.testing.assert_array_equal(predicted == "tumor", named.decision_function(small) > 0)
    assert named.score(small, words) > 0.7


def test_mechanics_slides_that_are_not_given_become_pseudo_slides(store: Store) -> None:
    table = parquet(store, ["color"])
    labels = store.patches("train")["label"].astype(int)
    found = PatchClassifier(n_splits=3, threads=2).fit(table, labels)
    assert "pseudo-slides" in found.folds_.protocol
    expected = PseudoSlideKFold(3).folds(table, labels)
    np.testing.assert_array_equal(found.folds_.fold, expected.fold)


def test_mechanics_labels_among_features_are_refused(
    fitted: PatchClassifier, store: Store, synthetic_batch: np.ndarray
) -> None:
    table = parquet(store, ["lbp"])
    labels = store.patches("train")["label"].astype(int)
    classifier = PatchClassifier(n_splits=3)
    with pytest.raises(InputError, match="column 'label', which is not a feature"):
        classifier.fit(table.assign(label=labels.to_numpy()), labels)
    with pytest.raises(InputError, match="no columns of the family 'color'"):
        PatchClassifier("color").fit(table, labels)
    with pytest.raises(InputError, match="labels for 24 images"):
        PatchClassifier("lbp").fit(synthetic_batch, labels)
    with pytest.raises(ValueError, match="one class only"):
        classifier.fit(table, labels * 0)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(table)
    with pytest.raises(NotFittedError):
        PatchClassifier().predict(synthetic_batch)


# Of scikit-learn's checks those that do not feed tables of numbers: the transformers take images. The
# others generate 2-D arrays of floats, which are no images; what they ask for is tested above.
APPLICABLE: list[Callable[[str, Any], None]] = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize("check", APPLICABLE, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", [PatchFeatures(), PatchEmbeddings(), PatchClassifier()], ids=repr)
def test_oracle_scikit_learns_checks_that_apply_pass(
    estimator: BaseEstimator, check: Callable[[str, Any], None]
) -> None:
    check(type(estimator).__name__, estimator)
