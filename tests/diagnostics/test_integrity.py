"""`pcam doctor PATH` finds every damaged file of a store and of a model, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Result
from signed import manifest_of, seal, sign

import pcam_features
from pcam_features import open_source
from pcam_features.diagnostics.integrity import verify
from pcam_features.errors import InputError
from pcam_features.extraction import extract as extraction
from pcam_features.families.registry import FAMILIES
from pcam_features.store.parts import write_features
from pcam_features.store.store import open_store

Run = Callable[..., Result]
SOURCE = "synthetic:60:6:0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a model of it."""
    folder = tmp_path_factory.mktemp("made")
    store = pcam_features.extract(
        SOURCE, folder / "store", families="color", copies=12, progress=None, threads=1
    )
    pcam_features.fit(store, folder / "model", folds=3, progress=None, threads=1)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "here"))


def files_of(folder: Path) -> list[str]:
    """The files of a store or a model by name, except those that no answer depends on."""
    left = ("lock", "measured.json", "cost.json")
    found = [f for f in folder.rglob("*") if f.is_file() and f.name not in left]
    return sorted(str(f.relative_to(folder)) for f in found)


@pytest.mark.parametrize("what", ["store", "model"])
def test_mechanics_whole_folders_pass(what: str, made: Path, pcam: Run) -> None:
    result = pcam("doctor", made / what)
    assert result.code == 0
    assert "all have their sums" in result.out
    found = json.loads(pcam("doctor", made / what, "--json").out)
    assert found["damaged"] == []
    assert found["files"] == len(files_of(made / what))


