"""The spread of AUCs between groups against the papers' formulas, SciPy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from pcam_features.evaluate.intervals import auc, delong
from pcam_features.evaluate.spread import Contributions, Design, contributions, squares

ONE, PAIR = np.array([1.0, 0.0]), np.array([1.0, -1.0])


def equally_good(
    rng: np.random.Generator, slides: int, positive: int, *, skewed: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the scores of two models that are drawn alike, and slides; tumor on the first ones."""
    sizes = np.full(slides, 8)
    if skewed:
        sizes = np.maximum(2, np.round(8 * np.exp(rng.normal(size=slides) - 0.5)).astype(int))
    slide = np.repeat(np.arange(slides), sizes)
    labels = ((slide < positive) & (rng.random(len(slide)) < 0.7)).astype(np.int8)
    shifts = rng.normal(size=(2, 2, slides))[:, :, slide]
    noise = rng.normal(size=(3, len(slide)))
    return labels, noise[0] + 1.5 * labels + noise[1:] + shifts[0] + shifts[1] * labels, slide


def test_oracle_contributions_are_differences_of_placements() -> None:
    rng = np.random.default_rng(0)
    labels, slide = rng.integers(0, 2, 40), rng.integers(0, 6, 40)
    scores = np.round(rng.normal(size=(2, 40)), 1)  # with ties
    found = contributions(labels, scores, slide)
    for row, score in enumerate(scores):
        wins = (score[labels == 1][:, None] > score[labels == 0]) * 1.0
        wins += (score[labels == 1][:, None] == score[labels == 0]) / 2
        area = wins.mean()
        for group in range(6):
            positive, negative = slide[labels == 1] == group, slide[labels == 0] == group
            expected = (wins.mean(axis=1) - area)[positive].sum() / len(positive)
            assert found.positive[row, group] == pytest.approx(expected)
            expected = (wins.mean(axis=0) - area)[negative].sum() / len(negative)
            assert found.negative[row, group] == pytest.approx(expected)


def test_oracle_single_patches_have_delongs_variance() -> None:
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat([1, 0], [25, 90]))
    scores = rng.normal(size=(2, 115)) + labels + rng.normal(size=115)
    known = contributions(labels, scores, np.arange(115))
    _, covariance = delong(labels, scores)
    for weights in (ONE, PAIR):
        variance = weights @ covariance @ weights
        assert known.spread(weights).deviation ** 2 == pytest.approx(variance, rel=1e-9)


def test_oracle_slides_of_one_class_and_size_have_obuchowskis_variance() -> None:
    rng = np.random.default_rng(2)
    slide = np.repeat(np.arange(20), 6)
    labels = (slide < 8).astype(int)
    scores = rng.normal(size=(1, 120)) + rng.normal(size=20)[slide] + labels
    known = contributions(labels, scores, slide)
    # Obuchowski 1997, where no slide has patches of both classes: the covariance is zero.
    positive, negative = known.positive[0, :8], known.negative[0, 8:]
    expected = 8 / 7 * (positive**2).sum() + 12 / 11 * (negative**2).sum()
    assert known.spread(np.ones(1)).deviation ** 2 == pytest.approx(expected, rel=1e-9)


def test_oracle_the_test_is_students_where_only_the_positive_slides_vary() -> None:
    """With equal slides, and negatives without spread, an AUC is a mean of the slides' placements."""
    rng = np.random.default_rng(3)
    counts = np.zeros((2, 10_008), int)
    counts[0, :8], counts[1, 8:] = 1, 1
    placements = rng.normal(0.03, 0.05, 8)
    contributed = (placements - placements.mean()) / 8
    positive = np.r_[contributed, np.zeros(10_000)]
    negative = np.r_[np.zeros(8), np.tile([1e-9, -1e-9], 5000)]
    found = Contributions(positive[None], negative[None], Design(counts)).spread(np.ones(1))
    assert found.deviation == pytest.approx(placements.std(ddof=1) / np.sqrt(8), rel=1e-3)
    assert found.quantile == pytest.approx(t.ppf(0.975, 7), rel=0.03)
    expected = ttest_rel(placements, np.zeros(8)).pvalue
    assert found.p_value(placements.mean()) == pytest.approx(expected, rel=0.2)


