"""What models say together is held to other libraries' numbers, and chosen without peeking."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from pcam_features.learn import stack
from pcam_features.learn.base_models import base_models, groups_of, shares_of

ROWS = 600


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of three models, labels and folds; the third model is against the truth."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(60), 10)
    truth = rng.normal(0, 2, ROWS) + np.repeat(rng.normal(0, 1, 60), 10)
    labels = (rng.random(ROWS) < expit(truth)).astype(np.int8)
    logits = np.stack([truth + rng.normal(0, s, ROWS) for s in (1, 3)] + [-truth / 2], axis=1)
    return logits, labels, group % 5


def test_oracle_weights_are_scikit_learns_where_none_is_negative() -> None:
    logits, labels, _ = data()
    weights, intercept = stack.logistic(logits[:, :2], labels)
    expected = LogisticRegression(C=1, tol=1e-10).fit(logits[:, :2], labels)
    np.testing.assert_allclose(weights, expected.coef_[0], rtol=1e-4)
    np.testing.assert_allclose(intercept, expected.intercept_[0], atol=1e-4)


def test_oracle_no_other_optimizer_finds_better_weights_above_zero() -> None:
    logits, labels, _ = data()

    def loss(point: np.ndarray) -> float:
        total = log_loss(labels, expit(logits @ point[:-1] + point[-1]), normalize=False)
        return float(total + (point[:-1] ** 2).sum() / 2)

    weights, intercept = stack.logistic(logits, labels)
    bounds = [(0, None)] * 3 + [(None, None)]
    other = minimize(loss, np.full(4, 0.5), method="SLSQP", bounds=bounds)
    assert loss(np.append(weights, intercept)) <= other.fun + 1e-6
    assert weights.min() >= 0
    assert weights[2] == 0


def test_oracle_calibration_is_logistic_regression_on_ln_p_and_ln_1_minus_p() -> None:
    logits, labels, _ = data()
    together = 3 * logits[:, 0] + 1  # too sure, and askew
    p = expit(together)
    columns = np.stack([np.log(p), -np.log1p(-p)], axis=1)
    expected = LogisticRegression(C=1, tol=1e-10, max_iter=1000).fit(columns, labels)
    low, high, shift = stack.calibrate(together, labels)
    assert stack.needs_calibration(together, labels, np.arange(ROWS) % 5)
    noise = np.random.default_rng(1).normal(0, 1, 40)
    fair = (np.random.default_rng(2).random(40) < expit(noise)).astype(np.int8)
    assert not stack.needs_calibration(noise, fair, np.arange(40) % 5)  # too few to learn it from
    assert min(expected.coef_[0]) > 0
    np.testing.assert_allclose([low, high], expected.coef_[0], rtol=1e-3)
    np.testing.assert_allclose(shift, expected.intercept_[0], atol=1e-3)
    found = stack.calibrated(together, low, high, shift)
    np.testing.assert_allclose(found, expected.predict_proba(columns)[:, 1], atol=1e-4)
    assert (np.diff(found[np.argsort(together)]) >= 0).all()
    assert log_loss(labels, found) < log_loss(labels, p) - 0.05


def test_invariant_no_label_of_a_fold_has_a_part_in_what_is_said_of_it() -> None:
    logits, labels, fold = data()
    before, after = stack.out_of_fold(logits, labels, fold)
    for k in range(5):
        changed = np.where(fold == k, 1 - labels, labels)
        own = fold == k
        other_before, other_after = stack.out_of_fold(logits, changed, fold)
        np.testing.assert_array_equal(before[own], other_before[own])
        np.testing.assert_array_equal(after[own], other_after[own])
        assert not np.array_equal(after[~own], other_after[~own])


def uneven_folds() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two honest, underconfident models, and folds whose shares of positive patches differ."""
    rng = np.random.default_rng(3)
    fold = np.repeat(np.arange(5), 400)
    labels = (rng.random(2000) < np.array([0.15, 0.3, 0.4, 0.55, 0.7])[fold]).astype(np.int8)
    logits = 0.1 * (2 * labels - 1)[:, None] + rng.normal(0, 0.3, (2000, 2))
    return logits, labels, fold


def test_invariant_pooling_across_folds_loses_no_auc_to_calibration() -> None:
    logits, labels, fold = uneven_folds()
    found = stack.fit_stack(("a", "b"), logits, labels, fold)
    assert found.is_calibrated
    before, after = stack.out_of_fold(logits, labels, fold)
    pooled = stack.pooled(found, logits, labels, fold)
    by_mean = roc_auc_score(labels, logits.mean(axis=1))
    # Calibrations fitted without a fold put its patches lower, the more of them are positive.
    assert roc_auc_score(labels, after) < roc_auc_score(labels, before) - 0.01
    assert roc_auc_score(labels, pooled) == pytest.approx(roc_auc_score(labels, before), abs=1e-12)
    assert roc_auc_score(labels, pooled) == pytest.approx(by_mean, abs=2e-3)
    assert stack.candidate_aucs(logits, labels, fold)[stack.FIXED] == pytest.approx(
        roc_auc_score(labels, pooled), abs=1e-12
    )


def test_oracle_pooled_probabilities_are_the_models_own_calibration_of_each_fold() -> None:
    logits, labels, fold = uneven_folds()
    found = stack.fit_stack(("a", "b"), logits, labels, fold)
    pooled = stack.pooled(found, logits, labels, fold)
    for k in range(5):
        weights, intercept = stack.fixed_shares(logits[fold != k], fold[fold != k])
        p = expit(logits[fold == k] @ weights + intercept)
        expected = expit(found.low * np.log(p) - found.high * np.log1p(-p) + found.shift)
        np.testing.assert_allclose(pooled[fold == k], expected, rtol=1e-9)
    assert log_loss(labels, pooled) < log_loss(labels, expit(logits.mean(axis=1)))


