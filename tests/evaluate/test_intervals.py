"""AUC and its intervals against scikit-learn, SciPy, MLstatkit and the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
from MLstatkit.delong import Delong_test
from scipy.special import expit, logit
from scipy.stats import binomtest, bootstrap, mannwhitneyu, norm, t
from sklearn.metrics import roc_auc_score

from pcam_features.errors import InputError
from pcam_features.evaluate import metrics
from pcam_features.evaluate.intervals import (
    auc,
    auc_interval,
    auc_intervals,
    delong,
    normal_spread,
    plain_interval,
    resampling_quantile,
    share_interval,
    two_sided,
)
from pcam_features.evaluate.resampling import draws, resampled, stratify
from pcam_features.evaluate.spread import Spread
from pcam_features.grouping.groups import group_codes

RNG = np.random.default_rng(7)


def sample(n: int = 200, levels: int = 30) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 2, n)
    return labels, np.round((RNG.normal(size=(3, n)) + labels) * levels / 4)  # many ties


def resampled_aucs(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, resamples: int, seed: int = 0
) -> np.ndarray:
    ranking = metrics.rank(labels, scores)
    return resampled(
        lambda weights: metrics.ranked(ranking, weights)[:, 0],
        labels,
        stratify(labels, groups),
        resamples=resamples,
        seed=seed,
    )


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
        [
            [[1.0 if x > y else 0.5 if x == y else 0.0 for y in ys] for x in xs]
            for xs, ys in zip(positive, negative, strict=True)
        ]
    )
    theta = wins.mean(axis=(1, 2))
    v10, v01 = wins.mean(axis=2), wins.mean(axis=1)
    s10 = (v10 - theta[:, None]) @ (v10 - theta[:, None]).T / (m - 1)
    s01 = (v01 - theta[:, None]) @ (v01 - theta[:, None]).T / (n - 1)
    found, covariance = delong(labels, scores)
    np.testing.assert_allclose(found, theta, rtol=1e-12)
    np.testing.assert_allclose(covariance, s10 / m + s01 / n, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_oracle_delong_is_mlstatkits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 300)
    scores = rng.normal(size=(2, 300)) + [[1.0], [0.7]] * labels + rng.normal(size=300)
    z, p_value, _, _, *of_models, info = Delong_test(labels, *scores)
    aucs, covariance = delong(labels, scores)
    assert info["method"] == "delong"
    np.testing.assert_allclose(aucs, of_models, rtol=1e-10)
    spread = float(np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    difference = float(aucs[0] - aucs[1])
    np.testing.assert_allclose(-difference / spread, z, rtol=1e-10)  # it takes B less A
    np.testing.assert_allclose(2 * norm.sf(abs(difference) / spread), p_value, rtol=1e-10)
    np.testing.assert_allclose(two_sided(difference, normal_spread(spread**2)), p_value, rtol=1e-6)


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


def test_invariant_slides_are_drawn_within_those_with_and_without_positives() -> None:
    labels = np.r_[np.tile([0, 1], 10), np.zeros(30, int)]  # ten slides with positives, five without
    groups = stratify(labels, np.r_[np.repeat(np.arange(10), 2), np.repeat(np.arange(10, 15), 6)])
    assert groups.count == 15
    times = np.concatenate(list(draws(labels, groups, 50, 0)))
    assert times.shape == (50, 15)
    assert (times[:, :10].sum(axis=1) == 10).all()
    assert (times[:, 10:].sum(axis=1) == 5).all()
    assert times[:, :10].std() > 0.5


def test_oracle_single_patch_groups_agree_with_delong() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 600)
    scores = rng.normal(size=(2, 600)) + 1.2 * labels
    drawn = resampled_aucs(labels, scores, np.arange(600), resamples=4000, seed=2)
    _, covariance = delong(labels, scores)
    np.testing.assert_allclose(np.cov(drawn), covariance, rtol=0.12, atol=2e-5)


def test_oracle_intervals_are_students_on_their_scale() -> None:
    drawn = np.random.default_rng(0).normal(0.9, 0.02, 500)
    student = t.ppf(0.975, 12)
    found, reach = share_interval(0.9, drawn, student), student * drawn.std(ddof=1)
    np.testing.assert_allclose(found.low, expit(logit(0.9) - reach / 0.09))
    np.testing.assert_allclose(found.high, expit(logit(0.9) + reach / 0.09))
    assert plain_interval(0.1, drawn, student, (-1, 1)).high == pytest.approx(0.1 + reach)
    assert plain_interval(0.1, drawn, 12.7, (0, 0.2)).as_dict() == {"value": 0.1, "low": 0, "high": 0.2}
    perfect = share_interval(1.0, np.r_[np.ones(390), np.linspace(0.8, 0.9, 10)], student)
    assert (perfect.low > 0.8, perfect.low < 1, perfect.high) == (True, True, 1)
    assert two_sided(reach, Spread(float(drawn.std(ddof=1)), student, 12)) == pytest.approx(0.05)
    # SciPy's bootstrap of a mean has the same spread as ours of an AUC of one positive a slide.
    values = np.random.default_rng(1).random(40)
    by_scipy = bootstrap((values,), np.mean, random_state=0, n_resamples=4000).standard_error
    labels, groups = np.tile([1, 0], 40), np.repeat(np.arange(40), 2)
    times = np.concatenate(list(draws(labels, stratify(labels, groups), 4000, 0)))
    assert (times @ values / 40).std(ddof=1) == pytest.approx(by_scipy, rel=0.06)


def simulated(rng: np.random.Generator, slides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slides that shift all of their scores, half of them with tumor: labels, scores, slides."""
    slide = np.repeat(np.arange(slides), rng.integers(10, 31, slides))
    share = np.where(rng.random(slides) < 0.5, rng.uniform(0.3, 0.9, slides), 0)
    labels = (rng.random(len(slide)) < share[slide]).astype(np.int8)
    scores = rng.normal(size=slides)[slide] + rng.normal(size=len(slide)) + 1.5 * labels
    return labels, scores, slide


