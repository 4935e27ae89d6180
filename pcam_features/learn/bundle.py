"""The model bundle: a folder that opens without running code.

manifest.json            what it was fitted on and how, the stack, scores, checksums
<group>/trees.ubj        XGBoost's own format
<group>/landmarks.npy    float32 rows: each column's mean, its scale, then standardized landmarks
<group>/weights.npy      float64: the intercept, then a weight for each landmark
folds.parquet            id, label, slide, group, fold
out_of_fold.parquet      id and each model's probability, the stack's as `stack`
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from .. import files
from ..errors import InputError
from ..families.catalog import may_be_stored
from ..files import read_json, sha256, whole_folder, write_json
from .models import KERNEL, TREES, Model, base_models, width
from .rbf import Rbf
from .stack import Stack

VERSION = 2  # 1 had a booster for each family
MANIFEST = "manifest.json"
KEY = "bundle_version"
STACK = "stack"
OUT_OF_FOLD = "out_of_fold.parquet"
LARGEST_FILE = 1 << 28  # bytes; landmarks of 5,000 columns take a quarter
ARRAYS = {"landmarks": "<f4", "weights": "<f8"}


@dataclass(frozen=True)
class Bundle:
    manifest: dict[str, Any]
    models: dict[str, Model]
    stack: Stack


def booster_path(bundle: Path, group: str) -> Path:
    return bundle / group / f"{TREES}.ubj"


def array_path(bundle: Path, group: str, name: str) -> Path:
    return bundle / group / f"{name}.npy"


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
        made: list[Path] = []
        for name, (group, _, _) in base_models(list(bundle.manifest["families"])).items():
            made += _write_model(folder, group, bundle.models[name])
        checksums = {listed_as(folder, file): sha256(file.read_bytes()) for file in made}
        folds.to_parquet(folder / "folds.parquet", index=False)
        out_of_fold.to_parquet(folder / OUT_OF_FOLD, index=False)
        write_json(folder / MANIFEST, bundle.manifest | {"sha256": checksums})


def _write_model(folder: Path, group: str, model: Model) -> list[Path]:
    """Write a base model of a group; the files that were made."""
    (folder / group).mkdir(exist_ok=True)
    if not isinstance(model, Rbf):
        file = booster_path(folder, group)
        file.write_bytes(bytes(model.save_raw("ubj")))
        return [file]
    for name, array in model.as_arrays().items():
        np.save(array_path(folder, group, name), array, allow_pickle=False)
    return [array_path(folder, group, name) for name in ARRAYS]


def read(path: Path) -> Bundle:
    """Raises InputError if `path` is not a bundle, or is damaged, or is of another version.

    Names of families become names of files, so only those that the catalog allows are taken.
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
        unknown = [n for n, known in manifest["families"].items() if not may_be_stored(n, known)]
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
        sums = manifest["sha256"]
        opened: dict[str, Model] = {}
        for name, (group, kind, parts) in models.items():
            opened[name] = (_rbf if kind == KERNEL else _booster)(path, group, sums)
            columns = sum(len(manifest["families"][part]["columns"]) for part in parts)
            if width(opened[name]) != columns:
                raise ValueError(f"model {name} does not take {columns} columns")
        for family in manifest["families"].values():
            int(family["version"])
        str(manifest["source"]["fingerprint"]["ids"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"model {path} is damaged ({error}); fit it anew.") from None
    return Bundle(manifest, opened, stack)


def listed_as(path: Path, file: Path) -> str:
    """What a file of a bundle is called in its list of checksums."""
    return file.relative_to(path).as_posix()


def _content(path: Path, file: Path, checksums: dict[str, str]) -> bytes:
    """What a file of the bundle at `path` holds, if it has its checksum and a sane size."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"model {path}: {file.name} is too large to be part of a model.")
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"model {path}: {file.name} cannot be read: {error.strerror}.") from None
    if sha256(content) != checksums[listed_as(path, file)]:
        raise InputError(
            f"model {path} is damaged: {listed_as(path, file)} does not have its checksum."
        )
    return content


def _booster(path: Path, group: str, checksums: dict[str, str]) -> xgboost.Booster:
    file = booster_path(path, group)
    content = _content(path, file, checksums)
    try:
        if not content.startswith(b"{"):  # XGBoost ends the whole process on an empty file
            raise ValueError("no object")
        booster = xgboost.Booster(model_file=bytearray(content))
        check_trees(json.loads(booster.save_raw("json")), booster.num_features())
        return booster
    except (KeyError, TypeError, ValueError, xgboost.core.XGBoostError):
        raise InputError(f"model {path}: {file.name} is not an XGBoost model.") from None


def check_trees(model: dict[str, Any], columns: int) -> None:
    """Raises ValueError unless an XGBoost model, in its JSON form, is trees that end and ask only
    for the `columns` there are: XGBoost follows any number to wherever it points."""
    booster, given = model["learner"]["gradient_booster"], model["learner"]["learner_model_param"]
    trees = booster["model"]["trees"]
    single = (given["num_class"], given["num_target"]) == ("0", "1") and booster["name"] == "gbtree"
    if (
        not single
        or any(booster["model"]["tree_info"])
        or booster["model"]["iteration_indptr"] != list(range(len(trees) + 1))
    ):
        raise ValueError("not one tree of one output after the other")
    for tree in trees:
        left, right, parents, asked, kinds = (
            np.array(tree[key], np.int64)
            for key in ("left_children", "right_children", "parents", "split_indices", "split_type")
        )
        count = int(tree["tree_param"]["num_nodes"])
        lengths = {len(one) for one in (left, right, parents, asked, kinds, tree["split_conditions"])}
        if lengths != {count} or not count or kinds.any() or tree["categories"]:
            raise ValueError("a tree of another kind")
        inner = np.flatnonzero((left != -1) | (right != -1))
        for child in (left[inner], right[inner]):
            # The root is nobody's child and every other node has one parent: no path comes back.
            if ((child <= 0) | (child >= count)).any() or (parents[child] != inner).any():
                raise ValueError("a tree whose nodes point elsewhere")
        if ((asked < 0) | (asked >= columns))[inner].any():
            raise ValueError("a tree that asks for a column there is not")


def _rbf(path: Path, group: str, checksums: dict[str, str]) -> Rbf:
    return Rbf.from_arrays(
        **{
            name: _array(_content(path, array_path(path, group, name), checksums), dtype)
            for name, dtype in ARRAYS.items()
        }
    )


def _array(content: bytes, dtype: str) -> np.ndarray:
    """What `numpy.save` wrote. Only a header as plain as ours is read: `numpy.load` takes a file for
    a zip or a pickle if it says so, and evaluates what a header holds. Raises ValueError."""
    found = re.match(
        rb"\x93NUMPY\x01\x00..\{'descr': '%s', 'fortran_order': False, "
        rb"'shape': \((\d{1,8}),(?: (\d{1,8}))?\), \} *\n" % dtype.encode(),
        content,
        re.DOTALL,
    )
    if found is None:
        raise ValueError("an array of the kernel model is none")
    shape = [int(length) for length in found.groups() if length is not None]
    return np.frombuffer(content, dtype, offset=found.end()).reshape(shape)
