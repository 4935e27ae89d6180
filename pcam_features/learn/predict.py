"""Predicting with a bundle, on features that are of the kind it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..store import Store
from .bundle import Bundle, logits_of


def check_features(bundle: Bundle, store: Store) -> None:
    """Raises InputError, naming the family, if the store's features are not what the model takes."""
    for name, wanted in bundle.manifest["families"].items():
        found: dict[str, Any] | None = store.manifest["families"].get(name)
        if found is None:
            raise InputError(
                f"the model was fitted on {name} features and {store.path} has none; "
                f"extract them with --families {','.join(bundle.manifest['families'])}."
            )
        if found != wanted:
            raise InputError(
                f"the model was fitted on {name} features of version {wanted['version']} with "
                f"{len(wanted['columns'])} columns and {store.path} has version {found['version']} "
                f"with {len(found['columns'])}; extract or fit anew, so that they agree."
            )


def predict(bundle: Bundle, store: Store, split: str, threads: int) -> tuple[list[str], np.ndarray]:
    """The ids of a split and their probabilities of tumor, in the store's order."""
    check_features(bundle, store)
    values = {name: store.features(split, name) for name in bundle.manifest["families"]}
    probabilities = bundle.stack.probability(logits_of(bundle, values, threads))
    return store.patches(split)["id"].tolist(), probabilities