def test_oracle_intervals_across_slides_hold_the_truth_and_those_of_patches_do_not() -> None:
    """benchmarks/interval_coverage.py has more runs and fewer slides."""
    rng = np.random.default_rng(0)
    truth = np.mean([auc(*simulated(rng, 4000)[:2]) for _ in range(5)])
    runs, held, held_iid = 300, 0, 0
    for _ in range(runs):
        labels, scores, slide = simulated(rng, 100)
        (found,) = auc_intervals(labels, scores[None], slide)
        (iid,) = auc_intervals(labels, scores[None], np.arange(len(labels)))
        held += found.low <= truth <= found.high
        held_iid += iid.low <= truth <= iid.high
    assert 0.93 <= held / runs <= 0.97
    assert held_iid / runs < 0.75


def test_mechanics_resampling_is_paired_and_seeded() -> None:
    labels, scores = sample()
    groups = RNG.integers(0, 12, len(labels))
    both = resampled_aucs(labels, np.stack([scores[0], scores[0]]), groups, resamples=100, seed=4)
    np.testing.assert_array_equal(both[0], both[1])
    again = resampled_aucs(labels, scores[:1], groups, resamples=100, seed=4)
    np.testing.assert_array_equal(both[0], again[0])


def test_mechanics_hopeless_resampling_is_refused() -> None:
    with pytest.raises(
        InputError, match="only 1 patch is positive; intervals need positive patches from"
    ):
        stratify(np.array([1] + [0] * 30), np.arange(31))
    with pytest.raises(InputError, match="all negative patches are from one slide"):
        stratify(np.array([1, 1, 0, 0]), np.array([0, 1, 2, 2]))


def test_mechanics_unknown_slides_stand_alone() -> None:
    codes, known = group_codes(["a", "b", "c", "d"], ["s", "s", None, float("nan")])
    assert known == 2
    assert codes[0] == codes[1]
    assert len(set(codes.tolist())) == 3


def test_oracle_a_perfect_auc_has_the_binomial_interval_of_as_many_groups() -> None:
    labels, groups = np.repeat([1, 0], [12, 30]), np.r_[np.repeat(np.arange(6), 2), np.arange(6, 36)]
    (perfect,) = auc_intervals(labels, labels[None] + np.arange(42) / 100, groups)
    expected = binomtest(6, 6).proportion_ci(method="exact")
    assert (perfect.value, perfect.high) == (1, expected.high)
    assert perfect.low == pytest.approx(expected.low)
    (wrong,) = auc_intervals(labels, -labels[None] + np.arange(42) / 100, groups)
    assert (wrong.low, wrong.high) == (0, pytest.approx(1 - expected.low))


def test_invariant_other_metrics_are_given_the_quantile_of_the_auc() -> None:
    aucs = 0.9 + np.random.default_rng(0).normal(0, 0.01, 400)
    spread = Spread(0.02, 3.0, 4)
    by_resampling = share_interval(0.9, aucs, resampling_quantile(spread, aucs))
    across = auc_interval(0.9, spread, 5.0)
    assert by_resampling.low == pytest.approx(across.low)
    assert by_resampling.high == pytest.approx(across.high)
    assert resampling_quantile(spread, np.full(400, 0.9)) == 3.0


def test_oracle_out_of_fold_intervals_hold_chance_where_labels_mean_nothing() -> None:
    rng, held, held_plain, runs = np.random.default_rng(0), 0, 0, 60
    for _ in range(runs):
        slide = np.repeat(np.arange(24), 10)
        columns = rng.normal(size=(240, 30))
        labels = rng.permutation(np.arange(240) % 2)
        out = np.empty(240)
        for fold in range(4):
            train, test = slide % 4 != fold, slide % 4 == fold
            ridge = columns[train].T @ columns[train] + np.eye(30)
            target = columns[train].T @ (labels[train] - labels[train].mean())
            out[test] = columns[test] @ np.linalg.solve(ridge, target)
        (plain,) = auc_intervals(labels, out[None], slide)
        (found,) = auc_intervals(labels, out[None], slide, out_of_fold=True)
        held += found.low <= 0.5 <= found.high
        held_plain += plain.low <= 0.5 <= plain.high
    assert held / runs >= 0.9
    assert held > held_plain
    labels = np.tile([0, 1], 120)
    strong = labels + rng.normal(0, 0.5, 240)
    both = [
        auc_intervals(labels, strong[None], slide, out_of_fold=out_of_fold)
        for out_of_fold in (True, False)
    ]
    assert both[0] == both[1]  # far from chance, nothing is widened
