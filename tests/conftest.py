"""Patches to test on, and the command line as a user meets it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from campaign.harness import SECONDS, SEED, TOTALS, Totals
from in_browser import CHROMIUM, DRIVER, FLAGS

from pcam_features.sources import synthetic

if TYPE_CHECKING:
    from pcam_features.slides.synthesize import SyntheticSlide

SHARED = Path(__file__).parents[2] / "shared" / "data"


FITTED = ("color", "glcm", "lbp")  # enough families for a model


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the campaign's totals of a test process to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["campaign"] = asdict(TOTALS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TOTALS.add(Totals(**getattr(node, "workeroutput", {}).get("campaign", {})))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TOTALS.tried or TOTALS.skipped:
        terminalreporter.section(f"fault campaign: {SECONDS:g} s, seed {SEED}")
        for line in TOTALS.lines():
            terminalreporter.write_line(line)


class Result(NamedTuple):
    code: int
    out: str
    err: str


def files_in(folder: Path, without: Collection[str]) -> dict[str, bytes]:
    """The content of each file below a folder, by its path there, without files of some names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }


@pytest.fixture
def pcam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command as `pcam` would, in this process."""
    from pcam_features.cli.main import main

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["pcam", *(str(word) for word in words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def kaggle_folder() -> Path:
    if not (SHARED / "kaggle" / "train_labels.csv").is_file():
        pytest.skip(f"no real patches in {SHARED}")
    return SHARED / "kaggle"


@pytest.fixture(scope="session")
def pcam_folder() -> Path:
    if not (SHARED / "pcam" / "labels.csv").is_file():
        pytest.skip(f"no real patches in {SHARED}")
    return SHARED / "pcam"


@pytest.fixture(scope="session")
def real_batch(kaggle_folder: Path) -> np.ndarray:
    from pcam_features.sources import kaggle

    return kaggle.open_source(kaggle_folder).splits["train"].read(100, 124)


@pytest.fixture(scope="session")
def synthetic_batch() -> np.ndarray:
    return synthetic.open_source("synthetic:24:6:5").splits["train"].read(0, 24)


def degenerate() -> dict[str, np.ndarray]:
    """Patches on which statistics are undefined unless somebody defined them."""
    shape = (96, 96, 3)
    one_dot = np.full(shape, 255, np.uint8)
    one_dot[48, 48] = (90, 40, 120)
    checkerboard = np.zeros(shape, np.uint8)
    checkerboard[::2, ::2] = checkerboard[1::2, 1::2] = 255
    half_glass = np.full(shape, 245, np.uint8)
    half_glass[:, :48] = (130, 70, 150)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "constant": np.full(shape, (180, 120, 170), np.uint8),
        "one_dot": one_dot,
        "checkerboard": checkerboard,
        "saturated": np.where(noise > 127, 255, 0).astype(np.uint8),
        "half_glass": half_glass,
        "noise": noise,
    }


@pytest.fixture(scope="session")
def degenerate_batch() -> np.ndarray:
    return np.stack(list(degenerate().values()))


@pytest.fixture(scope="session", params=["real", "synthetic", "degenerate"])
def batch(request: pytest.FixtureRequest) -> np.ndarray:
    found: np.ndarray = request.getfixturevalue(f"{request.param}_batch")
    return found


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set on disk, in Kaggle's layout."""
    from pcam_features.convert.synthesize import synthesize

    folder = tmp_path_factory.mktemp("data") / "synthetic"
    synthesize(folder, patches=240, slides=12, seed=1)
    return folder


@pytest.fixture(scope="session")
def store_folder(synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of `synthetic_folder`."""
    from pcam_features.engine import cpu
    from pcam_features.extraction.extract import extract
    from pcam_features.families.registry import chosen
    from pcam_features.sources.detect import open_source

    folder = tmp_path_factory.mktemp("features") / "store"
    source, _ = open_source(str(synthetic_folder))
    extract(folder, source, source.only(None), chosen(None), cpu, threads=2)
    return folder


@pytest.fixture(scope="session")
def model_folder(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model fitted on `store_folder`."""
    from pcam_features.learn.fit import FitOptions, deal, fit
    from pcam_features.learn.settings import Compute
    from pcam_features.store.store import open_store

    folder = tmp_path_factory.mktemp("models") / "model"
    store = open_store(store_folder)
    fit(
        store,
        folder,
        split="train",
        families=list(FITTED),
        folds=deal(store, "train", 3, 0),
        options=FitOptions(Compute("cpu", threads=2, seed=0)),
    )
    return folder


@pytest.fixture(scope="session")
def made_slide(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSlide:
    """A synthetic slide of one block with three nests of tumor."""
    from pcam_features.slides.synthesize import synthesize_slide

    path = tmp_path_factory.mktemp("slides") / "slide.tif"
    return synthesize_slide(path, 1000, 900, nests=3, seed=3)


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one quick family."""
    import pcam_features as api

    folder = tmp_path_factory.mktemp("quick")
    store = api.extract("synthetic:240:12:1", folder / "store", families="color", progress=None)
    return api.fit(store, folder / "model", folds=3, progress=None).path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver on the PATH")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Any:
    """The browser, without what it has logged of the pages of other tests."""
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    return chromium