@pytest.mark.parametrize("what", ["store", "model"])
def test_invariant_each_damaged_file_is_found(what: str, here: Path, pcam: Run) -> None:
    folder = here / what
    for name in files_of(folder):
        whole = (folder / name).read_bytes()
        middle = len(whole) // 2
        (folder / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        result = pcam("doctor", folder)
        assert result.code == 1, name
        assert result.out.startswith(f"damaged  {name}: "), name
        assert result.out.count("\n") == 1
        assert result.err.startswith("error: 1 file of ")
        (folder / name).write_bytes(whole)
    assert pcam("doctor", folder).code == 0


def test_mechanics_all_damage_is_listed(here: Path, pcam: Run) -> None:
    (here / "model" / "folds.parquet").unlink()
    (here / "model" / "importance.parquet").write_bytes(b"")
    (here / "model" / "cost.json").write_text('{"parameters": 3, "sum": "0"}')
    result = pcam("doctor", here / "model", "--json")
    assert result.code == 1
    assert {one["file"] for one in json.loads(result.out)["damaged"]} == {
        "folds.parquet",
        "importance.parquet",
        "cost.json",
    }
    assert "3 files of model" in result.err


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"store_version": 1, "part_rows": 2048}'])
def test_mechanics_other_folders_and_versions_are_refused(
    content: str | None, tmp_path: Path, pcam: Run
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    result = pcam("doctor", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")


def test_mechanics_an_unfinished_family_is_said(here: Path) -> None:
    manifest = manifest_of(here / "store")
    manifest["splits"]["train"]["families"]["color"] |= {"complete": False, "parts": []}
    seal(here / "store", manifest)
    found = verify(here / "store")
    assert (found.damaged, found.unfinished) == ((), ("train/color",))


def spoil_part(store: Path) -> Path:
    """Flip a bit of a page in the middle of a part."""
    file = store / "train" / "color" / "part-00000.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    return file


def test_regression_a_flipped_bit_of_a_part_is_noticed_and_mended(here: Path, pcam: Run) -> None:
    store, words = here / "store", ("--families", "color", "--threads", 1)
    whole = (store / "train" / "color" / "part-00000.parquet").read_bytes()
    manifest = (store / "manifest.json").read_bytes()
    file = spoil_part(store)
    for command in (
        ("fit", store, here / "new", "--folds", 3),
        ("explain", here / "model", store, "--id", open_store(store).patches("train")["id"][0]),
    ):
        refused = pcam(*command)
        assert (refused.code, refused.out) == (2, "")
        assert f"{file} is damaged (it does not have its sum); run pcam extract again" in refused.err
    planned = json.loads(pcam("extract", SOURCE, store, *words, "--dry-run", "--json").out)
    assert (planned["damaged"], planned["patches_to_measure"]) == (1, 60)
    mended = pcam("extract", SOURCE, store, *words)
    assert mended.code == 0
    assert "1 file of" in mended.err
    assert "measuring these patches again" in mended.err
    assert "features of 60 patches computed" in mended.err
    assert file.read_bytes() == whole
    assert (store / "manifest.json").read_bytes() == manifest


def test_regression_a_part_that_is_lost_is_measured_again(here: Path, pcam: Run) -> None:
    store = here / "store"
    shutil.rmtree(store / "test")
    assert pcam("doctor", store).code == 1
    assert pcam("predict", here / "model", store, here / "p.csv", "--split", "test").code == 2
    assert pcam("extract", SOURCE, store, "--families", "color", "--threads", 1).code == 0
    assert pcam("doctor", store).code == 0
    assert pcam("predict", here / "model", store, here / "p.csv", "--split", "test").code == 0


def test_invariant_other_readers_can_verify_pages(here: Path) -> None:
    """pandas and others find damage without pcam, if they ask for it."""
    file = here / "store" / "train" / "color" / "part-00000.parquet"
    pq.read_table(file, page_checksum_verification=True)
    spoil_part(here / "store")
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(file, page_checksum_verification=True)


def test_regression_the_table_of_another_model_is_refused(here: Path, pcam: Run) -> None:
    """Its ids are the same: only its sum tells."""
    store = open_store(here / "store")
    pcam_features.fit(store, here / "other", folds=3, seed=9, progress=None, threads=1)
    mine, other = (here / name / "out_of_fold.parquet" for name in ("model", "other"))
    assert pq.read_table(mine)["id"].equals(pq.read_table(other)["id"])
    assert mine.read_bytes() != other.read_bytes()
    shutil.copyfile(other, mine)
    refused = pcam("predict", here / "model", here / "store", here / "p.csv", "--split", "train")
    assert refused.code == 2
    assert "is damaged (out_of_fold.parquet: it " in refused.err
    assert not (here / "p.csv").exists()


def test_regression_one_digit_of_the_fingerprint_does_not_give_in_sample_probabilities(
    here: Path, pcam: Run
) -> None:
    for folder in ("model", "store"):
        copy = here / folder
        whole = (copy / "manifest.json").read_text()
        digits = open_store(here / "store").split("train").fingerprint.ids
        changed = ("1" if digits[0] == "0" else "0") + digits[1:]
        (copy / "manifest.json").write_text(whole.replace(digits, changed))
        refused = pcam("predict", here / "model", here / "store", here / "p.csv", "--split", "train")
        assert refused.code == 2, folder
        assert "its content does not have its sum" in refused.err
        (copy / "manifest.json").write_text(whole)
    assert not (here / "p.csv").exists()


@pytest.mark.parametrize("damage", ["cut", "digit"])
def test_mechanics_a_store_whose_manifest_is_damaged_is_overwritten_as_advised(
    damage: str, here: Path, pcam: Run
) -> None:
    file = here / "store" / "manifest.json"
    text = file.read_text()
    file.write_text(text[:-40] if damage == "cut" else text.replace('"rows": 60', '"rows": 61'))
    words = ("extract", SOURCE, here / "store", "--families", "color", "--threads", 1)
    refused = pcam(*words)
    assert refused.code == 2
    if damage == "digit":
        assert "extract again with --overwrite" in refused.err
    assert pcam("doctor", here / "store").code == 1
    assert pcam(*words, "--overwrite", "--copies", 12).code == 0
    assert file.read_text() == text


def test_mechanics_nothing_is_read_before_it_is_needed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a store, and planning a fit of it, read no part."""
    from pcam_features.store import store as stores

    read = stores.read_verified
    names: list[str] = []

    def noted(file: Path, known: object) -> bytes:
        names.append(str(file.relative_to(here / "store")))
        return read(file, known)  # type: ignore[arg-type]

    monkeypatch.setattr(stores, "read_verified", noted)
    opened = open_store(here / "store")
    assert opened.digest("train", ["color"]) != opened.digest("test", ["color"])
    assert names == []
    opened.patches("test")
    assert names == ["test/patches/part-00000.parquet"]
    opened.part("test", "color", 0)
    assert not any(name.startswith("train") for name in names)


def test_mechanics_an_older_store_and_model_say_what_to_run(here: Path, pcam: Run) -> None:
    for folder, key, said in (
        ("store", "store_version", "extract again with --overwrite"),
        ("model", "bundle_version", "fit it anew"),
    ):
        manifest = manifest_of(here / folder)
        seal(here / folder, manifest | {key: manifest[key] - 1})
        refused = pcam("predict", here / "model", here / "store", here / "p.csv", "--split", "test")
        assert refused.code == 2
        assert "written by another version of pcam" in refused.err
        assert said in refused.err
        seal(here / folder, manifest)


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder with open files")
@pytest.mark.parametrize(
    ("step", "lost", "said"),
    [
        ("write_features", "", "was removed or replaced by another program"),
        ("write_patches", "", "was removed or replaced by another program"),
        ("write_patches", "train/color", "lost 1 file while it was extracted"),
    ],
)
def test_regression_a_store_removed_under_an_extraction_is_not_said_to_be_measured(
    step: str, lost: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, honest, removed = tmp_path / "store", getattr(extraction, step), []

    def write(*words: object) -> object:
        known = honest(*words)
        if not removed:
            removed.append(step)
            (path / lost).rename(tmp_path / "removed")  # at once, as other threads write
            shutil.rmtree(tmp_path / "removed")
        return known

    with monkeypatch.context() as patch:
        patch.setattr(extraction, step, write)
        with pytest.raises(pcam_features.PcamError, match=said):
            pcam_features.extract(SOURCE, path, families="color", copies=0, progress=None)
    assert removed
    again = pcam_features.extract(SOURCE, path, families="color", copies=0, progress=None)
    assert again.families("train") == ["color"]
    assert verify(path).damaged == ()


@pytest.mark.parametrize("when", [1, -1])
def test_regression_a_model_of_two_stores_is_refused(when: int, here: Path) -> None:
    """Other pixels of the same ids are extracted while a fit reads the store, early and late."""
    store = open_store(here / "store")
    other = pcam_features.extract(
        SOURCE, here / "other", families="color", copies=12, progress=None, threads=1
    )
    values = other.features("train", "color")[:, ::-1]
    split = open_source(SOURCE).splits["train"]
    write_features(other.path, split, FAMILIES["color"], 0, np.ascontiguousarray(values))
    sign(other.path)
    told: list[int] = []

    def overwrite(done: int) -> None:
        told.append(done)
        if len(told) == 1 or when == -1:
            shutil.copytree(other.path, store.path, dirs_exist_ok=True)

    with pytest.raises(pcam_features.PcamError, match="was changed by another program while it was"):
        pcam_features.fit(store, here / "new", folds=3, progress=overwrite, threads=1)
    assert told
    assert not (here / "new").exists()


def test_mechanics_a_family_added_while_a_fit_reads_others_does_not_matter(here: Path) -> None:
    store = open_store(here / "store")
    added: list[int] = []

    def extend(done: int) -> None:
        if not added:
            added.append(done)
            pcam_features.extract(
                SOURCE, store.path, families="lbp", copies=0, split="test", progress=None
            )

    pcam_features.fit(store, here / "new", folds=3, progress=extend, threads=1)
    assert added
    assert open_store(store.path).families("test") == ["color", "lbp"]


def test_mechanics_input_errors_of_verify_name_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^{tmp_path} is no feature store"):
        verify(tmp_path)


def test_regression_a_link_that_leads_out_is_not_followed(store_folder: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    (store / "manifest.json").rename(tmp_path / "elsewhere.json")
    (store / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match="is a link that leads out of"):
        verify(store)
