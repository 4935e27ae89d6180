"""Predicting with a model, from the features it was fitted on."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ..constants import ENCODERS, Adapt
from ..errors import InputError
from ..evaluate.outside import Patches, read_outside
from ..evaluate.predictions import Models
from ..geometry import THUMBNAIL_SIDE
from ..grouping.folds import TABLE, read_fold_table
from ..sources.fitting import Fit
from ..storage import costs, parquet
from ..store.names import THUMBNAIL, check_original
from ..store.store import Store
from ..store.values import Values, stored
from .adapt import Adaptation, GroupSums, Moments, Moves, adapt, codes_of, sums_of_groups
from .bundle import Bundle, read_file
from .names import OUT_OF_FOLD
from .stack import COMBINED

# Options of `pcam extract` that an encoder's facts in a manifest tell.
OPTIONS = ("encoder", "size", "depths", "pools", "views", "precision", "runtime")
AS_THEY_ARE = "patches have 96×96 pixels and are used as they are"
SAFE = re.compile("[a-z0-9_,]+")  # what is repeated from a manifest in advice


def check_features(bundle: Bundle, store: Store, families: Sequence[str] | None = None) -> None:
    """Check that a store's features are those the model was fitted on.

    Parameters
    ----------
    bundle, store
        The model and the store.
    families
        The families to check; None for all of the model.

    Raises
    ------
    InputError
        Naming the family that is missing or differs.
    """
    for name in bundle.families if families is None else families:
        wanted = bundle.manifest.families[name]
        known = store.manifest.families.get(name)
        if known is None:
            raise InputError(
                f"the model was fitted on {name} features and {store.path} has none; "
                f"extract them with {how_to_extract(name, bundle)}."
            )
        if known != wanted:
            raise InputError(
                f"the model was fitted on {name} features of version {wanted.version} and "
                f"{store.path} has others ({wanted.differences(known)}); extract the features or fit "
                "the model again, so that they agree."
            )


def how_to_extract(name: str, bundle: Bundle) -> str:
    """The options of `pcam extract` that give a family, and the others of its kind."""
    facts = bundle.manifest.families[name].encoder
    if bundle.manifest.families[name].table:
        return f"--families {name}=FILE, the table of their embeddings"
    if facts is None:
        by_hand = [n for n, record in bundle.manifest.families.items() if not record.is_embedding]
        return f"--families {','.join(by_hand)}"
    options = {}
    for option in OPTIONS:
        value = facts.get("network" if option == "encoder" else option)
        options[option] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if options["encoder"] in ENCODERS and all(SAFE.fullmatch(text) for text in options.values()):
        return " ".join(["--families cnn", *(f"--{name} {text}" for name, text in options.items())])
    weights = str(facts.get("weights_sha256"))
    known = f"of SHA-256 {weights}" if re.fullmatch("[0-9a-f]{64}", weights) else "it was fitted with"
    return f"--families cnn and the --encoder whose weights are those {known}"


def fitted_on(bundle: Bundle, store: Store, split: str) -> bool:
    """Whether a split's patches are those the model was fitted on."""
    record = store.manifest.splits.get(split)
    return record is not None and record.fingerprint.ids == bundle.manifest.source.fingerprint.ids


def out_of_fold(bundle: Bundle, path: Path, ids: list[str]) -> np.ndarray:
    """The out-of-fold predictions for the patches that a model was fitted on.

    Parameters
    ----------
    bundle, path
        The model and its folder.
    ids
        The ids of the patches, in the order of the fit.

    Returns
    -------
    numpy.ndarray
        The probability of tumor of each, float64 (rows,).

    Raises
    ------
    InputError
        If the model's table of these predictions is damaged or of other patches.
    """
    content = read_file(path, bundle.manifest, OUT_OF_FOLD)
    try:
        table = parquet.read(parquet.open_file(content)[0], ["id", COMBINED], rows=len(ids))
        known = table["id"].to_pylist()
        probabilities = np.asarray(table[COMBINED].to_numpy(), np.float64)
    except (OSError, TypeError, ValueError, KeyError, pa.ArrowException):
        known = []
    if known != ids:
        raise InputError(
            f"model {path} is damaged: {OUT_OF_FOLD} does not hold its patches; fit it anew."
        )
    return probabilities


def seen_among(bundle: Bundle, path: Path, ids: Iterable[object]) -> int:
    """How many of these ids are of patches that the model at `path` was fitted on."""
    content = read_file(path, bundle.manifest, TABLE)
    learned = set(read_fold_table(path / TABLE, content, rows=bundle.manifest.source.rows)["id"])
    return len(learned.intersection(one for one in ids if isinstance(one, str)))


def other_fit(bundle: Bundle, theirs: dict[str, Any] | None) -> str | None:
    """A warning, if patches were brought to 96×96 pixels in another way than the model's.

    `theirs` is the record of how they were brought to it; None if they have that size.
    """
    ours = bundle.manifest.source.source.fit
    if ours == theirs:
        return None
    fitted, here = (
        AS_THEY_ARE if fit is None else Fit.from_dict(fit).sentence() for fit in (ours, theirs)
    )
    return (
        f"the scale of these patches may differ from the model's. Of the model: {fitted}. Here: {here}"
    )


