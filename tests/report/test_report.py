"""The report opens by itself in a browser, asks for nothing, and can be used without a mouse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Result
from in_browser import asks_for_nothing, axe_finds_nothing, wait_for
from signed import seal

from pcam_features.evaluate.comparison import run

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def tables(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth of the training patches of a store, and three models, one of two seeds."""
    from pcam_features.store.store import open_store

    folder = tmp_path_factory.mktemp("report")
    patches = open_store(store_folder).patches("train")
    truth = patches.assign(label=patches["label"].astype(int))[["id", "label"]]
    truth.to_csv(folder / "truth.csv", index=False)
    rng = np.random.default_rng(0)
    for name, noise in (("good", 0.5), ("poor", 2.0), ("p</script>'\"<b>", 1.0)):
        score = 1 / (1 + np.exp(-(2 * truth["label"] - 1 + rng.normal(size=len(truth)) * noise)))
        truth.assign(label=score).to_csv(folder / f"{name.replace('/', '_')}.csv", index=False)
    truth.assign(label=0.4).to_csv(folder / "spoiled.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def report(tables: Path, store_folder: Path, model_folder: Path) -> Path:
    from pcam_features.evaluate import inputs
    from pcam_features.evaluate.options import ComparisonOptions
    from pcam_features.learn import exhibits
    from pcam_features.report.comparison_page import write
    from pcam_features.storage.costs import beside

    odd = next(tables.glob("p<*"))
    specs = [str(tables / "good.csv"), f"seeds={tables / 'poor.csv'},{odd}", f"</script><i>={odd}.csv"]
    shutil.copy(odd, f"{odd}.csv")
    (tables / "good.cost.json").write_text('{"parameters": 10, "train_seconds": 20}')
    beside(Path(f"{odd}.csv")).write_text('{"train_seconds": 3000}')
    data = inputs.gather(tables / "truth.csv", specs, features=store_folder)
    result = run(data, ComparisonOptions(margin=0.01, resamples=200))
    shown = exhibits.gather(data, model=exhibits.open_model(model_folder, data))
    write(tables / "report.html", result, shown, published=True)
    return tables / "report.html"


@pytest.fixture
def opened(browser: Any, report: Path) -> Any:
    browser.set_window_size(1200, 900)
    browser.get(report.as_uri())
    wait_for(browser, "return document.querySelectorAll('.plot .main-svg').length > 0")
    return browser


def test_mechanics_a_report_asks_for_nothing_and_complains_of_nothing(
    opened: Any, report: Path
) -> None:
    asks_for_nothing(opened, report)


def test_mechanics_every_chart_is_drawn_once_its_tab_is_open(opened: Any) -> None:
    charts = set(
        json.loads(opened.execute_script("return document.getElementById('charts').textContent"))
    )
    assert {"models", "differences", "roc", "precision", "reliability", "agreement"} <= charts
    assert {"families", "ablation", "budget"} <= charts
    tabs = opened.find_elements("css selector", "[role=tab]")
    assert [tab.text for tab in tabs] == ["ROC", "Precision and recall", "Reliability"]
    for tab in tabs:
        tab.click()
        assert tab.get_attribute("aria-selected") == "true"
        panels = opened.find_elements("css selector", "[role=tabpanel]")
        assert sum(panel.is_displayed() for panel in panels) == 1
    drawn = opened.execute_script(
        "return [...document.querySelectorAll('.plot')].filter(box => box.querySelector('.main-svg'))"
        ".map(box => box.dataset.chart)"
    )
    assert set(drawn) == charts


def test_mechanics_the_budget_is_drawn_of_models_whose_time_is_known(opened: Any) -> None:
    caption = opened.find_element("css selector", "[data-chart=budget]").find_element(
        "xpath", "./ancestor::figure"
    )
    assert "Not shown, because its time is unknown: seeds" in caption.text
    names = opened.find_elements("css selector", "[data-chart=budget] .legendtext")
    assert [name.text for name in names] == ["good", "</script><i>"]


def test_mechanics_tabs_turn_by_arrow_keys_and_points_say_what_they_are(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    first, second, last = opened.find_elements("css selector", "[role=tab]")
    first.click()
    first.send_keys(Keys.ARROW_RIGHT)
    assert second.get_attribute("aria-selected") == "true"
    assert opened.switch_to.active_element == second
    second.send_keys(Keys.ARROW_LEFT)
    first.send_keys(Keys.ARROW_LEFT)
    assert last.get_attribute("aria-selected") == "true"
    point = opened.find_element("css selector", "[data-chart=models] .points path")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(opened).move_to_element(point).perform()
    wait_for(opened, "return !!document.querySelector('[data-chart=models] .hovertext')")
    assert "[0." in opened.find_element("css selector", "[data-chart=models] .hovertext").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_mechanics_axe_finds_nothing_and_nothing_sticks_out(
    opened: Any, scheme: str, width: int, tmp_path: Path
) -> None:
    axe_finds_nothing(opened, width, scheme)


def test_mechanics_names_are_text_not_html(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    page, charts = text.split('<script type="application/json" id="charts">')
    assert "<i>" not in page
    assert "<i>" not in charts.split("</script>")[0]
    assert "&lt;/script&gt;&lt;i&gt;" in text
    assert text.count("</script>") == 3
    assert "default-src 'none'" in text
    assert text.count("<img ") == 12


def test_mechanics_a_report_needs_what_it_shows(pcam: Run, tables: Path, store_folder: Path) -> None:
    run = ("compare", tables / "truth.csv", tables / "good.csv")
    out = tables / "no.html"
    for words, said in (
        (("--model", "m"), "add --features"),
        (("--report", out, "--model", "m"), "add --features"),
        (("--report", out, "--features", store_folder, "--model", "m"), "not a model"),
        (("--report", out, "--features", store_folder, "--source", "nowhere"), "no folder"),
        (("--report", out, "--features", tables), "not a feature store"),
        (("--json", "--markdown"), "leave one out"),
        (("--validation", "x"), "must be given together"),
    ):
        second = () if words[0] != "--report" else (tables / "poor.csv",)
        refused = pcam(*run, *second, *words)
        assert (refused.code, refused.out) == (2, ""), words
        assert said in refused.err
    assert not out.exists()


def test_mechanics_a_damaged_model_is_told_of_before_the_report(
    pcam: Run, tables: Path, store_folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_folder, tmp_path / "m")
    manifest = json.loads((model_folder / "manifest.json").read_text())
    run = ("compare", tables / "truth.csv", tables / "good.csv", "--features", store_folder)
    for change in (
        {"importance": None},
        {"calibration": {}},
        {"out_of_fold_auc": {"a": "x"}},
        {"versions": []},
        {"leakage": None},
    ):
        seal(tmp_path / "m", manifest | change)
        refused = pcam(*run, "--model", tmp_path / "m", "--report", tmp_path / "r.html")
        assert (refused.code, refused.out) == (2, ""), change
        assert "damaged" in refused.err
    hostile = {'<a href="https://evil.example/">x</a><!--<script>': {"gain": 0, "contribution": 1.0}}
    changed = manifest | {"importance": manifest["importance"] | hostile}
    seal(tmp_path / "m", changed)
    refused = pcam(*run, "--model", tmp_path / "m", "--report", tmp_path / "r.html")
    assert (refused.code, refused.out) == (2, "")
    assert "of no model or family" in refused.err
    assert not (tmp_path / "r.html").exists()


def test_mechanics_a_report_without_features_or_pair_is_whole(pcam: Run, tables: Path) -> None:
    out = tables / "alone.html"
    result = pcam("compare", tables / "truth.csv", tables / "good.csv", "--report", out, "--json")
    assert result.code == 0
    assert json.loads(result.out)["differences"] == []
    assert "of unknown slide" in out.read_text(encoding="utf-8")
    constant = pcam("compare", tables / "truth.csv", tables / "spoiled.csv")
    assert (constant.code, "all 0.4" in constant.err) == (2, True)
    pd.read_csv(tables / "truth.csv").assign(first=0.3, second=0.4).drop(columns="label").to_csv(
        tables / "nolabel.csv", index=False
    )
    assert (
        "no column label or seed" in pcam("compare", tables / "truth.csv", tables / "nolabel.csv").err
    )
