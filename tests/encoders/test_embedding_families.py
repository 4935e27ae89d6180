"""An embedding is a family like any other: stored, fitted on, predicted with, and safe to open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from embedded import embedded
from signed import seal

from pcam_features.encoders.options import EncoderOptions
from pcam_features.errors import InputError
from pcam_features.extraction.selection import families_named
from pcam_features.families.registry import FAMILIES
from pcam_features.learn import bundle
from pcam_features.sources.detect import open_source
from pcam_features.store.names import may_be_stored
from pcam_features.store.store import open_store

Run = Callable[..., Result]
SMALL, FOUR = "efficientnet_lite0_96px", "efficientnet_lite0_96px_4views"
SETTINGS = ("--families", "cnn", "--depths", "block00,block04", "--pools", "mean,maximum", "--views", 1)


@pytest.fixture(scope="module")
def store(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two embeddings beside two families that were made by hand."""
    from pcam_features.engine import cpu
    from pcam_features.extraction.extract import extract

    folder = tmp_path_factory.mktemp("features") / "store"
    source, _ = open_source(str(synthetic_folder))
    small = EncoderOptions(depths=("block00", "block04"), pools=("mean", "maximum"))
    families = [
        *families_named("color,lbp,cnn", replace(small, views=1)),
        *families_named("cnn", replace(small, views=4)),
    ]
    extract(folder, source, source.only(None), families, cpu, threads=2)
    return folder


@pytest.fixture(scope="module")
def model(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pcam_features.learn.fit import FitOptions, deal, families_to_use, fit
    from pcam_features.learn.settings import Compute

    folder, opened = tmp_path_factory.mktemp("models") / "model", open_store(store)
    names = families_to_use(opened, "train", "color,cnn")
    folds = deal(opened, "train", 3, 0)
    options = FitOptions(Compute("cpu", 2, 0))
    fit(opened, folder, split="train", families=names, folds=folds, options=options)
    return folder


def test_oracle_the_store_holds_what_embed_gives(store: Path, synthetic_folder: Path) -> None:
    source, _ = open_source(str(synthetic_folder))
    batch = source.splits["train"].read(0, len(source.splits["train"]))
    for name, views in ((SMALL, 1), (FOUR, 4)):
        table = pd.read_parquet(store / "train" / name)
        assert table["id"].tolist() == source.splits["train"].ids
        how = {"depths": ["block00", "block04"], "pools": ["mean", "maximum"], "views": views}
        np.testing.assert_array_equal(table.drop(columns="id"), embedded(batch, **how))  # type: ignore[arg-type]


def test_mechanics_the_manifest_says_what_decides_an_embedding(store: Path) -> None:
    entry = json.loads((store / "manifest.json").read_text())["families"][FOUR]
    assert entry["encoder"].pop("weights_sha256").startswith("579344")
    assert entry["encoder"] == {
        "network": "efficientnet_lite0",
        "size": 96,
        "depths": ["block00", "block04"],
        "pools": ["mean", "maximum"],
        "views": 4,
        "precision": "f32",
        "runtime": "openvino",
    }
    assert open_store(store).families("test") == ["color", "lbp", SMALL, FOUR]


def test_mechanics_threads_and_steps_do_not_change_a_byte(
    pcam: Run, store: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    command = ("extract", synthetic_folder, tmp_path / "f", *SETTINGS)
    assert pcam(*command, "--threads", 3, "--split", "test").code == 0
    assert pcam(*command, "--threads", 1).code == 0
    for path in sorted((tmp_path / "f").rglob("*.parquet")):
        assert path.read_bytes() == (store / path.relative_to(tmp_path / "f")).read_bytes()


def test_mechanics_other_settings_are_not_mixed_in(
    pcam: Run, store: Path, synthetic_folder: Path
) -> None:
    result = pcam("extract", synthetic_folder, store, *SETTINGS, "--pools", "mean")
    assert result.code == 2
    assert "now pools ['mean']" in result.err
    result = pcam("extract", synthetic_folder, store, *SETTINGS, "--runtime", "onnxruntime")
    assert result.code == 2
    assert "runtime openvino, now runtime onnxruntime" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", 96), "--size is for embeddings"),
        (("--families", "color", "--views", 4), "--views is for embeddings"),
        (("--families", "cnn", "--encoder", "resnet50"), "no encoder 'resnet50'"),
        (("--families", "cnn", "--depths", "block99"), "no depth 'block99'"),
        (("--families", "cnn,colour"), "there is no family colour"),
    ],
)
def test_mechanics_usage(
    words: tuple[object, ...], message: str, pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    result = pcam("extract", synthetic_folder, tmp_path / "f", *words)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "f").exists()


