"""Bad input gets one clear sentence, exit code 2, and leaves nothing that looks whole."""

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
from signed import seal, sign

from pcam_features.cli import console
from pcam_features.families.registry import FAMILIES
from pcam_features.store.store import open_store

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pcam_features.convert.synthesize import synthesize

    folder = tmp_path_factory.mktemp("template") / "source"
    synthesize(folder, patches=40, slides=10, seed=2)
    return folder


@pytest.fixture
def source(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "source"))


def refused(result: Result, *expected: str) -> None:
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert result.code == 2, result.err
    assert result.out == ""
    assert len(errors) == 1, result.err
    assert result.err.rstrip().endswith(errors[0])
    assert errors[0].endswith(".")
    for words in expected:
        assert words in errors[0]


def first_patch(source: Path) -> Path:
    return source / "train" / f"{pd.read_csv(source / 'train_labels.csv')['id'][0]}.tif"


def test_mechanics_no_such_folder(pcam: Run, tmp_path: Path) -> None:
    refused(pcam("extract", tmp_path / "none", tmp_path / "f"), "there is no folder")
    assert not (tmp_path / "f").exists()


def test_mechanics_folder_of_no_known_kind(pcam: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    refused(pcam("extract", tmp_path / "empty", tmp_path / "f"), "none of the known layouts")


def labels_without_column(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"label": "grade"})


def labels_with_duplicate(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[:1]])


def labels_of_two(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=[2, *table["label"][1:]])


def labels_without_value(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label=["", *table["label"][1:]])


def labels_without_file(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, pd.DataFrame({"id": ["../../etc/passwd"], "label": [0]})])


def labels_without_row(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[1:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (labels_without_column, "no column label"),
        (labels_with_duplicate, "more than once"),
        (labels_of_two, "'2', not 0 or 1"),
    ],
)
def test_mechanics_labels(
    change: Callable[[pd.DataFrame], pd.DataFrame], words: str, pcam: Run, source: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(source / "train_labels.csv")
    change(table).to_csv(source / "train_labels.csv", index=False)
    refused(pcam("extract", source, tmp_path / "f"), words, "train_labels.csv")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("change", "words", "lost"),
    [
        (labels_without_value, "NOT READ: 1 × no label", 1),
        (labels_without_file, "NOT READ: 1 × missing file", 0),
        (labels_without_row, "NOT READ: 1 × no label", 1),
    ],
)
def test_mechanics_what_has_no_label_or_no_file_is_counted_and_left_out(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    words: str,
    lost: int,
    pcam: Run,
    source: Path,
    tmp_path: Path,
) -> None:
    table = pd.read_csv(source / "train_labels.csv")
    change(table).to_csv(source / "train_labels.csv", index=False)
    result = pcam("extract", source, tmp_path / "f", "--families", "lbp")
    assert result.code == 0, result.err
    assert words in result.err
    left = open_store(tmp_path / "f").patches("train")["id"]
    assert sorted(left) == sorted(table["id"][lost:])


def test_mechanics_labels_missing(pcam: Run, source: Path, tmp_path: Path) -> None:
    (source / "train_labels.csv").unlink()
    refused(pcam("extract", source, tmp_path / "f"), "no train_labels.csv")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00bad", b"id,label\n", b'id,label\n"a,1\n', b"id,label\na,1,2\n"]
)
def test_mechanics_labels_that_are_no_table(
    content: bytes, pcam: Run, source: Path, tmp_path: Path
) -> None:
    (source / "train_labels.csv").write_bytes(content)
    refused(pcam("extract", source, tmp_path / "f"))


