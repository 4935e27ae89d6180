"""What `pcam compare` compares: tables and a feature store brought together, before the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import FOLDS
from ..errors import InputError
from ..grouping.appearance import Looks, looks_in
from ..grouping.groups import group_codes, group_unknown
from ..sources.slides import parse, read_slides
from ..storage import costs
from ..storage.tables import read_table
from ..store.store import Store, open_store
from .metrics import best_threshold
from .paired import PLAIN_THRESHOLD, Entry
from .predictions import parse_model, read_models, read_truth
from .resampling import Groups, stratify

SLIDES, PSEUDO, PATCHES = "slides", "pseudo-slides", "patches"  # what is resampled


@dataclass(frozen=True)
class Features:
    """A feature store that holds the patches compared: its split, and their rows there."""

    store: Store
    split: str
    rows: np.ndarray
    looks: Looks | None
    slides: list[str | None]


@dataclass(frozen=True)
class Data:
    """Everything that is compared, in the truth's order."""

    ids: list[str]
    labels: np.ndarray
    entries: list[Entry]
    slides: list[str | None]
    groups: Groups
    over: str
    protocol: str
    features: Features | None
    validation: str | None  # the truth that thresholds were chosen on


def find_features(path: Path, ids: Sequence[str]) -> Features:
    """The split of a store that has all ids. Raises InputError if none has."""
    store = open_store(path)
    for split in store.splits:
        patches = store.patches(split)
        place = {name: k for k, name in enumerate(patches["id"])}
        if all(name in place for name in ids):
            rows = np.array([place[name] for name in ids])
            looks = looks_in(store, split)
            known = patches["slide"].tolist()
            slides = [known[row] if isinstance(known[row], str) else None for row in rows]
            own = None if looks is None else Looks(looks.copies[rows], looks.slide[rows])
            return Features(store, split, rows, own, slides)
    raise InputError(f"no split of {path} has all of the truth's ids; give the store they were from.")


def gather(
    truth: Path,
    specs: Sequence[str],
    *,
    slides: str | None = None,
    features: Path | None = None,
    tuned_on: tuple[Path, Sequence[str]] | None = None,
    seed: int = 0,
) -> Data:
    """Read what is compared. `tuned_on` is a validation set, its truth and each model's predictions,
    on which thresholds are chosen; without it they are PLAIN_THRESHOLD.

    Raises InputError for anything that cannot be compared.
    """
    table = read_truth(truth)
    ids, labels = table["id"].tolist(), table["label"].to_numpy()
    models = read_models(specs, ids)
    thresholds = tuned(tuned_on, models, set(ids)) if tuned_on else {}
    entries = [
        Entry(
            name,
            rows,
            thresholds.get(name, [PLAIN_THRESHOLD] * len(rows)),
            [str(file).encode(errors="replace").decode() for file in files],
            known_cost(name, files),
        )
        for name, (files, rows) in models.items()
    ]
    found = None if features is None else find_features(features, ids)
    known: list[str | None] = [None] * len(ids) if found is None else found.slides
    if slides is not None:
        of_id = read_slides(slides)
        known = [of_id.get(name) for name in ids]
        if not any(known):
            raise InputError("none of the truth's ids is in the slide table; is it the right one?")
    groups, over, protocol = grouped(ids, labels, known, found, seed)
    chosen_on = str(tuned_on[0]) if tuned_on else None
    return Data(ids, labels, entries, known, groups, over, protocol, found, chosen_on)


def known_cost(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """What a model costs: NAME.cost.json beside its first file, or that beside the first of its files
    that has one, which is what one seed costs."""
    own = files[0].with_name(f"{name}.csv") if "/" not in name else files[0]
    for file in (own, *files):
        if found := costs.read(costs.beside(file)):
            return found
    return {}


def tuned(
    tuned_on: tuple[Path, Sequence[str]],
    models: dict[str, tuple[list[Path], np.ndarray]],
    ids: set[str],
) -> dict[str, list[float]]:
    """Each model's thresholds, one a seed, of the highest balanced accuracy on a validation set."""
    truth, specs = tuned_on
    if len(specs) != len(models):
        raise InputError(
            f"--validation is given {len(specs)} times for {len(models)} models; give it once for each "
            "model, as NAME=FILE or in their order."
        )
    table = read_truth(truth)
    if shared := len(ids & set(table["id"])):
        raise InputError(
            f"{shared:,} patches of validation {truth} are among those compared; choose thresholds on "
            "others."
        )
    labels = table["label"].to_numpy()
    found = {}
    named = {name: spec for spec in specs if (name := parse_model(spec)[0]) is not None}
    if named and set(named) != set(models):
        raise InputError(
            f"--validation names {', '.join(named)}; the models are {', '.join(models)}: name each."
        )
    ordered = [named[name] for name in models] if named else specs
    for spec, (name, (_, scored)) in zip(ordered, models.items(), strict=True):
        ((_, rows),) = read_models([spec], table["id"].tolist()).values()
        if len(rows) != len(scored):
            raise InputError(
                f"--validation {spec} has {len(rows)} seeds and {name} has {len(scored)}; give as many."
            )
        found[name] = [best_threshold(labels, row) for row in rows]
    return found


def grouped(
    ids: list[str],
    labels: np.ndarray,
    slides: list[str | None],
    features: Features | None,
    seed: int,
) -> tuple[Groups, str, str]:
    """What is resampled, in a word and in a sentence: slides where they are known; elsewhere
    pseudo-slides, where color features tell them, or each patch."""
    unknown = np.array([slide is None for slide in slides])
    distinct = len({slide for slide in slides if slide is not None})
    codes, _ = group_codes(ids, slides)
    if not unknown.any():
        if distinct < 2:
            raise InputError("all patches are of one slide; resampling slides needs two or more.")
        return stratify(labels, codes), SLIDES, f"{distinct:,} slides"
    some = f"{distinct:,} slides, and " if distinct else ""
    some += f"{unknown.sum():,} patches of unknown slide"
    if features is not None and features.looks is not None:
        joined, count = group_unknown(codes, unknown, features.looks, FOLDS, seed)
        if count:
            said = (
                f"{some}, for which {count} pseudo-slides by stain and light stand, so that intervals "
            )
            return stratify(labels, joined), PSEUDO, said + "are a guess at what slides would give"
    said = f"{some}, each resampled as if independent, so that intervals are too narrow"
    return stratify(labels, codes), SLIDES if distinct else PATCHES, said


def read_groups(spec: str) -> tuple[str, dict[str, str]]:
    """What a table's groups are called, and the group of each id: FILE:COLUMN, or FILE with one column
    beside `id`. Raises InputError for another table."""
    path, column = parse(spec)
    table = read_table(path, ("id",) if column is None else ("id", column), "--by table")
    others = [name for name in table.columns if name != "id"]
    if column is None and len(others) != 1:
        raise InputError(
            f"--by {path} has {len(others)} columns beside id ({', '.join(others)}); name one as "
            f"{path}:COLUMN."
        )
    name = column or others[0]
    return name, {i: one for i, one in zip(table["id"], table[name], strict=True) if one != ""}
