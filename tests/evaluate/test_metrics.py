"""Every metric equals scikit-learn's, under any weights; the rest equals its formula by brute force."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    log_loss,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from pcam_features.evaluate import subsets
from pcam_features.evaluate.curves import GRID, curves
from pcam_features.evaluate.metrics import METRICS, best_threshold, metrics, prepare, rank, ranked
from pcam_features.evaluate.options import ComparisonOptions
from pcam_features.evaluate.paired import Entry, compare, holm
from pcam_features.evaluate.resampling import stratify
from pcam_features.evaluate.verdict import verdict
from pcam_features.report import charts
from pcam_features.report import tables as table

RNG = np.random.default_rng(11)


def sample(n: int = 400, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 2, n).astype(np.int8)
    scores = 1 / (1 + np.exp(-(RNG.normal(size=n) * 1.5 + 2 * labels - 1)))
    return labels, np.round(scores, 1) if ties else scores


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)), min_size=4))
def test_oracle_weighted_auc_and_precision_are_scikit_learns(rows: list[tuple[int, ...]]) -> None:
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = ranked(rank(labels, scores[None].astype(float)), weights[None])[0, :, 0]
    if not weights[labels == 1].sum() or not weights[labels == 0].sum():
        assert np.isnan(found).all()
        return
    kept = weights > 0
    given_ = (labels[kept], scores[kept])
    for value, oracle in zip(found, (roc_auc_score, average_precision_score), strict=False):
        np.testing.assert_allclose(value, oracle(*given_, sample_weight=weights[kept]), rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_oracle_metrics_are_scikit_learns_under_weights(ties: bool, specificity: float) -> None:
    labels, scores = sample(ties=ties)
    weights = RNG.poisson(1, (3, len(labels)))
    threshold = 0.4
    found = prepare(labels, scores[None], [threshold], specificity).metrics(weights)[0]
    for k, weight in enumerate(weights):
        given_ = {"sample_weight": weight}
        false, true, _ = roc_curve(labels, scores, drop_intermediate=False, **given_)
        expected = {
            "auc": roc_auc_score(labels, scores, **given_),
            "average_precision": average_precision_score(labels, scores, **given_),
            "sensitivity": true[1 - false >= specificity - 1e-9].max(),
            "balanced_accuracy": balanced_accuracy_score(labels, scores >= threshold, **given_),
            "brier": brier_score_loss(labels, scores, **given_),
            "log_loss": log_loss(labels, scores, **given_),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[list(METRICS).index(name), k], value, rtol=1e-9)


def test_oracle_calibration_error_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.append(rng.random(500), [0.0, 1.0, 1 / 15, 2 / 15])
    labels = (rng.random(504) < probabilities**2).astype(np.int8)
    expected = 0.0
    for k in range(15):
        low, high = k / 15, (k + 1) / 15
        inside = [i for i, p in enumerate(probabilities) if low < p <= high or (k == 0 and p == 0)]
        gap = sum(labels[i] for i in inside) / len(inside) - sum(
            probabilities[i] for i in inside
        ) / len(inside)
        expected += len(inside) / 504 * abs(gap)
    assert expected > 0.1
    np.testing.assert_allclose(metrics(labels, probabilities)["ece"], expected, rtol=1e-9)


def test_oracle_best_threshold_has_the_highest_balanced_accuracy() -> None:
    labels, scores = sample(200, ties=True)
    each = {t: balanced_accuracy_score(labels, scores >= t) for t in np.unique(scores)}
    assert each[best_threshold(labels, scores)] == pytest.approx(max(each.values()))


def test_oracle_holm_is_rs_p_adjust() -> None:
    """R 4: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and with p = 0.9 and ties."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.9, 0.01, 0.01]) == pytest.approx([0.9, 0.03, 0.03])
    assert holm([0.4, 0.8]) == pytest.approx([0.8, 0.8])
    assert holm([]) == []


def test_oracle_agreement_is_scipys_and_scikit_learns() -> None:
    labels, a = sample()
    entries = [Entry("a", a[None], [0.5]), Entry("b", RNG.random((2, len(a))), [0.3, 0.5])]
    found = subsets.agreement(labels, entries)
    b = entries[1].rows.mean(axis=0)
    assert found.spearman[0][1] == pytest.approx(spearmanr(a, b).statistic)
    assert found.kappa[0][1] == pytest.approx(cohen_kappa_score(a >= 0.5, b >= 0.4))
    wrong = ((a >= 0.5) != labels) & ((b >= 0.4) != labels)
    assert found.all_wrong == wrong.sum()


def test_oracle_curves_lie_on_scikit_learns() -> None:
    labels, scores = sample()
    groups = stratify(labels, RNG.integers(0, 20, len(labels)))
    found = curves(labels, [Entry("a", scores[None], [0.5])], groups, seed=0, threads=1)[0]
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.roc.value, np.interp(GRID, false, true), atol=1e-9)
    precision, recall, _ = precision_recall_curve(labels, scores)
    for at in (10, 50, 90, 100):  # the first threshold on the way down that reaches a recall
        reached = np.flatnonzero(recall >= GRID[at] - 1e-9)[-1]
        assert found.precision.value[at] == pytest.approx(precision[reached])
    inside = (found.roc.low <= found.roc.value + 1e-9) & (found.roc.value <= found.roc.high + 1e-9)
    assert inside.mean() > 0.9


