"""What a report of a comparison shows beside the scores: curves, patches, and reasons.

Everything that takes computation or reading is gathered here, so that a report only renders records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluate.curves import ModelCurves, curves
from ..evaluate.inputs import ComparisonData, StoredFeatures
from ..evaluate.subsets import disagreement
from ..store.pictures import open_pictures
from .bundle import Bundle, read
from .explain_patch import Reasons, reasons
from .manifest import ModelManifest
from .predict import check_features

SHOWN = 12  # patches
REASONS = 3  # columns


@dataclass(frozen=True)
class PatchExhibit:
    """A patch to show.

    `probabilities` has each model's probability of tumor by name. `pixels` is uint8 (96, 96, 3), or
    None without a picture; `reasons` is None without a classical model.
    """

    id: str
    label: int
    slide: str | None
    probabilities: Mapping[str, float]
    pixels: np.ndarray | None
    reasons: Reasons | None


@dataclass(frozen=True)
class Gallery:
    """The patches on which models disagree most or, of a single model, its largest errors.

    `problem` says why there are no pictures, and is None if there are.
    """

    patches: tuple[PatchExhibit, ...]
    problem: str | None


@dataclass(frozen=True)
class Exhibits:
    """What a report shows beside the scores.

    `gallery` is None without a feature store, `model`, the classical model's manifest, without a model.
    """

    curves: tuple[ModelCurves, ...]
    gallery: Gallery | None
    model: ModelManifest | None


def open_model(path: Path, data: ComparisonData) -> Bundle:
    """The classical model. Raises InputError unless it goes with the features compared."""
    bundle = read(path)
    if data.features is not None:
        check_features(bundle, data.features.store)
    return bundle


def gather(
    data: ComparisonData,
    *,
    model: Bundle | None = None,
    source: str | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Exhibits:
    """Compute and read what a report shows beside the scores.

    Parameters
    ----------
    data
        What is compared.
    model
        The classical model whose reasons are given, from `open_model`.
    source
        Where the pictures are. None: where the features were computed from.
    seed
        Seed of the resampling for the bands of curves.
    threads
        Number of threads.

    Raises
    ------
    InputError
        If the features are not those the model takes, or `source` cannot be used.
    """
    return Exhibits(
        curves=curves(data.labels, data.entries, data.groups, seed=seed, threads=threads),
        gallery=None if data.features is None else gallery(data, data.features, model, source),
        model=None if model is None else model.manifest,
    )


def gallery(
    data: ComparisonData, features: StoredFeatures, model: Bundle | None, source: str | None
) -> Gallery:
    """The patches to show, with their pixels and the model's reasons."""
    chosen = most_interesting(data)
    rows = features.rows[chosen]
    why = {}
    if model is not None:
        why = reasons(model, features.store, features.split, rows, REASONS)
    pictures, problem = None, None
    try:
        pictures = open_pictures(features.store, features.split, source)
    except InputError as error:
        if source is not None:
            raise
        problem = f"No pictures: {error} Give their location with --source DIR."
    patches = tuple(
        PatchExhibit(
            id=data.ids[place],
            label=int(data.labels[place]),
            slide=data.slides[place],
            probabilities={entry.name: float(entry.mean[place]) for entry in data.entries},
            pixels=None if pictures is None else pictures(row),
            reasons=why.get(row),
        )
        for place, row in zip(chosen.tolist(), rows.tolist(), strict=True)
    )
    return Gallery(patches, problem)


def most_interesting(data: ComparisonData) -> np.ndarray:
    """The places of the patches to show: of the largest disagreement or, for one model, error."""
    if len(data.entries) == 1:
        interest = np.abs(data.labels - data.entries[0].mean)
    else:
        interest = disagreement(data.entries)
    return np.asarray(np.argsort(-interest, kind="stable")[:SHOWN])
