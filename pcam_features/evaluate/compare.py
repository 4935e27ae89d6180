"""Predictions of several models on the same patches, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from ..choices import RESAMPLES
from ..errors import InputError
from .intervals import (
    LEVEL,
    delong,
    group_codes,
    normal_interval,
    percentile_interval,
    resampled_aucs,
)
from .predictions import read_predictions, read_truth


def model_names(paths: Sequence[Path]) -> list[str]:
    """File stems, or whole paths where stems are not unique. Raises InputError for one file twice."""
    if len(set(paths)) != len(paths):
        raise InputError("the same predictions are given twice; name each file once.")
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def read_all(
    truth: Path, predictions: Sequence[Path]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Ids, labels and each model's probabilities in the truth's order."""
    table = read_truth(truth)
    ids = table["id"].tolist()
    names = model_names(predictions)
    scores = {n: read_predictions(p, ids) for n, p in zip(names, predictions, strict=True)}
    return ids, table["label"].to_numpy(), scores


def compare(
    ids: list[str],
    labels: np.ndarray,
    scores: dict[str, np.ndarray],
    slides: dict[str, str] | None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """AUC of each model and difference of each pair, with DeLong and slide-resampled intervals.

    A p-value is DeLong's, two-sided, for no difference. Without slides, patches are resampled.
    Raises InputError if there are fewer than two known slides among those given.
    """
    groups, known = group_codes(ids, [(slides or {}).get(i) for i in ids])
    if slides is not None and not known:
        raise InputError("none of the truth's ids is in the slide table; is it the right one?")
    count = int(groups.max()) + 1
    if count < 2:
        raise InputError("all patches are of one slide; resampling slides needs two or more.")
    distinct = {slide for i in ids if (slide := (slides or {}).get(i))}
    names, values = list(scores), np.stack(list(scores.values()))
    aucs, covariance = delong(labels, values)
    draws = resampled_aucs(labels, values, groups, resamples=resamples, seed=seed)
    models = [
        {
            "model": name,
            "auc": float(aucs[k]),
            "delong": normal_interval(float(aucs[k]), covariance[k, k], (0, 1)).as_dict(),
            "resampled": percentile_interval(float(aucs[k]), draws[k]).as_dict(),
        }
        for k, name in enumerate(names)
    ]
    pairs = []
    for a, b in combinations(range(len(names)), 2):
        difference = float(aucs[a] - aucs[b])
        variance = float(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b])
        equal = variance <= 1e-18  # no spread to divide by: the same ranking, or one without exception
        pairs.append(
            {
                "a": names[a],
                "b": names[b],
                "difference": difference,
                "delong": normal_interval(difference, variance, (-1, 1)).as_dict(),
                "p_value": float(difference == 0)
                if equal
                else float(2 * norm.sf(abs(difference) / variance**0.5)),
                "resampled": percentile_interval(difference, draws[a] - draws[b]).as_dict(),
            }
        )
    return {
        "patches": len(ids),
        "positive": int(labels.sum()),
        "slides": len(distinct) if known else None,
        "patches_with_slide": known,
        "resampled_over": "slides" if known else "patches",
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "models": models,
        "differences": pairs,
    }
