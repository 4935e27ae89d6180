"""What each part adds to a combination: the difference of AUC with and without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..storage.fields import Fields
from .intervals import Estimate, aucs, delong, for_threshold
from .paired import difference, holm
from .resampling import stratify
from .spread import contributions
from .verdict import pair_finding


@dataclass(frozen=True)
class Gain:
    """What a part adds to all others.

    Parameters
    ----------
    part
        The part.
    others
        The other parts.
    difference
        AUC of all parts less that of the others, with its interval across groups.
    p_value, p_holm
        Two-sided, and the same adjusted for the number of parts; None if it cannot be tested.
    """

    part: str
    others: tuple[str, ...]
    difference: Estimate
    p_value: float | None
    p_holm: float | None

    def finding(self, whole: str) -> str:
        """The finding in words; `whole` names the combination of all parts."""
        others = " + ".join(self.others)
        if self.p_value is None:
            return f"whether {self.part} adds anything to {others} cannot be tested"
        return pair_finding((whole, others), self.difference, self.p_value, self.p_holm, None)

    def to_dict(self) -> dict[str, object]:
        """The JSON object; see `intervals.for_threshold` on what cannot be tested."""
        return {
            "others": list(self.others),
            "difference": self.difference.as_dict(),
            "tested": self.p_value is not None,
            "p_value": for_threshold(self.p_value),
            "p_holm": for_threshold(self.p_holm),
        }

    @classmethod
    def from_fields(cls, part: str, known: Fields) -> Gain:
        """Raises ValueError if a field is missing or wrong."""
        change = known.child("difference")
        estimate = Estimate(*(change.number(name, -1, 1) for name in ("value", "low", "high")))
        if not estimate.low <= estimate.value <= estimate.high:
            raise ValueError(f"{known.name} has a difference outside its interval")
        p_value, p_holm = known.share("p_value"), known.share("p_holm")
        if not known.flag("tested"):
            return cls(part, known.texts("others"), estimate, None, None)
        return cls(part, known.texts("others"), estimate, p_value, p_holm)


def gains(
    labels: np.ndarray,
    whole: np.ndarray,
    without: dict[str, np.ndarray],
    groups: np.ndarray,
) -> tuple[Gain, ...]:
    """What each part adds, with intervals across groups and p-values adjusted by Holm's method.

    Parameters
    ----------
    labels
        0 or 1 for each patch, (n,).
    whole
        Scores by all parts, (n,).
    without
        Scores by all parts but one, (n,), for each part by its name.
    groups
        The group of each patch, (n,).

    Raises
    ------
    InputError
        If all patches of a class are in one group.

    Examples
    --------
    >>> labels, groups = np.array([0, 1] * 20), np.repeat(np.arange(10), 4)
    >>> noise = np.random.default_rng(0).normal(size=(2, 40))
    >>> a, b = labels + noise
    >>> [gain.others for gain in gains(labels, a + b, {"a": b, "b": a}, groups)]
    [('b',), ('a',)]
    """
    rows = np.stack([whole, *without.values()])
    known = contributions(labels, rows, stratify(labels, groups).codes)
    _, covariance = delong(labels, rows)
    values = aucs(labels, rows)
    tested = []
    for k in range(1, len(rows)):
        weights = np.zeros(len(rows))
        weights[0], weights[k] = 1, -1
        tested.append(difference(float(values[0] - values[k]), weights, covariance, known))
    adjusted = holm([one.p_value for one in tested])
    return tuple(
        Gain(
            part,
            tuple(name for name in without if name != part),
            one.resampled,
            one.p_value,
            p_holm,
        )
        for part, one, p_holm in zip(without, tested, adjusted, strict=True)
    )