def families_read(bundle: Bundle, how: Adapt) -> list[str]:
    """The families that a prediction reads.

    Those that the base models with a share take. Adaptation looks at all columns of the model, because
    they tell whether a slide is blank.
    """
    return bundle.families_needed if how == Adapt.none else bundle.families


def cost(
    path: Path,
    seconds: float | None,
    device: str | None,
    adaptation: Adaptation | None = None,
    outside: Sequence[str] = (),
) -> costs.Cost:
    """The cost of a model and of its predictions.

    Parameters
    ----------
    path
        The model's folder.
    seconds
        How long a patch took from pixels to the probability; None if it is not known.
    device
        What it was computed on; None for a cluster, whose memory is not known either.
    adaptation
        How the predictions were adapted.
    outside
        The outside models whose predictions the model takes; what they cost is not known here.
    """
    others = f"those of {', '.join(outside)}, part of the prediction" if outside else None
    return replace(
        costs.read(path / costs.FILE),
        predict_patches_per_second=None if seconds is None else round(1 / seconds, 2),
        predict_memory_mib=None if device is None else costs.peak_memory_mib(),
        predict_device=device,
        adaptation=None if adaptation is None else adaptation.sentence(),
        left_out=others if others is None or len(others) <= costs.LONGEST else "those of other models",
    )


@dataclass(frozen=True)
class PartScores:
    """What a model says of the patches of a part.

    Parameters
    ----------
    logits
        The log-odds of label 1 by each base model, float64 (rows, models).
    sums
        The sums of features of each group; empty if they were not asked for.
    thumbnails
        Gray thumbnails, uint8 (rows, 64), if they were measured with the features; otherwise None.
    """

    logits: np.ndarray
    sums: GroupSums = field(default_factory=dict)
    thumbnails: np.ndarray | None = None


class Crew(Protocol):
    """Who evaluates a model on patches, part by part: this process, or workers of a cluster."""

    def scores(
        self, group: np.ndarray | None = None, moves: Moves | None = None
    ) -> Generator[PartScores]:
        """Evaluate the model on each part of the patches, in their order.

        Parameters
        ----------
        group
            The group of each patch, to sum features over. None for no sums.
        moves
            How features are adapted first. None for features as they are.
        """
        ...


@dataclass(frozen=True)
class ThisProcess:
    """Evaluates a model in this process.

    Parameters
    ----------
    bundle
        The model.
    values
        Its features: at least those of `families_read`.
    threads
        Number of threads.
    """

    bundle: Bundle
    values: Values
    threads: int

    def scores(
        self, group: np.ndarray | None = None, moves: Moves | None = None
    ) -> Generator[PartScores]:
        """See `Crew`."""
        for k, rows in enumerate(self.values.spans):
            yield scores_of(
                self.bundle,
                self.values.only(k),
                self.threads,
                None if group is None else group[rows],
                None if moves is None else moves.of_rows(rows),
            )


def scores_of(
    bundle: Bundle, values: Values, threads: int, group: np.ndarray | None, moves: Moves | None
) -> PartScores:
    """Evaluate a model on one part; see `Crew`. `values`, `group` and `moves` are of this part."""
    widths = {name: width for name, width in values.widths.items() if name != THUMBNAIL}
    features = replace(values, widths=widths)
    logits = bundle.logits(features if moves is None else moves.applied(features), threads)
    sums: GroupSums = {}
    if group is not None:
        sums = sums_of_groups(features.block(features.families, 0), group, moments_of(bundle))
    thumbnails = None
    if moves is None and THUMBNAIL in values.widths:
        thumbnails = values.part(THUMBNAIL, 0).astype(np.uint8)
    return PartScores(logits, sums, thumbnails)


def moments_of(bundle: Bundle) -> Moments:
    """The moments of a model's training patches. Raises InputError if the model has not kept them."""
    data = bundle.manifest.source
    return Moments(*bundle.training_moments(), data.positive / data.rows)


@dataclass(frozen=True)
class Predicted:
    """Predictions of patches.

    Parameters
    ----------
    probabilities
        The probability of tumor of each, float64 (rows,).
    adaptation
        What was adapted; None without adaptation.
    thumbnails
        Gray thumbnails, uint8 (rows, 8, 8), if they were measured with the features; otherwise None.
    """

    probabilities: np.ndarray
    adaptation: Adaptation | None = None
    thumbnails: np.ndarray | None = None


