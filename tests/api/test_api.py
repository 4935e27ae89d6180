"""The public API does what its example says, prints nothing, and loads nothing before it is asked."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import FITTED, Result
from PIL import Image

import pcam_features as pcam
from pcam_features.convert.synthesize import synthesize

Run = Callable[..., Result]
FEW = "color,lbp"
ROUNDING = 1e-5  # of probabilities
HEAVY = ("numpy", "pandas", "numba", "xgboost", "sklearn", "pyarrow", "onnx", "openvino", "PIL", "rich")


def line_by_line(source_path: str, work: Path, families: str, capsys: Any) -> None:
    """The example of the README, line by line."""
    source = pcam.open_source(source_path)
    split = source.splits["train"]
    images = split.read(0, 30)

    X = pcam.features(images)
    assert X.shape == (30, 4736)
    assert set(X.dtypes) == {np.dtype("float32")}
    by_id = pcam.features(source_path, split="train", families=["color", "nuclei"])
    assert list(by_id.index) == split.ids
    E = pcam.embeddings(images, encoder="efficientnet_lite0")
    assert E.shape == (30, 1360)
    store = pcam.extract(source, work / "features", families=families)
    frame = store.frame("train")
    assert list(frame.columns[:2]) == ["label", "slide"]
    assert list(frame.index) == split.ids
    pd.testing.assert_frame_equal(frame[by_id.columns].iloc[:30], by_id.iloc[:30])
    pd.testing.assert_frame_equal(
        frame[E.columns].iloc[:30].reset_index(drop=True), E, check_names=False
    )
    model = pcam.fit(store, work / "model")
    p = model.predict_proba(images)
    assert p.shape == (30, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    # The features are the same bits; products of matrices round by their size.
    for same, split_name in ((store, "train"), (source, "train"), (frame, None)):
        with pytest.warns(UserWarning, match="trained on these patches"):
            again = model.predict_proba(same, split=split_name)
        np.testing.assert_allclose(again[:30], p, atol=ROUNDING)
    explanation = model.explain(images[0])
    assert explanation.probability == pytest.approx(p[0, 1], abs=ROUNDING)
    assert len(explanation.columns) == 10
    assert "<img" in explanation._repr_html_()
    assert model.card.startswith("# ")
    truth = frame["label"]
    slides = frame["slide"].dropna()
    p1, p2 = model.out_of_fold["combined"], model.out_of_fold["all_trees"]
    result = pcam.compare(
        truth, {"stack": p1, "cnn": p2}, slides=slides if len(slides) else None, resamples=200
    )
    assert list(result.models.index) == ["stack", "cnn"]
    assert len(result.differences) == 1
    assert result.verdict
    result.report(work / "report.html")
    assert (work / "report.html").read_text().startswith("<!doctype html>")
    for shown in (store, model, explanation, result):
        assert "<" in shown._repr_html_()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_parity_the_example_on_synthetic_patches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize(tmp_path / "synthetic", patches=60, slides=12, seed=1)
    line_by_line(str(tmp_path / "synthetic"), tmp_path, "color,nuclei,cnn", capsys)


@pytest.mark.real
def test_parity_the_example_on_real_patches(
    tmp_path: Path, kaggle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kaggle"
    labels = pd.read_csv(kaggle_folder / "train_labels.csv").iloc[:300]
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
    for patch in labels["id"]:
        shutil.copy(kaggle_folder / "train" / f"{patch}.tif", folder / "train")
    labels.to_csv(folder / "train_labels.csv", index=False)
    line_by_line(str(folder), tmp_path, "all,cnn", capsys)


def test_mechanics_the_package_is_imported_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import pcam_features as pcam; "
        "seconds = time.perf_counter() - began; dir(pcam); pcam.InputError; "
        f"print(seconds, *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    found = []
    for _ in range(3):
        words = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert words[1:] == []
        found.append(float(words[0]))
    assert min(found) < 0.3


def test_mechanics_every_public_name_is_there() -> None:
    assert set(pcam.__all__) <= set(dir(pcam))
    for name in pcam.__all__:
        assert getattr(pcam, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pcam.nothing  # noqa: B018


def test_invariant_type_checkers_see_every_public_name() -> None:
    stub = ast.parse((Path(pcam.__file__).parent / "__init__.pyi").read_text())
    seen = {
        name.asname for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names
    }
    assert seen == set(pcam.__all__) - {"__version__"}


def test_mechanics_public_names_are_documented() -> None:
    for name in set(pcam.__all__) - {"__version__"}:
        assert (getattr(pcam, name).__doc__ or "").strip(), name


def test_mechanics_features_are_indexed_as_what_they_are_of(
    synthetic_folder: Path, synthetic_batch: np.ndarray
) -> None:
    source = pcam.open_source(synthetic_folder)
    everything = pcam.features(source, families=FEW)
    assert list(everything.index) == source.splits["train"].ids + source.splits["test"].ids
    part = pcam.features(source.splits["test"], families="color, lbp")
    pd.testing.assert_frame_equal(part, everything.iloc[240:])
    path = synthetic_folder / "train" / f"{source.splits['train'].ids[7]}.tif"
    for one in (path, str(path), Image.open(path)):
        table = pcam.features(one, families=FEW)
        assert list(table.index) == [0]
        np.testing.assert_array_equal(table.to_numpy()[0], everything.to_numpy()[7])
    array = np.array([str(path), str(path)])
    np.testing.assert_array_equal(pcam.features(array, families=FEW)[:1], table)
    series = pd.Series([path, path], index=["a", "b"])
    assert list(pcam.features(series, families=FEW).index) == ["a", "b"]


def test_mechanics_images_of_other_sizes_need_fit(synthetic_batch: np.ndarray) -> None:
    large = synthetic_batch[:4].repeat(2, axis=1).repeat(2, axis=2)
    with pytest.raises(pcam.InputError, match="fit="):
        pcam.features(large, families=FEW)
    expected = pcam.features(synthetic_batch[:4], families=FEW)
    for form in (large, list(large), [Image.fromarray(image) for image in large]):
        table = pcam.features(form, families=FEW, fit="resize")
        np.testing.assert_array_equal(table, expected)
    tiles = pcam.features(large, families="color", fit="tile")
    parts = large.reshape(4, 2, 96, 2, 96, 3).swapaxes(2, 3).reshape(-1, 96, 96, 3)
    means = pcam.features(parts, families="color").to_numpy().reshape(4, 4, -1).mean(axis=1)
    np.testing.assert_allclose(tiles, means, rtol=1e-5, atol=1e-6)
    with pytest.raises(pcam.InputError, match="image 1 is 96×96 pixels, but the first is 192×192"):
        pcam.features([large[0], synthetic_batch[0]], families=FEW, fit="resize")
    with pytest.raises(pcam.InputError, match="needs fit="):
        pcam.features(large, families=FEW, mpp=0.5)


def test_invariant_features_are_the_same_from_many_threads(synthetic_batch: np.ndarray) -> None:
    expected = pcam.features(synthetic_batch, families=FEW)
    with ThreadPoolExecutor(6) as pool:
        tables = list(pool.map(lambda _: pcam.features(synthetic_batch, families=FEW), range(12)))
    for table in tables:
        pd.testing.assert_frame_equal(table, expected)


def test_invariant_models_predict_the_same_from_many_threads(
    model_folder: Path, synthetic_batch: np.ndarray
) -> None:
    model = pcam.open_model(model_folder)
    expected = model.predict_proba(synthetic_batch)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.predict_proba(synthetic_batch), range(8)):
            np.testing.assert_array_equal(found, expected)
    alone = [model.predict_proba(patch)[0] for patch in synthetic_batch]
    np.testing.assert_allclose(np.stack(alone), expected, atol=ROUNDING)


def test_parity_the_api_and_the_command_line_predict_the_same(
    pcam: Run, model_folder: Path, store_folder: Path, tmp_path: Path
) -> None:
    import pcam_features

    assert pcam("predict", model_folder, store_folder, tmp_path / "p.csv").code == 0
    table = pd.read_csv(tmp_path / "p.csv").set_index("id")["label"]
    model = pcam_features.open_model(model_folder)
    store = pcam_features.open_store(store_folder)
    by_id = model.probabilities(store, split="test")
    assert list(by_id.index) == list(table.index)
    np.testing.assert_allclose(by_id.to_numpy(), table.to_numpy(), atol=1e-6)


def test_mechanics_predictions_of_training_patches_warn(
    model_folder: Path, store_folder: Path, synthetic_folder: Path
) -> None:
    model = pcam.open_model(model_folder)
    store = pcam.open_store(store_folder)
    table, others = store.frame("train", FITTED), store.frame("test", FITTED)
    model.probabilities(others)
    model.predict_proba(table.reset_index(drop=True))
    model.predict_proba(others.assign(id=[["a list"]] * len(others)))
    mixed = pd.concat([table.iloc[:4], others])
    cases: list[tuple[Any, str | None, str]] = [
        (store, "train", "these patches"),
        (store_folder, "train", "these patches"),
        (pcam.open_source(synthetic_folder).split("train"), None, "these patches"),
        (mixed, None, f"4 of these {len(mixed)} patches"),
        (mixed.reset_index(), None, f"4 of these {len(mixed)} patches"),
    ]
    for data, split, some in cases:
        with pytest.warns(UserWarning, match=f"trained on {some}.*out_of_fold") as caught:
            model.probabilities(data, split=split)
        assert [warning.filename for warning in caught] == [__file__]


def test_mechanics_predictions_at_another_scale_warn(model_folder: Path, store_folder: Path) -> None:
    model = pcam.open_model(model_folder)
    store = pcam.open_store(store_folder)
    fit = {"how": "resize", "mpp": None, "width": 128, "height": 128}
    source = replace(store.manifest.source, fit=fit)
    other = replace(store, manifest=replace(store.manifest, source=source))
    with pytest.warns(UserWarning, match="scale of these patches may differ.*128×128"):
        model.predict_proba(other, split="test")


def test_mechanics_a_table_takes_families_as_features_does(store_folder: Path) -> None:
    store = pcam.open_store(store_folder)
    expected = store.frame("test", ["lbp", "glcm"])
    pd.testing.assert_frame_equal(store.frame("test", "lbp, glcm"), expected)
    with pytest.raises(pcam.InputError, match="families= is 5; give names"):
        store.frame("test", 5)  # type: ignore[arg-type]


def test_mechanics_a_comparison_says_what_was_resampled() -> None:
    rng = np.random.default_rng(0)
    truth = pd.Series(np.arange(60) % 2, index=[f"p{k}" for k in range(60)])
    models = {name: rng.uniform(size=60) for name in "ab"}
    single = pcam.compare(truth, models, resamples=100)
    slides = pd.Series(np.arange(60) // 4, index=truth.index)
    grouped = pcam.compare(truth, models, slides=slides, resamples=100)
    for result, protocol in ((single, "as if independent"), (grouped, "15 slides")):
        assert protocol in result.protocol
        assert result.protocol == result.to_dict()["protocol"]
        assert result.protocol in repr(result)
        assert result.protocol in result._repr_html_()


def test_parity_explain_by_id_and_by_image(
    model_folder: Path, store_folder: Path, synthetic_folder: Path
) -> None:
    model = pcam.open_model(model_folder)
    split = pcam.open_source(synthetic_folder).splits["test"]
    stored = model.explain(split.ids[3], store=store_folder)
    image = model.explain(split.read(3, 4))
    assert stored.probability == pytest.approx(image.probability, abs=ROUNDING)
    pd.testing.assert_frame_equal(stored.columns, image.columns, rtol=1e-4)
    assert stored.picture is not None
    np.testing.assert_array_equal(stored.picture, split.read(3, 4)[0])
    total = image.record.start + image.families.sum()
    assert total == pytest.approx(image.record.sum)
    assert image.page().startswith("<!doctype html>")
    assert repr(stored) == f"<pcam explanation of {split.ids[3]}: probability {stored.probability:.4f}>"
    predicted = model.predict_split(store_folder)
    assert repr(predicted) == f"<pcam predictions of {len(predicted.ids)} patches>"


def test_mechanics_a_fit_can_be_given_folds_and_log(store_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    steps: list[int] = []
    store = pcam.open_store(store_folder)
    model = pcam.fit(
        store, tmp_path / "m", families="color", folds=3, log=said.append, progress=steps.append
    )
    assert any(sentence.startswith("folds: 3") for sentence in said)
    assert sum(steps) > 0
    again = pcam.fit(store, tmp_path / "n", families=["color"], folds_from=tmp_path / "m")
    assert again.scores.equals(model.scores)
    assert "combined" in model.scores.index
    assert model.scores["auc"].between(0, 1).all()
    assert (model.scores["low"] <= model.scores["high"]).all()


def row_for(model: Path) -> pd.DataFrame:
    """A row of zeros with a model's columns."""
    columns = pcam.open_model(model).columns
    return pd.DataFrame(np.zeros((1, len(columns))), columns=columns)


