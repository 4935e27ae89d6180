"""A comparison of eight models, all against all, stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_browser import wait_for

from pcam_features.evaluate import inputs
from pcam_features.evaluate.comparison import run
from pcam_features.evaluate.options import ComparisonOptions
from pcam_features.evaluate.result import Comparison
from pcam_features.learn import exhibits
from pcam_features.report import comparison_page, tables

# Names, how clear their predictions are, and their training times; that of the last is unknown.
MODELS = (
    ("stack", 2.6, 420),
    ("embeddings", 2.5, 150),
    ("cnn_one", 0.8, 900),
    ("cnn_two", 1.2, 1680),
    ("residual", 1.8, 1500),
    ("p4m_densenet", 1.8, 9000),
    ("stack and efficientnet_lite0", 4.0, 4800),
    ("hand-made", 2.0, None),
)
BEST = "stack and efficientnet_lite0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> inputs.ComparisonData:
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    ids = [f"p{k}" for k in range(600)]
    pd.DataFrame({"id": ids, "label": labels}).to_csv(folder / "truth.csv", index=False)
    slides = pd.DataFrame({"id": ids, "slide": rng.integers(0, 30, 600)})
    slides.to_csv(folder / "slides.csv", index=False)
    common, specs = rng.normal(size=600), []
    for name, clear, seconds in MODELS:
        odds = clear * (labels - 0.5) + 0.8 * common + rng.normal(size=600)
        file = folder / f"{name}.csv"
        pd.DataFrame({"id": ids, "label": 1 / (1 + np.exp(-odds))}).to_csv(file, index=False)
        rate = f'"predict_patches_per_second": {10 * clear}'
        time = "" if seconds is None else f', "train_seconds": {seconds}'
        file.with_suffix(".cost.json").write_text(f"{{{rate}{time}}}")
        specs.append(f"{name}={file}")
    return inputs.gather(folder / "truth.csv", specs, slides=str(folder / "slides.csv"))


@pytest.fixture(scope="module")
def result(data: inputs.ComparisonData) -> Comparison:
    return run(data, ComparisonOptions(resamples=200))


def test_invariant_the_verdict_names_each_model_once(result: Comparison) -> None:
    verdict = result.verdict
    assert verdict.startswith(f"{BEST} has the highest AUC")
    sentences = verdict.split(". ")
    assert len(sentences) <= 4
    better = {pair.b if pair.a == BEST else pair.a for pair in result.differences if wins(pair)}
    for name in {name for name, *_ in MODELS} - {BEST}:
        (said,) = [one for one in sentences[1:] if name in one.replace(BEST, "")]
        assert said.startswith("It is better than") == (name in better)
    assert better
    gaps = [abs(pair.difference) for pair in result.differences if wins(pair)]
    assert f"by {min(gaps):.4f} to {max(gaps):.4f}" in verdict


def wins(pair: Any) -> bool:
    return BEST in (pair.a, pair.b) and pair.p_holm < 0.05


def test_mechanics_few_pairs_are_drawn_and_all_are_listed(result: Comparison) -> None:
    chart = comparison_page.differences_chart(result)
    assert len(chart.rows) == len(result.differences) == 28
    drawn = chart.figure["layout"]["yaxis"]["ticktext"]
    assert len(drawn) == 7
    assert all(BEST in one for one in drawn)
    assert "the table has all 28" in chart.caption


def test_mechanics_speeds_of_the_fastest_and_the_slowest_are_compared(result: Comparison) -> None:
    assert tables.slower(result) == [
        f"Predicting a patch with cnn_one takes 5.0 times as long as with {BEST}."
    ]


def test_mechanics_the_budget_has_the_best_model_at_each_time(result: Comparison) -> None:
    chart = comparison_page.budget_chart(result)
    assert chart is not None
    line, *points = chart.figure["data"]
    aucs = {model.name: model.auc for model in result.models}
    named = [point["name"] for point in points if "text" in point]
    assert set(named) == {"embeddings", "stack", BEST}
    assert line["x"][:-1] == [150, 420, 4800]
    assert line["y"][:-1] == [aucs["embeddings"], aucs["stack"], aucs[BEST]]
    assert [row[0] for row in chart.rows][:2] == ["embeddings", "stack"]  # by time
    assert "Not shown, because its time is unknown: hand-made" in chart.caption


@pytest.mark.parametrize("width", [1200, 390])
def test_mechanics_every_chart_is_drawn_in_both_widths(
    width: int, data: inputs.ComparisonData, result: Comparison, browser: Any, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    comparison_page.write(page, result, exhibits.gather(data))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    wait_for(browser, "return document.querySelectorAll('.plot .main-svg').length > 0")
    for tab in browser.find_elements("css selector", "[role=tab]"):
        tab.click()
    empty = "return [...document.querySelectorAll('.plot')].filter(b => !b.querySelector('.main-svg'))"
    wait_for(browser, f"{empty}.length === 0")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
