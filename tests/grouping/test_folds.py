"""Folds are kept, used again, and refused if they are not sound; groups may be anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result

from pcam_features.errors import InputError
from pcam_features.grouping.folds import make_folds, read_folds
from pcam_features.store.store import open_store

Run = Callable[..., Result]


@pytest.fixture
def table(model_folder: Path) -> pd.DataFrame:
    return pd.read_parquet(model_folder / "folds.parquet")


@pytest.mark.parametrize("form", ["model", "parquet", "csv", "csv in another order, without groups"])
def test_mechanics_folds_are_used_again(
    form: str, model_folder: Path, store_folder: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = model_folder
    if form == "parquet":
        path = model_folder / "folds.parquet"
    if form.startswith("csv"):
        path = tmp_path / "folds.csv"
        other = form != "csv"
        kept = table.sample(frac=1, random_state=0).drop(columns="group") if other else table
        kept.to_csv(path, index=False)
    found = read_folds(path, open_store(store_folder).patches("train"))
    np.testing.assert_array_equal(found.fold, table["fold"])
    assert found.count == 3
    np.testing.assert_array_equal(found.group, table["group"])
    assert "more than one fold" not in found.protocol


def test_mechanics_slides_in_two_folds_are_told_of(
    store_folder: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "folds.csv"
    table[["id"]].assign(fold=np.arange(len(table)) % 3).to_csv(path, index=False)
    found = read_folds(path, open_store(store_folder).patches("train"))
    assert "12 of 12 known slides are in more than one fold" in found.protocol
    np.testing.assert_array_equal(found.group, found.fold)


def test_mechanics_a_fit_with_the_same_folds_is_the_same_fit(
    pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    options = ["--families", "lbp", "--threads", 1]
    for name, folds in (("dealt", ["--folds", 3]), ("read", ["--folds-from", model_folder])):
        assert pcam("fit", store_folder, tmp_path / name, *options, *folds).code == 0
    for name in ("out_of_fold.parquet", "texture/trees.ubj"):
        assert (tmp_path / "dealt" / name).read_bytes() == (tmp_path / "read" / name).read_bytes()
    manifest = json.loads((tmp_path / "read" / "manifest.json").read_text())
    assert f"groups, as in {model_folder}" in manifest["folds"]["protocol"]
    refused = pcam("fit", store_folder, tmp_path / "m", "--folds-from", model_folder, "--folds", 4)
    assert refused.code == 2
    assert "leave out --folds" in refused.err


CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "other patches": lambda t: t.assign(id=[f"x{k}" for k in range(len(t))]),
    "more than once": lambda t: pd.concat([t, t.iloc[:1]]),
    "group in two folds": lambda t: t.assign(group=0),
    "has 2 folds": lambda t: t.assign(fold=t["fold"].clip(upper=1), group=t["fold"].clip(upper=1)),
    "both classes": lambda t: t.assign(fold=3 * t["label"].astype(int) + t["fold"] % 2).drop(
        columns="group"
    ),
    "whole numbers": lambda t: t.assign(fold=[f"fold {k}" for k in t["fold"]]),
    "no column": lambda t: t.drop(columns="fold"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("change", CHANGES)
def test_mechanics_folds_that_are_not_sound_are_refused(
    change: str, ending: str, table: pd.DataFrame, store_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"folds.{ending}"
    changed = CHANGES[change](table)
    changed.to_csv(path, index=False) if ending == "csv" else changed.to_parquet(path)
    with pytest.raises(InputError, match=change) as caught:
        read_folds(path, open_store(store_folder).patches("train"))
    assert str(path) in str(caught.value)


def test_mechanics_parquet_by_other_hands(
    table: pd.DataFrame, store_folder: Path, tmp_path: Path
) -> None:
    patches, path = open_store(store_folder).patches("train"), tmp_path / "folds.parquet"
    table.set_index("id").to_parquet(path)
    np.testing.assert_array_equal(read_folds(path, patches).fold, table["fold"])
    arrays = [pa.array(table["id"], pa.string()), pa.array(table["fold"])]
    pq.write_table(pa.table([*arrays, arrays[0]], ["id", "fold", "id"]), path)
    with pytest.raises(InputError, match="has one twice"):
        read_folds(path, patches)
    table.assign(fold=table["fold"] + 0.5).to_parquet(path)
    with pytest.raises(InputError, match="whole numbers"):
        read_folds(path, patches)


def test_mechanics_a_long_text_in_every_row_is_not_written_out(
    store_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "folds.parquet"
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300, np.int32)), pa.array(["x" * 10**6]))
    pq.write_table(pa.table({"id": ids, "fold": pa.array(range(300))}), path)
    with pytest.raises(InputError, match="more than 1000 characters") as caught:
        read_folds(path, open_store(store_folder).patches("train"))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff\xfe\x00", b"id,fold\na,1\n"])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_mechanics_damaged_folds_are_refused(
    content: bytes, ending: str, store_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"folds.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="folds"):
        read_folds(path, open_store(store_folder).patches("train"))
    with pytest.raises(InputError, match="folds"):
        read_folds(tmp_path / f"absent.{ending}", open_store(store_folder).patches("train"))


def test_mechanics_groups_stand_in_for_slides(pcam: Run, store_folder: Path, tmp_path: Path) -> None:
    patches = open_store(store_folder).patches("train")
    center = patches["slide"].str[-1].astype(int) % 4
    groups = tmp_path / "centers.csv"
    pd.DataFrame({"id": patches["id"], "center": [f"c{k}" for k in center]}).to_csv(groups, index=False)
    options = ["--families", "lbp", "--folds", 4, "--groups", f"{groups}:center"]
    result = pcam("fit", store_folder, tmp_path / "model", *options)
    assert result.code == 0, result.err
    assert "grouped by center: 4 centers, none in two folds" in result.err
    table = pd.read_parquet(tmp_path / "model" / "folds.parquet")
    assert table.groupby(center)["fold"].nunique().max() == 1
    pd.DataFrame({"id": patches["id"][1:], "center": "c"}).to_csv(groups, index=False)
    refused = pcam("fit", store_folder, tmp_path / "other", *options)
    assert refused.code == 2
    assert "the table of --groups lacks 1 of 240 patches" in refused.err


def test_mechanics_two_slides_of_a_class_are_too_few() -> None:
    labels = np.repeat([1.0, 1.0, 0, 0, 0, 0], 10)
    slides = [f"s{k}" for k in range(6) for _ in range(10)]
    table = pd.DataFrame({"id": [f"p{k}" for k in range(60)], "label": labels, "slide": slides})
    with pytest.raises(InputError, match="label 1 has 20 patches of 2 slide"):
        make_folds(table, 3, 0)
