"""From slides to scores: patches are cut, a model is fitted on them, and other slides are mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import Result
from sklearn.metrics import roc_auc_score

from pcam_features.slides.annotations import read_annotations
from pcam_features.slides.synthesize import synthesize_slide


def test_oracle_a_model_of_patches_from_slides_finds_tumor_on_another_slide(
    pcam: Callable[..., Result], tmp_path: Path
) -> None:
    def run(*words: object) -> str:
        done = pcam(*words)
        assert done.code == 0, done.err
        return done.out

    outlines = tmp_path / "slides"
    for k in range(3):
        synthesize_slide(outlines / f"s{k}.tif", 1000, 900, nests=4, seed=k, threads=2)
    for name, nests in (("tumor", 4), ("clean", 0)):
        synthesize_slide(tmp_path / "new" / f"{name}.tif", 1000, 900, nests=nests, seed=0, threads=2)
    run("slide", "patches", outlines, tmp_path / "patches", "--annotations", outlines)
    run("extract", tmp_path / "patches", tmp_path / "features", "--families", "color")
    run("fit", tmp_path / "features", tmp_path / "model", "--folds", 3, "--no-copies")
    for name in ("tumor", "clean"):
        slide = tmp_path / "new" / f"{name}.tif"
        run("slide", "map", slide, tmp_path / "model", tmp_path / "maps" / name)
    centers = pd.read_parquet(tmp_path / "maps" / "tumor" / "map.parquet")
    drawn = read_annotations(tmp_path / "new" / "tumor.geojson").mask(0, 0, (1000, 900), 1.0)
    shares = np.array(
        [drawn[y - 32 : y + 32, x - 32 : x + 32].mean() for x, y in centers[["x", "y"]].to_numpy()]
    )
    clear = (shares == 0) | (shares > 0.5)
    assert roc_auc_score(shares[clear] > 0, centers["probability"][clear]) > 0.85
    said = run("slide", "score", tmp_path / "maps", "--annotations", tmp_path / "new", "--json")
    scores = json.loads(said)
    assert scores["auc"]["value"] == 1.0
    assert [one["slide"] for one in scores["slides"]] == ["clean", "tumor"]
    assert [one["label"] for one in scores["slides"]] == [0, 1]
