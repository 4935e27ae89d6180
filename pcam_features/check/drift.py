"""Whether one set of patches looks like another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .look import Look

FAR = 0.2  # a Kolmogorov-Smirnov distance that is told of, if chance does not bring as much:
BY_CHANCE = 1.95  # times the root of 1/n + 1/m is passed once in a thousand by patches of one kind
LEAST = 20  # patches of each


@dataclass(frozen=True)
class Drift:
    """How far apart two sets are, in each quantity: the Kolmogorov-Smirnov statistic, 0 … 1; and the
    median of each in both. Beyond `bound` they are called different."""

    base: str
    other: str
    apart: dict[str, float]
    bound: float
    medians: dict[str, tuple[float, float]]


def quantities(look: Look) -> dict[str, np.ndarray]:
    """What is compared, for each patch that is there."""
    planes = ("red", "green", "blue", "saturation", "hematoxylin", "eosin")
    values = {name: look.mean(name) for name in planes}
    values = {"brightness": look.gray, "contrast": look.deviation} | values
    values["sharpness"] = look.sharpness
    return {name: one[look.there] for name, one in values.items()}


def between(base: str, look: Look, other: str, beside: Look) -> Drift | None:
    """None where there are too few patches."""
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
    """The quantities that are far apart, the farthest first."""
    far = [name for name, apart in drift.apart.items() if apart > drift.bound]
    return sorted(far, key=lambda name: -drift.apart[name])
