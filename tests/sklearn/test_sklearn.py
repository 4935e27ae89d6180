"""scikit-learn's side: transformers of images in pipelines, and the model of `fit` as an estimator."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from inspect import signature
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
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import pcam_features as pcam
from pcam_features.errors import InputError
from pcam_features.families.registry import FAMILIES
from pcam_features.learn.base_models import logits
from pcam_features.learn.bundle import read
from pcam_features.learn.estimators import EstimatorError
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

# scikit-learn 1.5, which cannot be told what its checks may find.
IS_1_5 = "expected_failed_checks" not in signature(parametrize_with_checks).parameters

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
    assert features.n_features_out_ == 4736
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
    if not IS_1_5:  # which keeps the index of tables only
        assert features.transform(named).index.tolist() == list("abcde")


def test_mechanics_unions_name_families_and_feed_the_classifier(
    synthetic: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    images, labels, slides = synthetic
    transformers = [
        ("features", PatchFeatures("lbp", threads=1)),
        ("network", PatchEmbeddings(**SMALL)),
    ]
    union = FeatureUnion(transformers, verbose_feature_names_out=False)
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
    synthetic: tuple[np.ndarray, np.ndarray, list[str]], store: Store
) -> None:
    images, labels, slides = synthetic
    small = PatchClassifier(n_splits=3, rounds=20, threads=2)
    fitted = small.fit(parquet(store, FITTED), labels, groups=slides)
    expected = fitted.predict_proba(parquet(store, FITTED))
    np.testing.assert_array_equal(fitted.predict_proba(images), expected)
    chosen = PatchClassifier(list(FITTED), n_splits=3, rounds=20, threads=2)
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
SINCE_1_6 = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
)
APPLICABLE: list[Callable[[str, Any], None]] = [
    *(getattr(estimator_checks, name) for name in SINCE_1_6 if hasattr(estimator_checks, name)),
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


# The classifier takes tables of numbers too, and these checks feed some. If a check that is expected to
# fail passes, that is an error.
INAPPLICABLE = {
    "check_methods_subset_invariance": "asks for 1e-7, but the kernel models of `pcam fit` multiply "
    "matrices of float32, whose sums round by the number of rows, and the estimator equals a bundle of "
    "`pcam fit` to the bit; `test_invariant_a_row_alone_has_the_score_that_it_has_among_others` bounds "
    "the difference",
}


@pytest.fixture
def one_blas_thread() -> Iterator[None]:
    """Tiny matrices are multiplied faster by one thread than by several that wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


INAPPLICABLE_1_5 = {
    "check_fit2d_1feature": "looks for the number of columns in the message, but the labels that 1.5 "
    "draws for ten rows cannot be divided into folds, and the message says so",
}
EXPECTED: dict[str, Any] = {} if IS_1_5 else {"expected_failed_checks": lambda estimator: INAPPLICABLE}


@pytest.mark.usefixtures("one_blas_thread")
@parametrize_with_checks([PatchClassifier(n_splits=3, rounds=20, threads=1)], **EXPECTED)
def test_oracle_scikit_learns_checks_of_tables_pass(estimator: Any, check: Any) -> None:
    reasons = INAPPLICABLE | INAPPLICABLE_1_5
    if IS_1_5 and check.func.__name__ in reasons:
        pytest.xfail(reasons[check.func.__name__])
    check(estimator)


