"""The metrics of predictions, on all patches and on resamples of them.

Every metric takes weights, (b, n): how often each patch is in each of b resamples. With weights of 1
the result is the metric itself, so the same code gives an estimate and its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..constants import SPECIFICITY

BINS = 15  # of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class Metric:
    """The title of a metric, whether higher is better, and whether it is a proportion, 0 to 1."""

    title: str
    higher: bool
    share: bool = True


METRICS = {
    "auc": Metric("AUC", True),
    "average_precision": Metric("average precision", True),
    "sensitivity": Metric("sensitivity", True),  # at a fixed specificity
    "balanced_accuracy": Metric("balanced accuracy", True),  # at a threshold
    "brier": Metric("Brier score", False),
    "log_loss": Metric("log loss", False, share=False),
    "ece": Metric("calibration error", False),
}
RANKED = ("auc", "average_precision", "sensitivity")  # the metrics that `walk` computes


@dataclass(frozen=True)
class Ranking:
    """Rankings of patches by rows of scores (rows, n), each from high to low.

    `order` has the patches in order, `last` whether each is the last of a run of equal scores,
    `positive` whether it is positive.
    """

    order: np.ndarray
    last: np.ndarray
    positive: np.ndarray


def rank(labels: np.ndarray, scores: np.ndarray) -> Ranking:
    """The rankings of patches by rows of scores (rows, n)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    last = np.ones(scores.shape, np.bool_)
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    return Ranking(order.astype(np.int32), last, labels[order].astype(np.bool_))


@cache
def compiled() -> Any:
    """`walk`, compiled: it takes most of the time."""
    import numba

    return numba.njit(nogil=True)(walk)


def walk(  # noqa: C901
    order: np.ndarray,
    last: np.ndarray,
    positive: np.ndarray,
    weights: np.ndarray,
    specificity: float,
    out: np.ndarray,
) -> None:
    """Write AUC, average precision and sensitivity at a specificity to `out` (rows, 3, b).

    The rankings are (rows, n), the integer weights (b, n). Results are NaN where a class has no weight.
    """
    for draw in range(weights.shape[0]):
        weight = weights[draw]
        for row in range(order.shape[0]):
            positives = negatives = 0
            for k in range(order.shape[1]):
                if positive[row, k]:
                    positives += weight[order[row, k]]
                else:
                    negatives += weight[order[row, k]]
            if positives == 0 or negatives == 0:
                out[row, :, draw] = np.nan
                continue
            allowed = (1 - specificity) * negatives * (1 + 1e-12)
            true = false = true_before = false_before = reached = 0
            area = precision = 0.0
            for k in range(order.shape[1]):
                if positive[row, k]:
                    true += weight[order[row, k]]
                else:
                    false += weight[order[row, k]]
                if not last[row, k]:
                    continue
                area += (false - false_before) * (true + true_before) / 2
                if true > true_before:
                    precision += (true - true_before) * (true / (true + false))
                if false <= allowed:
                    reached = true
                true_before, false_before = true, false
            out[row, 0, draw] = area / positives / negatives
            out[row, 1, draw] = precision / positives
            out[row, 2, draw] = reached / positives


def ranked(ranking: Ranking, weights: np.ndarray, specificity: float = SPECIFICITY) -> np.ndarray:
    """AUC, average precision, and sensitivity at a specificity, of rankings.

    AUC is that of `sklearn.metrics.roc_auc_score`, average precision that of
    `sklearn.metrics.average_precision_score`. Sensitivity is the highest of all thresholds whose
    specificity is at least `specificity`.

    Parameters
    ----------
    ranking
        The rankings, (rows, n).
    weights
        Integer weights, (b, n).
    specificity
        The minimum specificity, 0 to 1.

    Returns
    -------
    numpy.ndarray
        The metrics RANKED, (rows, 3, b); NaN where a class has no weight.
    """
    out = np.empty((len(ranking.order), len(RANKED), len(weights)))
    held = np.ascontiguousarray(weights, np.uint16)
    compiled()(ranking.order, ranking.last, ranking.positive, held, float(specificity), out)
    return out


def counts(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct scores of one row (n,), from high to low, and the weight (n,) of true and of false
    positives if all patches with at least that score are classified as positive."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    true = np.cumsum((weights * labels)[order])[ends]
    false = np.cumsum((weights * (1 - labels))[order])[ends]
    return scores[order][ends], true, false


def calibration_bins(probabilities: np.ndarray) -> np.ndarray:
    """The bin of each probability, of BINS bins of equal width; an upper edge belongs to its bin."""
    return np.asarray(np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1))


@dataclass(frozen=True)
class Scored:
    """Rows of probabilities (rows, n), prepared for scoring under any weights."""

    ranking: Ranking
    sums: np.ndarray  # (4 rows, n): squared error, log loss, right among positives, among negatives
    surplus: csr_array  # (BINS rows, n): label less probability, by bin
    positive: np.ndarray
    specificity: float

    def metrics(self, weights: np.ndarray) -> np.ndarray:
        """METRICS in their order, under integer weights (b, n): (rows, metrics, b)."""
        columns = weights.T.astype(np.float64)
        every, positives = columns.sum(axis=0), self.positive @ columns
        squares, logs, right, spared = (self.sums @ columns).reshape(4, -1, len(weights))
        gaps = np.abs(self.surplus @ columns).reshape(-1, BINS, len(weights)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where a class has no weight
            balanced = (right / positives + spared / (every - positives)) / 2
            rest = np.stack([balanced, squares / every, logs / every, gaps / every], axis=1)
        return np.concatenate([ranked(self.ranking, weights, self.specificity), rest], axis=1)


def prepare(
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Sequence[float],
    specificity: float = SPECIFICITY,
) -> Scored:
    """Prepare rows of probabilities (rows, n) for scoring.

    A patch is classified as positive if its probability is at least its row's threshold. Brier score
    and log loss are scikit-learn's; the calibration error is that of C. Guo et al., "On calibration of
    modern neural networks", ICML 2017.
    """
    least = np.finfo(probabilities.dtype).eps  # as sklearn.metrics.log_loss
    clipped = np.clip(probabilities, least, 1 - least)
    called = probabilities >= np.asarray(thresholds)[:, None]
    sums = [
        (labels - probabilities) ** 2,
        -np.log(np.where(labels == 1, clipped, 1 - clipped)),
        called & (labels == 1),
        ~called & (labels == 0),
    ]
    rows, n = probabilities.shape
    bins = calibration_bins(probabilities) + BINS * np.arange(rows)[:, None]
    place = (bins.ravel(), np.tile(np.arange(n), rows))
    surplus = csr_array(((labels - probabilities).ravel(), place), shape=(BINS * rows, n))
    return Scored(
        rank(labels, probabilities),
        np.concatenate(sums).astype(np.float64),
        surplus,
        labels.astype(np.float64),
        specificity,
    )


def metrics(labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """METRICS of one row of probabilities (n,)."""
    scored = prepare(labels, probabilities[None], [threshold])
    values = scored.metrics(np.ones((1, len(labels)), np.int64))[0, :, 0]
    return dict(zip(METRICS, values.tolist(), strict=True))


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold with the highest balanced accuracy; the highest threshold if there are several."""
    scores, true, false = counts(labels, probabilities, np.ones(len(labels)))
    return float(scores[np.argmax(true / true[-1] - false / false[-1])])
