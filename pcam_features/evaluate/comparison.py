"""A whole comparison: metrics, differences, agreement, and parts of the patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import __version__
from ..constants import RESAMPLES, SPECIFICITY
from ..errors import InputError
from ..grouping.appearance import near_duplicates
from ..grouping.groups import pseudo_slides
from . import subsets
from .inputs import Data, read_groups
from .paired import compare, parse_pairs

STAINS = 5  # clusters of stain and light that models are shown on


def run(
    data: Data,
    *,
    pairs: Sequence[str] = (),
    by: Sequence[str] = (),
    margin: float | None = None,
    specificity: float = SPECIFICITY,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Everything that is said of the models, as JSON has it; `pairs` are the A:B declared beforehand,
    all if there are none."""
    result = compare(
        data.labels,
        data.entries,
        data.groups,
        pairs=parse_pairs(pairs, [entry.name for entry in data.entries]),
        declared=bool(pairs),
        margin=margin,
        specificity=specificity,
        resamples=resamples,
        seed=seed,
        threads=threads,
        progress=progress,
    )
    known = [slide for slide in data.slides if slide is not None]
    return {
        "pcam_version": __version__,
        "slides": len(set(known)) or None,
        "patches_with_slide": len(known),
        "resampled_over": data.over,
        "protocol": data.protocol,
        "pairs_declared": bool(pairs),
        "thresholds_chosen_on": data.validation,
        **result,
        "agreement": subsets.agreement(data.labels, data.entries),
        "parts": parts(data, by, seed),
    }


def parts(data: Data, by: Sequence[str], seed: int) -> dict[str, Any]:
    """The models by slide, by cluster of stain, by the groups of a table, and without copies: those of
    these that can be told."""
    found: dict[str, Any] = {}

    def add(name: str, groups: Sequence[str | None]) -> None:
        found[name] = subsets.by_group(data.labels, data.entries, groups)

    if any(data.slides):
        add("slide", data.slides)
    looks = None if data.features is None else data.features.looks
    if looks is not None and len(data.ids) > STAINS:
        clusters = pseudo_slides(looks.slide, STAINS, seed)
        add("stain cluster", [str(k + 1) for k in clusters.tolist()])
        found["without near-duplicates"] = subsets.without_copies(
            data.labels, data.entries, near_duplicates(looks.copies)
        )
    for spec in by:
        name, of_id = read_groups(spec)
        groups = [of_id.get(one) for one in data.ids]
        if not any(groups):
            raise InputError(f"none of the truth's ids is in --by {spec}; is it the right table?")
        add(f"{name} (--by)" if name in found else name, groups)
    return found
