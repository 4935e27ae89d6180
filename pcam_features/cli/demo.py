"""`pcam demo`: runs the complete workflow on synthetic patches and prints each command."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..convert.synthesize import SHEET, TEST_LABELS
from ..sources.kaggle import SAMPLE
from ..sources.slides import BESIDE
from ..sources.synthetic import default_slides
from ..storage.files import write_json, write_text
from ..storage.folders import check_free
from ..storage.links import check_written
from ..store.layout import MANIFEST
from . import console

MARK = "demo.json"  # marks a folder written by a demo, which another demo may replace
PAGE = "index.html"  # leads to all other results
CHECK, REPORT, WHY, SUBMISSION = "check.html", "report.html", "explanation.html", "submission.csv"
PATCHES, FEATURES, MODEL, COLOR_MODEL = "patches", "features", "model", "color_model"
STACK_CSV, COLOR_CSV = "stack.csv", "color.csv"


def run(folder: Path, patches: int, seed: int, pcam: Callable[[list[str]], None]) -> None:
    """Run every command on synthetic patches, in `folder`. `pcam` runs one command from its arguments.

    Raises InputError if the folder exists and was not written by an earlier demo.
    """
    started = time.monotonic()
    check_free(folder, overwrite=True, what="demo folder", mark=MARK, key="patches")
    folder.mkdir(parents=True, exist_ok=True)
    check_written(folder)
    write_json(folder / MARK, {"patches": patches, "seed": seed}, folder)
    commands = []
    for title, words in steps(folder, patches, seed):
        arguments = [str(word) for word in words]
        if title:
            console.say(f"\n# {title}")
        commands.append(f"pcam {shlex.join(arguments)}")
        console.say(f"$ {commands[-1]}")
        pcam(arguments)
    write_page(folder, commands)
    console.say(f"\nDone in {time.monotonic() - started:.0f} s. Next steps:")
    console.say(f"  all results    open {folder / PAGE} in a browser; it leads to the other pages")
    console.say(f"  features       read {folder / FEATURES} with pandas.read_parquet, polars or DuckDB")
    console.say("  your patches   pcam run FOLDER results")
    console.say("  Kaggle         see README.md: from download to upload")


def steps(folder: Path, patches: int, seed: int) -> Iterator[tuple[str, list[object]]]:
    """The title and the words of each command; a command is asked for when those before it have run."""
    made, features, model = folder / PATCHES, folder / FEATURES, folder / MODEL
    color_model, stack_csv, color_csv = folder / COLOR_MODEL, folder / STACK_CSV, folder / COLOR_CSV
    size = ["--patches", patches, "--slides", default_slides(patches), "--seed", seed]
    # The results of an earlier demo in this folder are replaced.
    anew = ["--overwrite"] if made.exists() else []
    store_anew = ["--overwrite"] if (features / MANIFEST).exists() else []
    yield "Create synthetic patches with known labels", ["synth", made, *size, *anew]
    yield "Check the data", ["check", made, "--report", folder / CHECK]
    yield "Compute the features", ["extract", made, features, "--copies", 0, *store_anew]
    yield "Fit a model on all features", ["fit", features, model, "--overwrite"]
    yield (
        "Fit a second model on color alone, for comparison",
        ["fit", features, color_model, "--families", "color", "--overwrite"],
    )
    yield "Predict the test slides with both models", ["predict", model, features, stack_csv]
    yield "", ["predict", color_model, features, color_csv]
    yield (
        "Explain the prediction that is most surely tumor",
        ["explain", model, features, "--id", highest(stack_csv), "--out", folder / WHY],
    )
    yield (
        "Write a submission",
        ["submit", model, features, folder / SUBMISSION, "--sample", made / SAMPLE],
    )
    shown = ["--features", features, "--model", model, "--report", folder / REPORT]
    yield (
        "Compare the two models on the test slides",
        ["compare", made / TEST_LABELS, stack_csv, color_csv, "--slides", made / BESIDE, *shown],
    )


def highest(predictions: Path) -> str:
    """The id with the highest probability in a CSV of predictions."""
    import pandas as pd

    table = pd.read_csv(predictions, dtype={"id": str}).set_index("id")
    return str(table["label"].idxmax())


def write_page(folder: Path, commands: list[str]) -> None:
    """Write the page that leads to all results."""
    import numpy as np
    from PIL import Image

    from ..api.comparing import compare
    from ..api.model import open_model
    from ..report.demo_page import Link, page
    from ..report.pictures import jpeg

    made = folder / PATCHES
    result = compare(
        made / TEST_LABELS,
        {Path(name).stem: folder / name for name in (STACK_CSV, COLOR_CSV)},
        slides=made / BESIDE,
        progress=None,
    )
    links = (
        Link(REPORT, "Comparison", "Both models on slides that are new to them: intervals, tests."),
        Link(WHY, "Explanation", "The columns that moved the prediction of one patch."),
        Link(CHECK, "Data check", "What is odd: faults, focus, ink, differences between splits."),
        Link(SUBMISSION, "Submission", "A CSV of probabilities in the form that Kaggle takes."),
    )
    with Image.open(made / SHEET) as sheet:
        picture = jpeg(np.asarray(sheet))
    manifest = open_model(folder / MODEL).bundle.manifest
    write_text(folder / PAGE, page(result.verdict, links, picture, manifest, commands), folder)
