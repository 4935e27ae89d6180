"""Submissions and comparisons are exactly what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pcam_features.evaluate.intervals import delong

Run = Callable[..., Result]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Truth, slides and two models, of which the second is noisier."""
    rng = np.random.default_rng(0)
    ids = [f"p{k:03d}" for k in range(300)]
    labels = rng.integers(0, 2, 300)
    slides = [f"s{k}" for k in rng.integers(0, 15, 300)]
    pd.DataFrame({"id": ids, "label": labels}).to_csv(tmp_path / "truth.csv", index=False)
    pd.DataFrame({"id": ids, "wsi": slides}).to_csv(tmp_path / "slides.csv", index=False)
    for name, noise in (("good", 1.0), ("poor", 3.0)):
        score = 1 / (1 + np.exp(-(2 * labels - 1 + rng.normal(size=300) * noise)))
        table = pd.DataFrame({"id": ids, "label": score})
        table.sample(frac=1, random_state=1).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_oracle_comparison_is_scikit_learn_and_delong(pcam: Run, tables: Path) -> None:
    files = [tables / f"{name}.csv" for name in ("truth", "good", "poor")]
    result = json.loads(pcam("compare", *files, "--slides", tables / "slides.csv", "--json").out)
    truth = pd.read_csv(files[0]).set_index("id")["label"]
    scores = [pd.read_csv(file).set_index("id")["label"][truth.index] for file in files[1:]]
    for model, score in zip(result["models"], scores, strict=True):
        assert model["auc"] == pytest.approx(roc_auc_score(truth, score), rel=1e-12)
        for kind in ("resampled", "delong"):
            assert model[kind]["low"] < model["auc"] < model[kind]["high"]
    aucs, covariance = delong(truth.to_numpy(), np.stack(scores))
    (pair,) = result["differences"]
    z = (aucs[0] - aucs[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert pair["p_value"] == pytest.approx(2 * norm.sf(abs(z)), rel=1e-9)
    assert pair["difference"] == pytest.approx(aucs[0] - aucs[1])
    assert (result["slides"], result["patches_with_slide"]) == (15, 300)
    assert result["resampled_over"] == "slides"


def test_mechanics_unknown_slides_are_said_to_be(pcam: Run, tables: Path) -> None:
    result = pcam("compare", tables / "truth.csv", tables / "good.csv")
    assert result.code == 0
    assert "slides unknown" in result.err
    assert "patches resampled" in result.out


def spoil(table: pd.DataFrame, how: str) -> pd.DataFrame:
    values = table["label"].to_numpy().copy()
    if how == "missing":
        return table.iloc[1:]
    if how == "extra":
        return pd.concat([table, pd.DataFrame({"id": ["q"], "label": [0.5]})])
    if how == "duplicate":
        return pd.concat([table, table.iloc[:1]])
    if how == "constant":
        values[:] = 0.5
    if how == "labels":
        values = np.round(values)
    if how in ("nan", "large"):
        values[3] = np.nan if how == "nan" else 1.7
    return table.assign(label=values)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "1 of its ids are missing"),
        ("extra", "1 are not in it"),
        ("duplicate", "more than once"),
        ("constant", "nothing to compare"),
        ("labels", "give probabilities"),
        ("nan", "not a probability"),
        ("large", "not a probability"),
    ],
)
def test_mechanics_bad_predictions(how: str, words: str, pcam: Run, tables: Path) -> None:
    spoil(pd.read_csv(tables / "good.csv"), how).to_csv(tables / "bad.csv", index=False)
    result = pcam("compare", tables / "truth.csv", tables / "poor.csv", tables / "bad.csv")
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert "bad.csv" in result.err


def test_mechanics_bad_truth(pcam: Run, tables: Path) -> None:
    truth = pd.read_csv(tables / "truth.csv")
    truth.assign(label=1).to_csv(tables / "one.csv", index=False)
    assert "one class" in pcam("compare", tables / "one.csv", tables / "good.csv").err
    truth.assign(label=0.5).to_csv(tables / "half.csv", index=False)
    assert "not 0 or 1" in pcam("compare", tables / "half.csv", tables / "good.csv").err
    other = tables / "other.csv"
    other.write_text("id,slide\nzzz,s1\n")
    result = pcam("compare", tables / "truth.csv", tables / "good.csv", "--slides", other)
    assert result.code == 2
    assert "slide table" in result.err


def test_mechanics_submission_is_the_samples(
    pcam: Run, model_folder: Path, store_folder: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    sample = pd.read_csv(synthetic_folder / "sample_submission.csv").sample(frac=0.8, random_state=1)
    sample.to_csv(tmp_path / "sample.csv", index=False)
    out = tmp_path / "submission.csv"
    result = pcam("submit", model_folder, store_folder, out, "--sample", tmp_path / "sample.csv")
    assert result.code == 0
    assert f"{60 - len(sample)} predictions are not in the sample" in result.err
    submission = pd.read_csv(out)
    assert list(submission.columns) == ["id", "label"]
    assert submission["id"].tolist() == sample["id"].tolist()
    assert submission["label"].between(0, 1).all()
    assert pcam("predict", model_folder, store_folder, tmp_path / "p.csv").code == 0
    predicted = pd.read_csv(tmp_path / "p.csv").set_index("id")["label"]
    assert submission["label"].tolist() == predicted[submission["id"]].tolist()
