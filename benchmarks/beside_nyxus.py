"""Speed of intensity and co-occurrence features beside Nyxus: same patches, one thread, interleaved.

    python -m venv nyxus-venv && nyxus-venv/bin/pip install nyxus
    python benchmarks/beside_nyxus.py data/kaggle nyxus-venv/bin/python

Nyxus measures the gray plane with the whole patch as its region. pcam's families measure what they
always do (`color` thirteen planes, `glcm` two, both in three regions), and the time includes the
planes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from pcam_features.engine import cpu
from pcam_features.families import planes
from pcam_features.families.registry import FAMILIES, measurer
from pcam_features.sources.detect import open_source

PATCHES, ROUNDS = 128, 5
GROUPS = {"color": "*ALL_INTENSITY*", "glcm": "*ALL_GLCM*"}
THEIRS = """
import json, sys, time, numpy, nyxus
gray = numpy.load(sys.argv[1]).astype(numpy.uint32)
whole = numpy.ones_like(gray)
engine = nyxus.Nyxus([sys.argv[2]], n_feature_calc_threads=1)
engine.featurize(gray, whole)
start = time.perf_counter()
found = engine.featurize(gray, whole)
print(json.dumps([time.perf_counter() - start, int(found.select_dtypes("number").shape[1])]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("nyxus_python", type=Path)
    options = parser.parse_args()
    source, _ = open_source(options.source)
    split = next(iter(source.splits.values()))
    batch = split.read(0, min(PATCHES, len(split)))
    gray = cpu.prepare(planes.KERNEL)(batch)[:, planes.PLANES.index("gray")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gray.npy"
        np.save(path, gray)
        for name, group in GROUPS.items():
            measure = measurer([FAMILIES[name]], cpu)
            measure(batch, [name])
            ours, theirs, columns = [], [], 0
            for _ in range(ROUNDS):
                command = [str(options.nyxus_python), "-c", THEIRS, str(path), group]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
                seconds, columns = json.loads(said.splitlines()[-1])
                theirs.append(seconds)
                start = time.perf_counter()
                measure(batch, [name])
                ours.append(time.perf_counter() - start)
            ms = [1000 * median(seconds) / len(batch) for seconds in (ours, theirs)]
            widths = len(FAMILIES[name].columns), columns
            for what, width, each in zip((name, f"Nyxus {group}"), widths, ms, strict=True):
                print(
                    f"{what}: {width} columns in {each:.2f} ms, {1000 * each / width:.1f} µs per column"
                )


if __name__ == "__main__":
    main()
