"""What is converted is read again as it was, by pcam and by the libraries that people use."""

from __future__ import annotations

import io
import json
import resource
import shutil
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Result
from PIL import Image

from pcam_features.constants import Layout
from pcam_features.convert import convert as module
from pcam_features.convert import layouts
from pcam_features.errors import InputError, PcamError
from pcam_features.sources import kaggle
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Source, Split

Run = Callable[..., Result]
Row = tuple[int | None, str | None, bytes]


def rows_of(source: Source, most: int | None = None) -> dict[str, dict[str, Row]]:
    """Label, slide and pixels by split and id."""
    made = {}
    for name, split in source.splits.items():
        rows = len(split) if most is None else min(len(split), most)
        labels = [None] * rows if split.labels is None else split.labels[:rows].tolist()
        pixels = [one.tobytes() for one in split.read(0, rows)]
        each = zip(labels, split.slides[:rows], pixels, strict=True)
        made[name] = dict(zip(split.ids[:rows], each, strict=True))
    return made


def convert(source: Source, folder: Path, to: Layout) -> Source:
    module.convert(source, source.only(None), folder, to, threads=2)
    return open_source(str(folder))[0]


@pytest.fixture(scope="module")
def original(synthetic_folder: Path) -> Source:
    """Labeled train with slides, unlabeled test; half of the slides unknown."""
    source, _ = open_source(str(synthetic_folder))
    train = source.splits["train"]
    half = [slide if k % 2 else None for k, slide in enumerate(train.slides)]
    return replace(source, splits=source.splits | {"train": replace(train, slides=half)})


