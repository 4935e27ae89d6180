"""The kernel model is held to scikit-learn's kernel ridge regression and to plain least squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer, StandardScaler

from pcam_features.grouping.folds import Folds
from pcam_features.learn import kernel_ridge, nystroem
from pcam_features.learn.context import FitContext
from pcam_features.learn.settings import Compute
from pcam_features.learn.steps import Work
from pcam_features.storage.resumable import STEPS
from pcam_features.store.values import of_arrays


def data(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, (rows, 7)).astype(np.float32)
    labels = (np.sin(values[:, 0]) + rng.normal(0, 0.5, rows) > 0.2).astype(np.int8)
    return values, labels


def by_scikit_learn(values: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = StandardScaler().fit(data(400)[0]).transform(values)
    return np.clip(scaled, -nystroem.CLIP, nystroem.CLIP)


def trained(values: np.ndarray, labels: np.ndarray, seed: int = 0) -> kernel_ridge.NystroemRidge:
    one_fold = np.zeros(len(labels), np.int16)
    return kernel_ridge.train(
        nystroem.prepare(of_arrays({"x": values}), ["x"], labels, one_fold, seed=seed)
    )


def probability(model: kernel_ridge.NystroemRidge, values: np.ndarray) -> np.ndarray:
    return (model.margin(values) + 2) / 4


def test_oracle_likeness_is_scikit_learns() -> None:
    rows = by_scikit_learn(data(50)[0]).astype(np.float32)
    expected = rbf_kernel(rows, rows[:20], gamma=nystroem.WIDTH / rows.shape[1])
    np.testing.assert_allclose(nystroem.likeness(rows, rows[:20], nystroem.WIDTH), expected, atol=2e-6)


def test_oracle_with_every_row_a_landmark_it_is_kernel_ridge_regression() -> None:
    (values, labels), (others, _) = data(400), data(100, seed=1)
    rows, new = by_scikit_learn(values), by_scikit_learn(others)
    gamma = nystroem.WIDTH / values.shape[1]
    centerer = KernelCenterer()
    among = centerer.fit_transform(rbf_kernel(rows, gamma=gamma))
    ridge = KernelRidge(alpha=nystroem.PENALTY, kernel="precomputed").fit(among, labels - labels.mean())
    expected = labels.mean() + ridge.predict(centerer.transform(rbf_kernel(new, rows, gamma=gamma)))
    found = probability(trained(values, labels), others)
    assert expected.std() > 0.2
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_oracle_with_fewer_landmarks_it_is_penalized_least_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nystroem, "landmark_count", lambda rows: 60)
    (values, labels), (others, _) = data(400), data(100, seed=1)
    model = trained(values, labels)
    assert model.landmarks.shape == (60, 7)
    landmarks = model.landmarks.astype(float)
    gamma = nystroem.WIDTH / values.shape[1]
    like = np.column_stack([rbf_kernel(by_scikit_learn(values), landmarks, gamma=gamma), np.ones(400)])
    root = np.linalg.cholesky(rbf_kernel(landmarks, gamma=gamma) + 1e-9 * np.eye(60)).T
    penalty = np.sqrt(nystroem.PENALTY) * np.column_stack([root, np.zeros(60)])
    target = np.append(labels, np.zeros(60))
    solution = np.linalg.lstsq(np.vstack([like, penalty]), target)[0]
    new = np.column_stack([rbf_kernel(by_scikit_learn(others), landmarks, gamma=gamma), np.ones(100)])
    np.testing.assert_allclose(probability(model, others), new @ solution, atol=2e-3)


def test_invariant_constant_and_repeated_columns_and_rows_do_no_harm() -> None:
    values, labels = data(200)
    twice = np.concatenate([values, values])
    wide = np.column_stack([twice, twice, np.full(400, 0.1, np.float32), np.zeros(400, np.float32)])
    found = trained(wide, np.concatenate([labels, labels])).margin(wide)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:200], found[200:], atol=1e-3)
    assert ((found[:200] > 0) == labels).mean() > 0.8


@pytest.mark.parametrize(
    "what", ["one column", "two columns", "three columns", "low rank", "near copies"]
)
def test_invariant_landmarks_on_a_line_or_almost_copies_do_no_harm(what: str) -> None:
    rng = np.random.default_rng(4)
    rows = 3500
    columns = {"one column": 1, "two columns": 2, "three columns": 3, "low rank": 2, "near copies": 100}
    values = rng.normal(size=(rows, columns[what]))
    labels = (values[:, 0] + rng.normal(0, 0.5, rows) > 0).astype(np.int8)
    if what == "low rank":
        values = values @ rng.normal(size=(2, 60))
    if what == "near copies":
        values = np.repeat(values[: rows // 35], 35, axis=0) + rng.normal(0, 1e-3, (rows, 100))
        labels = (values[:, 0] > 0).astype(np.int8)
    table = values.astype(np.float32)
    found = trained(table, labels).margin(table)
    assert ((found > 0) == labels).mean() > 0.8


def test_invariant_sums_of_a_fold_have_the_same_bits_whichever_folds_are_summed_with_it() -> None:
    values, labels = data(400)
    known, fold = of_arrays({"x": values}), (np.arange(400) // 3 % 4).astype(np.int16)
    landmarks, _ = nystroem.draw(known, ["x"], fold, seed=0, landmarks=50)
    together = nystroem.add_up(known, ["x"], labels, fold, landmarks, wanted=range(4))
    for k, sums in enumerate(together):
        (alone,) = nystroem.add_up(known, ["x"], labels, fold, landmarks, wanted=[k])
        np.testing.assert_array_equal(alone.terms, sums.terms)
        assert (alone.rows, alone.positive) == ((fold == k).sum(), labels[fold == k].sum())
        like = landmarks.likeness(values[fold == k]).astype(float) - landmarks.usual
        np.testing.assert_allclose(np.triu(sums.squares), np.triu(like.T @ like), atol=1e-4)
        np.testing.assert_allclose(sums.with_labels, like.T @ labels[fold == k], atol=1e-4)


def test_parity_a_model_from_sums_on_disk_has_the_bytes_of_one_from_memory(tmp_path: Path) -> None:
    values, labels = data(400)
    folds = Folds(np.arange(400), (np.arange(400) % 3).astype(np.int16), 3, "each alone")
    found = []
    for on_disk in (False, True):
        work = Work(tmp_path / str(on_disk))
        compute = Compute("cpu", 1, 0, on_disk=on_disk)
        context = FitContext(work, of_arrays({"x": values}), labels, folds, compute)
        found.append(kernel_ridge.NystroemRidge.fit(context, "x", ["x"]))
        assert len(list((work.folder / STEPS).glob("x_kernel-sums-*.npy"))) == 3 * on_disk
    for one, other in zip(*(model.as_arrays().values() for model, _ in found), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_oracle_mean_and_scale_are_numpys() -> None:
    values = np.column_stack([data(200)[0], np.full(200, 7, np.float32), data(200)[0][:, :1] * 1e4])
    mean, scale = nystroem.moments(np.array_split(values.astype(np.float32), 4))
    np.testing.assert_allclose(mean, values.mean(axis=0, dtype=float), rtol=1e-6)
    expected = values.std(axis=0, dtype=float)
    np.testing.assert_allclose(scale, np.where(expected > 0, expected, 1), rtol=1e-6)


def test_mechanics_arrays_give_the_same_model() -> None:
    values, labels = data(100)
    model = trained(values, labels, seed=3)
    again = kernel_ridge.NystroemRidge.from_arrays(**model.as_arrays())
    np.testing.assert_array_equal(again.margin(values), model.margin(values))
    assert model.margin(values[:0]).shape == (0,)
