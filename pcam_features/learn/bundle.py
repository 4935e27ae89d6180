"""The model bundle: a folder that opens without running code.

manifest.json            what it was fitted on and how, the stack, scores, checksums
<group>/trees.ubj        XGBoost's own format
<group>/landmarks.npy    float32 rows: each column's mean, its scale, then standardized landmarks
<group>/weights.npy      float64: the intercept, the width, then a weight for each landmark
folds.parquet            id, label, slide, group, fold
out_of_fold.parquet      id and each model's probability, and that of all together, `combined`
importance.parquet       column, family, gain, contribution
search.sqlite            the trials of a search, if there was one
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from ..errors import InputError
from ..families.registry import FAMILIES
from ..storage import files
from ..storage.files import read_json, sha256, whole_file, write_json
from ..storage.resumable import unfinished
from ..store.names import may_be_stored
from . import ubjson
from .base_models import KERNEL, TREES, Model, base_models, width
from .kernel_ridge import Rbf
from .stack import Stack

VERSION = 3  # 2 had no calibration, 1 a booster for each family
MANIFEST = "manifest.json"
KEY = "bundle_version"
WHAT = "model"
OUT_OF_FOLD, IMPORTANCE = "out_of_fold.parquet", "importance.parquet"
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
    files.check_free(path, overwrite=overwrite, what=WHAT, mark=MANIFEST, key=KEY)


def model_files(folder: Path, group: str, kind: str) -> list[Path]:
    if kind == KERNEL:
        return [array_path(folder, group, name) for name in ARRAYS]
    return [booster_path(folder, group)]


def write_model(folder: Path, group: str, model: Model) -> None:
    """Write a base model of a group, each file whole or not at all."""
    if not isinstance(model, Rbf):
        with whole_file(booster_path(folder, group)) as temporary:
            temporary.write_bytes(bytes(model.save_raw("ubj")))
        return
    for name, array in model.as_arrays().items():
        with whole_file(array_path(folder, group, name)) as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def read_model(folder: Path, group: str, kind: str) -> Model:
    """A base model. Raises InputError or ValueError if its files hold anything else."""
    contents = [_content(folder, file) for file in model_files(folder, group, kind)]
    if kind == TREES:
        return _booster(folder, group, contents[0])
    arrays = [_array(c, dtype) for c, dtype in zip(contents, ARRAYS.values(), strict=True)]
    return Rbf.from_arrays(*arrays)


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    with whole_file(folder / name) as temporary:
        table.to_parquet(temporary, index=False)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write what makes a folder a bundle, once all else is there."""
    made = [
        file
        for group, kind, _ in base_models(list(manifest["families"])).values()
        for file in model_files(folder, group, kind)
    ]
    checksums = {listed_as(folder, file): sha256(file.read_bytes()) for file in made}
    write_json(folder / MANIFEST, manifest | {"sha256": checksums})


def read(path: Path) -> Bundle:
    """Raises InputError if `path` is not a bundle, or is damaged, or is of another version.

    Names of families become names of files, so only those that the catalog allows are taken.
    """
    if not (path / MANIFEST).is_file():
        begun = unfinished(path)
        hint = f"{begun} is: run its fit again" if begun.exists() else "make one with pcam fit"
        raise InputError(f"{path} is not a model (no {MANIFEST}); {hint}.")
    manifest = read_json(path / MANIFEST, "model manifest")
    if KEY not in manifest:
        raise InputError(f"{path} is not a model; put MODEL and FEATURES in the right order.")
    if manifest.get(KEY) != VERSION:
        raise InputError(f"model {path} was written by another version of pcam; fit it anew.")
    try:
        families = list(manifest["families"])
        unknown = [
            name
            for name, known in manifest["families"].items()
            if not may_be_stored(name, known) or ("encoder" not in known and name not in FAMILIES)
        ]
        if unknown or not families:
            raise InputError(f"model {path} needs families this pcam does not know: {unknown}.")
        models = base_models(families)
        stack = Stack.from_dict(manifest["stack"], tuple(models))
        opened: dict[str, Model] = {}
        for name, (group, kind, parts) in models.items():
            check_sums(path, model_files(path, group, kind), manifest["sha256"])
            opened[name] = read_model(path, group, kind)
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


def check_sums(path: Path, parts: list[Path], checksums: dict[str, str]) -> None:
    for file in parts:
        name = listed_as(path, file)
        if sha256(_content(path, file)) != checksums[name]:
            raise InputError(f"model {path} is damaged: {name} does not have its checksum.")


def _content(path: Path, file: Path) -> bytes:
    """What a file of the bundle at `path` holds, if it has a sane size."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(f"model {path}: {file.name} is too large to be part of a model.")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"model {path}: {file.name} cannot be read: {error.strerror}.") from None


def _booster(path: Path, group: str, content: bytes) -> xgboost.Booster:
    try:
        ubjson.check(content)
        booster = xgboost.Booster(model_file=bytearray(content))
        check_trees(json.loads(booster.save_raw("json")), booster.num_features())
        return booster
    except (KeyError, TypeError, ValueError, xgboost.core.XGBoostError):
        name = booster_path(path, group).name
        raise InputError(f"model {path}: {name} is not an XGBoost model.") from None


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
