"""Parquet files as Hugging Face and people name and fill them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layouts import IDS, LABELS, PIXELS, encoded, opened, refused
from test_folders import labels_by_id, lay_out, read, unread

PNGS = [encoded(one, format="PNG") for one in PIXELS]


def shard(path: Path, labels: list[Any], start: int = 0, **how: Any) -> Path:
    """Write patches from `start` on; `image` and `label` name columns, and `names` the classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = PNGS[start : start + len(labels)]
    rows = images if how.get("raw") else [{"bytes": one, "path": None} for one in images]
    label = how.get("label", "label")
    table = pa.table({how.get("image", "image"): rows, label: labels})
    if "names" in how:
        said = {"info": {"features": {label: {"names": how["names"], "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, path)
    return path


def labels_of(root: Path, **options: Any) -> list[int]:
    return list(labels_by_id(read(root, **options)).values())


@pytest.mark.parametrize("above", ["default/", "", "data/default/"])
@pytest.mark.parametrize("name", ["000{k}", "part-0000{k}-9af3.c000.snappy", "train-0000{k}-of-00002"])
def test_regression_shards_are_no_splits(above: str, name: str, tmp_path: Path) -> None:
    for k in range(2):
        file = f"{above}train/{name.format(k=k)}.parquet"
        shard(tmp_path / file, [0, 1, 1], start=3 * k)
    shard(tmp_path / f"{above}test/0000.parquet", [1, 0], start=6)
    source = opened(tmp_path)
    assert {split.name: len(split) for split in source.splits.values()} == {"train": 6, "test": 2}
    np.testing.assert_array_equal(source.splits["train"].read(0, 6), PIXELS[:6])
    np.testing.assert_array_equal(source.splits["test"].read(0, 2), PIXELS[6:8])


def test_regression_endings_in_capitals_and_whole_numbers_as_ids(tmp_path: Path) -> None:
    rows = [{"bytes": one, "path": None} for one in PNGS[:2]]
    table = pa.table({"id": [7, 8], "image": rows, "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.PARQUET")
    assert labels_by_id(opened(tmp_path)) == {"7": 0, "8": 1}


def test_mechanics_paths_in_place_of_images_are_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.png"], "label": [1]}), tmp_path / "train.parquet")
    assert "a CSV of their paths" in refused(tmp_path, "no bytes of an image")


def test_mechanics_numbered_files_alone_are_one_split(tmp_path: Path) -> None:
    for k in range(2):
        shard(tmp_path / f"000{k}.parquet", [0, 1])
    assert {name: len(one) for name, one in opened(tmp_path).splits.items()} == {"train": 4}


def test_mechanics_two_data_sets_are_not_joined(tmp_path: Path) -> None:
    for name in ("default", "other"):
        shard(tmp_path / name / "train" / "0000.parquet", [0, 1])
    assert "default, other" in refused(tmp_path, "holds several data sets")


def test_mechanics_a_feature_store_below_images_is_no_source(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/tumor/t.png", "train/normal/n.png")
    shard(tmp_path / "features" / "train" / "color" / "part-00000.parquet", [0, 1])
    (tmp_path / "features" / "manifest.json").write_text("{}")
    assert opened(tmp_path).kind == "images"


@pytest.mark.parametrize(
    "how",
    [
        {"image": "img", "label": "labels"},
        {"image": "picture", "label": "Target"},
        {"raw": True},
    ],
)
def test_regression_columns_have_many_names(how: dict[str, Any], tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", [0, 1, 1], **how)
    assert labels_of(tmp_path) == [0, 1, 1]
    np.testing.assert_array_equal(opened(tmp_path).splits["train"].read(0, 3), PIXELS[:3])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["normal", "tumor", "tumor"], None),
        ([0.0, 1.0, 1.0], None),
        ([False, True, True], None),
        ([0, 1, 1], ["0", "1"]),
        ([1, 0, 0], ["tumor", "normal"]),
    ],
)
def test_regression_labels_may_be_words(
    labels: list[Any], names: list[str] | None, tmp_path: Path
) -> None:
    shard(tmp_path / "train.parquet", labels, **({"names": names} if names else {}))
    assert labels_of(tmp_path) == [0, 1, 1]


def test_mechanics_one_of_many_classes_is_named(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", [0, 1, 2], names=["ADI", "STR", "TUM"])
    assert "ADI, STR, TUM" in refused(tmp_path, "--positive CLASS")
    assert labels_of(tmp_path, positive="TUM") == [0, 0, 1]
    source = read(tmp_path, positive="TUM", exclude=("ADI",))
    assert list(labels_by_id(source).values()) == [0, 1]
    assert unread(source) == {"excluded": ["train_patch0000000"]}
    np.testing.assert_array_equal(source.splits["train"].read(0, 2), PIXELS[1:3])


def test_mechanics_a_split_is_labeled_in_part(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", [0, None, 1, -1, 1])
    for asked in (False, True):
        source = read(tmp_path, labeled_only=asked)
        assert list(labels_by_id(source).values()) == [0, 1, 1]
        assert unread(source) == {"no label": ["train_patch0000001", "train_patch0000003"]}
        assert source.unread[0].serious is not asked
    kept = PIXELS[[0, 2, 4]]
    np.testing.assert_array_equal(source.splits["train"].read(0, 3), kept)
    np.testing.assert_array_equal(source.splits["train"].image(1, None), kept[1])


def test_invariant_rows_taken_of_a_split_are_its_rows(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", LABELS.tolist())
    whole = opened(tmp_path).splits["train"]
    rows = [0, 1, 4, 5, 6, 11]
    part = whole.taking(rows)
    assert part.ids == [whole.ids[row] for row in rows]
    for start in range(len(rows)):
        for stop in range(start + 1, len(rows) + 1):
            np.testing.assert_array_equal(part.read(start, stop), PIXELS[rows[start:stop]])
    assert part.content(0, 6) != whole.taking([0, 1, 4, 5, 6, 10]).content(0, 6)
    assert len(IDS) == len(whole)


def test_regression_files_in_other_places_are_reported(tmp_path: Path) -> None:
    shard(tmp_path / "train.parquet", [0, 1])
    shard(tmp_path / "more" / "extra.parquet", [0, 1])
    assert unread(opened(tmp_path)) == {"Parquet file in another place": ["more/extra.parquet"]}
