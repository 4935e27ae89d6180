"""`pcam blend` and its function: the same numbers as by hand, and advice where something is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

import pcam_features as pcam
from pcam_features.errors import InputError

COUNT, SLIDES = 240, 24
IDS = [f"p{k:03d}" for k in range(COUNT)]
SLIDE = np.arange(COUNT) % SLIDES
RNG = np.random.default_rng(1)
TRUTH = pd.Series((RNG.random(COUNT) < 0.5).astype(int), IDS)


def scores(noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return expit(2.0 * TRUTH.to_numpy() - 1 + noise * rng.normal(size=COUNT))


A = pd.DataFrame({"id": IDS, "label": scores(1, 2), "fold": SLIDE % 5})
B = pd.DataFrame({"id": IDS, "label": scores(2, 3), "fold": SLIDE % 4})
NAMED = {patch: f"s{slide}" for patch, slide in zip(IDS, SLIDE, strict=True)}


def blended(**options: Any) -> pcam.Blend:
    return pcam.blend(TRUTH, {"a": A, "b": B[::-1]}, **{"slides": NAMED} | options)


def test_oracle_scores_and_gains_are_scikit_learns() -> None:
    result = blended()
    truth = TRUTH[result.out_of_fold.index]
    auc = {
        "a": roc_auc_score(TRUTH, A["label"]),
        "b": roc_auc_score(TRUTH, B["label"]),
        "blend": roc_auc_score(truth, result.out_of_fold),
    }
    for name, value in auc.items():
        assert result.scores.auc[name] == pytest.approx(value, abs=1e-12)
        assert result.scores.low[name] < value < result.scores.high[name]
    assert result.gains.difference["a"] == pytest.approx(auc["blend"] - auc["b"], abs=1e-12)
    assert result.gains.difference["b"] == pytest.approx(auc["blend"] - auc["a"], abs=1e-12)
    assert result.scores.share[["a", "b"]].tolist() == [0.5, 0.5]
    assert result.protocol == "24 slides"


def test_oracle_other_patches_are_blended_as_by_hand() -> None:
    result = blended()
    z, sd = [], []
    for table in (A, B):
        known = pd.Series(logit(table["label"].to_numpy()))
        sd.append(np.sqrt(((known - known.groupby(table["fold"]).transform("mean")) ** 2).mean()))
        z.append(known)
    ids = ["x", "y", "z"]
    new = pd.Series([0.2, 0.7, 0.9], ids), pd.Series([0.6, 0.1, 0.8], ids)
    weights = [np.mean(sd) / 2 / one for one in sd]
    intercept = np.mean([one.mean() for one in z]) - sum(
        weight * one.mean() for weight, one in zip(weights, z, strict=True)
    )
    expected = intercept + weights[0] * logit(new[0]) + weights[1] * logit(new[1])
    found = result.predict({"b": new[1][::-1], "a": new[0]})
    stack = result.to_dict()["blend"]["calibration"]
    p = expit(expected[found.index])
    curve = stack["low"] * np.log(p) - stack["high"] * np.log1p(-p) + stack["shift"]
    np.testing.assert_allclose(found, expit(curve))
    assert sorted(found.index) == ids


def test_mechanics_what_is_missing_is_asked_for() -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: pcam.blend(TRUTH, {"a": A}, slides=NAMED), "2 models or more, and 1 is given"),
        (lambda: blended(shares="best"), "there are no shares 'best'; there are: equal, fitted"),
        (
            lambda: pcam.blend(TRUTH, {"a": A, "b": B.drop(columns="fold")}, slides=NAMED),
            "state with vouch=True",
        ),
        (lambda: blended().predict({"a": A}), "predictions of a were given"),
        (
            lambda: blended().predict({"a": A[:10], "b": B[:9]}),
            "do not match those of a: 1 of its ids is missing",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as refusal:
            call()
        assert message in str(refusal.value)
    unknown = pcam.blend(
        TRUTH, {"a": A, "b": B.drop(columns="fold")}, slides=NAMED, vouch=True, folds=4
    )
    assert unknown.to_dict()["parts"]["b"]["folds"] is None


def test_mechanics_the_command_reads_folders_folds_and_tests(
    pcam: Callable[..., Result], tmp_path: Path
) -> None:
    truth, slides = tmp_path / "truth.csv", tmp_path / "slides.csv"
    TRUTH.rename_axis("id").rename("label").to_csv(truth)
    pd.Series(NAMED).rename_axis("id").rename("slide").to_csv(slides)
    A.to_csv(tmp_path / "a.csv", index=False)
    files = [tmp_path / f"b{k}.csv" for k in range(4)]
    for k, file in enumerate(files):
        B.loc[B["fold"] == k, ["id", "label"]].to_csv(file, index=False)
    new = pd.DataFrame({"id": ["x", "y"], "label": [0.3, 0.8]})
    new.to_csv(tmp_path / "new_a.csv", index=False)
    new[::-1].to_csv(tmp_path / "new_b.csv", index=False)
    words = [
        *("blend", tmp_path / "a.csv", f"b={','.join(map(str, files))}", "--truth", truth),
        *("--slides", slides, "--out", tmp_path / "out.csv"),
    ]
    done = pcam(*words, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    expected = blended()
    for name in ("a", "b", "blend"):
        assert said["out_of_fold_auc"][name]["value"] == pytest.approx(expected.scores.auc[name])
    assert said["parts"]["b"]["folds"] == 4
    written = pd.read_csv(tmp_path / "out.csv").set_index("id")["label"]
    np.testing.assert_allclose(written, expected.out_of_fold[written.index], rtol=1e-9)
    tests = ("--test", tmp_path / "new_a.csv", "--test", tmp_path / "new_b.csv")
    done = pcam(*words, *tests)
    assert done.code == 0, done.err
    assert "b added to a" in done.out
    assert pd.read_csv(tmp_path / "out.csv")["id"].tolist() == ["x", "y"]
    done = pcam(*words[:-2], *tests)
    assert done.code == 2
    assert "add --out FILE" in done.err
