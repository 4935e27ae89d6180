"""AUC and its intervals against scikit-learn, SciPy and the papers' formulas by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from pcam_features.errors import InputError
from pcam_features.evaluate.intervals import (
    auc,
    delong,
    group_codes,
    percentile_interval,
    resampled_aucs,
    weighted_auc,
)

RNG = np.random.default_rng(7)


def sample(n: int = 200, levels: int = 30) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 2, n)
    return labels, np.round((RNG.normal(size=(3, n)) + labels) * levels / 4)  # many ties


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)), min_size=4))
def test_oracle_weighted_auc_is_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = weighted_auc(labels, scores, weights[None])[0]
    if not weights[labels == 1].sum() or not weights[labels == 0].sum():
        assert np.isnan(found)
        return
    kept = weights > 0
    expected = roc_auc_score(labels[kept], scores[kept], sample_weight=weights[kept])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_oracle_auc_is_mann_whitney() -> None:
    labels, scores = sample()
    positive, negative = scores[0][labels == 1], scores[0][labels == 0]
    expected = mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative))
    np.testing.assert_allclose(auc(labels, scores[0]), expected, rtol=1e-12)


def test_oracle_delong_is_the_papers_formula() -> None:
    labels, scores = sample(80)
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    m, n = positive.shape[1], negative.shape[1]
    wins = np.array(
        [[[1.0 if x > y else 0.5 if x == y else 0.0 for y in ys] for x in xs]
         for xs, ys in zip(positive, negative, strict=True)]
    )  # fmt: skip
    theta = wins.mean(axis=(1, 2))
    v10, v01 = wins.mean(axis=2), wins.mean(axis=1)
    s10 = (v10 - theta[:, None]) @ (v10 - theta[:, None]).T / (m - 1)
    s01 = (v01 - theta[:, None]) @ (v01 - theta[:, None]).T / (n - 1)
    found, covariance = delong(labels, scores)
    np.testing.assert_allclose(found, theta, rtol=1e-12)
    np.testing.assert_allclose(covariance, s10 / m + s01 / n, rtol=1e-10)


def test_oracle_resampling_draws_whole_slides() -> None:
    """Every resampled AUC is one that scikit-learn gives for some draw of whole slides."""
    labels = np.array([0, 1, 1, 0, 1, 0])
    scores = np.array([0.1, 0.9, 0.3, 0.4, 0.8, 0.85])
    groups = np.array(["a", "a", "b", "b", "c", "c"])
    possible = set()
    for draw in np.ndindex(3, 3, 3):
        rows = np.concatenate([np.flatnonzero(groups == "abc"[k]) for k in draw])
        possible.add(round(roc_auc_score(labels[rows], scores[rows]), 9))
    found = resampled_aucs(labels, scores[None], groups, resamples=400, seed=1)
    assert {round(float(value), 9) for value in found[0]} == possible


def test_oracle_single_patch_groups_agree_with_delong() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 600)
    scores = rng.normal(size=(2, 600)) + 1.2 * labels
    draws = resampled_aucs(labels, scores, np.arange(600), resamples=4000, seed=2)
    _, covariance = delong(labels, scores)
    np.testing.assert_allclose(np.cov(draws), covariance, rtol=0.12, atol=2e-5)


def test_invariant_correlated_slides_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    slides = np.repeat(np.arange(30), 40)
    labels = rng.integers(0, 2, 1200)
    scores = (rng.normal(size=30)[slides] + rng.normal(size=1200) + labels)[None]
    by_slide = percentile_interval(0.5, resampled_aucs(labels, scores, slides))
    by_patch = percentile_interval(0.5, resampled_aucs(labels, scores, np.arange(1200)))
    assert by_slide.high - by_slide.low > 1.3 * (by_patch.high - by_patch.low)


def test_mechanics_resampling_is_paired_and_seeded() -> None:
    labels, scores = sample()
    groups = RNG.integers(0, 12, len(labels))
    both = resampled_aucs(labels, np.stack([scores[0], scores[0]]), groups, resamples=100, seed=4)
    np.testing.assert_array_equal(both[0], both[1])
    again = resampled_aucs(labels, scores[:1], groups, resamples=100, seed=4)
    np.testing.assert_array_equal(both[0], again[0])


def test_mechanics_hopeless_resampling_is_refused() -> None:
    labels = np.array([1] + [0] * 30)
    with pytest.raises(InputError, match="too few"):
        # one slide in two holds the only positive… but it is drawn in fewer than half the draws
        resampled_aucs(np.array([1, 0]), np.array([[0.3, 0.2]]), np.array([0, 1]), resamples=500)
    assert resampled_aucs(labels, np.linspace(0, 1, 31)[None], np.arange(31), resamples=50).size == 50


def test_mechanics_unknown_slides_stand_alone() -> None:
    codes, known = group_codes(["a", "b", "c", "d"], ["s", "s", None, float("nan")])
    assert known == 2
    assert codes[0] == codes[1]
    assert len(set(codes.tolist())) == 3
