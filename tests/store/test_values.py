"""Features come in blocks, from memory or disk, and models learn the same from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xgboost
from sklearn.metrics import roc_auc_score

from pcam_features.learn import boosting, nystroem
from pcam_features.learn.settings import Compute
from pcam_features.store.store import open_store
from pcam_features.store.values import of_arrays, stored

ROWS = 5000  # three parts of a store


def arrays() -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, 30)).astype(np.float32)
    labels = (values[:, 0] + values[:, 20] ** 2 + rng.normal(0, 0.5, ROWS) > 1).astype(np.int8)
    return {"a": values[:, :10], "b": values[:, 10:]}, labels


COMPUTE = Compute("cpu", threads=2, seed=0)
WITHIN = np.arange(ROWS) % 3 > 0


def grown(pages: Path | None, compute: Compute = COMPUTE, rounds: int = 40) -> boosting.Grown:
    known, labels = arrays()
    blocks = boosting.binned(of_arrays(known), ["a", "b"], labels, compute, pages=pages)
    assert pages is None or any(pages.parent.iterdir()), "nothing is on disk: nothing is tested"
    assert len(blocks) == 4
    return boosting.grow(blocks, WITHIN, compute, rounds=rounds)


@pytest.fixture
def four_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "COLUMNS", 8)


def test_oracle_blocks_are_the_stores_tables(store_folder: Path) -> None:
    import pandas as pd

    for keep in (False, True):
        values = stored(open_store(store_folder), "train", ["color", "lbp"], keep=keep)
        tables = [pd.read_parquet(store_folder / "train" / name) for name in ("color", "lbp")]
        expected = np.concatenate([t.drop(columns="id").to_numpy() for t in tables], axis=1)
        found = np.concatenate([block for _, block in values.blocks(["color", "lbp"])])
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(values.take(["lbp"], np.array([3, 99])), expected[[3, 99], 364:])
        assert values.places()["lbp"][0] == 364


def test_invariant_rows_are_taken_across_parts() -> None:
    known, _ = arrays()
    wanted = np.array([0, 2047, 2048, 4999])
    found = of_arrays(known).take(["b", "a"], wanted)
    np.testing.assert_array_equal(found, np.concatenate([known["b"], known["a"]], axis=1)[wanted])


@pytest.mark.usefixtures("four_blocks")
def test_oracle_trees_put_together_are_one_xgboost_model() -> None:
    """XGBoost itself, which knows nothing of blocks, predicts what the growing trees added up to."""
    known, labels = arrays()
    found = grown(None)
    whole = np.concatenate([known["a"], known["b"]], axis=1)
    booster = xgboost.Booster(model_file=found.booster.save_raw("ubj"))
    assert (booster.num_features(), booster.num_boosted_rounds()) == (30, 40)
    assert boosting.counts(40).tolist() == [20, 40]
    for k, count in enumerate(boosting.counts(40).tolist()):
        expected = booster.predict(
            xgboost.DMatrix(whole), output_margin=True, iteration_range=(0, count)
        )
        np.testing.assert_allclose(found.margins[:, k], expected, atol=1e-6)
    assert roc_auc_score(labels[~WITHIN], found.margins[~WITHIN, -1]) > 0.8
    shares, start = boosting.BoostedTrees(booster).contributions(whole[:20])
    np.testing.assert_allclose(shares.sum(axis=1) + start, found.margins[:20, -1], atol=1e-4)


@pytest.mark.usefixtures("four_blocks")
def test_oracle_trees_are_xgboosts_on_their_block() -> None:
    """The first trees, trained by hand on the rows alone that have a weight."""
    known, labels = arrays()
    whole = np.concatenate([known["a"], known["b"]], axis=1)
    drawn = boosting.PARAMETERS | {"subsample": 1.0, "nthread": 2}
    blocks = boosting.binned(of_arrays(known), ["a", "b"], labels, COMPUTE)
    found = boosting.grow(blocks, WITHIN, COMPUTE, rounds=4, parameters=drawn).margins[WITHIN, -1]
    share = (labels[WITHIN].sum() + 0.5) / (WITHIN.sum() + 1)
    margin = np.full(WITHIN.sum(), np.log(share / (1 - share)), np.float32)
    for k, columns in enumerate(boosting.deal(30, 0)[:2]):
        every = xgboost.QuantileDMatrix(whole[:, columns], labels, max_bin=32)
        own = xgboost.QuantileDMatrix(
            whole[WITHIN][:, columns], labels[WITHIN], base_margin=margin, max_bin=32, ref=every
        )
        trees = xgboost.train(drawn | {"seed": k, "base_score": 0.5}, own, num_boost_round=2)
        margin = trees.predict(own, output_margin=True)
    np.testing.assert_allclose(found, margin, atol=1e-5)


@pytest.mark.usefixtures("four_blocks")
def test_parity_trees_from_disk_are_trees_from_memory(tmp_path: Path) -> None:
    in_memory, on_disk = grown(None), grown(tmp_path / "pages")
    assert not any(tmp_path.iterdir())  # XGBoost takes its files away
    np.testing.assert_array_equal(on_disk.margins, in_memory.margins)
    assert on_disk.booster.save_raw("ubj") == in_memory.booster.save_raw("ubj")


@pytest.mark.usefixtures("four_blocks")
def test_invariant_labels_that_are_left_out_change_no_tree() -> None:
    known, labels = arrays()
    changed = np.where(WITHIN, labels, 1 - labels)
    blocks = boosting.binned(of_arrays(known), ["a", "b"], changed, COMPUTE)
    found = boosting.grow(blocks, WITHIN, COMPUTE, rounds=40)
    assert found.booster.save_raw("ubj") == grown(None).booster.save_raw("ubj")


def test_invariant_columns_are_dealt_once_each_and_gathered_in_any_number_of_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dealt = boosting.deal(1000, 3)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(1000))
    assert {len(block) for block in dealt} == {200}
    known, _ = arrays()
    whole = np.concatenate([known["b"], known["a"]], axis=1)
    monkeypatch.setattr(boosting, "COLUMNS", 8)
    for room in (1, 2**30):
        dealt = boosting.deal(30, 0)
        for columns, array in zip(
            dealt, boosting.gather(of_arrays(known), ["b", "a"], dealt, room), strict=True
        ):
            np.testing.assert_array_equal(array, whole[:, columns])


def test_oracle_folds_of_the_kernel_model_are_models_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nystroem, "landmark_count", lambda rows: 200)
    known, labels = arrays()
    values, fold = of_arrays(known), (np.arange(ROWS) % 4).astype(np.int16)
    ready = nystroem.prepare(values, ["a", "b"], labels, fold, seed=0)
    found = nystroem.across(ready, values, ["a", "b"], fold)
    whole = np.concatenate([known["a"], known["b"]], axis=1)
    for k in range(4):
        kept = ready.landmarks.fold != k  # no patch of the fold is a landmark of its model
        rows = nystroem.standardize(whole, ready.landmarks.mean, ready.landmarks.scale)
        like = nystroem.likeness(rows, ready.landmarks.rows[kept], nystroem.WIDTH).astype(float)
        among = ready.among()[np.ix_(kept, kept)]
        own = fold == k
        centered = like[~own] - like[~own].mean(axis=0)
        wrong = labels[~own] - labels[~own].mean()
        squares = centered.T @ centered + nystroem.PENALTY * among
        weights = np.linalg.lstsq(squares, centered.T @ wrong, rcond=1e-12)[0]
        expected = (like[own] - like[~own].mean(axis=0)) @ weights + labels[~own].mean()
        np.testing.assert_allclose(found[own], nystroem.log_odds(expected), atol=0.02)
        assert roc_auc_score(labels[own], found[own]) > 0.8


def test_invariant_labels_of_a_fold_have_no_part_in_its_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nystroem, "landmark_count", lambda rows: 200)
    known, labels = arrays()
    values, fold = of_arrays(known), (np.arange(ROWS) % 4).astype(np.int16)
    changed = np.where(fold == 2, 1 - labels, labels)
    found = [
        nystroem.across(nystroem.prepare(values, ["a"], given, fold, seed=0), values, ["a"], fold)
        for given in (labels, changed)
    ]
    np.testing.assert_array_equal(found[0][fold == 2], found[1][fold == 2])
    assert not np.allclose(found[0][fold != 2], found[1][fold != 2])


def test_invariant_tree_counts_are_not_chosen_by_what_they_are_scored_on() -> None:
    rng = np.random.default_rng(0)
    labels, fold = rng.integers(0, 2, 300), np.arange(300) % 3
    margins = rng.normal(size=(300, 5)) + labels[:, None] * np.array([0, 1, 3, 1, 0])
    found, count = boosting.across_counts(labels, fold, margins, 100)
    assert count == 60
    np.testing.assert_array_equal(found, margins[:, 2])
    spoilt = np.where((fold == 1)[:, None], margins[:, [2, 1, 0, 3, 4]], margins)
    found, _ = boosting.across_counts(labels, fold, spoilt, 100)
    np.testing.assert_array_equal(found[fold == 1], spoilt[fold == 1, 2])


class OnCard(np.ndarray):
    """Memory of the host in the place of a card's."""

    def get(self) -> np.ndarray:
        return self.view(np.ndarray)


