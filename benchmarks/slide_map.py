"""A map of a synthetic slide: time and memory, tumor against the outlines, and the bits of predict.

    python benchmarks/slide_map.py SLIDE MODEL OUT [--threads 2] [--parts 3]

SLIDE is a slide with outlines of its name beside it, as `pcam synth-slide` writes both. `slide map`
runs in a process of its own, so processor seconds and peak memory are those of the command alone.
The patches of some parts of the map, evenly spaced, are then written as PNG files, which `pcam predict`
reads; its probabilities have to be the same to the bit. A JSON object is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

import pcam_features as pcam
from pcam_features.slides.annotations import read_annotations
from pcam_features.slides.grid import Grid, SlidePatches
from pcam_features.slides.patches import labels_of
from pcam_features.slides.reading import open_slide
from pcam_features.store.layout import PART_ROWS


@dataclass(frozen=True)
class Spent:
    """What a process took: seconds on the clock and of the processor, peak memory, load before."""

    seconds: float
    processor_seconds: float
    peak_mib: float
    load: float


def spend(command: list[str]) -> Spent:
    """Run a command."""
    load, began = os.getloadavg()[0], time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 -- ours
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} ended with {code}")
    return Spent(
        seconds=round(time.monotonic() - began, 1),
        processor_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_mib=round(usage.ru_maxrss / 1024),  # Linux counts in KiB
        load=round(load, 2),
    )


def places_of(centers: pd.DataFrame) -> np.ndarray:
    """Row and column of each center."""
    return centers[["row", "column"]].to_numpy(np.int32)


def outlines_auc(slide: Path, centers: pd.DataFrame, stride: int) -> dict[str, float]:
    """AUC over centers; a center is tumor if an outline reaches it."""
    with open_slide(slide) as read:
        grid = Grid.of(read.width, read.height, read.mpp, stride)
    labels = labels_of(read_annotations(slide.with_suffix(".geojson")), grid, places_of(centers))
    return {
        "tumor_centers": int(labels.sum()),
        "auc": round(float(roc_auc_score(labels, centers["probability"])), 4),
    }


def equal_to_predict(slide: Path, model: Path, own: pd.DataFrame, stride: int, threads: int) -> bool:
    """Whether `pcam predict` gives the probabilities of some centers for their patches in files."""
    with TemporaryDirectory(prefix="slide-map-") as name:
        folder = Path(name) / "patches"
        folder.mkdir()
        with open_slide(slide) as read:
            grid = Grid.of(read.width, read.height, read.mpp, stride)
            patches = SlidePatches(read, grid, places_of(own))
            for k in range(len(patches)):
                Image.fromarray(patches.read(k, k + 1)[0]).save(folder / f"{k:06d}.png")
        out = Path(name) / "predictions.csv"
        words = [str(model), str(folder), str(out), "--split", "train", "--threads", str(threads)]
        command = [sys.executable, "-m", "pcam_features", "predict", *words]
        subprocess.run(command, check=True)  # noqa: S603 -- ours
        predicted = pd.read_csv(out, dtype=str)["label"].astype(float)  # Python's: to the last bit
    same = predicted.to_numpy() == own["probability"].to_numpy()
    return bool(len(same) == len(own) and same.all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path, help="folder of the map to create")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", type=int, default=3, help="parts to compare with predict")
    given = parser.parse_args()
    words = [given.slide, given.model, given.out, "--threads", given.threads]
    command = [sys.executable, "-m", "pcam_features", "slide", "map", *map(str, words)]
    spent = spend(command)
    record = json.loads((given.out / "map.json").read_text())
    centers = pd.read_parquet(given.out / "map.parquet")
    parts = -(-len(centers) // PART_ROWS)
    chosen = np.unique(np.linspace(0, parts - 1, min(given.parts, parts)).astype(int)).tolist()
    same = [
        equal_to_predict(
            given.slide,
            given.model,
            centers[k * PART_ROWS : (k + 1) * PART_ROWS],
            record["stride"],
            given.threads,
        )
        for k in chosen
    ]
    found = {
        "slide": f"{record['width']:,}×{record['height']:,}",
        "reader": record["reader"],
        "pcam_version": pcam.__version__,
        "centers": record["centers"],
        **outlines_auc(given.slide, centers, record["stride"]),
        **asdict(spent),
        "parts_compared": len(chosen),
        "same_bits_as_predict": all(same),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