ERRORS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "no family": (lambda s, m: pcam.features("synthetic:40", families="colour"), "no family colour"),
    "no source": (lambda s, m: pcam.features("nowhere"), "no folder or file 'nowhere'"),
    "no image": (lambda s, m: pcam.features("nowhere.png"), r"nowhere\.png cannot be read"),
    "split": (lambda s, m: pcam.features(np.zeros((1, 96, 96, 3), np.uint8), split="train"), "split="),
    "no store": (lambda s, m: pcam.open_store(m), "not a feature store"),
    "no model": (lambda s, m: pcam.open_model(s), "not a model"),
    "two splits": (
        lambda s, m: pcam.open_model(m).predict_proba(s),
        "one of: train, test",
    ),
    "no columns": (
        lambda s, m: pcam.open_model(m).predict_proba(pd.DataFrame({"a": [1.0]})),
        "lacks .* columns, the first color__",
    ),
    "texts": (
        lambda s, m: pcam.open_model(m).predict_proba(row_for(m).astype(str) + "x"),
        "columns of the table are not all numbers",
    ),
    "columns twice": (
        lambda s, m: pcam.open_model(m).predict_proba(pd.concat([row_for(m), row_for(m)], axis=1)),
        "has two columns named color__",
    ),
    "two images": (
        lambda s, m: pcam.open_model(m).explain(np.zeros((2, 96, 96, 3), np.uint8)),
        "one image, not 2",
    ),
    "advice": (
        lambda s, m: pcam.fit(s, m, folds_from="x.csv", folds=5),
        r"^folds_from= .*leave out folds= and groups=",
    ),
    "id without store": (
        lambda s, m: pcam.open_model(m).explain("train_0000000"),
        "no image file 'train_0000000'; to explain a stored patch by its id, give store=",
    ),
    "image with store": (
        lambda s, m: pcam.open_model(m).explain(np.zeros((96, 96, 3), np.uint8), store=s),
        "patch= is the id of a patch, not ndarray",
    ),
    "table of predictions": (
        lambda s, m: pcam.compare(
            pcam.open_store(s).patches("train")[["id", "label"]],
            {"a": pcam.open_model(m).out_of_fold},
        ),
        r"give one column of the table, a Series, such as table\['combined'\]",
    ),
    "device": (lambda s, m: pcam.features("synthetic:40", device="tpu"), "no device 'tpu'"),
    "kind": (lambda s, m: pcam.open_source("synthetic:40", kind="zip"), "no kind 'zip'"),
    "exists": (pcam.fit, r"overwrite=True"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_mechanics_errors_are_sentences_with_advice_for_python(
    case: str, store_folder: Path, model_folder: Path
) -> None:
    call, message = ERRORS[case]
    with pytest.raises(pcam.InputError, match=message) as caught:
        call(store_folder, model_folder)
    assert "--" not in str(caught.value)


def test_mechanics_the_command_line_keeps_its_own_advice(
    pcam: Run, store_folder: Path, model_folder: Path
) -> None:
    result = pcam("fit", store_folder, model_folder)
    assert result.code == 2
    assert "--overwrite" in result.err


def test_mechanics_progress_is_a_callback_or_nothing(synthetic_batch: np.ndarray) -> None:
    told: list[int] = []
    pcam.features(synthetic_batch, families=FEW, progress=told.append)
    assert sum(told) == len(synthetic_batch)
    began = time.monotonic()
    pcam.features(synthetic_batch, families=FEW, progress=None)
    assert time.monotonic() - began < 60
