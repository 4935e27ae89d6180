"""Several models on the same patches: the metrics of each, and the differences between pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ..errors import InputError
from .intervals import (
    Estimate,
    around,
    auc_interval,
    delong,
    for_threshold,
    normal_interval,
    normal_spread,
    plain_interval,
    resampling_quantile,
    share_interval,
    two_sided,
)
from .metrics import METRICS, prepare
from .options import ComparisonOptions
from .resampling import Groups, resampled
from .result import MetricEstimate, ModelResult, PairDifference, SeedSpread
from .spread import Contributions, Design, Spread, contributions
from .verdict import pair_finding, too_few

AUC = list(METRICS).index("auc")
NO_INTERVAL = "ece"  # resampling inflates it, so it has no bootstrap interval
PLAIN_THRESHOLD = 0.5


@dataclass(frozen=True)
class Entry:
    """A model to compare.

    `rows` has the probabilities, float64 (seeds, n); `thresholds` one threshold for each seed; `files`
    the files that the probabilities were read from; `cost` the known costs of the model.
    """

    name: str
    rows: np.ndarray
    thresholds: Sequence[float]
    files: Sequence[str] = ()
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> np.ndarray:
        """The mean probability over seeds, (n,), for display; scores are computed for each seed."""
        return np.asarray(self.rows.mean(axis=0))


def parse_pairs(pairs: Sequence[str | tuple[str, str]], names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names from `A:B` or `(A, B)`; all pairs if none is given.

    Raises
    ------
    InputError
        If a pair does not name two of the models, or is given twice.
    """
    if not pairs:
        return list(combinations(names, 2))
    specs = [pair if isinstance(pair, str) else ":".join(pair) for pair in pairs]
    parsed = []
    for spec in specs:
        matching = [(a, b) for a in names for b in names if a != b and f"{a}:{b}" == spec]
        if len(matching) != 1:
            raise InputError(
                f"--pair {spec} is not A:B with two models; the models are: {', '.join(names)}."
            )
        parsed += matching
    if len({frozenset(pair) for pair in parsed}) != len(parsed):
        raise InputError(
            "the same --pair is given twice; p-values are adjusted for each pair, so give it once."
        )
    return parsed


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values (k,) adjusted for their number.

    A pair that cannot be tested has None and stays so. It still counts as one of the pairs: whether a
    pair can be tested is known only from the data, so leaving it out would be a choice by results.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979; as R's `p.adjust`.
    """
    known = np.array([for_threshold(p_value) for p_value in p_values])
    order = np.argsort(known, kind="stable")
    scaled = known[order] * np.arange(len(known), 0, -1)
    adjusted = np.empty(len(known))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [
        None if p_value is None else float(one) for p_value, one in zip(p_values, adjusted, strict=True)
    ]


@dataclass(frozen=True)
class Compared:
    """The scores of models and of pairs, and how both classes are distributed over groups."""

    models: tuple[ModelResult, ...]
    differences: tuple[PairDifference, ...]
    design: Design


def compare(
    labels: np.ndarray,
    entries: Sequence[Entry],
    groups: Groups,
    options: ComparisonOptions,
    over: str = "groups",
    progress: Callable[[int], None] = lambda done: None,
) -> Compared:
    """The metrics of each model and the difference of AUC of each pair, with intervals across groups.

    The metrics of a model with several seeds are the means over its seeds. p-values are two-sided and
    adjusted over the pairs by Holm's method. With a margin, A is not inferior to B if the interval of
    A − B lies above −margin. DeLong's intervals assume that patches are independent.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    entries
        The models' predictions, in the order of `labels`.
    groups
        The groups of patches that intervals are across.
    options
        The pairs to compare, margin, specificity, resamples, seed and threads.
    over
        What the groups are, in sentences: slides, pseudo-slides or patches.
    progress
        Called with the number of resamples done.

    Raises
    ------
    InputError
        If a pair does not name two of the models, or the groups cannot be resampled.
    """
    names = [entry.name for entry in entries]
    pairs = parse_pairs(options.pairs, names)
    rows = np.concatenate([entry.rows for entry in entries])
    thresholds = [threshold for entry in entries for threshold in entry.thresholds]
    scored = prepare(labels, rows, thresholds, options.specificity)
    mean_of = seeds_to_models(entries)
    by_seed = scored.metrics(np.ones((1, len(labels)), np.int64))[:, :, 0]
    values = np.einsum("ms,sk->mk", mean_of, by_seed)

    def on(weights: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("ms,skb->mkb", mean_of, scored.metrics(weights)))

    drawn = resampled(
        on,
        labels,
        groups,
        resamples=options.resamples,
        seed=options.seed,
        threads=options.threads,
        progress=progress,
    )
    _, seed_covariance = delong(labels, rows)
    covariance = mean_of @ seed_covariance @ mean_of.T
    known = contributions(labels, rows, groups.codes)
    starts = np.cumsum([0, *(len(entry.rows) for entry in entries)])
    models = []
    for k, entry in enumerate(entries):
        spread = known.spread(mean_of[k])
        across = auc_interval(float(values[k, AUC]), spread, known.design.effective)
        of_seeds = by_seed[starts[k] : starts[k + 1], AUC]
        by_patch = normal_interval(across.value, float(covariance[k, k]), (0, 1))
        estimates = metric_estimates(values[k], drawn[k], spread)
        models.append(model_result(entry, of_seeds, across, by_patch, estimates))
    tested = []
    for a, b in pairs:
        of_a, of_b = names.index(a), names.index(b)
        value = float(values[of_a, AUC] - values[of_b, AUC])
        tested.append(difference(value, mean_of[of_a] - mean_of[of_b], seed_covariance, known))
    adjusted = holm([one.p_value for one in tested])
    reason = too_few(known.design, over)
    differences = tuple(
        pair_difference(pair, one, p_holm, options.margin, reason)
        for pair, one, p_holm in zip(pairs, tested, adjusted, strict=True)
    )
    return Compared(tuple(models), differences, known.design)


def seeds_to_models(entries: Sequence[Entry]) -> np.ndarray:
    """The matrix (models, seeds of all models) that turns values of seeds into means of models."""
    mean_of = np.zeros((len(entries), sum(len(entry.rows) for entry in entries)))
    start = 0
    for k, entry in enumerate(entries):
        mean_of[k, start : start + len(entry.rows)] = 1 / len(entry.rows)
        start += len(entry.rows)
    return mean_of


def metric_estimates(
    values: np.ndarray, drawn: np.ndarray, spread: Spread
) -> dict[str, MetricEstimate]:
    """The METRICS of a model with intervals, from their values (metrics,) and those on resamples,
    (metrics, draws), and the spread of its AUC."""
    quantile = resampling_quantile(spread, drawn[AUC])
    estimates: dict[str, MetricEstimate] = {}
    for (name, metric), value, on_draws in zip(METRICS.items(), values.tolist(), drawn, strict=True):
        if name == NO_INTERVAL:
            estimates[name] = MetricEstimate(value)
            continue
        if metric.share:
            interval = share_interval(value, on_draws, quantile)
        else:
            interval = plain_interval(value, on_draws, quantile, (0, np.inf))
        estimates[name] = MetricEstimate(interval.value, interval.low, interval.high)
    return estimates


def model_result(
    entry: Entry,
    seeds: np.ndarray,
    across: Estimate,
    by_patch: Estimate,
    estimates: dict[str, MetricEstimate],
) -> ModelResult:
    """The scores of a model: its AUC of each seed (seeds,), with intervals across groups and by DeLong,
    and its METRICS."""
    auc = MetricEstimate(across.value, across.low, across.high)
    return ModelResult(
        name=entry.name,
        files=tuple(entry.files),
        resampled=across,
        delong=by_patch,
        metrics=estimates | {"auc": auc},
        thresholds=tuple(entry.thresholds),
        seeds=SeedSpread(
            tuple(seeds.tolist()), float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
        ),
        cost=entry.cost,
    )


@dataclass(frozen=True)
class TestedDifference:
    """The difference of AUC of a pair, before p-values are adjusted for the number of pairs.

    A p-value is None if the difference cannot be tested; see `intervals.two_sided`, and
    `groups_suffice`, which is False if there are too few groups.
    """

    resampled: Estimate
    p_value: float | None
    delong: Estimate
    delong_p_value: float | None
    groups_suffice: bool = True


def difference(
    value: float, weights: np.ndarray, covariance: np.ndarray, known: Contributions
) -> TestedDifference:
    """The difference between two models.

    Parameters
    ----------
    value
        The difference of AUC.
    weights
        The weight of each seed of all models in it, (seeds,).
    covariance
        The covariance of the AUCs of seeds by DeLong, (seeds, seeds).
    known
        What groups contribute to these AUCs.
    """
    variance = float(weights @ covariance @ weights)
    spread, design = known.spread(weights), known.design
    p_value = two_sided(value, spread)
    untested = p_value is not None and p_value < 1 and not design.enough
    return TestedDifference(
        resampled=around(value, spread.reach, (-1, 1)),
        p_value=None if untested else p_value,
        delong=normal_interval(value, variance, (-1, 1)),
        delong_p_value=two_sided(value, normal_spread(variance)),
        groups_suffice=not untested,
    )


def pair_difference(
    pair: tuple[str, str],
    tested: TestedDifference,
    p_holm: float | None,
    margin: float | None,
    reason: str,
) -> PairDifference:
    """The result of a pair, with the adjusted p-value and the finding in words.

    `reason` says why a difference cannot be tested if there are too few groups for it.
    """
    not_inferior = None
    if margin is not None and tested.p_value is not None:
        not_inferior = tested.resampled.low > -margin
    return PairDifference(
        a=pair[0],
        b=pair[1],
        resampled=tested.resampled,
        p_value=tested.p_value,
        delong=tested.delong,
        delong_p_value=tested.delong_p_value,
        p_holm=p_holm,
        finding=(
            pair_finding(pair, tested.resampled, tested.p_value, p_holm, margin)
            if tested.groups_suffice
            else f"the difference between {pair[0]} and {pair[1]} cannot be tested, because {reason}"
        ),
        not_inferior=not_inferior,
    )
