"""Columns that tell the label alone are found, whatever their shape, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pcam_features.learn.leaky import BINS, LEAKY, OF_A_PART, SAMPLE, alone, leaky_columns, sample
from pcam_features.store.values import Values, of_arrays, spans_of

ROWS = 3000


def data(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns that say a little, labels and folds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows).astype(np.int8)
    values = rng.normal(size=(rows, 40)) + labels[:, None]
    return values.astype(np.float32), labels, rng.integers(0, 5, rows).astype(np.int16)


def leak(labels: np.ndarray, kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=len(labels))
    both_ends = np.where(labels == 1, rng.choice([-1, 1], len(labels)), 0)
    return {
        "label": labels,
        "noisy label": labels + 0.01 * noise,
        "against": -labels + 0.25 * noise,
        "middle": both_ends + 0.01 * noise,
        "row number of sorted files": np.argsort(np.argsort(labels, kind="stable")),
    }[kind].astype(np.float32)


KINDS = ("label", "noisy label", "against", "middle", "row number of sorted files")


@pytest.mark.parametrize("kind", KINDS)
def test_regression_a_column_that_is_the_label_is_named(kind: str) -> None:
    values, labels, fold = data()
    values[:, 17] = leak(labels, kind)
    arrays = {"a": values[:, :10], "b": values[:, 10:]}
    names = {"a": [f"a{k}" for k in range(10)], "b": [f"b{k}" for k in range(10, 40)]}
    found = leaky_columns(of_arrays(arrays), labels, fold, names)
    assert list(found) == ["b17"]
    assert LEAKY < found["b17"] <= 1


def test_invariant_columns_that_say_much_but_not_all_are_not_named() -> None:
    values, labels, fold = data()
    values[:, 3] = labels + np.random.default_rng(2).normal(size=ROWS) * 0.35  # an AUC of 0.98
    assert 0.97 < roc_auc_score(labels, values[:, 3]) < LEAKY
    assert leaky_columns(of_arrays({"a": values}), labels, fold, {"a": list(map(str, range(40)))}) == {}


def test_oracle_the_auc_is_scikit_learns_by_order_and_by_bins() -> None:
    values, labels, fold = data(rows=600)
    values[:, 1] = np.where(labels == 1, np.abs(values[:, 1]) + 1, values[:, 1] / 3)
    values[:, 2] = np.round(values[:, 2])
    found = alone(values, labels, fold)
    for column, auc in zip(values.T, found, strict=True):
        place = np.searchsorted(np.sort(column), column) + np.searchsorted(
            np.sort(column), column, "right"
        )
        bins = ((place + 1) / 2 * BINS / (len(column) + 1)).astype(int)
        shares = np.empty(len(column))
        for row in range(len(column)):
            others = (bins == bins[row]) & (fold != fold[row])
            shares[row] = (labels[others].sum() + labels.mean()) / (others.sum() + 1)
        ordered = roc_auc_score(labels, column)
        expected = max(ordered, 1 - ordered, roc_auc_score(labels, shares))
        np.testing.assert_allclose(auc, expected, rtol=1e-12)


def test_mechanics_few_parts_are_read_where_no_column_leaks() -> None:
    rows = 2048 * 60
    labels = np.random.default_rng(0).integers(0, 2, rows).astype(np.int8)
    read = set()

    def part(family: str, k: int) -> np.ndarray:
        read.add(k)
        span = spans_of(rows)[k]
        return np.random.default_rng(k).normal(size=(span.stop - span.start, 3)).astype(np.float32)

    values = Values(rows, {"a": 3}, part, spans_of(rows))
    fold = np.arange(rows) % 3
    assert leaky_columns(values, labels, fold, {"a": ["x", "y", "z"]}) == {}
    assert len(read) <= 10


@pytest.mark.parametrize("sorted_by_class", [False, True])
def test_invariant_the_sample_has_both_classes(sorted_by_class: bool) -> None:
    rows = 2048 * 20
    labels = (np.random.default_rng(0).random(rows) < 0.1).astype(np.int8)
    labels = np.sort(labels) if sorted_by_class else labels
    drawn = sample(spans_of(rows), labels)
    assert np.array_equal(drawn, np.unique(drawn))
    normal, tumor = np.bincount(labels[drawn]).tolist()
    assert normal == SAMPLE
    assert tumor >= 3 * OF_A_PART if sorted_by_class else tumor == SAMPLE
