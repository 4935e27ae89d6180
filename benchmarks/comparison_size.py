"""Time and memory of `pcam compare` on as many predictions as Kaggle's test set has patches.

python benchmarks/comparison_size.py [--patches 57458] [--models 10] [--slides 200]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("patches", 57_458), ("models", 10), ("slides", 200), ("resamples", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    ids = [f"{k:040x}" for k in range(given.patches)]
    labels = rng.integers(0, 2, given.patches)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame({"id": ids, "label": labels}).to_csv(folder / "truth.csv", index=False)
        slides = [f"s{k}" for k in rng.integers(0, given.slides, given.patches)]
        pd.DataFrame({"id": ids, "slide": slides}).to_csv(folder / "slides.csv", index=False)
        models = [folder / f"m{k}.csv" for k in range(given.models)]
        for file in models:
            score = 1 / (1 + np.exp(-(rng.normal(size=given.patches) * 2 + 3 * labels - 1)))
            pd.DataFrame({"id": ids, "label": score}).to_csv(file, index=False)
        words = ["compare", folder / "truth.csv", *models, "--slides", folder / "slides.csv", "--json"]
        words += ["--resamples", given.resamples]
        began = time.monotonic()
        code = "from pcam_features.cli.main import main; main()"
        command = [sys.executable, "-c", code, *map(str, words)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{given.patches:,} patches, {given.models} models, {given.resamples:,} resamples: "
        f"{seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor time, "
        f"{used.ru_maxrss / 1024:.0f} MiB"
    )


if __name__ == "__main__":
    main()
