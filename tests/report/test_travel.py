"""How far columns move between laboratories: the packaged figures, and how they are measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from scipy.stats import percentileofscore
from sklearn.metrics import roc_auc_score

import pcam_features as pcam_api
from pcam_features.extraction.shifts import SHIFTS, seen, views
from pcam_features.families.registry import FAMILIES
from pcam_features.report import travel
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Source
from pcam_features.store.store import Store

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def shift_columns() -> Iterator[ModuleType]:
    file = Path(__file__).parents[2] / "benchmarks" / "shift_columns.py"
    spec = importlib.util.spec_from_file_location("shift_columns", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shift_columns"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["shift_columns"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """Training patches, and other patches with two views, of synthetic data."""
    folder = tmp_path_factory.mktemp("stores")
    store = pcam_api.extract("synthetic:90:6:0", folder / "s", families="color")
    plain = open_source("synthetic:60:6:1")[0].splits["train"]
    drawn = [views()[name] for name in ("brightness-moderate", "noise-moderate", "noise-mild")]
    splits = {one.name: one for one in (plain, *(seen(plain, view) for view in drawn))}
    source = Source("synthetic", "views", "", splits)
    return store, pcam_api.extract(source, folder / "v", families="color")


def test_oracle_ranks_are_scipys(shift_columns: ModuleType) -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 9, (50, 2)).astype(float)  # with ties
    values = rng.uniform(-1, 10, (3, 7, 2)).round()
    found = shift_columns.ranks(training, values)
    expected = [
        [[percentileofscore(training[:, k], row[k], "mean") / 100 for k in range(2)] for row in view]
        for view in values
    ]
    np.testing.assert_allclose(found, expected)


def test_oracle_figures_of_columns_are_scikit_learns_and_of_moderate_views(
    shift_columns: ModuleType, stores: tuple[Store, Store]
) -> None:
    store, views_of = stores
    table = shift_columns.family_figures(store, views_of, "color").set_index("column")
    assert shift_columns.shifts_of(table.reset_index()) == ["brightness", "noise"]
    labels = views_of.patches("train")["label"]
    training = pd.DataFrame(store.features("train", "color"), columns=list(table.index))
    before, bright = (
        pd.DataFrame(views_of.features(name, "color"), columns=list(table.index))
        for name in ("train", "train-brightness-moderate")
    )
    for column in ("color__mean__patch_gray", "color__deviation__center_eosin"):
        alone = roc_auc_score(labels, before[column])
        assert table.loc[column, "auc"] == pytest.approx(max(alone, 1 - alone))
        here, there = (
            percentileofscore(training[column], one[column], "mean") for one in (before, bright)
        )
        expected = np.abs(there - here).mean() / 100 * 3
        assert table.loc[column, "brightness"] == pytest.approx(expected)
    assert table.loc["color__mean__patch_gray", "most"] == "brightness"


def test_invariant_moving_is_0_without_change_and_1_for_unrelated_values(
    shift_columns: ModuleType,
) -> None:
    rng = np.random.default_rng(0)
    training, values = rng.normal(size=(4000, 1)), rng.normal(size=(2, 4000, 1)) ** 3
    one, other = shift_columns.ranks(training**3, values)
    assert np.abs(one - one).mean() == 0
    assert np.abs(one - other).mean() / shift_columns.AT_RANDOM == pytest.approx(1, abs=0.05)


def test_mechanics_the_file_is_read_as_it_was_written(
    shift_columns: ModuleType,
    stores: tuple[Store, Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shift_columns, "FILE", tmp_path / "travel.json")
    monkeypatch.setattr(shift_columns, "FIGURE", tmp_path / "columns.svg")
    shift_columns.columns(*stores)
    assert "| `color` |" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "columns.svg").read_text()
    table = shift_columns.family_figures(*stores, "color").set_index("column")
    monkeypatch.setattr(travel, "FILE", tmp_path / "travel.json")
    travel.known.cache_clear()
    try:
        figures = travel.known()
        assert list(figures) == list(table.index)
        for column, figure in figures.items():
            assert figure.moved == pytest.approx(table.loc[column, "moved"], abs=0.0006)
            assert figure.auc == pytest.approx(table.loc[column, "auc"], abs=0.0006)
            assert figure.most == table.loc[column, "most"]
        newer = replace(FAMILIES["color"], version=FAMILIES["color"].version + 1)
        monkeypatch.setitem(travel.FAMILIES, "color", newer)
        travel.known.cache_clear()
        assert travel.known() == {}  # figures of an older version say nothing of this one
    finally:
        travel.known.cache_clear()


def test_invariant_every_column_has_figures_of_its_present_version() -> None:
    figures = travel.known()
    columns = [column for family in FAMILIES.values() for column in family.columns]
    assert list(figures) == columns  # otherwise run benchmarks/shift.py columns again
    assert {figure.most for figure in figures.values()} <= set(SHIFTS)
    assert {figure.grade for figure in figures.values()} == {"stable", "between", "fragile"}
    assert all(0 <= figure.moved <= 1.5 for figure in figures.values())
    assert all(0.5 <= figure.auc < 1 for figure in figures.values())
    # Gray levels of the smallest circle see blur and noise; how dark a patch is does not.
    assert figures["lbp__ones04__patch_gray_p8_r1"].grade == "fragile"


def test_mechanics_the_command_line_tells_stable_from_fragile(pcam: Run) -> None:
    rows = json.loads(pcam("features", "lbp", "--json").out)
    assert {row["between_laboratories"]["grade"] for row in rows} >= {"fragile", "between"}
    column = "lbp__ones04__patch_gray_p8_r1"
    [row] = json.loads(pcam("features", column, "--json").out)
    assert set(row["between_laboratories"]) == {"grade", "moved", "most", "auc"}
    printed = pcam("features", column).out
    assert "between laboratories: fragile: moves by 0." in printed
    assert "most by blur" in printed