def image(pixels: np.ndarray, **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="TIFF", **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def sixteen_bits() -> bytes:
    from tifffile import imwrite

    buffer = io.BytesIO()
    imwrite(buffer, np.full((96, 96, 3), 40000, np.uint16), photometric="rgb")
    return buffer.getvalue()


def converted(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(buffer, format="TIFF")
    return buffer.getvalue()


RGB = np.full((96, 96, 3), 120, np.uint8)
BAD_IMAGES = {
    "truncated": (image(RGB)[:9000], "cannot be read"),
    "truncated compressed": (image(RGB, compression="tiff_lzw")[:300], "cannot be read"),
    "empty": (b"", "0 bytes"),
    "text": (b"this is no picture\n", "not a TIFF"),
    "cmyk": (converted("CMYK"), "CMYK"),
    "lab": (converted("LAB"), "mode LAB; convert it to 8-bit RGB"),
    "float": (image(np.full((96, 96), 0.5, np.float32)), "8-bit RGB"),
    "16-bit": (sixteen_bits(), "8-bit RGB"),
    "16-bit gray": (image(np.full((96, 96), 9000, np.uint16)), "8-bit RGB"),
    "huge": (image(np.zeros((1, 60000, 3), np.uint8)), "60000×1"),
}


@pytest.mark.parametrize(
    "pixels", [RGB[..., 0], np.full((96, 96, 4), 9, np.uint8)], ids=["gray", "alpha"]
)
def test_mechanics_gray_and_alpha_are_read(
    pixels: np.ndarray, pcam: Run, source: Path, tmp_path: Path
) -> None:
    first_patch(source).write_bytes(image(pixels))
    result = pcam("extract", source, tmp_path / "f", "--families", "color", "--split", "train")
    assert result.code == 0, result.err
    table = pd.read_parquet(tmp_path / "f" / "train" / "color").set_index("id")
    expected = 120 if pixels.ndim == 2 else round(255 + (9 - 255) * 9 / 255)
    assert table.loc[first_patch(source).stem, "color__mean__patch_red"] == expected


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_mechanics_bad_images(name: str, pcam: Run, source: Path, tmp_path: Path) -> None:
    content, words = BAD_IMAGES[name]
    first_patch(source).write_bytes(content)
    result = pcam("extract", source, tmp_path / "f", "--families", "lbp")
    refused(result, words, first_patch(source).name)
    refused(pcam("fit", tmp_path / "f", tmp_path / "m"), "extract")
    refused(pcam("predict", tmp_path / "m", tmp_path / "f", tmp_path / "p.csv"), "not a model")
    assert not (tmp_path / "p.csv").exists()


def test_mechanics_patches_of_another_size_are_refused_before_anything_is_written(
    pcam: Run, source: Path, tmp_path: Path
) -> None:
    first_patch(source).write_bytes(image(np.full((96, 97, 3), 9, np.uint8)))
    result = pcam("extract", source, tmp_path / "f", "--families", "lbp")
    refused(result, "97×96", "--fit", first_patch(source).name)
    assert not (tmp_path / "f").exists()
    refused(pcam("fit", tmp_path / "f", tmp_path / "m"), "extract")
    refused(
        pcam("predict", tmp_path / "m", tmp_path / "f", tmp_path / "p.csv"), "make one with pcam fit"
    )
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("command", [("convert",), ("deep", "fit"), ("deep", "predict")])
def test_mechanics_tiles_are_offered_only_where_a_patch_may_be_several_images(
    command: tuple[str, ...], pcam: Run, source: Path, tmp_path: Path
) -> None:
    result = pcam(*command, source, tmp_path / "out", "--fit", "tile")
    assert result.code == 2
    assert "'tile' is not one of 'resize', 'crop'" in " ".join(result.err.replace("│", "").split())
    assert not (tmp_path / "out").exists()
    assert "tile" not in pcam(*command, "--help").out
    assert "tile" in pcam("extract", "--help").out


def test_mechanics_cuda_without_one(
    pcam: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcam_features.engine import devices

    monkeypatch.setattr(devices, "cuda_problem", lambda: "no CUDA device was found")
    result = pcam("extract", source, tmp_path / "f", "--device", "cuda")
    refused(result, "--device cuda", "no CUDA device was found")
    assert not (tmp_path / "f").exists()


def test_mechanics_store_of_another_source(
    pcam: Run, source: Path, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    refused(pcam("extract", source, store), "feature store", "its ids")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"store_version": 1, "part_rows": 2048}'])
def test_mechanics_damaged_store_manifest(
    content: str, pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    (store / "manifest.json").write_text(content)
    refused(pcam("extract", synthetic_folder, store), "store")
    refused(pcam("fit", store, tmp_path / "m"), "store")


def test_mechanics_store_of_other_parameters(
    pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["families"]["glcm"]["version"] = 0
    seal(store, manifest)
    refused(pcam("extract", synthetic_folder, store), "glcm with other parameters")


def test_mechanics_model_of_other_features(
    pcam: Run, model_folder: Path, source: Path, store_folder: Path, tmp_path: Path
) -> None:
    assert pcam("extract", source, tmp_path / "f", "--families", "lbp").code == 0
    command = ("predict", model_folder, tmp_path / "f", tmp_path / "p.csv")
    refused(pcam(*command), "fitted on color features", "has none")
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = json.loads((store / "manifest.json").read_text())
    manifest["families"]["glcm"]["version"] = 0
    seal(store, manifest)
    command = ("submit", model_folder, store, tmp_path / "p.csv")
    refused(pcam(*command), f"glcm features of version {FAMILIES['glcm'].version}", "version 0")
    assert not (tmp_path / "p.csv").exists()


def test_mechanics_sample_with_other_ids(
    pcam: Run, model_folder: Path, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    sample = pd.read_csv(synthetic_folder / "sample_submission.csv")
    sample.loc[3, "id"] = "0" * 40
    sample.to_csv(tmp_path / "sample.csv", index=False)
    out = tmp_path / "s.csv"
    command = ("submit", model_folder, store_folder, out, "--sample", tmp_path / "sample.csv")
    refused(pcam(*command), "1 id that the features lack", "0" * 40)
    assert not out.exists()


def test_mechanics_fewer_slides_than_folds(pcam: Run, store_folder: Path, tmp_path: Path) -> None:
    result = pcam("fit", store_folder, tmp_path / "m", "--folds", 13)
    refused(result, "12 slides for 13 folds")
    assert not (tmp_path / "m").exists()


def test_mechanics_one_class_only(pcam: Run, source: Path, tmp_path: Path) -> None:
    table = pd.read_csv(source / "train_labels.csv").assign(label=1)
    table.to_csv(source / "train_labels.csv", index=False)
    assert pcam("extract", source, tmp_path / "f", "--families", "lbp").code == 0
    refused(pcam("fit", tmp_path / "f", tmp_path / "m"), "all labels are 1")
    assert not (tmp_path / "m").exists()


def test_mechanics_labels_of_another_kind(pcam: Run, store_folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    file = next((store / "train" / "patches").iterdir())
    table = pq.read_table(file)
    sevens = pa.array([7] * len(table), pa.int8())
    pq.write_table(table.set_column(1, table.schema.field("label"), sevens), file)
    sign(store)
    refused(pcam("fit", store, tmp_path / "m"), "labels other than 0 and 1")
    assert list(tmp_path.iterdir()) == [store]


def test_mechanics_memory_without_end(pcam: Run, store_folder: Path, tmp_path: Path) -> None:
    for word in ("inf", "nan", "0"):
        assert pcam("fit", store_folder, tmp_path / "m", "--max-memory", word).code == 2


def test_mechanics_fit_without_labels(pcam: Run, store_folder: Path, tmp_path: Path) -> None:
    refused(pcam("fit", store_folder, tmp_path / "m", "--split", "test"), "no labels")


def test_mechanics_things_that_are_not_ours_are_not_replaced(
    pcam: Run, synthetic_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    for command in (
        ("extract", synthetic_folder, tmp_path / "precious", "--overwrite"),
        ("extract", synthetic_folder, tmp_path / "precious"),
        ("fit", store_folder, tmp_path / "precious", "--overwrite"),
        ("synth", tmp_path / "precious", "--patches", 20, "--overwrite"),
        ("demo", tmp_path / "precious"),
    ):
        refused(pcam(*command))
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"


def test_mechanics_overwrite_spares_real_data_and_swapped_arguments(
    pcam: Run, source: Path, store_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    (source / "synthetic.json").unlink()  # as a download from Kaggle looks
    refused(pcam("synth", source, "--patches", 20, "--overwrite"), "left as it is")
    assert len(list((source / "train").iterdir())) == 40
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    model = Path(shutil.copytree(model_folder, tmp_path / "model"))
    refused(pcam("extract", source, model, "--overwrite"), "not a feature store")
    refused(pcam("fit", store, store, "--overwrite"), "not created by pcam as a model")
    refused(pcam("predict", store, model, tmp_path / "p.csv"), "in the right order")
    assert (model / "all" / "trees.ubj").exists()


def test_mechanics_a_hostile_store_cannot_name_a_path(
    pcam: Run, store_folder: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_folder, tmp_path / "store"))
    manifest = json.loads((store / "manifest.json").read_text())
    for entry in (manifest["families"], manifest["splits"]["train"]["families"]):
        entry[str(tmp_path / "victim")] = entry["lbp"]
    seal(store, manifest)
    refused(pcam("fit", store, tmp_path / "m"), "unknown family")
    assert not (tmp_path / "victim.ubj").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("extract", "{source}/..", "{out}"), "is not a source itself but contains one"),
        (("extract", "nothing", "{out}", "--kind", "synthetic"), "not of the form"),
        (("extract", "{source}", "{out}", "--families", "colour"), "there is no family colour"),
        (("extract", "{source}", "{out}", "--split", "valid"), "no split 'valid'"),
        (("extract", "{source}", "{out}", "--slides", "none.csv"), "does not exist"),
        (("extract", "{source}/train_labels.csv", "{out}"), "give its folder"),
        (("extract", "synthetic:many", "{out}"), "not of the form"),
        (("extract", "synthetic:999999999", "{out}"), "cannot be made"),
        (("synth", "{out}", "--patches", "0"), "cannot be made"),
        (("fit", "{source}", "{out}"), "not a feature store"),
        (("predict", "{source}", "{source}", "{out}"), "not a"),
    ],
)
def test_mechanics_usage(
    command: tuple[str, ...], words: str, pcam: Run, source: Path, tmp_path: Path
) -> None:
    filled = [word.format(source=source, out=tmp_path / "out") for word in command]
    refused(pcam(*filled), words)
    assert not (tmp_path / "out").exists()


def test_mechanics_strangers_words_do_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.say("\x1b]0;owned\x07\x1b[31mred")
    console.table(("grade", "found"), [("note", "kaggle:train: and pcam:test: \x1b[31m")], text=True)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "kaggle:train: and pcam:test:" in said.out