def test_invariant_parts_are_the_same_metric_on_their_rows() -> None:
    labels, scores = sample()
    entry = Entry("a", scores[None], [0.5])
    groups = np.array(["x", "y", None, "z"], dtype=object)[RNG.integers(0, 4, len(labels))]
    groups[labels == 0] = np.where(groups[labels == 0] == "z", "x", groups[labels == 0])
    found = subsets.by_group("center", labels, [entry], groups.tolist())
    assert [one.group for one in found.groups] == ["x", "y"]
    for one in found.groups:
        own = groups == one.group
        assert one.aucs["a"] == pytest.approx(roc_auc_score(labels[own], scores[own]))
    assert found.to_dict()["left_out"] == {
        "groups": 1,
        "of_one_class": 1,
        "patches": int((groups == "z").sum()),
        "without_group": sum(group is None for group in groups.tolist()),
    }
    clusters = np.r_[np.arange(len(labels) - 10), np.arange(10)]
    copies = subsets.without_copies(labels, [entry], clusters)
    assert copies.left_out == 10
    assert copies.aucs["a"] == pytest.approx(roc_auc_score(labels[:-10], scores[:-10]))


def test_invariant_seeds_are_scored_one_by_one_and_their_spread_is_told_apart() -> None:
    labels, a = sample()
    b = np.clip(a + RNG.normal(0, 0.2, len(a)), 0, 1)
    groups = stratify(labels, RNG.integers(0, 30, len(labels)))
    one = [Entry("a", a[None], [0.5]), Entry("b", b[None], [0.5])]
    both = [*one, Entry("c", np.stack([a, b]), [0.5, 0.5])]
    together = compare(labels, both, groups, ComparisonOptions(resamples=200))
    models, differences = together.models, together.differences
    first, second, seeds = models
    assert seeds.auc == pytest.approx((first.auc + second.auc) / 2)
    assert seeds.seeds.deviation == pytest.approx(np.std([first.auc, second.auc], ddof=1))
    options = ComparisonOptions(pairs=[("a", "b")], resamples=200)
    alone = compare(labels, one, groups, options).models
    assert alone == models[:2], "another model changes the draws of these"
    halves = {(d.a, d.b): d.difference for d in differences}
    assert set(halves) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert halves["a", "c"] == pytest.approx(halves["a", "b"] / 2)


def test_invariant_a_model_is_not_different_from_itself() -> None:
    labels, a = sample()
    groups = stratify(labels, RNG.integers(0, 30, len(labels)))
    entries = [Entry("a", a[None], [0.5]), Entry("twice", a[None] / 2, [0.25])]
    options = ComparisonOptions(pairs=["a:twice"], margin=0.01, resamples=200)
    (found,) = compare(labels, entries, groups, options).differences
    assert (found.difference, found.p_value, found.delong_p_value) == (0, 1, 1)
    assert found.not_inferior
    assert "not worse by more than 0.01" in found.finding


def test_invariant_a_difference_without_spread_is_not_tested() -> None:
    """One model ranks all patches right and the other all wrong, on every resample."""
    labels, noisy = sample()
    right = (labels + 0.5) / 2
    groups = stratify(labels, RNG.integers(0, 30, len(labels)))
    rows = {"right": right, "wrong": 1 - right, "noisy": noisy}
    entries = [Entry(name, row[None], [0.5]) for name, row in rows.items()]
    options = ComparisonOptions(margin=0.01, resamples=200)
    result = compare(labels, entries, groups, options)
    models, pairs = result.models, result.differences
    found = {(pair.a, pair.b): pair for pair in pairs}
    apart = found["right", "wrong"]
    assert (apart.difference, apart.p_value, apart.p_holm, apart.delong_p_value) == (
        1,
        None,
        None,
        None,
    )
    assert apart.not_inferior is None
    assert apart.finding == (
        "the difference between right and wrong cannot be tested, because it is the same in every group"
    )
    written = json.loads(json.dumps(apart.to_dict(), allow_nan=False))
    assert (written["tested"], written["p_value"], written["p_holm"]) == (False, 1, 1)
    assert "The difference between right and wrong cannot be" in verdict(
        models, pairs, declared=True, design=result.design, over="slides"
    )
    tested = [pair for pair in pairs if pair is not apart]
    assert all(0 < pair.p_value <= pair.p_holm for pair in tested)  # type: ignore[operator]
    assert [table.p_cell(pair.p_value) for pair in (apart, *tested)].count("not testable") == 1


def test_oracle_a_pair_that_cannot_be_tested_counts_in_holms_adjustment() -> None:
    assert holm([0.01, None, 0.02]) == [pytest.approx(0.03), None, pytest.approx(0.04)]
    assert holm([0.01, 1.0, 0.02]) == [pytest.approx(0.03), 1, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]


def test_mechanics_plotly_takes_every_chart() -> None:
    labels, a = sample()
    entries = [Entry("a", a[None], [0.5]), Entry("b", RNG.random((2, len(a))), [0.5, 0.5])]
    groups = stratify(labels, RNG.integers(0, 20, len(labels)))
    models = compare(labels, entries, groups, ComparisonOptions(resamples=100)).models
    points = curves(labels, entries, groups, seed=0, threads=1)
    part = subsets.by_group(
        "slide", labels, entries, [str(k) for k in RNG.integers(0, 15, len(labels))]
    )
    few = replace(part, groups=part.groups[:3])
    estimates = [m.resampled for m in models]
    figures = [
        charts.forest(["a", "b"], ("x", estimates), ("y", estimates), "AUC", seeds=[[0.1], [0.2, 0.3]]),
        charts.curve_figure([(one.name, one.roc) for one in points], "x", "y"),
        charts.reliability_figure(points),
        charts.agreement_figure(subsets.agreement(labels, entries)),
        charts.parts_figure(part, ["a", "b"]),
        charts.parts_figure(few, ["a", "b"]),
        charts.families_figure({"lbp": 0.1}),
    ]
    for figure in figures:
        go.Figure(figure)  # raises for a property that it does not know
