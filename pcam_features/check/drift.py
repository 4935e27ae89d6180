"""Drift: the difference in distribution between two sets of patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .look import Look

FAR = 0.2  # a Kolmogorov-Smirnov distance that is reported, unless chance explains it
BY_CHANCE = 1.95  # times the root of 1/n + 1/m: chance exceeds it once in a thousand
LEAST = 20  # patches of each set


@dataclass(frozen=True)
class Drift:
    """The difference between two sets of patches in each quantity.

    `apart` has the Kolmogorov-Smirnov statistic, 0 … 1, and `medians` the medians in both sets. A
    statistic above `bound` counts as a difference.
    """

    base: str
    other: str
    apart: dict[str, float]
    bound: float
    medians: dict[str, tuple[float, float]]


def quantities(look: Look) -> dict[str, np.ndarray]:
    """The quantities compared, for each readable patch."""
    planes = ("red", "green", "blue", "saturation", "hematoxylin", "eosin")
    values = {name: look.mean(name) for name in planes}
    values = {"brightness": look.gray, "contrast": look.deviation} | values
    values["sharpness"] = look.sharpness
    return {name: own[look.there] for name, own in values.items()}


def between(base: str, look: Look, other: str, beside: Look) -> Drift | None:
    """The drift between two looks, or None if one has too few patches."""
    from scipy.stats import ks_2samp

    if min(look.there.sum(), beside.there.sum()) < LEAST:
        return None
    first, second = quantities(look), quantities(beside)
    return Drift(
        base,
        other,
        apart={name: float(ks_2samp(first[name], second[name]).statistic) for name in first},
        bound=max(FAR, BY_CHANCE * (1 / look.there.sum() + 1 / beside.there.sum()) ** 0.5),
        medians={
            name: (float(np.median(first[name])), float(np.median(second[name]))) for name in first
        },
    )


def marked(drift: Drift) -> list[str]:
    """The quantities that differ, the largest difference first."""
    far = [name for name, apart in drift.apart.items() if apart > drift.bound]
    return sorted(far, key=lambda name: -drift.apart[name])
