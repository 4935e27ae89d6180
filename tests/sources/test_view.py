"""What a source offers in Python: rows, samples, tables, and HTML that names cannot break."""

from __future__ import annotations

import base64
import doctest
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest
from layouts import IDS, LABELS, PIXELS, ROWS, opened
from PIL import Image

from pcam_features.errors import InputError
from pcam_features.sources import fitting, source, synthetic
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Source


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return opened(layouts.kaggle_folder(tmp_path_factory.mktemp("view") / "data"))


@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        slice(3, 9),
        slice(8, 16),
        slice(None, None, -1),
        slice(20, 2, -3),
        slice(5, 5),
        [0, 1, 2, 11, 12, 23],
        [7, 7, 3],
        np.array([-1, 0, 13]),
        np.arange(2 * ROWS) % 3 == 0,
        0,
        -1,
        np.int64(12),
    ],
    ids=repr,
)
def test_oracle_images_are_indexed_as_an_array_would_be(key: object, kaggle: Source) -> None:
    both = np.concatenate([PIXELS, PIXELS[::1]])
    assert len(kaggle.images) == len(both) == len(kaggle)
    np.testing.assert_array_equal(kaggle.images[key], both[key])  # type: ignore[index]


def test_mechanics_rows_that_do_not_exist(kaggle: Source) -> None:
    for row in (2 * ROWS, -2 * ROWS - 1):
        with pytest.raises(IndexError):
            kaggle.images[row]


def test_mechanics_what_all_splits_say_together(kaggle: Source) -> None:
    assert kaggle.ids == [*IDS, *IDS]
    assert kaggle.slides == [None] * len(kaggle)
    labels = kaggle.labels
    assert labels is not None
    np.testing.assert_array_equal(labels[:ROWS], LABELS)
    assert np.isnan(labels[ROWS:]).all()
    table = kaggle.frame()
    assert list(table.columns) == ["id", "label", "slide", "split"]
    assert table["split"].tolist() == ["train"] * ROWS + ["test"] * ROWS
    np.testing.assert_array_equal(table["label"], labels)
    train = kaggle.split("train")
    assert train.frame()["label"].tolist() == LABELS.tolist()
    np.testing.assert_array_equal(train.images[2:4], PIXELS[2:4])
    assert kaggle.split("test").frame()["label"].isna().all()
    with pytest.raises(InputError, match="no split 'valid'; it has: train, test"):
        kaggle.split("valid")
    known = synthetic.open_source("synthetic:12:4:3")
    assert known.labels is not None
    assert known.labels.dtype == np.int8
    assert known.frame()["slide"].notna().all()
    none = replace(kaggle, splits={"test": kaggle.split("test")})
    assert none.labels is None


def test_mechanics_a_sample_is_drawn_by_its_seed(kaggle: Source) -> None:
    drawn = kaggle.sample(9)
    assert len(drawn) == len(set(zip(drawn.splits, drawn.ids, strict=True))) == 9
    for patch_id, split, label, image in zip(
        drawn.ids, drawn.splits, drawn.labels, drawn.images, strict=True
    ):
        row = IDS.index(patch_id)
        np.testing.assert_array_equal(image, PIXELS[row])
        assert label == (LABELS[row] if split == "train" else None)
    assert kaggle.sample(9).ids == drawn.ids
    assert any(kaggle.sample(9, seed=k).ids != drawn.ids for k in (1, 2))
    assert len(kaggle.sample(1000)) == len(kaggle)
    with pytest.raises(InputError, match="at least 1"):
        kaggle.sample(0)


def test_mechanics_a_sample_of_one_split(kaggle: Source) -> None:
    drawn = kaggle.sample(9, split="test", seed=3)
    assert drawn.splits == ["test"] * 9
    assert drawn.ids == kaggle.split("test").sample(9, seed=3).ids
    with pytest.raises(InputError, match="no split 'valid'; it has: train, test"):
        kaggle.sample(9, split="valid")


def test_oracle_a_samples_pictures_are_the_patches(kaggle: Source) -> None:
    drawn = kaggle.split("train").sample(4)
    shown = drawn._repr_html_()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    for data, image in zip(pictures, drawn.images, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image)
    assert shown.count("left:33.33%") == shown.count("width:33.33%") == 4
    assert sum(shown.count(f"<b>{name}</b>") for name in ("tumor", "normal")) == 4
    assert all(f"<br>{patch_id}</figcaption>" in shown for patch_id in drawn.ids)


def test_mechanics_html_of_a_source_has_its_splits(kaggle: Source) -> None:
    shown = kaggle._repr_html_()
    assert "<tr><th>train</th><td>12</td><td>6</td><td>6</td><td>0</td><td>12</td></tr>" in shown
    assert "<tr><th>test</th><td>12</td><td></td><td></td><td>0</td><td>12</td></tr>" in shown
    assert shown.count("<img") == 4
    assert len(repr(kaggle)) < 300


HOSTILE = '"><script>alert(1)</script>&'


def test_mechanics_names_in_html_are_escaped(kaggle: Source) -> None:
    train = kaggle.split("train")
    bad = replace(train, ids=[HOSTILE] * ROWS, slides=[HOSTILE] * ROWS, name=HOSTILE)
    hostile = replace(kaggle, path=HOSTILE, splits={HOSTILE: bad})
    for shown in (hostile._repr_html_(), bad._repr_html_(), hostile.sample(3)._repr_html_()):
        assert "<script" not in shown
        assert '"&gt;' not in shown
        assert "&lt;script&gt;" in shown


def test_mechanics_a_source_with_unreadable_patches_says_so(tmp_path: Path) -> None:
    path = layouts.images(tmp_path / "data")
    for file in path.rglob("*.png"):
        file.write_bytes(b"")
    shown = opened(path)._repr_html_()
    assert "0 bytes" in shown
    assert "<th>train</th>" in shown


def test_mechanics_a_fitted_source_shows_how(tmp_path: Path) -> None:
    path = layouts.images(tmp_path / "data")
    for file in path.rglob("*.png"):
        with Image.open(file) as image:
            image.resize((128, 128)).save(file)
    source, _ = open_source(str(path), fit="resize")
    assert "patches of 128×128 pixels are resized to 96×96" in source._repr_html_()
    assert source.images[:2].shape == (2, 96, 96, 3)


@pytest.mark.parametrize("module", [fitting, source], ids=lambda module: module.__name__)
def test_mechanics_examples_run(module: object) -> None:
    run: Callable[..., doctest.TestResults] = doctest.testmod
    result = run(module)
    assert result.attempted
    assert not result.failed
