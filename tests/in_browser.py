"""A browser, and what every page of pcam's must stand in it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def wait_for(browser: Any, script: str) -> None:
    for _ in range(100):
        if browser.execute_script(script):
            return
        time.sleep(0.1)
    pytest.fail(f"never true: {script}")


def asks_for_nothing(browser: Any, page: Path) -> None:
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    addresses = {
        one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"
    }
    outside = [one for one in addresses if not one.startswith((page.as_uri(), "data:", "blob:"))]
    assert page.as_uri() in addresses
    assert not outside
    assert [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []


def axe_finds_nothing(browser: Any, width: int, scheme: str) -> None:
    from selenium_axe_python import Axe

    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wait_for(browser, f"return innerWidth === {width}")
    axe = Axe(browser)
    axe.inject()
    found = axe.run()
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found["violations"]] == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
