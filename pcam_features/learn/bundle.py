"""The model bundle: a folder that opens without running code.

manifest.json            what it was fitted on and how, the stack, scores, checksums
boosters/<model>.ubj     XGBoost's own format
folds.parquet            id, label, slide, group, fold
out_of_fold.parquet      id and each model's probability, the stack's as `stack`
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from .. import files
from ..errors import InputError
from ..families.catalog import FAMILIES
from ..files import read_json, sha256, whole_folder, write_json
from .stack import Stack

VERSION = 1
MANIFEST = "manifest.json"
KEY = "bundle_version"
ALL = "all"  # the base model on every family's columns side by side
STACK = "stack"
OUT_OF_FOLD = "out_of_fold.parquet"
LARGEST_BOOSTER = 1 << 30  # bytes


@dataclass(frozen=True)
class Bundle:
    manifest: dict[str, Any]
    boosters: dict[str, xgboost.Booster]
    stack: Stack


def base_models(families: list[str]) -> dict[str, list[str]]:
    """The base models for some families: each alone, and all together where there are several."""
    models = {name: [name] for name in families}
    return models | ({ALL: families} if len(families) > 1 else {})


def booster_path(bundle: Path, model: str) -> Path:
    return bundle / "boosters" / f"{model}.ubj"


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises InputError if a bundle cannot be written to `path`: best known before the fit."""
    files.check_free(path, overwrite=overwrite, what="model", mark=MANIFEST, key=KEY)


def write(
    path: Path,
    bundle: Bundle,
    folds: pd.DataFrame,
    out_of_fold: pd.DataFrame,
    *,
    overwrite: bool,
) -> None:
    """Write the whole bundle, or nothing. Raises InputError if `path` exists."""
    with whole_folder(path, overwrite=overwrite, what="model", mark=MANIFEST, key=KEY) as folder:
        (folder / "boosters").mkdir()
        checksums = {}
        for name, booster in bundle.boosters.items():
            content = bytes(booster.save_raw("ubj"))
            booster_path(folder, name).write_bytes(content)
            checksums[name] = sha256(content)
        folds.to_parquet(folder / "folds.parquet", index=False)
        out_of_fold.to_parquet(folder / OUT_OF_FOLD, index=False)
        write_json(folder / MANIFEST, bundle.manifest | {"sha256": checksums})


def read(path: Path) -> Bundle:
    """Raises InputError if `path` is not a bundle, or is damaged, or is of another version.

    Files are looked for under names made from the catalog, never under names the bundle gives.
    """
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path} is not a model (no {MANIFEST}); make one with pcam fit.")
    manifest = read_json(path / MANIFEST, "model manifest")
    if KEY not in manifest:
        raise InputError(f"{path} is not a model; put MODEL and FEATURES in the right order.")
    if manifest.get(KEY) != VERSION:
        raise InputError(f"model {path} was written by another version of pcam; fit it anew.")
    try:
        families = list(manifest["families"])
        unknown = [name for name in families if name not in FAMILIES]
        if unknown or not families:
            raise InputError(f"model {path} needs families this pcam does not know: {unknown}.")
        models = base_models(families)
        stack = Stack(
            tuple(models),
            tuple(float(manifest["stack"]["weights"][name]) for name in models),
            float(manifest["stack"]["intercept"]),
        )
        if not all(math.isfinite(w) for w in (*stack.weights, stack.intercept)):
            raise ValueError("a weight of the stack is not finite")
        boosters = {name: _booster(path, name, manifest["sha256"][name]) for name in models}
        for name, parts in models.items():
            width = sum(len(manifest["families"][part]["columns"]) for part in parts)
            if boosters[name].num_features() != width:
                raise ValueError(f"booster {name} does not take {width} columns")
        for family in manifest["families"].values():
            int(family["version"])
        str(manifest["source"]["fingerprint"]["ids"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"model {path} is damaged ({error}); fit it anew.") from None
    return Bundle(manifest, boosters, stack)


def _booster(path: Path, name: str, checksum: str) -> xgboost.Booster:
    file = booster_path(path, name)
    try:
        if file.stat().st_size > LARGEST_BOOSTER:
            raise InputError(f"model {path}: {file.name} is too large to be a booster.")
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"model {path}: {file.name} cannot be read: {error.strerror}.") from None
    if sha256(content) != checksum:
        raise InputError(f"model {path} is damaged: {file.name} does not have its checksum.")
    try:
        if not content.startswith(b"{"):  # XGBoost ends the whole process on an empty file
            raise ValueError("no object")
        return xgboost.Booster(model_file=bytearray(content))
    except (ValueError, xgboost.core.XGBoostError):
        raise InputError(f"model {path}: {file.name} is not an XGBoost model.") from None


def logits_of(bundle: Bundle, values: dict[str, np.ndarray], threads: int) -> np.ndarray:
    """Log-odds (rows, models) from each family's values."""
    from .boosting import logit

    models = base_models(list(bundle.manifest["families"]))
    columns = [
        logit(bundle.boosters[name], np.concatenate([values[p] for p in parts], 1), threads=threads)
        for name, parts in models.items()
    ]
    return np.stack(columns, axis=1)
