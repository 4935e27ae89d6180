"""Time and memory of `pcam fit` on as many patches as Kaggle's competition has.

    python benchmarks/scale.py STORE 220025 1000             create a store of generated features
    python benchmarks/scale.py fit STORE MODEL [OPTION …]    measure time and memory of `pcam fit`

Features are normally distributed, with a component common to each slide. A few of them depend on the
label.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pcam_features.sources.source import Source, Split
from pcam_features.store.extending import plan
from pcam_features.store.layout import PATCHES, part_count, part_span
from pcam_features.store.manifest import marked_complete, write_manifest
from pcam_features.store.parts import write_features, write_patches

SLIDES = 200
NAME = "generated_96px"
ENCODER = {
    "network": "generated",
    "weights_sha256": "0" * 64,
    "precision": "float32",
    "runtime": "none",
    "size": 96,
    "views": 1,
}


class Generated:
    name = NAME
    trained_on = None

    def __init__(self, columns: int) -> None:
        self.columns = tuple(f"{NAME}__mean__patch_{k:04d}" for k in range(columns))

    def describe(self) -> dict[str, Any]:
        return {"version": 1, "columns": list(self.columns), "encoder": ENCODER}

    def computed_on(self, device: str) -> str:
        return device


def values(part: int, labels: np.ndarray, slides: np.ndarray, columns: int) -> np.ndarray:
    rng = np.random.default_rng(part)
    of_slides = np.random.default_rng(SLIDES).normal(size=(SLIDES, columns))
    found = rng.normal(size=(len(labels), columns)) + 0.5 * of_slides[slides]
    found[:, ::10] += 0.3 * labels[:, None]
    return np.asarray(found, np.float32)


def make(folder: Path, rows: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    slides, labels = rng.integers(0, SLIDES, rows), rng.integers(0, 2, rows).astype(np.int8)
    ids = [f"p{k:07d}" for k in range(rows)]
    split = Split(
        "train",
        ids,
        labels,
        [f"s{slide:03d}" for slide in slides],
        content=lambda start, stop: f"{start}:{stop}",
        read=lambda start, stop: np.empty((stop - start, 96, 96, 3), np.uint8),
    )
    source = Source("synthetic", "generated", "Generated.", {"train": split})
    family = Generated(columns)
    folder.mkdir(parents=True)
    manifest = plan(folder, source, [split], [family], "cpu")
    for part in range(part_count(rows)):
        own = slice(*part_span(part, rows))
        known = write_patches(folder, None, split, part)
        manifest = manifest.with_sum("train", PATCHES, part, known)
        features = values(part, labels[own], slides[own], columns)
        known = write_features(folder, split, family, part, features)
        manifest = manifest.with_sum("train", NAME, part, known)
    write_manifest(folder, marked_complete(manifest, "train", [NAME]))


def fit(words: list[str]) -> None:
    load, started = os.getloadavg()[0], time.monotonic()
    command = [sys.executable, "-m", "pcam_features", "fit", *words]
    subprocess.run(command, check=True)  # noqa: S603 -- ours
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "options": words[2:],
        "seconds": round(time.monotonic() - started),
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "peak_mib": round(used.ru_maxrss / 1024),
        "load_before": load,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "fit":
        fit(sys.argv[2:])
    elif len(sys.argv) == 4:
        make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(__doc__)