def test_oracle_shares_are_the_mean_of_scores_standardized_within_folds() -> None:
    logits, labels, fold = data()
    given = logits * [1, 5, 1] + fold[:, None] * [0, 9, 0]  # the level of a fold is no signal
    found = stack.fit_stack(("a", "b", "c"), given, labels, fold)
    within = np.column_stack([pd.DataFrame(given).groupby(fold)[k].transform("mean") for k in range(3)])
    spread = (given - within).std(axis=0)
    expected = (given / spread).mean(axis=1) * spread.mean()
    together = found.together(given)
    np.testing.assert_allclose(together - together.mean(), expected - expected.mean(), atol=1e-9)
    assert together.mean() == pytest.approx(given.mean())


def test_oracle_the_auc_of_fixed_shares_is_scikit_learns() -> None:
    logits, labels, fold = data()
    aucs = stack.candidate_aucs(logits, labels, fold)
    by_fold = np.empty(ROWS)
    for k in range(5):
        weights, intercept = stack.fixed_shares(logits[fold != k], fold[fold != k])
        by_fold[fold == k] = logits[fold == k] @ weights + intercept
    assert aucs[stack.FIXED] == pytest.approx(roc_auc_score(labels, by_fold))


def test_oracle_a_share_of_two_is_the_model_counted_twice() -> None:
    logits, labels, fold = data()
    given, twice = logits * [1, 5, 1], logits[:, [0, 0, 1, 2]] * [1, 1, 5, 1]
    found = stack.fit_stack(("a", "b", "c"), given, labels, fold, [2, 1, 1])
    expected = stack.fit_stack(("a", "a2", "b", "c"), twice, labels, fold)
    np.testing.assert_allclose(found.together(given), expected.together(twice), atol=1e-9)
    assert stack.candidate_aucs(given, labels, fold, [2, 1, 1])[stack.FIXED] == pytest.approx(
        stack.candidate_aucs(twice, labels, fold)[stack.FIXED], abs=1e-12
    )
    found_by_fold = stack.out_of_fold(given, labels, fold, [2, 1, 1])
    for mine, other in zip(found_by_fold, stack.out_of_fold(twice, labels, fold), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-9)
    np.testing.assert_allclose(
        stack.pooled(found, given, labels, fold, [2, 1, 1]),
        stack.pooled(expected, twice, labels, fold),
        atol=1e-9,
    )


def test_invariant_identical_models_combine_to_themselves() -> None:
    logits, labels, fold = data()
    same = np.repeat(logits[:, :1], 4, axis=1)
    found = stack.fit_stack(tuple("abcd"), same, labels, fold)
    np.testing.assert_allclose(found.together(same), logits[:, 0], atol=1e-9)


def test_invariant_a_model_that_is_perfect_out_of_fold_and_noise_elsewhere_is_not_relied_on() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, ROWS).astype(np.int8)
    fold = np.arange(ROWS) % 5
    honest = (2 * labels - 1)[:, None] + rng.normal(0, 1.5, (ROWS, 4))
    perfect = 8.0 * (2 * labels - 1)
    logits = np.column_stack([honest, perfect])
    found = stack.fit_stack(tuple("abcde"), logits, labels, fold)
    aucs = stack.candidate_aucs(logits, labels, fold)
    assert aucs[stack.BEST] == 1 > aucs[stack.FIXED]
    elsewhere = np.column_stack([honest, rng.normal(0, 8, ROWS)])
    without = roc_auc_score(labels, honest.mean(axis=1))
    assert roc_auc_score(labels, elsewhere[:, 4]) < 0.6
    assert roc_auc_score(labels, found.together(elsewhere)) > without - 0.05


@pytest.mark.parametrize("level", [2.0, 0.3])
def test_mechanics_models_that_learned_nothing_have_no_share(level: float) -> None:
    logits, labels, fold = data()
    nothing = np.column_stack([np.full(ROWS, level), level - fold * 0.3])
    given = np.column_stack([logits[:, 0], nothing])
    found = stack.fit_stack(tuple("abc"), given, labels, fold)
    assert found.weights[1:] == (0, 0)
    np.testing.assert_allclose(found.together(given), logits[:, 0], atol=1e-9)
    alone = stack.fit_stack(tuple("ab"), nothing, labels, fold)
    assert np.isfinite(alone.probability(nothing)).all()


def test_mechanics_groups_that_share_depend_on_embeddings() -> None:
    hand_made, network = ["color", "glcm", "nuclei"], "efficientnet_lite0_96px"
    assert list(groups_of(hand_made)) == ["color", "texture", "nuclei", "all"]
    assert list(groups_of(["color"])) == ["color"]
    assert list(groups_of([*hand_made, network])) == [network, "all"]
    assert list(groups_of([network])) == [network]


def test_mechanics_trees_take_all_columns_and_have_two_shares() -> None:
    models = ["color_kernel", "texture_kernel", "nuclei_kernel", "all_trees", "all_kernel"]
    assert list(base_models(["color", "glcm", "nuclei"])) == models
    assert shares_of(["color", "glcm", "nuclei"]) == [1, 1, 1, 2, 1]
    assert list(base_models(["color"])) == ["color_trees", "color_kernel"]
    assert list(base_models(["glcm", "net"])) == ["net_kernel", "all_trees", "all_kernel"]
