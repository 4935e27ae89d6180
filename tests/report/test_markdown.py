"""Markdown of cards and comparisons: text from files stays text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pcam_features.evaluate.comparison import run
from pcam_features.evaluate.inputs import gather
from pcam_features.evaluate.options import ComparisonOptions
from pcam_features.learn.bundle import read
from pcam_features.report.card import card
from pcam_features.report.markdown import markdown

HOSTILE = "<img src=x onerror=alert(1)>\n# [click](javascript:alert(2))"


def test_invariant_text_from_a_manifest_adds_no_html_to_a_card(model_folder: Path) -> None:
    manifest = read(model_folder).manifest
    record = replace(manifest.source.source, path=HOSTILE, kind=HOSTILE, protocol=HOSTILE)
    source = replace(manifest.source, source=record, split=HOSTILE)
    folds = replace(manifest.folds, protocol=HOSTILE)
    shown = replace(
        manifest,
        source=source,
        folds=folds,
        device=HOSTILE,
        pcam_version=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )
    text = card(shown)
    assert text.count("&lt;img") == 9
    assert "<img" not in text
    assert "[click]" not in text.replace("\\[click]", "")
    assert len(text.splitlines()) == len(card(manifest).splitlines())


def test_invariant_the_name_of_a_model_adds_no_html_to_markdown() -> None:
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.integers(0, 2, 40), index=[f"p{k}" for k in range(40)])
    name = "<img src=x onerror=alert(1)>"
    data = gather(truth, {name: rng.random(40), "b": rng.random(40)})
    text = markdown(run(data, ComparisonOptions(resamples=100)), published=False)
    assert "&lt;img" in text.splitlines()[0]
    assert "<img" not in text
