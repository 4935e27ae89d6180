"""Speed of embeddings: `extract` beside the bare runtime, and both beside PyTorch eager.

    python benchmarks/embedding_speed.py SOURCE [--size 96] [--views 1]

All are run interleaved on the same patches of split `train`, on all cores. Ratios use the median
elapsed time, and the least processor time, which depends little on other load. PyTorch is measured if
it is installed, with the plain model of tests/encoders/make_golden.py.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np

from pcam_features.encoders.registry import open_encoder
from pcam_features.engine import cpu
from pcam_features.extraction.extract import extract
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Split

TESTS = Path(__file__).parents[1] / "tests" / "encoders"


class Stopwatch:
    """The elapsed time and the processor time since it was created."""

    def __init__(self) -> None:
        self.start, self.start_cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.start, time.process_time() - self.start_cpu


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    watch = Stopwatch()
    work()
    return watch.read()


def pytorch(batch: np.ndarray, size: int) -> Callable[[], Any] | None:
    """A function that runs the plain model up to the head on a batch; None without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return None
    sys.path.insert(0, str(TESTS))
    import make_golden
    import torch

    from pcam_features.networks.lite_weights import weight_file

    weights = torch.load(weight_file("efficientnet_lite0"), weights_only=True)
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 127.5 - 1

    def work() -> None:
        with torch.inference_mode():
            for rows in pixels.split(32):
                x = rows
                if size != rows.shape[-1]:
                    x = torch.nn.functional.interpolate(x, size=size, mode="bilinear")
                make_golden.maps(weights, x)["head"].mean(dim=(2, 3))

    return work


def run(source: str, size: int, views: int, patches: int, repeats: int) -> dict[str, Any]:
    opened, _ = open_source(source)
    whole = opened.splits["train"]
    count = min(patches, len(whole))
    split = Split("train", whole.ids[:count], None, whole.slides[:count], whole.content, whole.read)
    threads = joblib.cpu_count()
    head = open_encoder(size=size, views=views, depths=["head"], pools=["mean"])
    batch = split.read(0, count)
    infer = head.load(batch.shape[1:3], threads)
    chunks = [batch[k : k + head.chunk] for k in range(0, count - head.chunk + 1, head.chunk)]

    def bare() -> None:
        """The runtime alone, on prepared tensors."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(infer, chunks * views))

    def whole_road() -> tuple[float, float]:
        """From reading the first patch to writing the last part, without compilation."""
        begun: list[Stopwatch] = []

        def progress(rows: int) -> None:
            if not rows:
                begun.append(Stopwatch())

        with tempfile.TemporaryDirectory() as folder:
            extract(Path(folder) / "f", opened, [split], [head], cpu, threads, progress=progress)
            return begun[0].read()

    eager = pytorch(batch, size) if views == 1 else None
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "extract": [], "pytorch": []}
    for _ in range(repeats + 1):
        times["bare"].append(seconds(bare))
        times["extract"].append(whole_road())
        if eager is not None:
            times["pytorch"].append(seconds(eager))
    middle = {name: median(wall for wall, _ in found[1:]) for name, found in times.items() if found}
    least = {name: min(cpu for _, cpu in found[1:]) for name, found in times.items() if found}
    result = {
        "patches": count,
        "size": size,
        "views": views,
        "threads": threads,
        "load": os.getloadavg()[0],
        "patches_per_second": {name: count / one for name, one in middle.items()},
        "extract_of_bare": middle["bare"] / middle["extract"],
        "extract_of_bare_processor": least["bare"] / least["extract"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if "pytorch" in middle:
        result["extract_over_pytorch"] = middle["pytorch"] / middle["extract"]
        result["extract_over_pytorch_processor"] = least["pytorch"] / least["extract"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--patches", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):
        found = run(**vars(options))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
