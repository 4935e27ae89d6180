"""The whole road on synthetic patches: every command, shown as it runs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from ..convert.synthesize import SHEET, TEST_LABELS
from ..sources.kaggle import SAMPLE
from ..sources.slides import BESIDE
from ..sources.synthetic import default_slides
from ..storage.files import check_free, write_json
from ..store.layout import MANIFEST
from . import console

MARK = "demo.json"  # says that a folder is a demo's, which another demo may replace


def run(folder: Path, patches: int, seed: int, pcam: Callable[[list[str]], None]) -> None:
    """Run every command on synthetic patches, in `folder`; `pcam` runs one from its words.

    Raises InputError if the folder exists and is not that of an earlier demo.
    """
    started = time.monotonic()
    check_free(folder, overwrite=True, what="demo folder", mark=MARK, key="patches")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, {"patches": patches, "seed": seed})
    patches_folder, features = folder / "patches", folder / "features"
    model, color_model = folder / "model", folder / "color_model"
    stack_csv, color_csv = folder / "stack.csv", folder / "color.csv"
    slides = default_slides(patches)
    size = ["--patches", patches, "--slides", slides, "--seed", seed]
    # An earlier demo in this folder is made anew.
    anew = ["--overwrite"] if patches_folder.exists() else []
    store_anew = ["--overwrite"] if (features / MANIFEST).exists() else []
    slide_table = ["--slides", patches_folder / BESIDE]
    report, check_page = folder / "report.html", folder / "check.html"
    shown = ["--features", features, "--model", model, "--report", report]
    commands: list[tuple[str, list[object]]] = [
        ("Make patches whose truth is known", ["synth", patches_folder, *size, *anew]),
        ("Look at them before they are trusted", ["check", patches_folder, "--report", check_page]),
        ("Measure them", ["extract", patches_folder, features, *store_anew]),
        ("Learn from all of it, scored across slides", ["fit", features, model, "--overwrite"]),
        (
            "Learn from color alone, to compare with",
            ["fit", features, color_model, "--families", "color", "--overwrite"],
        ),
        ("Predict slides that no model has seen", ["predict", model, features, stack_csv]),
        ("", ["predict", color_model, features, color_csv]),
        (
            "Write a submission",
            ["submit", model, features, folder / "submission.csv", "--sample", patches_folder / SAMPLE],
        ),
        (
            "Compare the two on the test slides",
            ["compare", patches_folder / TEST_LABELS, stack_csv, color_csv, *slide_table, *shown],
        ),
    ]
    for title, words in commands:
        arguments = [str(word) for word in words]
        if title:
            console.say(f"\n# {title}")
        console.say(f"$ pcam {shlex.join(arguments)}")
        pcam(arguments)
    console.say(f"\nDone in {time.monotonic() - started:.0f} s. What to try next:")
    console.say(f"  look at        {report} and {check_page} (in a browser), {patches_folder / SHEET}")
    console.say(f"  open           {features} with pandas.read_parquet, polars or DuckDB")
    console.say("  your patches   pcam extract FOLDER features && pcam fit features model")
    console.say("  Kaggle         the walk-through in README.md, from download to upload")