def small_table(rows: int = 120) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A table of features, labels and slides."""
    labels = np.arange(rows) % 2
    values = np.random.default_rng(0).normal(size=(rows, 3)) + labels[:, None]
    slides = np.repeat([f"slide {k}" for k in range(12)], rows // 12)
    return pd.DataFrame(values, columns=["lbp__a", "lbp__b", "lbp__c"]), labels, slides


@pytest.mark.usefixtures("one_blas_thread")
def test_invariant_a_row_alone_has_the_score_that_it_has_among_others() -> None:
    table, labels, slides = small_table()
    classifier = PatchClassifier(n_splits=3, rounds=20, threads=1).fit(table, labels, groups=slides)
    alone = [classifier.decision_function(table.iloc[k : k + 1])[0] for k in range(30)]
    # Products of one row and of several round otherwise, on some processors.
    np.testing.assert_allclose(alone, classifier.decision_function(table)[:30], atol=2e-4)


@pytest.mark.usefixtures("one_blas_thread")
def test_mechanics_rounds_bound_the_number_of_trees() -> None:
    table, labels, slides = small_table()
    few = PatchClassifier(n_splits=3, rounds=7, threads=1).fit(table, labels, groups=slides)
    assert few.models_["texture_trees"].booster.num_boosted_rounds() == 7


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_splits": 2}, "n_splits= is 2; give a whole number from 3 to 20"),
        ({"n_splits": "5"}, "n_splits= is '5'"),
        ({"trials": -1}, "trials= is -1"),
        ({"rounds": 0}, "rounds= is 0; give a whole number from 1 to 10,000"),
        ({"threads": 1.5}, "threads= is 1.5"),
        ({"threads": True}, "threads= is True"),
        ({"random_state": None}, "random_state= is None"),
        ({"random_state": np.random.RandomState(0)}, "random_state= is of type RandomState"),
        ({"families": 3}, "families= is 3"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"other_sizes": "stretch"}, "other_sizes= is 'stretch'; give one of: resize, crop, tile"),
        ({"other_sizes": 96}, "other_sizes= is 96"),
        ({"mpp": "0.5"}, "mpp= is '0.5'"),
        ({"n_splits": 13}, "there are 12 slides for 13 folds; provide more slides, or lower n_splits="),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, dict) else "",
)
def test_mechanics_wrong_parameters_of_the_classifier_are_named(
    parameters: dict[str, Any], message: str
) -> None:
    table, labels, slides = small_table()
    with pytest.raises(InputError) as caught:
        PatchClassifier(**parameters).fit(table, labels, groups=slides)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    "transformer",
    [
        PatchFeatures("color", threads=-1),
        PatchFeatures("color", mpp=0.5),
        PatchFeatures(5),  # type: ignore[arg-type]
        PatchFeatures("color", device="gpu"),
        PatchEmbeddings(depths=3),  # type: ignore[arg-type]
        PatchEmbeddings(other_sizes="stretch"),
    ],
    ids=repr,
)
def test_mechanics_wrong_parameters_of_transformers_are_refused(
    transformer: Any, synthetic_batch: np.ndarray
) -> None:
    for call in (transformer.fit, transformer.transform):
        with pytest.raises(EstimatorError) as caught:
            call(synthetic_batch)
        assert "--" not in str(caught.value)


def test_mechanics_errors_of_estimators_are_value_errors(synthetic_batch: np.ndarray) -> None:
    table, labels, _ = small_table()
    for call in (
        lambda: PatchFeatures("colour").fit(synthetic_batch),
        lambda: PatchFeatures("color").transform(synthetic_batch / 255),
        lambda: PatchClassifier(n_splits=1).fit(table, labels),
        lambda: PseudoSlideKFold(2).folds(table, labels),
        lambda: PseudoSlideKFold("3").folds(table, labels),  # type: ignore[arg-type]
        lambda: PseudoSlideKFold().test_folds(table, labels),
    ):
        with pytest.raises(EstimatorError) as caught:
            call()
        assert isinstance(caught.value, InputError)
        assert isinstance(caught.value, ValueError)
        again = pickle.loads(pickle.dumps(caught.value))  # as joblib's workers send it
        assert (type(again), str(again)) == (EstimatorError, str(caught.value))
    assert not issubclass(InputError, ValueError)


@pytest.mark.parametrize("how", ["resize", "crop", "tile"])
@pytest.mark.parametrize("mpp", [None, 0.8])
def test_parity_images_of_other_sizes_are_brought_to_patches_as_features_does(
    how: str, mpp: float | None
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    images[:, :64] //= 2
    expected = pcam.features(images, families="color", fit=how, mpp=mpp, threads=1)
    features = PatchFeatures("color", threads=1, other_sizes=how, mpp=mpp)
    found = clone(features).set_output(transform="pandas").fit_transform(images)
    pd.testing.assert_frame_equal(found, expected)
    pictures = [Image.fromarray(pixels) for pixels in images]
    np.testing.assert_array_equal(features.transform(pictures), expected)


def test_parity_embeddings_of_other_sizes_are_those_of_the_api() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    expected = pcam.embeddings(images, fit="crop", **SMALL)
    found = PatchEmbeddings(**SMALL, other_sizes="crop").fit_transform(images)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("one_blas_thread")
def test_mechanics_the_classifier_takes_images_of_other_sizes(
    synthetic: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    images, labels, slides = synthetic
    larger = np.pad(images, ((0, 0), (8, 8), (8, 8), (0, 0)), constant_values=255)
    small = PatchClassifier("color", n_splits=3, rounds=20, threads=1, other_sizes="crop")
    found = small.fit(larger, labels, groups=slides).predict_proba(larger[:5])
    alike = clone(small).set_params(other_sizes=None).fit(images, labels, groups=slides)
    np.testing.assert_array_equal(found, alike.predict_proba(images[:5]))
    with pytest.raises(EstimatorError, match="112×112 pixels; choose with other_sizes="):
        alike.predict(larger[:5])
