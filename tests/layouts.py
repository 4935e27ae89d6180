"""The same patches in every layout, written with the libraries that people write them with."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pcam_features.errors import InputError
from pcam_features.sources.detect import open_source
from pcam_features.sources.source import Source

ROWS = 12
PIXELS = np.random.default_rng(7).integers(0, 256, (ROWS, 96, 96, 3), np.uint8)
LABELS = np.arange(ROWS) % 2
SLIDES = [f"slide_{k // 4}" for k in range(ROWS)]
IDS = [f"patch_{k:02d}" for k in range(ROWS)]


def encoded(pixels: np.ndarray, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **how)
    return buffer.getvalue()


PNGS = [encoded(one, format="PNG") for one in PIXELS]


def shard(path: Path, files: dict[str, bytes]) -> Path:
    """A tar of files by their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as opened_tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened_tar.addfile(info, io.BytesIO(data))
    return path


def kaggle_folder(path: Path) -> Path:
    for folder in ("train", "test"):
        (path / folder).mkdir(parents=True)
        for name, pixels in zip(IDS, PIXELS, strict=True):
            data = encoded(pixels, format="TIFF", compression=None)
            (path / folder / f"{name}.tif").write_bytes(data)
    table = pd.DataFrame({"id": IDS, "label": LABELS})
    table.to_csv(path / "train_labels.csv", index=False)
    table.assign(label=0).to_csv(path / "sample_submission.csv", index=False)
    return path


def kaggle_zip(path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    folder = kaggle_folder(path / "unpacked")
    with zipfile.ZipFile(path / "histopathologic-cancer-detection.zip", "w", method) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path / "histopathologic-cancer-detection.zip"


def hdf5(path: Path, **how: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    stem = path / "camelyonpatch_level_2_split_train"
    with h5py.File(f"{stem}_x.h5", "w") as file:
        file.create_dataset("x", data=PIXELS, **how)
    with h5py.File(f"{stem}_y.h5", "w") as file:
        file.create_dataset("y", data=LABELS.reshape(-1, 1, 1, 1).astype(np.uint8))
    pd.DataFrame({"coord_y": 1, "tumor_patch": "True", "wsi": SLIDES}).to_csv(f"{stem}_meta.csv")
    return path


def images(path: Path) -> Path:
    for name, pixels, label in zip(IDS, PIXELS, LABELS, strict=True):
        folder = path / "train" / ("tumor" if label else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(encoded(pixels, format="PNG"))
    return path


def manifest(path: Path) -> Path:
    folder = images(path / "pictures")
    files = [
        folder / "train" / ("tumor" if label else "normal") / f"{name}.png"
        for name, label in zip(IDS, LABELS, strict=True)
    ]
    table = {"path": [file.relative_to(path) for file in files], "label": LABELS, "slide": SLIDES}
    pd.DataFrame(table | {"split": "train"}).to_csv(path / "patches.csv", index=False)
    return path / "patches.csv"


def parquet(path: Path, **how: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": encoded(one, format="PNG"), "path": None} for one in PIXELS]
    table = pa.table({"image": rows, "label": LABELS.astype(bool)})
    pq.write_table(table, path / "train-00000-of-00001.parquet", **({"row_group_size": 5} | how))
    return path


def wilds(path: Path) -> Path:
    rows = []
    for k, pixels in enumerate(PIXELS):
        patient, node, x, y = k // 4, k % 2, 32 * k, 64 * k
        name = f"patient_{patient:03d}_node_{node}"
        (path / "patches" / name).mkdir(parents=True, exist_ok=True)
        opaque = np.dstack([pixels, np.full((96, 96), 255, np.uint8)])
        file = path / "patches" / name / f"patch_{name}_x_{x}_y_{y}.png"
        file.write_bytes(encoded(opaque, format="PNG"))
        rows.append((f"{patient:03d}", node, x, y, LABELS[k], patient, 0, 0))
    columns = ["patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(path / "metadata.csv")
    return path


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "kaggle": kaggle_folder,
    "kaggle_zip": kaggle_zip,
    "hdf5": hdf5,
    "images": images,
    "manifest": manifest,
    "parquet": parquet,
    "wilds": wilds,
}


def opened(path: Path) -> Source:
    return open_source(str(path))[0]


def refused(path: Path | str, words: str, **how: Any) -> str:
    """The one sentence with which a source is refused."""

    def read() -> None:
        source, _ = open_source(str(path), **how)
        for split in source.splits.values():
            split.read(0, len(split))

    with pytest.raises(InputError, match=words) as caught:
        read()
    return sentence(caught.value)


def sentence(error: InputError) -> str:
    said = str(error)
    assert said.endswith("."), said
    assert "\n" not in said, said
    return said


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def parquet_of(path: Path, metadata: dict[str, Any] | None = None, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": PNGS, **columns})
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return path.parent


def csv(file: Path, /, **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(file, index=False)
    return file
