"""The result of a comparison in words."""

from __future__ import annotations

from collections.abc import Sequence

from .intervals import LEVEL, Estimate
from .result import ModelResult, PairDifference

FEW_GROUPS = 30  # bootstrap intervals from fewer groups are rough


def pair_finding(
    names: tuple[str, str],
    interval: Estimate,
    p_value: float | None,
    p_holm: float | None,
    margin: float | None,
) -> str:
    """The finding on a pair of models in words.

    Parameters
    ----------
    names
        The two models, A and B.
    interval
        The difference of AUC, A − B, with its interval.
    p_value, p_holm
        The p-value, and the same adjusted for the number of pairs; None if the difference cannot be
        tested.
    margin
        The non-inferiority margin, or None.

    Examples
    --------
    >>> pair_finding(("stack", "cnn"), Estimate(0.02, 0.01, 0.03), 0.001, 0.002, None)
    'stack is better than cnn'
    """
    a, b = names
    if p_value is None or p_holm is None:
        return (
            f"the difference between {a} and {b} cannot be tested, because it is the same on every "
            "resample"
        )
    if p_holm < 1 - LEVEL:
        return f"{a} is better than {b}" if interval.value > 0 else f"{a} is worse than {b}"
    adjusted = " after Holm's adjustment" if p_value < 1 - LEVEL else ""
    none = f"no difference between {a} and {b} is shown{adjusted}"
    if margin is not None and interval.low > -margin:
        return f"{none}, but {a} is not worse by more than {margin:g}"
    return none


def verdict(
    models: Sequence[ModelResult],
    differences: Sequence[PairDifference],
    *,
    declared: bool,
    groups: int,
) -> str:
    """The comparison in a few sentences.

    Declared pairs come first. Without declared pairs, only those with the best model are named.
    """
    top = max(models, key=lambda model: model.auc)
    value = f"{top.auc:.4f} {bounds(top.resampled)}"
    best = f"{top.name} has an AUC of {value}"
    if len(models) > 1:
        best = f"{top.name} has the highest AUC, {value}"
    shown = [pair for pair in differences if declared or top.name in (pair.a, pair.b)]
    pairs = [f"{pair.finding}: {pair.difference:+.4f} {bounds(pair.resampled, '+')}" for pair in shown]
    sentences = [*pairs, best] if declared else [best, *pairs]
    if groups < FEW_GROUPS:
        sentences.append(f"only {groups} groups were resampled: intervals from so few are rough")
    return ". ".join(map(capitalized, sentences)) + "."


def capitalized(sentence: str) -> str:
    """A sentence with a capital letter, unless it begins with the name of a model."""
    if sentence.startswith(("no ", "only ", "the ")):
        return sentence[0].upper() + sentence[1:]
    return sentence


def bounds(interval: Estimate, sign: str = "") -> str:
    """An interval in parentheses."""
    return f"({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"
