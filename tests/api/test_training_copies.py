"""Copies of training patches among those predicted or compared are found, and both scores are told."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from PIL import Image
from signed import manifest_of, seal
from sklearn.metrics import roc_auc_score

import pcam_features
from pcam_features.check.look import gray_of, thumbnails
from pcam_features.extraction.transformer import measure
from pcam_features.sources import synthetic
from pcam_features.sources.detect import open_source
from pcam_features.store.store import open_store

Run = Callable[..., Result]
NEW, COPIES = 60, 40


def written(folder: Path, split: str, patches: np.ndarray, labels: np.ndarray, jpeg: int) -> None:
    """An image folder, whose last `jpeg` patches are compressed with loss."""
    for k, (patch, label) in enumerate(zip(patches, labels, strict=True)):
        lossy = k >= len(patches) - jpeg
        file = folder / split / str(label) / f"{split}{k:03d}.{'jpg' if lossy else 'png'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        Image.fromarray(patch).save(content, "JPEG" if lossy else "PNG", quality=85)
        file.write_bytes(content.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training patches; a test set of new patches and of copies: turned, flipped, half of them JPEG."""
    where = tmp_path_factory.mktemp("copies")
    train = synthetic.open_source("synthetic:120:12:1").splits["train"]
    new = synthetic.open_source(f"synthetic:{NEW}:12:2").splits["train"]
    assert train.labels is not None
    assert new.labels is not None
    known = train.read(0, 120)
    written(where / "data", "train", known, train.labels, 0)
    copies = np.stack(
        [np.rot90(patch, k % 3 + 1)[:, :: -1 if k % 2 else 1] for k, patch in enumerate(known)]
    )
    patches = np.concatenate([new.read(0, NEW), copies[:COPIES]])
    labels = np.concatenate([new.labels, train.labels[:COPIES]])
    written(where / "data", "test", patches, labels, COPIES // 2)
    return where


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    pcam_features.extract(folder / "data", folder / "features", families="nuclei", progress=None)
    return folder / "features"


@pytest.fixture(scope="module")
def model(folder: Path, store: Path) -> Path:
    pcam_features.fit(store, folder / "model", folds=3, threads=1, progress=None)
    return folder / "model"


@pytest.fixture(scope="module")
def truth(folder: Path, store: Path) -> Path:
    patches = open_store(store).patches("test")
    table = pd.DataFrame({"id": patches["id"], "label": patches["label"].astype(int)})
    table.to_csv(folder / "truth.csv", index=False)
    return folder / "truth.csv"


def is_copy(ids: list[str]) -> np.ndarray:
    """Which test patches `folder` made as copies, by the number in the id."""
    return np.array([int(i.rpartition("test")[2].split(".")[0]) >= NEW for i in ids])


def test_oracle_the_store_keeps_the_thumbnails_of_its_pixels(folder: Path, store: Path) -> None:
    opened = open_store(store)
    source, _ = open_source(str(folder / "data"))
    for split in ("train", "test"):
        patches = source.splits[split].read(0, len(source.splits[split]))
        np.testing.assert_array_equal(opened.thumbnails(split), thumbnails(gray_of(patches)))
        assert opened.families(split) == ["nuclei"]
        assert not [name for name in opened.frame(split) if "thumbnail" in name]
    assert "thumbnail" not in repr(opened)


@pytest.mark.parametrize("given", ["features", "data"])
def test_regression_predict_says_how_many_patches_are_copies(
    given: str, pcam: Run, folder: Path, store: Path, model: Path
) -> None:
    result = pcam("predict", model, folder / given, folder / f"{given}.csv")
    assert result.code == 0, result.err
    assert (
        f"warning: {COPIES} of these 100 patches are near-duplicates of training patches" in result.err
    )
    lines: list[str] = []
    opened = pcam_features.open_model(model)
    predicted = opened.predict_split(folder / given, "test", progress=None, log=lines.append)
    assert predicted.copies is not None
    np.testing.assert_array_equal(predicted.copies, is_copy(predicted.ids))
    assert sum("near-duplicates" in line for line in lines) == 1


def test_invariant_thumbnails_change_no_prediction(folder: Path, store: Path, model: Path) -> None:
    opened = pcam_features.open_model(model)
    source, _ = open_source(str(folder / "data"))
    values, columns = measure(source.splits["test"], "nuclei", threads=1)
    expected = opened.predict_proba(pd.DataFrame(values, columns=columns))[:, 1]
    stored, streamed = (
        opened.predict_split(given, "test", progress=None).probabilities
        for given in (store, folder / "data")
    )
    np.testing.assert_array_equal(streamed, stored)
    np.testing.assert_allclose(stored, expected, atol=1e-5)


def test_regression_compare_tells_both_scores(
    pcam: Run, folder: Path, store: Path, model: Path, truth: Path
) -> None:
    pcam_features.open_model(model).predict_split(store, "test").write(folder / "p.csv")
    words = ("compare", truth, f"m={folder / 'p.csv'}", "--resamples", 200, "--features", store)
    page = folder / "page.html"
    result = pcam(*words, "--model", model, "--json", "--report", page)
    assert result.code == 0, result.err
    found = json.loads(result.out)["training_copies"]
    table = pd.read_csv(truth).merge(pd.read_csv(folder / "p.csv"), on="id")
    copied = is_copy(table["id"].tolist())
    for name, chosen in (("copies", copied), ("others", ~copied)):
        expected = roc_auc_score(table["label_x"][chosen], table["label_y"][chosen])
        np.testing.assert_allclose(found[name]["aucs"]["m"], expected)
        assert found[name]["patches"] == chosen.sum()
    said = f"AUC without them: m {found['others']['aucs']['m']:.4f}; on them alone: m "
    assert said in page.read_text()
    spoken = pcam(*words, "--model", model)
    assert said in spoken.err
    assert f"near-duplicates of the training patches of {model}" in spoken.err
    alone = pcam(*words)  # the store has a split train, whose patches may have been trained on
    assert "near-duplicates of patches of split train of the feature store" in alone.err
    assert said in alone.err


def test_mechanics_where_copies_are_not_looked_for_it_is_said(
    pcam: Run, folder: Path, store: Path, model: Path, truth: Path, tmp_path: Path
) -> None:
    older = Path(shutil.copytree(store, tmp_path / "store"))
    manifest = manifest_of(older)
    del manifest["families"]["thumbnail"]
    for split in manifest["splits"].values():
        del split["families"]["thumbnail"]
    seal(older, manifest)
    said = pcam("predict", model, older, tmp_path / "p.csv").err
    assert "not looked for: the feature store has no thumbnails of these patches" in said
    bare = Path(shutil.copytree(model, tmp_path / "model"))
    manifest = manifest_of(bare)
    del manifest["files"]["thumbnails.npy"]
    seal(bare, manifest)
    (bare / "thumbnails.npy").unlink()
    said = pcam("predict", bare, store, tmp_path / "q.csv").err
    assert "not looked for: the model was fitted on a store without thumbnails" in said
    words = ("compare", truth, tmp_path / "q.csv", "--resamples", 200)
    assert "were not looked for: give --features and --model." in pcam(*words).err
    assert (
        "were not looked for: it was fitted on a store"
        in pcam(*words, "--features", store, "--model", bare).err
    )
    refused = pcam(*words, "--model", model)
    assert refused.code == 2
    assert "add --features" in refused.err


def test_mechanics_the_training_patches_are_no_copies_of_themselves(
    pcam: Run, store: Path, model: Path, tmp_path: Path
) -> None:
    said = pcam("predict", model, store, tmp_path / "p.csv", "--split", "train").err
    assert "near-duplicates" not in said
    patches = open_store(store).patches("train")
    table = pd.DataFrame({"id": patches["id"], "label": patches["label"].astype(int)})
    table.to_csv(tmp_path / "truth.csv", index=False)
    words = (tmp_path / "truth.csv", tmp_path / "p.csv", "--features", store, "--model", model)
    said = pcam("compare", *words, "--resamples", 200).err
    assert "were not looked for: these are its training patches" in said


def test_mechanics_hostile_thumbnails_are_refused(
    pcam: Run, store: Path, model: Path, tmp_path: Path
) -> None:
    from signed import sign

    hostile = Path(shutil.copytree(model, tmp_path / "model"))
    known = np.load(model / "thumbnails.npy")
    for changed in (known[:7], known[:, :9], known.astype("<f4")):
        np.save(hostile / "thumbnails.npy", changed)
        sign(hostile)
        refused = pcam("predict", hostile, store, tmp_path / "p.csv")
        assert refused.code == 2
        assert "is damaged" in refused.err