def predict_patches(
    crew: Crew,
    bundle: Bundle,
    names: Sequence[object],
    how: Adapt,
    outside: np.ndarray | None = None,
) -> Predicted:
    """Predict patches.

    Parameters
    ----------
    crew
        Who evaluates the model on the patches.
    bundle
        The model.
    names
        The name of each patch's slide or split, whichever its features are adapted to.
    how
        Whether and to what the features are adapted.
    outside
        The log-odds by each of the model's outside models, (rows, models), from `outside_log_odds`.

    Raises
    ------
    InputError
        If the features cannot be read, or the model has not kept what adaptation needs.
    """
    if how == Adapt.none:
        parts = parts_of(crew)
        found = bundle.probability(logits_of(bundle, parts), outside)
        return Predicted(found, None, thumbnails_of(parts))
    training, group = moments_of(bundle), codes_of(names)
    parts = parts_of(crew, group)
    logits = logits_of(bundle, parts)
    plain = bundle.stack.probability(logits)
    moves, done = adapt((part.sums for part in parts), group, training, plain, how)
    if moves is not None:
        logits = logits_of(bundle, parts_of(crew, None, moves))
    return Predicted(bundle.probability(logits, outside), done, thumbnails_of(parts))


def parts_of(
    crew: Crew, group: np.ndarray | None = None, moves: Moves | None = None
) -> list[PartScores]:
    """What a crew says of all parts; see `Crew`."""
    with closing(crew.scores(group, moves)) as parts:
        return list(parts)


def logits_of(bundle: Bundle, parts: Sequence[PartScores]) -> np.ndarray:
    """The log-odds of all parts, float64 (rows, models)."""
    none = np.zeros((0, len(bundle.stack.weight_of)))
    return np.concatenate([none, *(part.logits for part in parts)])


def thumbnails_of(parts: Sequence[PartScores]) -> np.ndarray | None:
    """The thumbnails of all parts, uint8 (rows, 8, 8); None if they were not measured."""
    found = [part.thumbnails for part in parts if part.thumbnails is not None]
    return np.concatenate(found).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE) if found else None


def outside_log_odds(
    bundle: Bundle, given: Models | None, ids: Sequence[object], whose: str
) -> np.ndarray | None:
    """The log-odds by each of a model's outside models, float64 (rows, models).

    Parameters
    ----------
    bundle
        The model.
    given
        Predictions of its outside models, as `evaluate.outside.read_outside` takes them.
    ids
        The ids of the patches.
    whose
        What has these ids, in messages.

    Returns
    -------
    numpy.ndarray or None
        None if the model has no outside models.

    Raises
    ------
    InputError
        If predictions are missing, are not asked for, or are of other patches.
    """
    wanted = bundle.outside
    if not wanted and given is None:
        return None
    if not wanted:
        raise InputError("the model was fitted without outside predictions; leave out --with.")
    files = " ".join(f"--with {name}=FILE" for name in wanted)
    if given is None:
        raise InputError(
            f"the model was fitted with predictions of {', '.join(wanted)} and needs them for these "
            f"patches too; add {files}."
        )
    found = {one.name: one for one in read_outside(given, Patches(list(map(str, ids)), None, whose))}
    if set(found) != set(wanted):
        raise InputError(
            f"the model was fitted with predictions of {', '.join(wanted)}, and those of "
            f"{', '.join(found) or 'none'} were given; give {files}."
        )
    return np.column_stack([found[name].log_odds for name in wanted])


def predict(
    bundle: Bundle,
    store: Store,
    split: str,
    threads: int,
    how: Adapt = Adapt.none,
    outside: Models | None = None,
    crew: Crew | None = None,
) -> tuple[list[str], Predicted]:
    """Predict the probability of tumor for each patch of a split.

    Parameters
    ----------
    bundle
        The model.
    store, split
        The patches' features.
    threads
        Number of threads.
    how
        Whether and to what the features are adapted; see `adapt`.
    outside
        Predictions of the model's outside models; see `outside_log_odds`.
    crew
        Who evaluates the model on this split. Default: this process.

    Returns
    -------
    ids, predicted
        In the store's order.

    Raises
    ------
    InputError
        If the features are not the model's, or not complete, `how` needs slides and all are
        unknown, or outside predictions are missing.
    """
    check_stored(bundle, store, split, how)
    patches = store.patches(split)
    slides = patches["slide"].tolist()
    if how == Adapt.slide and not any(slides):
        raise InputError(
            f"--adapt slide needs slides, and those of split {split!r} of {store.path} are unknown; "
            "extract with --slides, or use --adapt split."
        )
    names = slides if how == Adapt.slide else [split] * len(slides)
    ids = patches["id"].tolist()
    others = outside_log_odds(bundle, outside, ids, f"split {split!r} of {store.path}")
    if crew is None:
        values = stored(store, split, families_read(bundle, how), keep=False)
        crew = ThisProcess(bundle, values, threads)
    return ids, predict_patches(crew, bundle, names, how, others)


def check_stored(bundle: Bundle, store: Store, split: str, how: Adapt) -> None:
    """Raise InputError if a split of a store lacks the features that a prediction reads."""
    families = families_read(bundle, how)
    check_features(bundle, store, families)
    check_original(split)
    store.check_finished(split, families)
