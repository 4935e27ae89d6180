"""The data set of full size, made small: the same files however it is made, and nothing wrong in it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pcam_features.sources import kaggle

PATCHES = 300


@pytest.fixture(scope="module")
def full_size() -> ModuleType:
    file = Path(__file__).parents[2] / "benchmarks" / "full_size.py"
    spec = importlib.util.spec_from_file_location("full_size", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["full_size"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base(kaggle_folder: Path, pcam_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to a few hundred of the real patches."""
    path = tmp_path_factory.mktemp("base")
    for split, count in (("train", 150), ("valid", 70)):
        for label in ("normal", "tumor"):
            folder = path / "pcam" / split / label
            folder.mkdir(parents=True)
            for file in sorted((pcam_folder / split / label).iterdir())[:count]:
                (folder / file.name).symlink_to(file)
    slides = pd.read_csv(kaggle_folder / "slides.csv").head(40)
    labels = pd.read_csv(kaggle_folder / "train_labels.csv").merge(slides)
    (path / "kaggle" / "train").mkdir(parents=True)
    for name in labels["id"]:
        (path / "kaggle" / "train" / f"{name}.tif").symlink_to(kaggle_folder / "train" / f"{name}.tif")
    labels[["id", "label"]].to_csv(path / "kaggle" / "train_labels.csv", index=False)
    slides.to_csv(path / "kaggle" / "slides.csv", index=False)
    return path


@pytest.fixture(scope="module")
def whole(full_size: ModuleType, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "set"
    full_size.make(base, path, patches=PATCHES, seed=3, threads=2)
    return path


def content(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


def test_invariant_a_stopped_run_goes_on_and_ends_in_the_same_files(
    full_size: ModuleType, base: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "BLOCK", 64)  # the files do not depend on it
    write, written = full_size.write_patch, []

    def cut_off(file: Path, header: bytes, pixels: np.ndarray) -> None:
        written.append(file)
        if len(written) == 150:
            file.write_bytes(header)  # as a kill leaves it
            raise KeyboardInterrupt
        write(file, header, pixels)

    monkeypatch.setattr(full_size, "write_patch", cut_off)
    with pytest.raises(KeyboardInterrupt):
        full_size.make(base, tmp_path / "set", patches=PATCHES, seed=3, threads=2)
    assert not (tmp_path / "set").exists()
    full_size.make(base, tmp_path / "set", patches=PATCHES, seed=3, threads=1)
    assert len(written) == 150 + PATCHES - 128  # two blocks of 64 were kept
    assert content(tmp_path / "set") == content(whole)


def test_invariant_another_seed_makes_other_patches(
    full_size: ModuleType, base: Path, whole: Path, tmp_path: Path
) -> None:
    full_size.make(base, tmp_path / "set", patches=PATCHES, seed=4, threads=2)
    other, own = (pd.read_csv(path / "train_labels.csv")["id"] for path in (tmp_path / "set", whole))
    assert not set(other) & set(own)


def test_mechanics_the_layout_is_that_of_the_competition(whole: Path, kaggle_folder: Path) -> None:
    tables = {name: pd.read_csv(whole / name) for name in ("train_labels.csv", "sample_submission.csv")}
    train, test = tables["train_labels.csv"], tables["sample_submission.csv"]
    assert [list(table.columns) for table in (train, test)] == [["id", "label"]] * 2
    assert len(train) + len(test) == PATCHES
    assert len(test) == round(PATCHES * 57_458 / 277_483)
    assert train["label"].sum() == round(len(train) * 89_117 / 220_025)
    assert (test["label"] == 0).all()
    ids = [*train["id"], *test["id"]]
    assert len(set(ids)) == PATCHES
    assert train["id"].tolist() != sorted(train["id"])
    splits = kaggle.open_source(whole).splits
    for name, table in (("train", train), ("test", test)):
        assert {file.stem for file in (whole / name).iterdir()} == set(table["id"])
        split = splits[name]
        pixels = split.read(0, len(split))
        hashes = [hashlib.sha1(p.tobytes(), usedforsecurity=False).hexdigest() for p in pixels]
        assert hashes == split.ids
    size = next((kaggle_folder / "train").glob("*.tif")).stat().st_size
    assert {file.stat().st_size for file in whole.glob("t*/*.tif")} == {size}


def test_invariant_variants_of_a_patch_are_in_one_pseudo_slide_of_one_split(
    full_size: ModuleType, base: Path, whole: Path, tmp_path: Path
) -> None:
    slides = pd.read_csv(whole / "slides.csv").set_index("id")["slide"]
    train = pd.read_csv(whole / "train_labels.csv")["id"]
    assert sorted(slides.index) == sorted([*train, *pd.read_csv(whole / "test_labels.csv")["id"]])
    assert slides[train].str.startswith("train_").all()
    assert slides.drop(train).str.startswith("test_").all()
    assert slides[train].nunique() >= 5
    (tmp_path / "work").mkdir()
    for name, bases in full_size.all_bases(base, tmp_path / "work", 2).items():
        drawn = full_size.dealt(bases, len(train) if name == "train" else PATCHES - len(train), 3)
        groups = bases.table["group"].to_numpy()[drawn]
        assert (np.diff(groups) >= 0).all()
        own = slides[slides.str.startswith(f"{name}_")].value_counts()
        counts = {bases.slide(k): int(n) for k, n in enumerate(np.bincount(groups)) if n}
        assert own.to_dict() == counts
        sources = [bases.splits[part].ids[row] for part, row in bases.table[["part", "row"]].to_numpy()]
        assert len(set(sources)) == len(sources)
    assert not {"valid"} & {split.name for split in full_size.base_splits(base)["train"]}


def test_mechanics_check_finds_no_fault(whole: Path, pcam: Callable[..., Any]) -> None:
    result = pcam("check", whole)
    assert result.code == 0, result.err
    assert "300 patches checked: no faults" in " ".join((result.out + result.err).split())


def test_mechanics_a_missing_base_is_said_in_a_sentence(full_size: ModuleType, tmp_path: Path) -> None:
    from pcam_features.errors import InputError

    with pytest.raises(InputError, match="no folders pcam and kaggle"):
        full_size.make(tmp_path, tmp_path / "set", patches=20, seed=0, threads=1)
