"""What models say together is held to other libraries' numbers, and chosen without peeking."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from pcam_features.learn import stack

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


@pytest.mark.parametrize(
    ("models", "expected"),
    [("alike", stack.MEAN), ("one good", stack.BEST), ("of different use", stack.STACK)],
)
def test_mechanics_what_is_simple_is_taken_unless_another_is_better(models: str, expected: str) -> None:
    rng = np.random.default_rng(3)
    logits, labels, fold = data(3)
    truth = logits[:, 0]
    noise = rng.normal(0, 3, (ROWS, 3))
    given = {
        "alike": truth[:, None] + noise,
        "one good": np.column_stack([truth, 9 * noise]),
        "of different use": np.column_stack([2 * truth + noise[:, 0], -noise[:, 0], 20 * noise[:, 1]]),
    }[models]
    choice, aucs = stack.choose(given, labels, fold)
    assert choice == expected
    np.testing.assert_allclose(aucs[stack.MEAN], roc_auc_score(labels, given.mean(axis=1)))
    found, same = stack.fit_stack(("a", "b", "c", "d")[: given.shape[1]], given, labels, fold)
    assert (found.choice, same) == (choice, aucs)
