"""A comparison in words."""

from __future__ import annotations

from typing import Any

from .intervals import LEVEL

FEW_GROUPS = 30  # from fewer, intervals by resampling are rough


def finding(pair: dict[str, Any], margin: float | None) -> str:
    """What a pair has shown, in words."""
    a, b = pair["a"], pair["b"]
    if pair["p_holm"] < 1 - LEVEL:
        return f"{a} is better than {b}" if pair["difference"] > 0 else f"{a} is worse than {b}"
    adjusted = " after Holm's adjustment" if pair["p_value"] < 1 - LEVEL else ""
    none = f"no difference between {a} and {b} is shown{adjusted}"
    if margin is not None and pair["resampled"]["low"] > -margin:
        return f"{none}, but {a} is not worse by more than {margin:g}"
    return none


def verdict(
    models: list[dict[str, Any]], differences: list[dict[str, Any]], declared: bool, groups: int
) -> str:
    """The comparison in a few sentences: pairs that were declared come first; of others only those
    with the best model."""
    top = max(models, key=lambda one: one["auc"])
    own = differences if declared else [d for d in differences if top["model"] in (d["a"], d["b"])]
    said = [f"{top['model']} has the highest AUC, {top['auc']:.4f} {reach(top['resampled'])}"]
    pairs = [f"{d['finding']}: {d['difference']:+.4f} {reach(d['resampled'], '+')}" for d in own]
    said = [*pairs, *said] if declared else [*said, *pairs]
    if groups < FEW_GROUPS:
        said.append(f"only {groups} groups were resampled: intervals from so few are rough")
    return (
        ". ".join(one[0].upper() + one[1:] if one.startswith(("no ", "only ")) else one for one in said)
        + "."
    )


def reach(interval: dict[str, float], sign: str = "") -> str:
    return f"({interval['low']:{sign}.4f} to {interval['high']:{sign}.4f})"