@pytest.fixture(scope="module")
def converted(original: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    folder = tmp_path_factory.mktemp("converted")
    for to in Layout:
        convert(original, folder / to, to)
    return {to: folder / to for to in Layout}


def small(rows: int = 3, **changes: object) -> Source:
    """A source in memory, of one labeled split."""
    pixels = np.random.default_rng(rows).integers(0, 256, (rows, 96, 96, 3), np.uint8)
    split = Split(
        "train",
        [f"patch_{k}" for k in range(rows)],
        np.arange(rows, dtype=np.int8) % 2,
        [None] * rows,
        lambda *span: "",
        lambda start, stop: pixels[start:stop],
    )
    split = replace(split, **changes)  # type: ignore[arg-type]
    return Source("synthetic", "memory", "none", {split.name: split})


@pytest.mark.parametrize("to", Layout)
def test_invariant_a_layout_holds_all_that_was_there(
    to: Layout, original: Source, converted: dict[Layout, Path]
) -> None:
    again, _ = open_source(str(converted[to]))
    assert again.splits["test"].labels is None
    assert again.splits["train"].labels is not None
    assert rows_of(again) == rows_of(original)
    if to != Layout.folder:  # whose files have no order but that of their names
        assert again.splits["train"].ids == original.splits["train"].ids


@pytest.mark.parametrize("first", Layout)
@pytest.mark.parametrize("second", Layout)
def test_invariant_there_and_on_and_back(
    first: Layout, second: Layout, original: Source, converted: dict[Layout, Path], tmp_path: Path
) -> None:
    source, _ = open_source(str(converted[first]))
    on = convert(source, tmp_path / "on", second)
    back = convert(on, tmp_path / "back", first)
    assert rows_of(back) == rows_of(original)


@pytest.mark.real
@pytest.mark.parametrize("to", Layout)
def test_invariant_real_patches_stay_as_they_are(
    to: Layout, kaggle_folder: Path, tmp_path: Path
) -> None:
    source, _ = open_source(str(kaggle_folder))
    parts = {}
    for name, split in source.splits.items():
        labels = None if split.labels is None else split.labels[:300]
        parts[name] = replace(split, ids=split.ids[:300], slides=split.slides[:300], labels=labels)
    part = replace(source, splits=parts)
    again = convert(part, tmp_path / "out", to)
    assert rows_of(again) == rows_of(source, 300)


def test_invariant_features_are_the_same(
    pcam: Run, synthetic_folder: Path, converted: dict[Layout, Path], tmp_path: Path
) -> None:
    tables = []
    for folder in (synthetic_folder, converted[Layout.folder]):
        words = ("--families", "color", "--split", "train", "--slides", "none")
        result = pcam("extract", folder, tmp_path / folder.name, *words)
        assert result.code == 0, result.err
        table = pd.read_parquet(tmp_path / folder.name / "train" / "color")
        tables.append(table.set_index("id").sort_index())
    pd.testing.assert_frame_equal(*tables)


def test_oracle_hdf5_is_what_h5py_alone_reads(original: Source, converted: dict[Layout, Path]) -> None:
    stem = f"{converted[Layout.hdf5]}/camelyonpatch_level_2_split_"
    train = original.splits["train"]
    with h5py.File(f"{stem}train_x.h5") as x, h5py.File(f"{stem}train_y.h5") as y:
        assert (x["x"].shape, x["x"].dtype, x["x"].chunks) == ((240, 96, 96, 3), np.uint8, None)
        assert (y["y"].shape, y["y"].dtype) == ((240, 1, 1, 1), np.uint8)
        assert train.labels is not None
        np.testing.assert_array_equal(y["y"][:, 0, 0, 0], train.labels)
        for k in (0, 127, 128, 239):
            np.testing.assert_array_equal(x["x"][k], train.read(k, k + 1)[0])
    meta = pd.read_csv(f"{stem}train_meta.csv", dtype=str)
    assert meta["id"].tolist() == train.ids
    assert [None if pd.isna(slide) else slide for slide in meta["wsi"]] == train.slides
    assert not Path(f"{stem}test_y.h5").exists()


def test_oracle_parquet_is_what_pyarrow_and_pillow_alone_read(
    original: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "SHARD_ROWS", layouts.BATCH_ROWS)
    again = convert(original, tmp_path / "out", Layout.parquet)
    assert rows_of(again) == rows_of(original)
    data = tmp_path / "out" / "data"
    assert sorted(file.name for file in data.iterdir()) == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    files = [pq.ParquetFile(data / f"train-0000{k}-of-00002.parquet") for k in range(2)]
    rows = [row for file in files for row in file.read().to_pylist()]
    assert files[0].metadata.row_group(0).num_rows == 128
    train = original.splits["train"]
    assert train.labels is not None
    assert [row["label"] for row in rows] == train.labels.tolist()
    assert [row["slide"] for row in rows] == train.slides
    for row, patch_id, pixels in zip(rows, train.ids, train.read(0, 240), strict=True):
        assert (row["id"], row["image"]["path"]) == (patch_id, f"{patch_id}.png")
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), pixels)
    test = pq.read_table(data / "test-00000-of-00001.parquet")
    assert set(test["label"].to_pylist()) == {-1}  # as `datasets` says that there is no label
    features = json.loads(test.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"_type": "ClassLabel", "names": ["normal", "tumor"]}
    assert list(features) == test.schema.names