def test_invariant_components_are_unbiased_under_the_working_model() -> None:
    rng = np.random.default_rng(4)
    design = Design(rng.integers(1, 40, (2, 12)) * np.array([[1] * 9 + [0] * 3, [0] * 2 + [1] * 10]))
    true = np.array([0.04, 0.02, 0.015])
    covariance = np.array([[true[0], true[2]], [true[2], true[1]]])
    placements = rng.multivariate_normal(np.zeros(2), covariance, (40_000, 12))
    added = design.shares[None] * np.moveaxis(placements, 2, 1)
    centered = added - design.shares[None] * added.sum(axis=2, keepdims=True)
    one, other = centered[:, 0], centered[:, 1]
    sums = np.stack([(one**2).sum(1), (other**2).sum(1), (one * other).sum(1)])
    np.testing.assert_allclose(design.components(sums.mean(axis=1)), true, rtol=0.03)
    errors = added.sum(axis=(1, 2))
    assert float(design.variance(true)) == pytest.approx(errors.var(), rel=0.03)


def test_oracle_sums_of_draws_are_those_of_placements_drawn_one_by_one() -> None:
    rng = np.random.default_rng(5)
    design = Design(rng.integers(1, 40, (2, 7)))
    components = np.array([0.03, 0.01, 0.008])
    error, sums = design.drawn.contributed(components, squares(design.shares))
    normal = np.random.default_rng(0).normal(size=(2, len(error), 8))[:, :, 1:]
    root = np.linalg.cholesky([[0.03, 0.008], [0.008, 0.01]])
    added = design.shares[:, None] * np.tensordot(root, normal, 1)
    totals = added.sum(axis=2)
    one, other = added - design.shares[:, None] * totals[:, :, None]
    np.testing.assert_allclose(error, totals.sum(axis=0), rtol=1e-9, atol=1e-12)
    for found, expected in zip(sums, (one * one, other * other, one * other), strict=True):
        np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-9, atol=1e-12)


def test_invariant_many_small_groups_are_drawn_as_one() -> None:
    """Another limit on groups drawn singly hardly changes the distribution."""
    many = np.repeat([[1, 0], [0, 1]], [6, 894], axis=1)
    components = np.array([0.02, 0.02, 0.0])
    merged = Design(many).reference(components)
    few = np.repeat([[1, 0], [0, 1]], [6, 200], axis=1)
    np.testing.assert_allclose(merged, Design(few).reference(components), rtol=0.06)


@pytest.mark.parametrize("skewed", [False, True])
def test_oracle_equally_good_models_differ_in_one_of_twenty(skewed: bool) -> None:
    """benchmarks/few_positives.py has more runs and designs."""
    rng = np.random.default_rng(5)
    false = []
    while len(false) < 100:
        labels, scores, slide = equally_good(rng, 25, 5, skewed=skewed)
        known = contributions(labels, scores, slide)
        if not known.design.enough:
            continue
        difference = auc(labels, scores[0]) - auc(labels, scores[1])
        false.append(known.spread(PAIR).p_value(difference) < 0.05)
    assert np.mean(false) <= 0.12  # at a true 0.05 with probability 0.998


def test_invariant_the_p_value_is_five_percent_where_the_interval_ends_at_zero() -> None:
    labels, scores, slide = equally_good(np.random.default_rng(6), 30, 6)
    spread = contributions(labels, scores, slide).spread(PAIR)
    assert spread.p_value(spread.reach) == pytest.approx(0.05)
    assert spread.p_value(1.1 * spread.reach) < 0.05 < spread.p_value(0.9 * spread.reach)


def test_mechanics_few_or_lopsided_groups_are_not_enough() -> None:
    def design(*positive: int) -> Design:
        return Design(np.array([[*positive, *[0] * 30], [*[0] * len(positive), *[9] * 30]]))

    assert not design(9, 9, 9).enough
    assert design(9, 9, 9, 9).enough
    assert not design(50, 1, 1, 1, 1).enough  # one slide has nearly all
    assert design(1, 1, 1, 1, 1, 1).enough
    assert not design(1, 1, 1, 1, 1).enough  # the test would find too few differences
    assert design(1, 1).least_freedom == 1
    few = design(1, 1, 1).spread(np.r_[0.1, -0.2, 0.1, np.zeros(30)], np.zeros(33))
    assert few.quantile == pytest.approx(t.ppf(0.975, 2))
