"""The server and the inputs of the campaign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.harness import Command, Place, Server

SMALL = ("--families", "color", "--threads", 1)
FEW = ("--folds", 3)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="session")
def inputs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small data sets, a store of the first, and one that is large enough for a whole run."""
    folder = tmp_path_factory.mktemp("inputs")
    for name, seed in (("one", 1), ("two", 2)):
        server.make("synth", folder / name, "--patches", 24, "--slides", 6, "--seed", seed)
    server.make("synth", folder / "more", "--patches", 120, "--slides", 12, "--seed", 3)
    server.make("extract", folder / "one", folder / "store", *SMALL, "--copies", 0)
    return folder


@pytest.fixture(scope="session")
def models(server: Server, inputs: Path) -> Path:
    """The folder of the inputs, with two models fitted on the store, "first" and "second"."""
    for name, seed in (("first", 1), ("second", 2)):
        server.make("fit", inputs / "store", inputs / name, *SMALL, *FEW, "--seed", seed)
    return inputs


@pytest.fixture(scope="session")
def commands(inputs: Path) -> dict[str, Command]:
    """The commands that write a folder or files, each small."""
    one, two, store = inputs / "one", inputs / "two", inputs / "store"
    synth = ("--patches", 8, "--slides", 4)
    convert, fit = ("convert", one, "@out", "--threads", 1), ("fit", store, "@out", *SMALL, *FEW)
    run = ("run", inputs / "more", "@out", "--families", "lbp", "--threads", 1, "--copies", 0)
    extract = (*SMALL, "--copies", 0)
    deep = ("deep", "fit", one, "@out", "--arch", "cnn_one", "--epochs", 1, "--batch", 8)
    deep = (*deep, *FEW, "--threads", 1, "--device", "cpu")
    all_of_them = (
        Command("synth", ("synth", "@out", *synth), ("synth", "@out", *synth, "--seed", 1)),
        Command("convert", (*convert, "--to", "parquet"), (*convert, "--to", "hdf5")),
        Command(
            "extract",
            ("extract", one, "@out", *extract),
            ("extract", two, "@out", *extract),
            partly=True,
        ),
        Command("fit", (*fit, "--seed", 1), (*fit, "--seed", 2)),
        Command("deep fit", (*deep, "--seed", 1), (*deep, "--seed", 2)),
        Command("run", (*run, "--folds", 3), (*run, "--folds", 4, "--seed", 1), partly=True),
        Command(
            "predict",
            ("predict", inputs / "first", store, "@out.csv", "--threads", 1),
            ("predict", inputs / "second", store, "@out.csv", "--threads", 1),
            result="out.csv",
            overwrite=(),
        ),
    )
    return {command.name: command for command in all_of_them}


@pytest.fixture(scope="session")
def place(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("campaign")
    return Place(folder / "place", folder / "kept", server)