def test_mechanics_features_says_what_embeddings_are(pcam: Run) -> None:
    result = pcam("features", "cnn")
    assert result.code == 0
    assert "middle third" in result.out


def test_mechanics_names_of_families() -> None:
    assert [family.name for family in families_named("all,cnn")][:-1] == list(FAMILIES)
    assert [family.name for family in families_named(None)] == list(FAMILIES)
    assert families_named("cnn,lbp")[0].name == "lbp"


def test_mechanics_fit_predict_and_submit(
    pcam: Run, store: Path, model: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    models = [f"{SMALL}_kernel", f"{FOUR}_kernel", "all_trees", "all_kernel"]
    assert list(manifest["stack"]["weights"]) == models
    assert pcam("predict", model, store, tmp_path / "p.csv").code == 0
    sample = synthetic_folder / "sample_submission.csv"
    assert pcam("submit", model, store, tmp_path / "s.csv", "--sample", sample).code == 0
    predicted = pd.read_csv(tmp_path / "p.csv").set_index("id")["label"]
    submitted = pd.read_csv(tmp_path / "s.csv").set_index("id")["label"]
    pd.testing.assert_series_equal(predicted[submitted.index], submitted)
    truth = pd.read_csv(synthetic_folder / "test_labels.csv").set_index("id")["label"]
    positive = predicted[truth.index[truth == 1]]
    assert positive.mean() > predicted[truth.index[truth == 0]].mean()


def test_mechanics_a_model_says_which_embedding_it_needs(
    pcam: Run, store_folder: Path, model: Path, store: Path, tmp_path: Path
) -> None:
    result = pcam("predict", model, store_folder, tmp_path / "p.csv")
    assert result.code == 2
    assert f"fitted on {SMALL} features" in result.err
    assert (
        "--families cnn --encoder efficientnet_lite0 --size 96 --depths block00,block04" in result.err
    )
    other = Path(shutil.copytree(store, tmp_path / "store"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["families"][FOUR]["encoder"]["weights_sha256"] = "0"
    seal(other, manifest)
    result = pcam("predict", model, other, tmp_path / "p.csv")
    assert result.code == 2
    assert "now weights_sha256 0" in result.err


def test_mechanics_fit_takes_what_is_there(store: Path) -> None:
    from pcam_features.learn.fit import families_to_use

    opened = open_store(store)
    assert families_to_use(opened, "train", None) == ["color", "lbp", SMALL, FOUR]
    assert families_to_use(opened, "train", "all") == ["color", "lbp"]
    assert families_to_use(opened, "train", f"{FOUR},lbp") == ["lbp", FOUR]
    for names in ("colour", "../color", "efficientnet_lite0_192px"):
        with pytest.raises(InputError, match="no finished"):
            families_to_use(opened, "train", names)
    for names in ("", " ", ","):
        with pytest.raises(InputError, match="--families names none"):
            families_to_use(opened, "train", names)


HOSTILE = [
    "../../victim_96px",
    "/tmp/victim_96px",
    "victim_96px/..",
    "victim_96px\0",
    "victim_96px\n",
    "a" * 100 + "_96px",
    "VICTIM_96px",
    "victim\\x_96px",
    "..",
    "all",
    "stack",
    "patches",
    "cnn",
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_mechanics_hostile_names_are_refused(
    name: str, store: Path, model: Path, tmp_path: Path
) -> None:
    assert not may_be_stored(name, {"version": 1, "columns": [], "encoder": {"network": "x"}})
    for folder, copy in ((store, tmp_path / "store"), (model, tmp_path / "model")):
        shutil.copytree(folder, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["families"][name] = manifest["families"][SMALL]
        seal(copy, manifest)
    with pytest.raises(InputError, match=r"unknown family|families has an entry"):
        open_store(tmp_path / "store")
    with pytest.raises(InputError, match=r"does not know|families has an entry"):
        bundle.read(tmp_path / "model")


@pytest.mark.parametrize("encoder", [None, [], "text", {}])
def test_mechanics_an_embedding_without_its_encoder_is_refused(
    encoder: object, store: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["families"][SMALL]["encoder"] = encoder
    seal(copy, manifest)
    with pytest.raises(InputError, match=r"unknown family|families has an entry"):
        open_store(copy)
