"""Predicting with a bundle, on features that are of the kind it was fitted on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..constants import ENCODERS
from ..errors import InputError
from ..families.registry import FAMILIES
from ..grouping.folds import TABLE, read_fold_table
from ..storage import costs, parquet
from ..storage.fields import Fields
from ..storage.files import read_json
from ..store.manifest import FamilyRecord
from ..store.store import Store
from ..store.values import stored
from .base_models import logits
from .bundle import MANIFEST, OUT_OF_FOLD, Bundle
from .stack import COMBINED

# Of `pcam extract`, for an encoder of ours: what its facts in a manifest are called.
OPTIONS = ("encoder", "size", "depths", "pools", "views", "precision", "runtime")


def check_features(bundle: Bundle, store: Store) -> None:
    """Raises InputError, naming the family, if the store's features are not what the model takes."""
    for name, known in bundle.manifest["families"].items():
        wanted = FamilyRecord.from_fields(name, Fields(known))
        found = store.manifest.families.get(name)
        if found is None:
            raise InputError(
                f"the model was fitted on {name} features and {store.path} has none; "
                f"extract them with {how_to_extract(name, bundle)}."
            )
        if found != wanted:
            raise InputError(
                f"the model was fitted on {name} features of version {wanted.version} and "
                f"{store.path} has others ({wanted.differences(found)}); extract or fit anew, so "
                "that they agree."
            )


def how_to_extract(name: str, bundle: Bundle) -> str:
    """The options of `pcam extract` that give a family, and the others of its kind."""
    if name in FAMILIES:
        return f"--families {','.join(n for n in bundle.manifest['families'] if n in FAMILIES)}"
    facts = bundle.manifest["families"][name]["encoder"]
    said = {}
    for option in OPTIONS:
        value = facts.get("network" if option == "encoder" else option)
        said[option] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if said["encoder"] in ENCODERS and all(re.fullmatch("[a-z0-9_,]+", one) for one in said.values()):
        return " ".join(["--families cnn", *(f"--{option} {one}" for option, one in said.items())])
    weights = str(facts.get("weights_sha256"))
    known = f"of SHA-256 {weights}" if re.fullmatch("[0-9a-f]{64}", weights) else "it was fitted with"
    return f"--families cnn and the --encoder whose weights are those {known}"


def fitted_on(bundle: Bundle, store: Store, split: str) -> bool:
    """Whether a split's patches are those the model was fitted on."""
    entry = store.manifest.splits.get(split)
    ids = bundle.manifest["source"]["fingerprint"]["ids"]
    return entry is not None and entry.fingerprint.ids == ids


def out_of_fold(path: Path, store: Store, split: str) -> tuple[list[str], np.ndarray]:
    """What a model's folds predicted for the patches it was fitted on, each by those without it.

    Raises InputError if the bundle's table does not hold them.
    """
    ids = store.patches(split)["id"].tolist()
    try:
        table = parquet.read(parquet.open_file(path / OUT_OF_FOLD)[0], ["id", COMBINED])
        found = table["id"].to_pylist()
        probabilities = np.asarray(table[COMBINED].to_numpy(), np.float64)
    except (OSError, TypeError, ValueError, KeyError, pa.ArrowException):
        found = []
    if found != ids:
        raise InputError(f"model {path} is damaged: {OUT_OF_FOLD} is not of its patches; fit anew.")
    return ids, probabilities


def seen_before(path: Path, store: Store, split: str) -> int:
    """How many of a split's patches the model at `path` was fitted on."""
    learned = set(read_fold_table(path / TABLE)["id"])
    return len(learned & set(store.patches(split)["id"]))


def cost(path: Path, store: Path, seconds: float | None, threads: int) -> dict[str, Any]:
    """What the predictions of the model at `path` cost, which took `seconds` a patch once its features
    were there; measuring those is part of it, and where either is not known, so is not the whole."""
    measuring = costs.measuring_seconds(store, read_json(path / MANIFEST, "manifest")["families"])
    rate = None if measuring is None or seconds is None else round(1 / (measuring + seconds), 2)
    return costs.read(path / costs.FILE) | {
        "predict_patches_per_second": rate,
        "predict_memory_mib": costs.peak_memory_mib(),
        "predict_device": costs.cpu_name(threads),
    }


def predict(bundle: Bundle, store: Store, split: str, threads: int) -> tuple[list[str], np.ndarray]:
    """The ids of a split and their probabilities of tumor, in the store's order."""
    check_features(bundle, store)
    store.check_finished(split, bundle.manifest["families"])
    values = stored(store, split, list(bundle.manifest["families"]), keep=False)
    probabilities = bundle.stack.probability(logits(bundle.models, values, threads))
    return store.patches(split)["id"].tolist(), probabilities
