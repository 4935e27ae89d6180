"""Whether probabilities mean what they say: Brier score, log loss, expected calibration error."""

from __future__ import annotations

import numpy as np

BINS = 15  # as in Guo et al. 2017


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The expected calibration error, 0 to 1: by how much the share of positives in a bin differs
    from the mean probability there, weighted by the bin's patches.

    BINS bins of equal width, each with its upper edge. Labels are 0 and 1, (n,).
    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    bins = np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)
    surplus = np.bincount(bins, labels - probabilities, minlength=BINS)
    return float(np.abs(surplus).sum() / len(labels))


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Brier score, log loss (nats) and expected calibration error: of all three, 0 is best."""
    from sklearn.metrics import brier_score_loss, log_loss

    return {
        "brier": float(brier_score_loss(labels, probabilities)),
        "log_loss": float(log_loss(labels, probabilities, labels=[0, 1])),
        "ece": calibration_error(labels, probabilities),
    }
