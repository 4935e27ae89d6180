"""Arguments that make no sense are refused at once, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pcam_features as pcam
from pcam_features.errors import InputError
from pcam_features.sklearn import PatchClassifier, PatchFeatures

ARRAY = np.zeros((2, 96, 96, 3), np.uint8)
LARGE = np.zeros((2, 128, 128, 3), np.uint8)
IDS = [f"p{k}" for k in range(20)]
TRUTH = pd.Series(np.arange(20) % 2, index=IDS)
SCORES = np.linspace(0.1, 0.9, 20)


def compared(**arguments: Any) -> Any:
    return pcam.compare(TRUTH, {"a": SCORES, "b": SCORES[::-1]}, **arguments)


def fitted(**arguments: Any) -> Any:
    return pcam.fit("nowhere", "model", **arguments)


def extracted(source: Any = "synthetic:20", path: Any = "store", **arguments: Any) -> Any:
    return pcam.extract(source, path, families=arguments.pop("families", "color"), **arguments)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "source array": (lambda: extracted(ARRAY), "source= is of type ndarray; give a source that"),
    "source None": (lambda: extracted(None), "source= is None; give"),
    "store array": (lambda: extracted(path=ARRAY), "path= is of type ndarray; give the path of a"),
    "open array": (lambda: pcam.open_source(ARRAY), "path= is of type ndarray"),  # type: ignore[arg-type]
    "open store": (lambda: pcam.open_store(3), "path= is 3; give"),  # type: ignore[arg-type]
    "open model": (lambda: pcam.open_model(None), "path= is None; give"),  # type: ignore[arg-type]
    "long path": (lambda: pcam.open_store("x" * 5000), "a long text, which cannot be a path"),
    "zero byte": (lambda: pcam.open_model("a\0b"), "cannot be a path"),
    "empty path": (lambda: pcam.fit("store", ""), "store= |path= is '', which cannot"),
    "features of a number": (lambda: pcam.features(5), "images must be an array.* not int"),
    "fit on an array": (lambda: pcam.fit(ARRAY, "model"), "store= is of type ndarray; give a feature"),  # type: ignore[arg-type]
    "two folds": (lambda: fitted(folds=2), "folds= is 2; give a whole number from 3 to 20"),
    "no folds": (lambda: fitted(folds=0), "folds= is 0; give"),
    "folds as text": (lambda: fitted(folds="5"), "folds= is '5'; give a whole number"),
    "half folds": (lambda: fitted(folds=np.float64(4.5)), "folds= is 4.5; give a whole number"),
    "seed": (lambda: fitted(seed=-1), "seed= is -1; give a whole number from 0 to 2,147,483,647"),
    "trials": (lambda: fitted(trials=-1), "trials= is -1; give"),
    "no trials": (lambda: fitted(trials=None), "trials= is None; give"),
    "memory": (lambda: fitted(max_memory=0), "max_memory= is 0; give a number from 0.1 to"),
    "no split": (lambda: fitted(split=None), "split= is None; give a name"),
    "flags": (lambda: fitted(overwrite="no"), "overwrite= is 'no'; give True or False"),
    "flags of extract": (lambda: extracted(unseen=None), "unseen= is None; give True or False"),
    "families": (lambda: fitted(families=3), "families= is 3; give names, comma-separated"),
    "families of fit": (lambda: fitted(families=["lbp", 3]), "families= holds an item 3; give"),
    "threads": (lambda: extracted(threads=-2), "threads= is -2; give a whole number from 0 to"),
    "half threads": (lambda: pcam.features(ARRAY, families="color", threads=1.5), "threads= is 1.5"),  # type: ignore[arg-type]
    "True": (lambda: fitted(threads=True), "threads= is True; give"),
    "names": (lambda: pcam.features(ARRAY, families={"a": 1}), "families= is of type dict"),  # type: ignore[arg-type]
    "progress": (lambda: extracted(progress="bars"), "progress= is 'bars'; give 'bar', None or"),
    "mpp": (lambda: pcam.open_source("synthetic:20", fit="resize", mpp="1"), "mpp= is '1'; give"),  # type: ignore[arg-type]
    "encoder": (lambda: extracted(encoder=5), "encoder= is 5; give its name, or EncoderOptions"),
    "fit of a source": (
        lambda: extracted(pcam.open_source("synthetic:20"), fit="resize"),
        "fit= and mpp= are for the path of a source; give them to open_source",
    ),
    "encoder of embeddings": (lambda: pcam.embeddings(ARRAY, 5), "encoder= is 5; give a text"),  # type: ignore[arg-type]
    "depths": (lambda: pcam.embeddings(ARRAY, depths=5), "depths= is 5; give names, comma-separated"),  # type: ignore[arg-type]
    "split": (lambda: extracted(split=["train"]), "split= is of type list; give a text"),
    "log": (lambda: extracted(log=None), "log= is None; give a function, such as print"),
    "folds_from": (lambda: fitted(folds_from=5), "folds_from= is 5; give the path of a model"),
    "array of one text": (
        lambda: pcam.features(np.array("a.png")),
        "images must be an array.*, not ndarray",
    ),
    "zero byte in a list": (lambda: pcam.features(["a\0.png"], families="color"), "cannot be the path"),
    "zero byte in a path": (lambda: pcam.features("a\0.png"), "images= is .* cannot be a path"),
    "report": (
        lambda: compared(resamples=100).report("a.html", model=5),
        "model= is 5; give a model or",
    ),
    "unequal lists": (
        lambda: pcam.compare(TRUTH, {"a": [[0.1], [0.2, 0.3]]}),
        "different lengths; give",
    ),
    "resamples": (lambda: compared(resamples=99), "resamples= is 99; give .* from 100 to 1,000,000"),
    "specificity": (lambda: compared(specificity=95), "specificity= is 95; give a number from 0 to 1"),
    "margin": (lambda: compared(margin=0), "margin= is 0; give a number from 1e-06 to 0.5"),
    "NaN": (lambda: compared(margin=float("nan")), "margin= is nan; give"),
    "slides": (lambda: compared(slides=5), "slide table is given as int, without ids; give a Series"),
    "slide array": (lambda: compared(slides=np.arange(20)), "slide table is given as ndarray"),
    "models in a list": (
        lambda: pcam.compare(TRUTH, [SCORES, SCORES]),  # type: ignore[list-item]
        r'without names; give a mapping .*, \{"name": predictions\}',
    ),
    "one model": (lambda: pcam.compare(TRUTH, TRUTH), "without names; give a mapping"),  # type: ignore[arg-type]
    "one file": (lambda: pcam.compare(TRUTH, "a.csv"), "without names; give a mapping"),
    "empty name": (
        lambda: pcam.compare(TRUTH, {"": SCORES}),
        r'name is empty; give it one, as \{"name": predictions\}',
    ),
    "probability": (lambda: pcam.compare(TRUTH, {"a": SCORES + 1}), r"row 0: 1\.1 for p0 is not a"),
    "label": (lambda: pcam.compare(TRUTH * 2, {"a": SCORES}), "the label of p1 is '2', not 0 or 1"),
    "by": (lambda: compared(by="table.csv"), "by= takes a mapping"),
    "by array": (lambda: compared(by={"site": np.arange(20)}), "by= table is given as ndarray"),
    "pairs": (lambda: compared(pairs="a:b"), "pairs= takes a list of pairs"),
    "features": (lambda: compared(features=ARRAY), "features= is of type ndarray; give a feature"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mechanics_wrong_arguments_are_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert str(caught.value).count("\n") == 0
    assert not list(tmp_path.iterdir())


def test_mechanics_numpy_numbers_and_named_limits_are_taken() -> None:
    result = compared(
        resamples=np.int64(100), seed=np.int32(0), margin=np.float32(0.5), specificity=1, threads=1
    )
    assert type(result.to_dict()["resamples"]) is int
    assert type(result.to_dict()["margin"]) is float


def test_mechanics_a_list_of_predictions_is_of_seeds() -> None:
    columns = np.stack([SCORES, SCORES**2], axis=1)
    expected = pcam.compare(TRUTH, {"a": columns}, resamples=100).models
    series = pd.Series(SCORES**2, index=IDS)
    for seeds in ([SCORES, SCORES**2], [SCORES, series], (SCORES, series[::-1])):
        found = pcam.compare(TRUTH, {"a": seeds}, resamples=100).models
        pd.testing.assert_frame_equal(found, expected)
    assert expected["seeds"].tolist() == [2]


def test_mechanics_extract_brings_patches_to_96_pixels(tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.fromarray(LARGE[0] + int(label)).save(tmp_path / "images" / label / f"{label}.png")
    with pytest.raises(InputError, match="fit="):
        extracted(tmp_path / "images", tmp_path / "store")
    store = extracted(tmp_path / "images", tmp_path / "store", fit="crop", mpp=0.972)
    assert store.manifest.source.fit == {"how": "crop", "mpp": 0.972, "width": 128, "height": 128}


def test_mechanics_estimators_do_not_advise_options_that_they_lack(tmp_path: Path) -> None:
    for call in (
        lambda: PatchFeatures("color").fit(LARGE),
        lambda: PatchFeatures("color").transform(LARGE),
        lambda: PatchClassifier("color").fit(LARGE, [0, 1]),
    ):
        with pytest.raises(InputError, match="choose with other_sizes= how to bring") as caught:
            call()
        assert "128×128" in str(caught.value)
        assert "--" not in str(caught.value)
