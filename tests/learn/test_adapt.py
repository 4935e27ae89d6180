"""Adaptation brings columns to the training moments, and leaves alone what it must not move."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from sklearn.preprocessing import StandardScaler

import pcam_features as pcam_api
from pcam_features.constants import Adapt
from pcam_features.learn.adapt import (
    FEW,
    LEAST_PATCHES,
    UNKNOWN,
    Adaptation,
    Moments,
    adapt,
    codes_of,
    sums_of_groups,
)
from pcam_features.store.values import Values, of_arrays

Run = Callable[..., Result]
COLUMNS = 6


def training(rng: np.random.Generator) -> tuple[np.ndarray, Moments]:
    values = rng.normal(3, 2, (2000, COLUMNS)).astype(np.float32)
    return values, Moments(values.mean(axis=0), values.std(axis=0), 0.4)


def as_array(values: Values) -> np.ndarray:
    return np.concatenate([block for _, block in values.blocks(values.families)])


def adapted(
    values: np.ndarray, group: np.ndarray, moments: Moments, chance: np.ndarray | None = None
) -> tuple[np.ndarray, Adaptation]:
    families = of_arrays({"a": values[:, :4], "b": values[:, 4:]})
    if chance is None:
        chance = np.where(np.arange(len(values)) % 5 < 2, 0.9, 0.1)  # as many as in training
    codes = codes_of(group.tolist())
    parts = [sums_of_groups(block, codes[rows], moments) for rows, block in families.blocks(["a", "b"])]
    moves, done = adapt(parts, codes, moments, chance, Adapt.slide)
    return as_array(families if moves is None else moves.applied(families)), done


def test_oracle_adapted_columns_are_those_of_two_standard_scalers() -> None:
    rng = np.random.default_rng(0)
    known, moments = training(rng)
    group = np.repeat([0, 1, 2], [2500, 900, 300])  # more rows than one part of a store
    values = rng.normal(group[:, None] * 5, 1 + group[:, None], (len(group), COLUMNS))
    values = values.astype(np.float32)
    found, done = adapted(values, group, moments)
    to_training = StandardScaler().fit(known)
    for code in range(3):
        own = StandardScaler().fit_transform(values[group == code])
        np.testing.assert_allclose(found[group == code], to_training.inverse_transform(own), atol=1e-4)
    assert (done.groups, done.patches) == (3, len(group))


def test_invariant_patches_like_the_training_patches_hardly_change() -> None:
    rng = np.random.default_rng(1)
    known, moments = training(rng)
    found, _ = adapted(known, np.zeros(len(known), int), moments)
    np.testing.assert_allclose(found, known, atol=1e-4)


def test_invariant_adaptation_undoes_a_change_of_level_and_contrast() -> None:
    rng = np.random.default_rng(2)
    _, moments = training(rng)
    new = rng.normal(3, 2, (500, COLUMNS)).astype(np.float32)
    one = np.zeros(len(new), int)
    before, after = (adapted(values, one, moments)[0] for values in (new, new * 1.7 + 11))
    np.testing.assert_allclose(before, after, atol=1e-4)


def test_mechanics_groups_that_say_nothing_of_the_laboratory_are_left_as_they_are() -> None:
    rng = np.random.default_rng(3)
    _, moments = training(rng)
    sizes = [LEAST_PATCHES - 1, *[LEAST_PATCHES] * 5]
    group = np.repeat(np.arange(6), sizes)
    values = rng.normal(50, 2, (len(group), COLUMNS)).astype(np.float32)
    values[group == 2] = 50  # a blank slide
    share = np.array([0.4, 0.85, 0.4, 0.1, 0.4, 0.6])  # of tumor, where training has 0.4
    place = np.concatenate([np.arange(size) / size for size in sizes])
    chance = np.where(place < share[group], 0.6, 0.4)  # soft, and still of one class
    found, done = adapted(values, group, moments, chance)
    np.testing.assert_array_equal(found[group < 4], values[group < 4])
    for code in (4, 5):
        assert abs(found[group == code].mean() - moments.mean.mean()) < 0.1
    assert (done.few, done.one_class, done.blank) == (sizes[0], 2 * LEAST_PATCHES, LEAST_PATCHES)
    assert (done.groups, done.patches) == (2, 2 * LEAST_PATCHES)
    assert done.left == len(group) - done.patches
    for reason in ("fewer than 200", "mostly of one class", "hardly vary"):
        assert reason in done.sentence()


def test_mechanics_a_constant_column_is_centered_and_divides_by_nothing() -> None:
    rng = np.random.default_rng(4)
    known, moments = training(rng)
    values = rng.normal(9, 2, (300, COLUMNS)).astype(np.float32)
    values[:, 1] = 7
    found, _ = adapted(values, np.zeros(300, int), moments)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 1], known[:, 1].mean(), atol=1e-4)


def test_mechanics_missing_names_are_unknown_and_small_groups_are_few() -> None:
    missing = [None, "", float("nan"), pd.NA, np.nan]
    names = [*["b"] * LEAST_PATCHES, *missing, "a", 0, *[7] * LEAST_PATCHES]
    codes = codes_of(names)
    first = codes[:LEAST_PATCHES]
    assert set(first.tolist()) == {0}
    assert codes[LEAST_PATCHES : LEAST_PATCHES + 5].tolist() == [UNKNOWN] * 5
    assert codes[LEAST_PATCHES + 5 : LEAST_PATCHES + 7].tolist() == [FEW] * 2
    assert set(codes[-LEAST_PATCHES:].tolist()) == {1}
    values = np.zeros((3, COLUMNS), np.float32)
    found, done = adapted(values, np.array([1, 1, 2]), Moments(np.ones(6), np.ones(6), 0.5))
    np.testing.assert_array_equal(found, values)
    assert (done.patches, done.few) == (0, 3)


def test_mechanics_the_command_line_adapts_and_says_so(
    pcam: Run, model_folder: Path, tmp_path: Path
) -> None:
    store, out = tmp_path / "features", tmp_path / "adapted.csv"
    families = ",".join(pcam_api.open_model(model_folder).families)
    made = pcam("extract", "synthetic:900:6:8", store, "--families", families, "--split", "test")
    assert made.code == 0, made.err
    plain = pcam("predict", model_folder, store, tmp_path / "plain.csv")
    moved = pcam("predict", model_folder, store, out, "--adapt", "split")
    assert (plain.code, moved.code) == (0, 0), moved.err
    rows = len(pd.read_csv(out))
    assert f"adaptation: {rows:,} patches adapted to the split" in moved.err
    cost = json.loads((tmp_path / "adapted.cost.json").read_text())
    assert cost["adaptation"] == f"{rows:,} patches adapted to the split"
    assert "adaptation" not in json.loads((tmp_path / "plain.cost.json").read_text())
    before, after = (pd.read_csv(tmp_path / f"{name}.csv")["label"] for name in ("plain", "adapted"))
    assert np.abs(before - after).max() > 0
    assert np.abs(before - after).mean() < 0.1
    by_api = pcam_api.open_model(model_folder).probabilities(
        pcam_api.open_store(store), split="test", adapt="split"
    )
    np.testing.assert_allclose(by_api, after, atol=1e-6)


def test_mechanics_adaptation_that_cannot_be_is_refused(
    pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    fitted = pcam("predict", model_folder, store_folder, out, "--split", "train", "--adapt", "split")
    assert fitted.code == 2
    assert "not adapted; leave out --adapt" in fitted.err
    assert not out.exists()
    images = np.zeros((2, 96, 96, 3), np.uint8)
    model = pcam_api.open_model(model_folder)
    with pytest.raises(pcam_api.InputError, match="adapt='slide' needs slides"):
        model.predict_proba(images, adapt="slide")
    with pytest.raises(pcam_api.InputError, match="there is no adaptation 'slides'"):
        model.predict_proba(images, adapt="slides")
