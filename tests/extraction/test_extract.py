"""Extraction loses nothing, mixes nothing, and ends in the same bytes however often it is stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Result, files_in
from PIL import Image
from planes_of import features_of
from signed import manifest_of, seal, sign

from pcam_features.errors import InputError, PcamError
from pcam_features.families.registry import FAMILIES
from pcam_features.geometry import THUMBNAIL_SIDE
from pcam_features.sources.detect import open_source
from pcam_features.storage.costs import MEASURED
from pcam_features.store import layout
from pcam_features.store.parts import write_features
from pcam_features.store.store import open_store

Run = Callable[..., Result]
parts_of = partial(files_in, without=("lock", MEASURED))
# Small parts, so that there are many between which a run can be stopped.
EXTRACT = """
from pcam_features.cli.main import main
from pcam_features.store import layout
layout.PART_ROWS = 64
main()
"""


def test_oracle_store_is_read_by_pandas_alone(store_folder: Path, synthetic_folder: Path) -> None:
    labels = pd.read_csv(synthetic_folder / "train_labels.csv")
    slides = pd.read_csv(synthetic_folder / "slides.csv").set_index("id")["slide"]
    patches = pd.read_parquet(store_folder / "train" / "patches")
    assert patches["id"].tolist() == labels["id"].tolist()
    assert patches["label"].tolist() == labels["label"].tolist()
    assert patches["slide"].tolist() == slides[patches["id"]].tolist()
    source, _ = open_source(str(synthetic_folder))
    batch = source.splits["train"].read(0, len(patches))
    for name in FAMILIES:
        table = pd.read_parquet(store_folder / "train" / name)
        assert table["id"].tolist() == patches["id"].tolist()
        for column, values in features_of(batch, name).items():
            assert table[column].dtype == np.float32
            np.testing.assert_array_equal(table[column], values)
    assert pd.read_parquet(store_folder / "test" / "patches")["label"].isna().all()


def test_mechanics_families_are_added_one_by_one(
    pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    for families in ("lbp", "color,lbp", ",".join(FAMILIES)):
        assert pcam("extract", synthetic_folder, tmp_path / "f", "--families", families).code == 0
    whole, grown = parts_of(store_folder), parts_of(tmp_path / "f")
    whole.pop("manifest.json"), grown.pop("manifest.json")
    assert whole == grown


def test_mechanics_dry_run_and_json(pcam: Run, synthetic_folder: Path, tmp_path: Path) -> None:
    result = pcam("extract", synthetic_folder, tmp_path / "f", "--dry-run", "--json")
    plan = json.loads(result.out)
    assert plan["patches"] == {"train": 240, "test": 60}
    columns = THUMBNAIL_SIDE**2 + sum(len(family.columns) for family in FAMILIES.values())
    assert plan["bytes_to_write"] == 300 * columns * 4
    assert plan["device"] in ("cpu", "cuda")
    assert not (tmp_path / "f").exists()
    done = pcam("extract", synthetic_folder, tmp_path / "f", "--split", "test", "--json")
    assert json.loads(done.out)["patches_to_measure"] == 60
    again = pcam("extract", synthetic_folder, tmp_path / "f", "--split", "test", "--json")
    assert json.loads(again.out)["patches_to_measure"] == 0


def test_mechanics_threads_do_not_change_a_byte(
    pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    assert pcam("extract", synthetic_folder, tmp_path / "f", "--threads", 5).code == 0
    assert parts_of(tmp_path / "f") == parts_of(store_folder)


def test_mechanics_slides_may_come_later(
    pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    slides, store = synthetic_folder / "slides.csv", tmp_path / "f"
    command = ("extract", synthetic_folder, store, "--families", "lbp", "--slides")
    assert pcam(*command, "none").code == 0
    assert open_store(store).patches("train")["slide"].isna().all()
    made = (store / "train" / "lbp" / "part-00000.parquet").stat().st_mtime_ns
    assert pcam(*command, slides).code == 0
    expected = open_store(store_folder).patches("train")["slide"].tolist()
    assert open_store(store).patches("train")["slide"].tolist() == expected
    assert (store / "train" / "lbp" / "part-00000.parquet").stat().st_mtime_ns == made
    before = parts_of(store)
    result = pcam(*command, "none")
    assert result.code == 2
    assert "its slides (--slides) changed" in result.err
    assert parts_of(store) == before


def strange(table: pa.Table, change: str) -> pa.Table:
    """A part that holds what no part of ours does, though as many rows."""
    column = table.column_names[-1]
    values = {
        "lists": pa.array([[0.0] * 9] * len(table), pa.list_(pa.float32())),
        "doubles": pa.array([0.0] * len(table), pa.float64()),
        "dictionary": pa.array(["x"] * len(table)).dictionary_encode(),
    }
    if change == "another column":
        return table.append_column("more", values["lists"])
    if change == "other order":
        return table.select(table.column_names[::-1])
    return table.set_column(table.num_columns - 1, column, values[change])


@pytest.mark.parametrize("table", ["lbp", "patches"])
@pytest.mark.parametrize("change", ["lists", "doubles", "dictionary", "another column", "other order"])
def test_mechanics_parts_of_other_types_are_not_read(
    change: str, table: str, store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    part = store / "train" / table / "part-00000.parquet"
    pq.write_table(strange(pq.read_table(part), change), part)
    sign(store)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("it was read"))
    opened = open_store(store)
    with pytest.raises(InputError, match=r"part-00000\.parquet does not have the expected rows"):
        opened.patches("train") if table == "patches" else opened.features("train", table)


@pytest.mark.parametrize("columns", [[1], [None, []], "ab", {"a": 1}, ["a", "a"], ["id"], None])
def test_mechanics_manifests_with_strange_columns_are_refused(
    columns: object, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = manifest_of(store)
    manifest["families"]["lbp"]["columns"] = columns
    seal(store, manifest)
    with pytest.raises(InputError, match=r"is damaged \(.*column"):
        open_store(store)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_mechanics_what_is_not_finite_is_not_stored(
    value: float, synthetic_folder: Path, tmp_path: Path
) -> None:
    split = open_source(str(synthetic_folder))[0].splits["test"]
    values = np.zeros((len(split), len(FAMILIES["lbp"].columns)), np.float32)
    values[-1, -1] = value
    with pytest.raises(PcamError, match="lbp is NaN or infinite in split 'test', from row 0 on"):
        write_features(tmp_path, split, FAMILIES["lbp"], 0, values)
    assert not list(tmp_path.rglob("*.parquet*"))


def start(source: Path, store: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", EXTRACT, "extract", str(source), str(store)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for_a_part(store: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not any(store.rglob("part-*.parquet")):
        time.sleep(0.005)


def test_mechanics_killed_ten_times_and_no_byte_differs(tmp_path: Path, pcam: Run) -> None:
    source = tmp_path / "source"
    assert pcam("synth", source, "--patches", 1000, "--slides", 10).code == 0
    whole = tmp_path / "whole"
    assert start(source, whole).wait() == 0
    expected = parts_of(whole)
    chance = random.Random(11)
    killed = 0
    for k in range(10):
        store = tmp_path / f"store{k}"
        process = start(source, store)
        wait_for_a_part(store, process)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert start(source, store).wait() == 0
        assert parts_of(store) == expected
    assert killed >= 8, "the runs ended before they could be killed: nothing was tested"


def test_mechanics_an_unfinished_store_is_not_read(tmp_path: Path, pcam: Run) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    assert pcam("synth", source, "--patches", 600, "--slides", 10).code == 0
    process = start(source, store)
    wait_for_a_part(store, process)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    result = pcam("fit", store, tmp_path / "model")
    assert result.code == 2
    assert not (tmp_path / "model").exists()


def test_mechanics_a_damaged_patch_loses_no_finished_part(
    tmp_path: Path, pcam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PART_ROWS", 64)
    source, store = tmp_path / "source", tmp_path / "store"
    assert pcam("synth", source, "--patches", 300, "--slides", 10).code == 0
    ids = pd.read_csv(source / "train_labels.csv")["id"]
    victim = source / "train" / f"{ids.iloc[-1]}.tif"
    content = victim.read_bytes()
    victim.write_bytes(content[:5000])
    command = ("extract", source, store, "--threads", 1)
    result = pcam(*command)
    assert result.code == 2
    assert victim.name in result.err
    finished = {path: path.stat().st_mtime_ns for path in store.rglob("part-*.parquet")}
    assert len(finished) == 4 * (len(FAMILIES) + 1)  # thumbnails are stored like a family
    victim.write_bytes(content)
    assert pcam(*command).code == 0
    assert open_store(store).families("train") == list(FAMILIES)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())


def test_mechanics_a_repaired_patch_is_gone_on_with(tmp_path: Path, pcam: Run) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    assert pcam("synth", source, "--patches", 60, "--slides", 10).code == 0
    victim = sorted((source / "train").iterdir())[30]
    content = victim.read_bytes()
    victim.write_bytes(content[:400])
    assert pcam("extract", source, store, "--families", "lbp").code == 2
    victim.write_bytes(content)
    assert pcam("extract", source, store, "--families", "lbp").code == 0
    victim.write_bytes(content + b" ")
    result = pcam("extract", source, store, "--families", "lbp")
    assert result.code == 2
    assert "made from other files" in result.err


def test_mechanics_a_damaged_part_is_made_again(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    command = ("extract", synthetic_folder, tmp_path / "f", "--families", "lbp")
    assert pcam(*command).code == 0
    part = tmp_path / "f" / "train" / "lbp" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:1000])
    assert pcam("fit", tmp_path / "f", tmp_path / "m").code == 2
    assert pcam(*command).code == 0
    assert part.read_bytes() == whole


def test_mechanics_verify_also_looks_at_a_finished_store(tmp_path: Path, pcam: Run) -> None:
    source = tmp_path / "source"
    assert pcam("synth", source, "--patches", 60, "--slides", 10).code == 0
    command = ("extract", source, tmp_path / "f", "--families", "lbp", "--verify")
    assert pcam(*command).code == 0
    victim = next((source / "train").iterdir())
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = pcam(*command)
    assert result.code == 2
    assert victim.stem in result.err


def test_mechanics_two_runs_on_one_store_do_not_mix(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    from filelock import FileLock

    (tmp_path / "f").mkdir()
    with FileLock(tmp_path / "f" / "lock"):
        result = pcam("extract", synthetic_folder, tmp_path / "f", "--overwrite")
    assert result.code == 1
    assert "another process" in result.err
    assert [entry.name for entry in (tmp_path / "f").iterdir()] == ["lock"]


def test_mechanics_a_run_killed_before_its_manifest_is_gone_on_with(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "lock").touch()
    (tmp_path / "f" / "manifest.json.123.part-written").write_text("{")
    assert pcam("extract", synthetic_folder, tmp_path / "f", "--split", "test").code == 0
    assert not list((tmp_path / "f").rglob("*.part-written"))


def test_mechanics_overwrite_leaves_nothing_of_before(
    pcam: Run, synthetic_folder: Path, tmp_path: Path
) -> None:
    for words in (("--families", "lbp"), ("--families", "color", "--split", "test", "--overwrite")):
        assert pcam("extract", synthetic_folder, tmp_path / "f", *words).code == 0
    assert {path.name for path in (tmp_path / "f").rglob("*") if path.is_dir()} == {
        "test",
        "color",
        "thumbnail",
        "patches",
    }


@pytest.mark.parametrize("what", ["labels", "slides", "ids"])
def test_mechanics_a_changed_source_is_named(what: str, pcam: Run, tmp_path: Path) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    assert pcam("synth", source, "--patches", 40, "--slides", 10).code == 0
    assert pcam("extract", source, store, "--families", "lbp").code == 0
    before = parts_of(store)
    if what == "slides":
        (source / "slides.csv").unlink()
    table = pd.read_csv(source / "train_labels.csv")
    if what == "labels":
        table["label"] = 1 - table["label"]
    if what == "ids":
        (source / "train" / f"{table['id'][0]}.tif").unlink()
        table = table.iloc[1:]
    table.to_csv(source / "train_labels.csv", index=False)
    result = pcam("extract", source, store, "--families", "lbp")
    assert result.code == 2
    assert f"its {what}" in result.err
    assert parts_of(store) == before
    assert pcam("extract", source, store, "--families", "lbp", "--overwrite").code == 0


def test_regression_pixels_that_changed_in_files_of_the_same_size_are_not_mixed(
    synthetic_folder: Path, tmp_path: Path, pcam: Run
) -> None:
    source = Path(shutil.copytree(synthetic_folder, tmp_path / "source"))
    command = ("extract", source, tmp_path / "store", "--threads", 1, "--copies", 0, "--families")
    assert pcam(*command, "color").code == 0
    before = parts_of(tmp_path / "store")
    for file in (source / "train").iterdir():
        content, pixels = file.read_bytes(), np.asarray(Image.open(file))
        assert pixels.tobytes() in content  # the file is not compressed
        file.write_bytes(content.replace(pixels.tobytes(), (255 - pixels).tobytes()))
    refused = pcam(*command, "color,lbp")
    assert refused.code == 2
    assert "was made from other pixels: of 8 patches of split 'train' that were read" in refused.err
    assert parts_of(tmp_path / "store") == before
    assert pcam(*command, "color,lbp", "--overwrite").code == 0
