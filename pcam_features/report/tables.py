"""The tables of a comparison, as cells of text: for Markdown, the report, and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluate.metrics import METRICS
from ..storage.costs import FIELDS, NUMBERS
from .sentences import span

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def over(result: dict[str, Any]) -> str:
    """What the intervals come from."""
    return f"{result['level']:.0%}, {result['resampled_over']} resampled"


def beside(result: dict[str, Any]) -> str:
    """The heading of DeLong's intervals."""
    narrow = "" if result["resampled_over"] == "patches" else ", too narrow"
    return f"DeLong, as if independent{narrow}"


def models(result: dict[str, Any]) -> Table:
    rows = [
        (m["model"], f"{m['auc']:.4f}", span(m["resampled"]), span(m["delong"]), seeds(m["seeds"]))
        for m in result["models"]
    ]
    columns = ("model", "AUC", over(result), beside(result), "seeds, spread of AUC")
    if all(m["seeds"]["count"] == 1 for m in result["models"]):
        return columns[:-1], [row[:-1] for row in rows]
    return columns, rows


def seeds(found: dict[str, Any]) -> str:
    if found["deviation"] is None:
        return "1 seed"
    return f"{found['count']} seeds, SD {found['deviation']:.4f}"


def titles(result: dict[str, Any]) -> dict[str, str]:
    """What METRICS are called here."""
    named = {name: metric.title for name, metric in METRICS.items()}
    named["sensitivity"] = f"sensitivity at specificity {result['specificity']:g}"
    return named


def metrics(result: dict[str, Any]) -> Table:
    """Every metric but AUC: a row a model."""
    wanted = [name for name in METRICS if name != "auc"]
    named = titles(result)
    rows = []
    for m in result["models"]:
        cells = []
        for name in wanted:
            one = m["metrics"][name]
            interval = "" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]"
            cells.append(f"{one['value']:.4f}{interval}")
        rows.append((m["model"], *cells, ", ".join(f"{t:.3g}" for t in m["thresholds"])))
    arrows = {name: "" if METRICS[name].higher else " (lower is better)" for name in wanted}
    return ("model", *(named[n] + arrows[n] for n in wanted), "threshold"), rows


def turned(table: Table, corner: str) -> Table:
    """A table with a row for each of its columns but the first, which becomes the heading."""
    columns, rows = table
    heading = (corner, *(row[0] for row in rows))
    return heading, [(name, *(row[k] for row in rows)) for k, name in enumerate(columns) if k]


def differences(result: dict[str, Any]) -> Table:
    rows = [
        (
            f"{d['a']} − {d['b']}",
            f"{d['difference']:+.4f}",
            span(d["resampled"], "+"),
            f"{d['p_value']:.2g}",
            f"{d['p_holm']:.2g}",
            span(d["delong"], "+"),
            d["finding"],
        )
        for d in result["differences"]
    ]
    columns = ("pair", "difference of AUC", over(result), "p", "p (Holm)", beside(result), "finding")
    return columns, rows


def costs(result: dict[str, Any]) -> Table | None:
    """What models cost, as far as it is known; None if nothing is."""
    known = [name for name in FIELDS if any(name in m["cost"] for m in result["models"])]
    if not known:
        return None
    rows = [(m["model"], *(cost(name, m["cost"]) for name in known)) for m in result["models"]]
    return ("model", *(FIELDS[name] for name in known)), rows


def cost(name: str, known: dict[str, Any]) -> str:
    if name not in known:
        return "unknown"
    value = known[name]
    if name not in NUMBERS:
        return str(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def part(found: dict[str, Any], names: Sequence[str], what: str) -> Table:
    rows = [
        (
            one["group"],
            f"{one['patches']:,}",
            f"{one['positive']:,}",
            *(f"{one['aucs'][name]:.4f}" for name in names),
        )
        for one in found["groups"]
    ]
    return (what, "patches", "positive", *names), rows


def left_out(found: dict[str, Any], what: str, least: int) -> str:
    """Which groups have no AUC, in a sentence; nothing if all have one."""
    out = found["left_out"]
    if not out["groups"]:
        return ""
    return (
        f"Left out: {out['groups']:,} {what}s with {out['patches']:,} patches, which have fewer than "
        f"{least} patches of a class ({out['of_one_class']:,} of them have one class only)."
    )


def slower(result: dict[str, Any]) -> list[str]:
    """How long a patch takes with one model beside another, for the pairs of interest."""
    rate = {m["model"]: m["cost"].get("predict_patches_per_second") for m in result["models"]}
    where = {m["model"]: m["cost"].get("predict_device") for m in result["models"]}
    said = []
    for pair in result["differences"] if result["pairs_declared"] else result["differences"][:3]:
        a, b = sorted((pair["a"], pair["b"]), key=lambda name: rate[name] or 0)
        if rate[a] and rate[b]:
            caution = "" if where[a] == where[b] else ", but on other devices"
            said.append(f"A patch takes {a} {rate[b] / rate[a]:.1f} times as long as {b}{caution}.")
    return said


def copies(found: dict[str, Any]) -> str:
    """The AUCs without near-duplicates, in a sentence."""
    each = ", ".join(f"{name} {auc:.4f}" for name, auc in found["aucs"].items())
    if not found["left_out"]:
        return "There are no near-duplicates among these patches."
    return (
        f"Without {found['left_out']:,} near-duplicates ({found['patches']:,} patches are left), AUC "
        f"is: {each}."
    )


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader has to know of the numbers."""
    said = [
        f"{result['patches']:,} patches, {result['positive']:,} positive. Resampled: "
        f"{result['protocol']}."
    ]
    said += slower(result)
    still = [m["model"] for m in result["models"] if m["resampled"]["low"] == m["resampled"]["high"]]
    if still:
        said.append(f"Draws do not vary for {', '.join(still)}: its interval says nothing.")
    if result["pairs_declared"]:
        said.append("Pairs were declared beforehand; p-values are adjusted over them (Holm).")
    elif len(result["differences"]) > 1:
        said.append("No pair was declared beforehand: p-values are adjusted over all pairs (Holm).")
    if result["margin"] is not None:
        said.append(f"A is not inferior to B if the interval of A − B is above −{result['margin']:g}.")
    agreed = result["agreement"]
    if len(result["models"]) > 1:
        said.append(
            f"At their thresholds all models are right on {agreed['all_right']:,} patches and all "
            f"wrong on {agreed['all_wrong']:,}."
        )
    return said
