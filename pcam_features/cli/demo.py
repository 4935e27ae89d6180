"""`pcam demo`: runs the complete workflow on synthetic patches and prints each command."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from ..convert.synthesize import SHEET, TEST_LABELS
from ..sources.kaggle import SAMPLE
from ..sources.slides import BESIDE
from ..sources.synthetic import default_slides
from ..storage.files import write_json
from ..storage.folders import check_free
from ..storage.links import check_written
from ..store.layout import MANIFEST
from . import console

MARK = "demo.json"  # marks a folder written by a demo, which another demo may replace


def run(folder: Path, patches: int, seed: int, pcam: Callable[[list[str]], None]) -> None:
    """Run every command on synthetic patches, in `folder`. `pcam` runs one command from its arguments.

    Raises InputError if the folder exists and was not written by an earlier demo.
    """
    started = time.monotonic()
    check_free(folder, overwrite=True, what="demo folder", mark=MARK, key="patches")
    folder.mkdir(parents=True, exist_ok=True)
    check_written(folder)
    write_json(folder / MARK, {"patches": patches, "seed": seed}, folder)
    patches_folder, features = folder / "patches", folder / "features"
    model, color_model = folder / "model", folder / "color_model"
    stack_csv, color_csv = folder / "stack.csv", folder / "color.csv"
    slides = default_slides(patches)
    size = ["--patches", patches, "--slides", slides, "--seed", seed]
    # The results of an earlier demo in this folder are replaced.
    anew = ["--overwrite"] if patches_folder.exists() else []
    store_anew = ["--overwrite"] if (features / MANIFEST).exists() else []
    slide_table = ["--slides", patches_folder / BESIDE]
    report, check_page = folder / "report.html", folder / "check.html"
    shown = ["--features", features, "--model", model, "--report", report]
    commands: list[tuple[str, list[object]]] = [
        ("Create synthetic patches with known labels", ["synth", patches_folder, *size, *anew]),
        ("Check the data", ["check", patches_folder, "--report", check_page]),
        ("Compute the features", ["extract", patches_folder, features, "--copies", 0, *store_anew]),
        ("Fit a model on all features", ["fit", features, model, "--overwrite"]),
        (
            "Fit a second model on color alone, for comparison",
            ["fit", features, color_model, "--families", "color", "--overwrite"],
        ),
        ("Predict the test slides with both models", ["predict", model, features, stack_csv]),
        ("", ["predict", color_model, features, color_csv]),
        (
            "Write a submission",
            ["submit", model, features, folder / "submission.csv", "--sample", patches_folder / SAMPLE],
        ),
        (
            "Compare the two models on the test slides",
            ["compare", patches_folder / TEST_LABELS, stack_csv, color_csv, *slide_table, *shown],
        ),
    ]
    for title, words in commands:
        arguments = [str(word) for word in words]
        if title:
            console.say(f"\n# {title}")
        console.say(f"$ pcam {shlex.join(arguments)}")
        pcam(arguments)
    console.say(f"\nDone in {time.monotonic() - started:.0f} s. Next steps:")
    console.say(f"  reports        open {report} and {check_page} in a browser")
    console.say(f"  patches        open {patches_folder / SHEET}")
    console.say(f"  features       read {features} with pandas.read_parquet, polars or DuckDB")
    console.say("  your patches   pcam run FOLDER results")
    console.say("  Kaggle         see README.md: from download to upload")
