"""Predictions of several models on the same patches, beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ..constants import RESAMPLES, SPECIFICITY
from ..errors import InputError
from .intervals import LEVEL, delong, normal_interval, plain_interval, share_interval, two_sided
from .metrics import METRICS, prepare
from .resampling import Groups, resampled
from .verdict import finding, verdict

AUC = list(METRICS).index("auc")
NO_INTERVAL = "ece"  # which grows on any draw, so that draws do not tell how far to trust it
PLAIN_THRESHOLD = 0.5


@dataclass(frozen=True)
class Entry:
    """A model in the comparison: its probabilities (seeds, n), each seed's threshold, what it costs."""

    name: str
    rows: np.ndarray
    thresholds: Sequence[float]
    files: Sequence[str] = ()
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> np.ndarray:
        """The mean probability over seeds, (n,): to show; what is scored is each seed."""
        return np.asarray(self.rows.mean(axis=0))


def parse_pairs(specs: Sequence[str], names: Sequence[str]) -> list[tuple[str, str]]:
    """`A:B` as pairs of names; all pairs if none is given. Raises InputError for other names."""
    if not specs:
        return list(combinations(names, 2))
    pairs = []
    for spec in specs:
        found = [(a, b) for a in names for b in names if a != b and f"{a}:{b}" == spec]
        if len(found) != 1:
            raise InputError(f"--pair {spec} is not A:B of two models; there are: {', '.join(names)}.")
        pairs += found
    if len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise InputError("the same --pair is given twice; p-values are adjusted for each one given.")
    return pairs


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for there being several, (k,).

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979; as R's `p.adjust`.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(one) for one in adjusted]


def compare(
    labels: np.ndarray,
    entries: Sequence[Entry],
    groups: Groups,
    *,
    pairs: Sequence[tuple[str, str]],
    declared: bool = False,
    margin: float | None = None,
    specificity: float = SPECIFICITY,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """METRICS of each model, and the difference of AUC of each pair, from `resamples` draws of groups;
    with DeLong's intervals, as if patches were independent, beside.

    A model of several seeds is scored by the mean of its seeds' metrics; how far seeds spread is told
    apart. p-values are two-sided, for no difference, and adjusted over `pairs` after Holm. With a
    `margin`, A is called not inferior to B if the interval of A - B is above -margin.
    Raises InputError if groups cannot be drawn.
    """
    rows = np.concatenate([entry.rows for entry in entries])
    scored = prepare(labels, rows, [t for entry in entries for t in entry.thresholds], specificity)
    mean_of = seeds_to_models(entries)
    each = scored.metrics(np.ones((1, len(labels)), np.int64))[:, :, 0]
    values = np.einsum("ms,sk->mk", mean_of, each)

    def on(weights: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("ms,skb->mkb", mean_of, scored.metrics(weights)))

    drawn = resampled(
        on, labels, groups, resamples=resamples, seed=seed, threads=threads, progress=progress
    )
    _, by_seed = delong(labels, rows)
    covariance = mean_of @ by_seed @ mean_of.T
    starts = np.cumsum([0, *(len(entry.rows) for entry in entries)])
    models = [
        model(
            entry, each[starts[k] : starts[k + 1], AUC], values[k], drawn[k], covariance[k, k], groups
        )
        for k, entry in enumerate(entries)
    ]
    place = {entry.name: k for k, entry in enumerate(entries)}
    differences = [
        difference((a, b), (place[a], place[b]), values[:, AUC], drawn[:, AUC], covariance, groups)
        for a, b in pairs
    ]
    for one, adjusted in zip(differences, holm([d["p_value"] for d in differences]), strict=True):
        one["p_holm"] = adjusted
        one["finding"] = finding(one, margin)
        if margin is not None:
            one["not_inferior"] = one["resampled"]["low"] > -margin
    return {
        "patches": len(labels),
        "positive": int(labels.sum()),
        "groups": groups.count,
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "specificity": specificity,
        "margin": margin,
        "models": models,
        "differences": differences,
        "verdict": verdict(models, differences, declared, groups.count),
    }


def seeds_to_models(entries: Sequence[Entry]) -> np.ndarray:
    """What turns values of each seed into means of each model, (models, seeds of all)."""
    mean_of = np.zeros((len(entries), sum(len(entry.rows) for entry in entries)))
    start = 0
    for k, entry in enumerate(entries):
        mean_of[k, start : start + len(entry.rows)] = 1 / len(entry.rows)
        start += len(entry.rows)
    return mean_of


def model(
    entry: Entry,
    seeds: np.ndarray,
    values: np.ndarray,
    drawn: np.ndarray,
    variance: float,
    groups: Groups,
) -> dict[str, Any]:
    """What is said of a model, from its METRICS, (metrics,), and those on draws, (metrics, draws)."""
    estimates: dict[str, dict[str, Any]] = {}
    for (name, metric), value, on_draws in zip(METRICS.items(), values.tolist(), drawn, strict=True):
        if name == NO_INTERVAL:
            estimates[name] = {"value": value, "low": None, "high": None}
        else:
            estimates[name] = (
                share_interval(value, on_draws, groups.freedom)
                if metric.share
                else plain_interval(value, on_draws, groups.freedom, (0, np.inf))
            ).as_dict()
    auc = float(values[AUC])
    return {
        "model": entry.name,
        "files": list(entry.files),
        "auc": auc,
        "resampled": estimates["auc"],
        "delong": normal_interval(auc, variance, (0, 1)).as_dict(),
        "metrics": estimates,
        "thresholds": list(entry.thresholds),
        "seeds": {
            "count": len(seeds),
            "aucs": seeds.tolist(),
            "deviation": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
        },
        "cost": entry.cost,
    }


def difference(
    names: tuple[str, str],
    places: tuple[int, int],
    aucs: np.ndarray,
    drawn: np.ndarray,
    covariance: np.ndarray,
    groups: Groups,
) -> dict[str, Any]:
    a, b = places
    value = float(aucs[a] - aucs[b])
    variance = max(float(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b]), 0.0)
    on_draws = drawn[a] - drawn[b]
    interval = plain_interval(value, on_draws, groups.freedom, (-1, 1))
    return {
        "a": names[0],
        "b": names[1],
        "difference": value,
        "resampled": interval.as_dict(),
        "p_value": two_sided(value, float(np.std(on_draws, ddof=1)), groups.freedom),
        "delong": normal_interval(value, variance, (-1, 1)).as_dict(),
        "delong_p_value": two_sided(value, variance**0.5, 10**9),  # normal: patches without number
    }