class Card:
    """What of CuPy the models call."""

    @staticmethod
    def asarray(array: np.ndarray, dtype: type | None = None) -> OnCard:
        return np.asarray(array, dtype).view(OnCard)

    @staticmethod
    def zeros(shape: tuple[int, ...]) -> OnCard:
        return np.zeros(shape).view(OnCard)


def test_parity_models_computed_where_a_card_keeps_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    known, labels = arrays()
    values, fold = of_arrays(known), (np.arange(ROWS) % 4).astype(np.int16)
    monkeypatch.setattr(nystroem, "landmark_count", lambda rows: 200)
    found = []
    for xp in (np, Card):
        ready = nystroem.prepare(values, ["b"], labels, fold, seed=0, xp=xp)
        found.append(nystroem.across(ready, values, ["b"], fold, xp=xp))
        assert type(found[-1]) is type(ready.sums_of(0).terms) is np.ndarray
    np.testing.assert_allclose(*found, atol=1e-9)  # BLAS adds in place only for NumPy
    given: list[type] = []
    whole = xgboost.QuantileDMatrix

    def taken(values: np.ndarray, *labels: np.ndarray, **how: int) -> xgboost.DMatrix:
        given.append(type(values))
        return whole(values, *labels, **how)

    monkeypatch.setattr(xgboost, "QuantileDMatrix", taken)
    monkeypatch.setattr(Compute, "xp", Card)
    boosting.binned(values, ["a", "b"], labels, Compute("cuda", threads=1, seed=0))
    assert given == [OnCard]
