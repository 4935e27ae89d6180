"""What a fit prints says in plain words when nothing was learned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Result

import pcam_features
from pcam_features.cli.show import public
from pcam_features.evaluate.intervals import Estimate
from pcam_features.learn.bundle import read
from pcam_features.learn.manifest import ModelManifest
from pcam_features.learn.stack import COMBINED
from pcam_features.report.card import card
from pcam_features.report.sentences import findings, not_above_chance
from pcam_features.storage.sums import sealed

Run = Callable[..., Result]


def with_auc(manifest: ModelManifest, *auc: float) -> ModelManifest:
    return replace(manifest, out_of_fold_auc=manifest.out_of_fold_auc | {COMBINED: Estimate(*auc)})


@pytest.mark.parametrize(
    ("auc", "said"),
    [
        ((0.52, 0.44, 0.6), "out-of-fold AUC, 0.5200 [0.4400, 0.6000], is not above 0.5"),
        ((0.5, 0.5, 0.5), "is not above 0.5, which is chance"),
        ((0.6, 0.5, 0.7), "is not above 0.5, which is chance"),
        ((0.4, 0.3, 0.5), "is not above 0.5, which is chance"),
        ((0.4, 0.3, 0.49), "is below 0.5: its ranking looks inverted"),
        ((0.6, 0.51, 0.7), ""),
    ],
)
def test_mechanics_a_model_that_is_not_above_chance_says_so(
    auc: tuple[float, float, float], said: str, model_folder: Path
) -> None:
    manifest = with_auc(read(model_folder).manifest, *auc)
    sentences = not_above_chance(Estimate(*auc))
    assert len(sentences) == bool(said)
    assert findings(manifest)[0].startswith("warning: ") == bool(said)
    assert all(said in sentence for sentence in sentences)
    assert ("warning: the combined" in card(manifest)) == bool(said)
    content = public(manifest)
    assert content["above_chance"] == (not said)
    assert content["findings"] == findings(manifest)


def test_mechanics_a_fit_on_shuffled_labels_says_that_nothing_was_learned(
    synthetic_folder: Path, pcam: Run, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(synthetic_folder, tmp_path / "patches"))
    labels = pd.read_csv(folder / "train_labels.csv")
    labels["label"] = np.random.default_rng(0).permutation(labels["label"])
    labels.to_csv(folder / "train_labels.csv", index=False)
    features, model = tmp_path / "features", tmp_path / "model"
    words = ("--families", "lbp", "--split", "train")
    assert pcam("extract", folder, features, *words).code == 0
    result = pcam("fit", features, model, "--folds", 3, "--threads", 1, "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    auc = printed["out_of_fold_auc"][COMBINED]
    assert auc["low"] <= 0.5
    assert printed["above_chance"] is False
    opened = pcam_features.open_model(model)
    assert opened.findings == printed["findings"]
    assert "0.5" in opened.findings[0]
    assert "<strong>warning: the combined model" in opened._repr_html_()
    assert opened.findings[0] in str(opened.card).replace("\\", "")
    assert json.loads(pcam("model", model, "--json").out)["above_chance"] is False


def test_mechanics_leaky_columns_are_named_on_stderr_in_the_card_and_in_json(
    model_folder: Path,
) -> None:
    sound = read(model_folder).manifest
    columns = {f"color__leak_{k}": 1 - k / 10_000 for k in range(12)}
    leaking = replace(sound, leaky_columns=columns)
    (said,) = [one for one in findings(leaking) if "tell the label alone" in one]
    assert said.startswith(
        "warning: 12 columns tell the label alone, out of sample: color__leak_0 (AUC 1."
    )
    assert "color__leak_9 (AUC 0.9991) and 2 more;" in said
    assert "color__leak_0 (AUC 1.0000)" in card(leaking)
    assert public(leaking)["leaky_columns"] == columns
    again = ModelManifest.from_dict(sealed(leaking.to_dict()), model_folder)
    assert again.leaky_columns == columns


@pytest.mark.parametrize(("auc", "warns"), [(0.9989, False), (0.9991, True), (1.0, True)])
def test_mechanics_an_auc_that_is_too_good_is_not_reported_without_a_word(
    auc: float, warns: bool, model_folder: Path
) -> None:
    manifest = with_auc(read(model_folder).manifest, auc, auc - 0.01, 1.0)
    assert any("is too good for patches of tissue" in one for one in findings(manifest)) == warns
