"""A store's manifest names the source of its pictures, and whoever wrote it decides nothing else."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from signed import manifest_of, seal

from pcam_features.constants import Kind
from pcam_features.errors import InputError
from pcam_features.sources import synthetic
from pcam_features.store.pictures import open_pictures
from pcam_features.store.store import open_store


@pytest.fixture
def store(store_folder: Path, tmp_path: Path) -> Path:
    """A store whose patches are those of a source that was moved away."""
    return Path(shutil.copytree(store_folder, tmp_path / "store"))


def with_source(store: Path, **source: Any) -> None:
    manifest = manifest_of(store)
    manifest["source"] |= source
    seal(store, manifest)


@pytest.mark.parametrize("patches", ["1000000", "241", "239"])
def test_mechanics_no_more_patches_are_rendered_than_the_store_has(
    patches: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "render", lambda *slide: pytest.fail("a patch was rendered"))
    with_source(store, kind="synthetic", path=f"synthetic:{patches}:12:1")
    with pytest.raises(InputError, match="does not have the patches"):
        open_pictures(open_store(store), "train", None)


def test_mechanics_no_array_is_unpacked_where_a_manifest_says(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "train.npz"
    np.savez_compressed(file, x=np.random.default_rng(0).integers(0, 9, (240, 96, 96, 3), np.uint8))
    with_source(store, kind=str(Kind.arrays), path=str(file))
    with pytest.raises(InputError, match="would have to be unpacked"):
        open_pictures(open_store(store), "train", None)
    assert not (tmp_path / "cache").exists()


def test_mechanics_nothing_is_unpacked_where_a_manifest_says(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCAM_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "pcam"
    folder.mkdir()
    file = folder / "camelyonpatch_level_2_split_train_x.h5"
    with h5py.File(file, "w") as opened:
        opened["x"] = np.zeros((240, 96, 96, 3), np.uint8)
    packed = file.with_name(f"{file.name}.gz")
    packed.write_bytes(gzip.compress(file.read_bytes(), 1))
    file.unlink()
    with_source(store, kind="hdf5", path=str(folder))
    with pytest.raises(InputError, match="would have to be unpacked") as refusal:
        open_pictures(open_store(store), "train", None)
    assert file.name in str(refusal.value)
    assert list(folder.iterdir()) == [packed]
    assert not (tmp_path / "cache").exists()
    with pytest.raises(InputError, match="does not have the patches"):  # the user named it: unpacked
        open_pictures(open_store(store), "train", str(folder))
    assert file.is_file()
