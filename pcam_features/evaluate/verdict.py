"""The result of a comparison in words."""

from __future__ import annotations

from collections.abc import Sequence

from ..words import counted, form
from .intervals import CHANCE, Estimate
from .result import ModelResult, PairDifference
from .spread import LEAST_GROUPS, LEAST_PATCHES, LEVEL, Design

FEW_GROUPS = 30  # of the rarer kind; intervals from fewer are rough
PATCHES = "patches"  # as groups: each is one
MOST_PAIRS = 4  # that the verdict has a sentence for each, if none was declared


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
            f"the difference between {a} and {b} cannot be tested, because it is the same in every "
            "group"
        )
    if p_holm < 1 - LEVEL:
        return f"{a} is better than {b}" if interval.value > 0 else f"{a} is worse than {b}"
    adjusted = " after Holm's adjustment" if p_value < 1 - LEVEL else ""
    none = f"no difference between {a} and {b} is shown{adjusted}"
    if margin is not None and interval.low > -margin:
        return f"{none}, but {a} is not worse by more than {margin:g}"
    return none


def rarer(design: Design, over: str) -> tuple[int, str]:
    """The number of groups of the rarer kind, and a clause on it.

    Examples
    --------
    >>> import numpy as np
    >>> rarer(Design(np.array([[9, 9, 0], [0, 9, 9]])), "slides")
    (2, 'only 2 slides have positive patches')
    """
    if over == PATCHES:
        return rarer_patches(design)
    count, kind = fewer(design.holding)
    return count, f"only {count:,} {over} have {kind} patches"


def rarer_patches(design: Design) -> tuple[int, str]:
    """The number of patches of the rarer class, and a clause on it."""
    count, kind = fewer(design.patches)
    return count, f"only {counted(count, 'patch')} {form(count, 'is', 'are')} {kind}"


def fewer(of_classes: tuple[int, int]) -> tuple[int, str]:
    """The smaller of the counts of both classes, and which class it is of."""
    positive, negative = of_classes
    return (positive, "positive") if positive <= negative else (negative, "negative")


def too_few(design: Design, over: str) -> str:
    """Why a difference cannot be tested with these groups, as a clause."""
    groups, clause = rarer(design, over)
    if over != PATCHES and groups < LEAST_GROUPS:
        return f"{clause} and a test needs {LEAST_GROUPS}"
    patches, clause = rarer_patches(design)
    if patches < LEAST_PATCHES:
        return f"{clause} and a test needs {LEAST_PATCHES}"
    return (
        f"one or two {over} have nearly all patches of a class, so that they vary as "
        f"{design.effective:.1f} {over} of equal size would"
    )


def verdict(
    models: Sequence[ModelResult],
    differences: Sequence[PairDifference],
    *,
    declared: bool,
    design: Design,
    over: str,
) -> str:
    """The comparison in a few sentences.

    Declared pairs come first. Without declared pairs, only those with the best model are named, and
    many of them are summed up.

    Parameters
    ----------
    models, differences
        The scores of models and of pairs.
    declared
        Whether pairs were declared.
    design, over
        The groups that intervals are across, and what they are: slides, pseudo-slides or patches.
    """
    top = max(models, key=lambda model: model.auc)
    value = f"{top.auc:.4f} {bounds(top.resampled)}"
    best = f"{top.name} has an AUC of {value}"
    if len(models) > 1:
        best = f"{top.name} has the highest AUC, {value}"
    shown = [pair for pair in differences if declared or top.name in (pair.a, pair.b)]
    if declared or len(shown) <= MOST_PAIRS:
        pairs = [
            f"{finding(pair)}: {pair.difference:+.4f} {bounds(pair.resampled, '+')}" for pair in shown
        ]
    else:
        pairs = summed_up(top.name, shown)
    sentences = [*pairs, best] if declared else [best, *pairs]
    count, clause = rarer(design, over)
    if count < FEW_GROUPS:
        sentences.append(f"{clause[0].upper()}{clause[1:]}: intervals from so few are rough")
    sentences += [inverted(model) for model in models if model.resampled.high < CHANCE]
    return ". ".join(sentences) + "."


def summed_up(top: str, pairs: Sequence[PairDifference]) -> list[str]:
    """Sentences on the model with the highest AUC beside many others."""
    better, alike, untested = [], [], []
    for pair in pairs:
        if pair.p_holm is None:
            untested.append(pair)
        elif pair.p_holm < 1 - LEVEL:
            better.append(pair)
        else:
            alike.append(pair)
    sentences = []
    if better:
        gaps = sorted(abs(pair.difference) for pair in better)
        by = f"{gaps[0]:.4f} to {gaps[-1]:.4f}" if len(gaps) > 1 else f"{gaps[0]:.4f}"
        sentences.append(f"It is better than {others(top, better, 'and')}, by {by}")
    if alike:
        sentences.append(f"No difference from {others(top, alike, 'or')} is shown")
    if untested:
        sentences.append(f"A difference from {others(top, untested, 'or')} cannot be tested")
    return sentences


def others(top: str, pairs: Sequence[PairDifference], word: str) -> str:
    """The models of some pairs beside one that all have, with a word before the last."""
    *first, last = [pair.b if pair.a == top else pair.a for pair in pairs]
    return f"{', '.join(first)} {word} {last}" if first else last


def finding(pair: PairDifference) -> str:
    """The finding on a pair with a capital letter, unless it begins with the name of a model."""
    if pair.p_holm is not None and pair.p_holm < 1 - LEVEL:
        return pair.finding
    return pair.finding[0].upper() + pair.finding[1:]


def inverted(model: ModelResult) -> str:
    """A sentence on a model that ranks negative patches above positive ones."""
    return (
        f"{model.name} looks inverted, as its AUC is below one half: it may give the probability of "
        "normal tissue, or labels may be swapped"
    )


def bounds(interval: Estimate, sign: str = "") -> str:
    """An interval in parentheses."""
    return f"({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"
