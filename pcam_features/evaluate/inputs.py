"""The inputs of a comparison: tables and a feature store, read and validated before the statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import FOLDS
from ..errors import InputError
from ..grouping.appearance import Looks, looks_in
from ..grouping.groups import SMALL, group_codes, group_unknown
from ..sources.columns import read_by_id
from ..sources.ids import examples, how_matched, matched
from ..sources.slides import COLUMNS, is_unknown, parse, read_slides
from ..storage import costs
from ..store.store import Store, open_store
from ..words import counted, form
from .id_table import Given, Names, by_id
from .metrics import best_threshold
from .paired import PLAIN_THRESHOLD, Entry
from .predictions import ModelPredictions, Models, parse_models, read_models, read_truth
from .resampling import Groups, stratify

TRAIN = "train"  # the split that fit learns from by default
NO_THUMBNAILS = "the feature store has no thumbnails of its patches; extract them again"
SLIDES, PSEUDO, PATCHES = "slides", "pseudo-slides", "patches"  # what is resampled


@dataclass(frozen=True)
class StoredFeatures:
    """The feature store of the patches compared: its split, and their rows there.

    `note` says how ids were matched, if they were written in another way.
    """

    store: Store
    split: str
    rows: np.ndarray
    looks: Looks | None
    slides: list[str | None]
    note: str = ""

    def thumbnails(self) -> np.ndarray | None:
        """The thumbnails of the patches compared, uint8 (rows, 8, 8); None if the store has none."""
        every = self.store.thumbnails(self.split)
        return None if every is None else every[self.rows]


@dataclass(frozen=True)
class TrainingPatches:
    """The patches that a model was trained on, to look for copies of them among those compared.

    `name` says whose they are. `thumbnails` is uint8 (patches, 8, 8), or None if they cannot be looked
    for, which `problem` explains.
    """

    name: str
    thumbnails: np.ndarray | None
    problem: str = ""

    @classmethod
    def of_store(cls, features: StoredFeatures | None) -> TrainingPatches:
        """Those of split TRAIN of the store, if another of its splits is compared."""
        if features is None:
            return cls("training patches", None, "give --features and --model")
        if features.split == TRAIN or TRAIN not in features.store.splits:
            return cls(
                "training patches", None, f"give --model, as the store has no other split {TRAIN}"
            )
        small = features.store.thumbnails(TRAIN)
        problem = "" if small is not None else NO_THUMBNAILS
        return cls(f"patches of split {TRAIN} of the feature store", small, problem)


@dataclass(frozen=True)
class ComparisonData:
    """Everything that is compared, in the order of the truth.

    `over` names what is resampled and `protocol` describes it in a sentence. `validation` names the
    data that thresholds were chosen on. `training` has the patches whose copies are looked for, and
    `notes` say how tables were read.
    """

    ids: list[str]
    labels: np.ndarray
    entries: list[Entry]
    slides: list[str | None]
    groups: Groups
    over: str
    protocol: str
    features: StoredFeatures | None
    validation: str | None
    training: TrainingPatches
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validation:
    """Patches to choose thresholds on: truth and predictions, in the forms that `gather` takes."""

    truth: Given
    models: Models

    @property
    def name(self) -> str:
        """The name of the truth in messages."""
        return str(self.truth) if isinstance(self.truth, str | Path) else "the validation data"


def find_features(features: Path | Store, ids: Sequence[str]) -> StoredFeatures:
    """The split of a store that has all ids. Raises InputError if none has."""
    store = features if isinstance(features, Store) else open_store(features)
    there: list[str] = []
    for split in store.splits:
        patches = store.patches(split)
        place = {name: k for k, name in enumerate(patches["id"])}
        there += place
        pairs = {name: name for name in ids if name in place}
        if len(pairs) < len(ids):
            pairs = matched(list(place), ids) or {}
        if len(pairs) == len(ids):
            rows = np.array([place[pairs[name]] for name in ids])
            looks = looks_in(store, split)
            known = patches["slide"].tolist()
            slides = [known[row] if isinstance(known[row], str) else None for row in rows]
            own = None if looks is None else Looks(looks.copies[rows], looks.slide[rows])
            note = how_matched(f"feature store {store.path}", pairs) if differ(pairs) else ""
            return StoredFeatures(store, split, rows, own, slides, note)
    raise InputError(
        f"no split of {store.path} has all ids of the truth; give the feature store of these patches "
        f"(the truth has ids such as {examples(ids)}, the store {examples(there)})."
    )


def differ(pairs: Mapping[str, str]) -> bool:
    """Whether ids that were matched are written in two ways."""
    return any(one != other for one, other in pairs.items())


def gather(
    truth: Given,
    models: Models,
    *,
    slides: str | Path | Names | None = None,
    features: Path | Store | None = None,
    tuned_on: Validation | None = None,
    seed: int = 0,
) -> ComparisonData:
    """Read and validate what is compared.

    Parameters
    ----------
    truth
        Labels, 0 or 1: the path of a CSV with `id` and `label`, such a DataFrame, or a Series by id.
    models
        Predicted probabilities: specifications `[NAME=]FILE[,FILE…]`; or a mapping from name to a path,
        a Series indexed by id, a DataFrame (`id` and a column for each seed), or an array (n,) or
        (n, seeds) in the order of the truth.
    slides
        The slide of each patch: `FILE[:COLUMN]`, a Series or mapping from id to slide, or a DataFrame
        with `id` and `slide` or `wsi`. None: those in `features`.
    features
        A feature store of these patches. It gives slides or, where they are unknown, pseudo-slides.
    tuned_on
        A validation set to choose thresholds on. None: 0.5.
    seed
        Seed of the clustering into pseudo-slides.

    Raises
    ------
    InputError
        If a table cannot be read, does not match the others, or cannot be compared.
    """
    known_truth = read_truth(truth)
    ids, labels = known_truth.ids, known_truth.labels
    predictions = read_models(models, known_truth)
    notes = [*known_truth.notes, *(note for model in predictions for note in model.notes)]
    thresholds = {} if tuned_on is None else tuned(tuned_on, predictions, set(ids))
    entries = [
        Entry(
            model.name,
            model.rows,
            thresholds.get(model.name, [PLAIN_THRESHOLD] * len(model.rows)),
            [str(file).encode(errors="replace").decode() for file in model.files],
            known_cost(model.name, model.files),
        )
        for model in predictions
    ]
    stored = None if features is None else find_features(features, ids)
    known: list[str | None] = [None] * len(ids) if stored is None else stored.slides
    notes += [stored.note] if stored is not None and stored.note else []
    if slides is not None:
        known, of_slides = slides_of(slides, ids)
        notes += of_slides
    groups, over, protocol = grouped(ids, labels, known, stored, seed)
    chosen_on = None if tuned_on is None else tuned_on.name
    return ComparisonData(
        ids,
        labels,
        entries,
        known,
        groups,
        over,
        protocol,
        stored,
        chosen_on,
        TrainingPatches.of_store(stored),
        tuple(notes),
    )


def slides_of(slides: str | Path | Names, ids: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """The slide of each id, None where it is unknown, and a sentence if ids are matched by stems.

    Raises InputError if no id is in the table.
    """
    slide_of: Mapping[str, str | None]
    if isinstance(slides, str | Path):
        slide_of = read_slides(str(slides))
    else:
        slide_of = by_id(slides, "slide table", COLUMNS)
    pairs = pairs_in(slide_of, ids)
    if not pairs:
        raise InputError(
            "the slide table has none of the truth's ids; give the table of these patches (the truth "
            f"has ids such as {examples(ids)}, the table {examples(slide_of)})."
        )
    known = [slide_of[pairs[name]] if name in pairs else None for name in ids]
    return known, [how_matched("the slide table", pairs)] if differ(pairs) else []


def pairs_in(table: Mapping[str, Any], ids: Sequence[str]) -> dict[str, str]:
    """The id in a table for each id that it has: as written or, if none is there, matched."""
    return {name: name for name in ids if name in table} or matched(list(table), ids) or {}


def known_cost(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """The cost of a model, from NAME.cost.json beside its first file.

    Without that file, it is the first cost file beside any of its files, which is the cost of one seed.
    """
    if not files:
        return {}
    own = files[0].with_name(f"{name}.csv") if "/" not in name else files[0]
    for file in (own, *files):
        cost = costs.read_beside(costs.beside(file), files).to_dict()
        if cost:
            return cost
    return {}


def tuned(
    tuned_on: Validation, models: Sequence[ModelPredictions], ids: set[str]
) -> dict[str, list[float]]:
    """The thresholds of each model, one for each seed, with the highest balanced accuracy on a
    validation set."""
    given = parse_models(tuned_on.models)
    if len(given) != len(models):
        raise InputError(
            f"--validation is given {len(given)} times for {counted(len(models), 'model')}; give "
            "it once for each "
            "model, as NAME=FILE or in their order."
        )
    truth = read_truth(tuned_on.truth)
    if shared := len(ids & set(truth.ids)) or len(matched(truth.ids, list(ids)) or ()):
        raise InputError(
            f"{counted(shared, 'patch')} of {tuned_on.name} {form(shared, 'is', 'are')} also "
            "compared; choose thresholds on others."
        )
    names = [model.name for model in models]
    named = {model.name: model for model in given if model.name is not None}
    if named and set(named) != set(names):
        raise InputError(
            f"--validation names {', '.join(named)}; the models are {', '.join(names)}; name each one."
        )
    thresholds = {}
    for k, model in enumerate(models):
        own = named[model.name] if named else given[k]
        rows = own.read(truth, model.name).rows
        if len(rows) != len(model.rows):
            raise InputError(
                f"--validation of {model.name} has {counted(len(rows), 'seed')}, but the model has "
                f"{len(model.rows)}; give the same number."
            )
        thresholds[model.name] = [best_threshold(truth.labels, row) for row in rows]
    return thresholds


def grouped(
    ids: list[str],
    labels: np.ndarray,
    slides: list[str | None],
    features: StoredFeatures | None,
    seed: int,
) -> tuple[Groups, str, str]:
    """Choose the groups that are resampled; returns them, their kind, and a sentence on them.

    Groups are slides where these are known. Other patches form pseudo-slides if color features are
    known, and otherwise each is a group of its own.
    """
    unknown = np.array([slide is None for slide in slides])
    distinct = len({slide for slide in slides if slide is not None})
    codes, _ = group_codes(ids, slides)
    if not unknown.any():
        if distinct < 2:
            raise InputError("all patches are from one slide; intervals need at least two slides.")
        if distinct == len(ids):
            sentence = (
                f"{counted(distinct, 'slide')} of one patch each, so patches count as independent, "
                "which makes intervals too narrow if several are from one slide"
            )
            return stratify(labels, codes), PATCHES, sentence
        if distinct > len(ids) / SMALL:
            sentence = (
                f"{counted(distinct, 'slide')}, hardly more than a patch each, so intervals are too "
                "narrow if these are not slides"
            )
            return stratify(labels, codes), SLIDES, sentence
        return stratify(labels, codes), SLIDES, counted(distinct, "slide")
    some = f"{counted(distinct, 'slide')}, and " if distinct else ""
    some += f"{counted(int(unknown.sum()), 'patch')} of unknown slide"
    if features is not None and features.looks is not None:
        joined, count = group_unknown(codes, unknown, features.looks, FOLDS, seed)
        if count:
            sentence = (
                f"{some}, grouped into {counted(count, 'pseudo-slide')} by stain and brightness: "
                "intervals only "
                "approximate those of real slides"
            )
            return stratify(labels, joined), PSEUDO, sentence
    sentence = f"{some}, each resampled as if independent, which makes intervals too narrow"
    return stratify(labels, codes), SLIDES if distinct else PATCHES, sentence


@dataclass(frozen=True)
class Grouping:
    """Groups of patches by id, the name of the grouping, and the argument that gave it."""

    name: str
    given: str
    group_of: Mapping[str, str | None]

    def of(self, ids: Sequence[str]) -> list[str | None]:
        """The group of each id, None without one.

        Raises InputError if no id has a group. Ids are matched as those of slides are.
        """
        pairs = pairs_in(self.group_of, ids)
        groups = [self.group_of[pairs[name]] if name in pairs else None for name in ids]
        if not any(groups):
            raise InputError(
                f"--by {self.given} has a group for none of the truth's ids; give the table of these "
                f"patches (the truth has ids such as {examples(ids)}, the table "
                f"{examples(self.group_of)})."
            )
        return groups


def groupings(by: Sequence[str] | Mapping[str, Names]) -> list[Grouping]:
    """Groupings from `FILE[:COLUMN]` specifications, or a mapping from name to groups by id."""
    if isinstance(by, Mapping):
        return [
            Grouping(str(name), repr(str(name)), by_id(groups, "--by table"))
            for name, groups in by.items()
        ]
    return [read_groups(spec) for spec in by]


def read_groups(spec: str) -> Grouping:
    """The groups in a table: `FILE:COLUMN`, or `FILE` with one column beside `id`.

    Raises InputError for another table.
    """
    path, column = parse(spec)
    table = read_by_id(path, () if column is None else (column,), "--by table")
    others = [name for name in table.columns if name != "id"]
    if column is None and len(others) != 1:
        raise InputError(
            f"--by {path} has {counted(len(others), 'column')} beside id ({', '.join(others)}); "
            "name one as "
            f"{path}:COLUMN."
        )
    name = column or others[0]
    rows = zip(table["id"], table[name], strict=True)
    return Grouping(name, spec, {patch: None if is_unknown(group) else group for patch, group in rows})