def test_oracle_images_are_what_pillow_reads(original: Source, converted: dict[Layout, Path]) -> None:
    folder = converted[Layout.folder]
    train, test = original.splits["train"], original.splits["test"]
    assert train.labels is not None
    for k in range(0, 240, 7):
        name = ("normal", "tumor")[train.labels[k]]
        with Image.open(folder / "train" / name / f"{train.ids[k]}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), train.read(k, k + 1)[0])
    assert {file.stem for file in (folder / "test" / "unlabeled").iterdir()} == set(test.ids)
    table = pd.read_csv(folder / "slides.csv", dtype=str)
    assert table.columns.tolist() == ["id", "slide"]
    assert len(table) == 120 + 60


def test_invariant_kaggles_zip_is_a_source(
    original: Source, synthetic_folder: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "histopathologic-cancer-detection.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(synthetic_folder.rglob("*.tif")):
            file.write(path, path.relative_to(synthetic_folder))
        file.write(synthetic_folder / kaggle.LABELS, kaggle.LABELS)
    source, _ = open_source(str(packed))
    assert source.kind == "kaggle"
    assert rows_of(source) == rows_of(original.without_slides())
    for to in Layout:
        assert rows_of(convert(source, tmp_path / to, to)) == rows_of(source)


def test_invariant_a_manifest_is_a_source(
    original: Source, converted: dict[Layout, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(converted[Layout.folder], folder)
    (folder / "slides.csv").unlink()
    rows = []
    for name, split in original.splits.items():
        labels = [""] * len(split) if split.labels is None else split.labels.tolist()
        for patch_id, label, slide in zip(split.ids, labels, split.slides, strict=True):
            kind = {0: "normal", 1: "tumor", "": "unlabeled"}[label]
            rows.append((f"{name}/{kind}/{patch_id}.png", patch_id, label, slide, name))
    table = pd.DataFrame(rows, columns=["path", "id", "label", "slide", "split"])
    table.to_csv(folder / "all.csv", index=False)
    source, _ = open_source(str(folder / "all.csv"))
    assert source.kind == "manifest"
    assert rows_of(source) == rows_of(original)
    for to in Layout:
        assert rows_of(convert(source, tmp_path / to, to)) == rows_of(original)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("to", Layout)
def test_invariant_a_split_of_one_class(label: int, to: Layout, tmp_path: Path) -> None:
    source = small(labels=np.full(3, label, np.int8))
    assert rows_of(convert(source, tmp_path / "out", to)) == rows_of(source)


@pytest.mark.parametrize("to", [Layout.hdf5, Layout.parquet])
def test_invariant_odd_ids_and_slides_stay(to: Layout, tmp_path: Path) -> None:
    ids = ["a/b", "../c", "CON", "A", "a", ' "x", ', "é", "=1+1"]
    source = small(len(ids), ids=ids, slides=["s,1", None, '"', "é", "0012", "1e5", "s s", "#"])
    assert rows_of(convert(source, tmp_path / "out", to)) == rows_of(source)


def test_invariant_an_odd_but_harmless_id_is_a_file(tmp_path: Path) -> None:
    ids = ["a.b", "é ü", "x" * 200, "-rf", "$HOME"]
    source = small(len(ids), ids=ids)
    assert rows_of(convert(source, tmp_path / "out", Layout.folder)) == rows_of(source)


HOSTILE = [
    *("a/b", "..", "../x", "/etc/x", "a\\b", "C:x", "a\0b", "a\nb", "\x1b[31m", "\u202ex", ".hidden"),
    *("con", "NUL.x", "Com1", "lpt9.tar", "a.", "a ", "x" * 201, "é" * 101, "a?b", "a*b", "\ud800", ""),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_invariant_hostile_ids_are_no_file_names(hostile: str, tmp_path: Path) -> None:
    source = small(ids=["good", hostile, "fine"])
    with pytest.raises(InputError, match="cannot be a file name") as raised:
        convert(source, tmp_path / "inside" / "out", Layout.folder)
    assert repr(hostile[:100]) in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["PATCH", "pa\u0301tch"])
def test_mechanics_ids_that_some_disks_take_for_one(other: str, tmp_path: Path) -> None:
    source = small(ids=["patch", "p\u00e1tch", other])
    with pytest.raises(InputError, match="the same file name"):
        convert(source, tmp_path / "out", Layout.folder)


def test_mechanics_one_id_with_two_slides(tmp_path: Path) -> None:
    one = small(slides=["s1", "s2", "s3"])
    for slides in (["s1", "s9", "s3"], ["s1", None, "s3"]):
        other = replace(one.splits["train"], name="test", slides=slides)
        source = replace(one, splits=one.splits | {"test": other})
        with pytest.raises(InputError, match="patch_1"):
            convert(source, tmp_path / "out", Layout.folder)
    assert rows_of(convert(source, tmp_path / "out", Layout.parquet)) == rows_of(source)


@pytest.mark.parametrize("to", Layout)
def test_mechanics_names_of_splits(to: Layout, tmp_path: Path) -> None:
    for name in ("aux", "my-split", "é" * 60 + "ß" * 60):
        if (to, name) != (Layout.folder, "my-split"):
            with pytest.raises(InputError, match="its name"):
                convert(small(name=name), tmp_path / "out", to)
    train = small().splits["train"]
    both = replace(small(), splits={"train": train, "Train": replace(train, name="Train")})
    with pytest.raises(InputError, match="ignore case"):
        convert(both, tmp_path / "out", to)
    assert rows_of(convert(small(name="data_2"), tmp_path / "out", to)) == rows_of(small(name="data_2"))


@pytest.mark.parametrize("to", Layout)
@pytest.mark.parametrize("stop", [InputError("a patch is damaged."), KeyboardInterrupt()])
def test_invariant_an_interrupted_conversion_leaves_nothing(
    to: Layout, stop: BaseException, tmp_path: Path
) -> None:
    source = small(5 * layouts.BATCH_ROWS // 2)
    whole = source.splits["train"]

    def read(start: int, rows: int) -> np.ndarray:
        if start and isinstance(stop, InputError):
            raise stop
        return whole.read(start, rows)

    def progress(rows: int) -> None:
        if isinstance(stop, KeyboardInterrupt):
            raise stop

    split = replace(whole, read=read)
    with pytest.raises(type(stop)):
        module.convert(source, [split], tmp_path / "out", to, threads=2, progress=progress)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may have more than a megabyte, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("to", [Layout.hdf5, Layout.parquet])
def test_invariant_a_disk_that_fills_up_leaves_nothing(to: Layout, tmp_path: Path) -> None:
    source = small(100)
    with pytest.raises(PcamError, match="nothing was changed there"):
        convert(source, tmp_path / "out", to)
    assert not list(tmp_path.iterdir())


def test_mechanics_a_disk_that_is_too_small(
    pcam: Run, synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1 << 20))
    result = pcam("convert", synthetic_folder, tmp_path / "out", "--to", "hdf5")
    assert result.code == 2
    assert "1.0 MiB free" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", Layout)
def test_invariant_no_more_room_is_taken_than_was_said(to: Layout, tmp_path: Path) -> None:
    source = small(200)  # noise, which does not pack
    said = module.plan(source, source.only(None), tmp_path / "out", to, overwrite=False)
    convert(source, tmp_path / "out", to)
    files = [file.stat() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert sum(file.st_blocks * 512 for file in files) <= said.bytes_at_most


def test_mechanics_the_command(pcam: Run, synthetic_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("convert", synthetic_folder, out, "--to", "parquet", "--split", "train", "--json")
    result = pcam(*words, "--dry-run")
    assert result.code == 0
    assert not out.exists()
    assert json.loads(result.out)["patches"] == {"train": 240}
    result = pcam(*words)
    assert result.code == 0, result.err
    assert json.loads(result.out)["layout"] == "parquet"
    mark = json.loads((out / "converted.json").read_text())
    assert mark["converted_from"] == str(synthetic_folder)
    assert mark["splits"]["train"]["patches"] == mark["splits"]["train"]["with_slide"] == 240
    assert list(open_source(str(out))[0].splits) == ["train"]


def test_mechanics_what_is_there_stays(pcam: Run, synthetic_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("convert", synthetic_folder, out, "--to", "hdf5", "--split", "test")
    assert pcam(*words).code == 0
    refused = pcam(*words)
    assert (refused.code, "--overwrite" in refused.err) == (2, True)
    assert pcam(*words, "--overwrite", "--slides", "none").code == 0
    (out / "converted.json").unlink()
    foreign = pcam(*words, "--overwrite")
    assert (foreign.code, "left as it is" in foreign.err) == (2, True)
    assert len(list(out.iterdir())) == 2


def test_mechanics_a_source_is_not_replaced(pcam: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert pcam("convert", "synthetic:4:2", out, "--to", "hdf5").code == 0
    for folder in (out, out / "inside"):
        result = pcam("convert", out, folder, "--to", "folder", "--overwrite")
        assert (result.code, "one contains the other" in result.err) == (2, True)
    pixels = next(out.glob("*train_x.h5"))
    assert pcam("convert", pixels, out, "--to", "folder", "--overwrite").code == 2


def test_mechanics_batches_come_in_order_and_not_too_far_ahead() -> None:
    read: list[int] = []
    source = small(1)
    split = replace(source.splits["train"], ids=[str(k) for k in range(20 * layouts.BATCH_ROWS)])

    def rows(start: int, stop: int) -> np.ndarray:
        read.append(start)
        return np.arange(start, stop)

    writer = layouts.Writer(lambda batch: batch, lambda *a: None, lambda name: True, 0)
    batches = module.batches(replace(split, read=rows), writer, 3, lambda done: None)
    first = next(batches)
    time.sleep(0.3)  # in which all could be read
    assert len(read) <= 5
    values = list(chain.from_iterable([first, *batches]))
    assert values == list(range(len(split)))
