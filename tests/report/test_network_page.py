"""The report of a training draws its learning curves, also in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from in_browser import asks_for_nothing, axe_finds_nothing, wait_for

from pcam_features.networks.manifest import (
    Epoch,
    HeldOutFold,
    NetworkManifest,
    TrainedPatches,
    TrainingOptions,
)
from pcam_features.report import network_page
from pcam_features.storage.costs import Cost
from pcam_features.store.manifest import Fingerprint, SourceRecord

CURVE = tuple(Epoch(0.7 / k, 1 - 0.3 / k, 1 - 0.35 / k) for k in range(1, 15))


@pytest.fixture(scope="module")
def manifest() -> NetworkManifest:
    """A fine-tuned network's, of fourteen epochs of which the twelfth is the best."""
    source = SourceRecord("folder", "data/<b>pcam</b>", "Slides are unknown.")
    return NetworkManifest(
        network="efficientnet_lite0",
        started_from="efficientnet_lite0",
        source=TrainedPatches(source, "train", 20_000, Fingerprint(*["0" * 64] * 3)),
        folds=HeldOutFold(5, 0, "grouped by pseudo-slide", "0" * 16),
        how=TrainingOptions(20, 64, 2, 0, "cpu", 2, 2e-3),
        optimizer="AdamW",
        decay=0.05,
        views=8,
        body_rate=0.25,
        smoothing=0.05,
        averaging=0.995,
        versions={"python": "3.11", "torch": "2.13"},
        positive=10_000,
        curve=CURVE,
        best_epoch=12,
        held_out_auc=0.9761,
    )


@pytest.fixture(scope="module")
def page(manifest: NetworkManifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    network_page.write(file, manifest, Cost(parameters=4_000_000, train_patches_per_second=81.5))
    return file


def charts(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page.read_text())
    assert found is not None
    return dict(json.loads(found[1]))


def test_mechanics_the_curves_are_those_of_the_manifest(page: Path) -> None:
    known = charts(page)
    held, training, best = known["auc-curve"]["data"]
    assert held["x"] == list(range(1, 15))
    assert held["y"] == [round(epoch.auc, 5) for epoch in CURVE]
    assert training["y"] == [round(epoch.training_auc, 5) for epoch in CURVE]
    assert (best["x"], best["y"]) == ([12], [round(CURVE[11].auc, 5)])
    assert known["loss-curve"]["data"][0]["y"] == [round(epoch.loss, 5) for epoch in CURVE]


def test_mechanics_settings_and_numbers_are_told_as_text(page: Path) -> None:
    text = page.read_text()
    for told in (
        "AUC 0.9761 on the held-out fold, with the weights after epoch 12 of 14",
        "20,000 patches of split train of data/&lt;b&gt;pcam&lt;/b&gt;, 10,000 of them positive",
        "<td>0.25 of it</td>",
        "<td>81.5</td>",
        "fold 0 was held out",
    ):
        assert told in text, told
    assert "<b>pcam" not in text


@pytest.mark.parametrize("width", [1200, 390])
def test_mechanics_a_browser_draws_both_charts(browser: Any, page: Path, width: int) -> None:
    browser.set_window_size(1200, 900)
    browser.get(page.as_uri())
    wait_for(browser, "return document.querySelectorAll('.plot .main-svg').length > 0")
    wait_for(
        browser,
        "return [...document.querySelectorAll('.plot')].every(box => box.querySelector('.main-svg'))",
    )
    assert len(browser.find_elements("css selector", ".plot")) == 2
    asks_for_nothing(browser, page)
    axe_finds_nothing(browser, width, "light")
