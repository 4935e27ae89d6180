"""A whole comparison: metrics, differences, agreement, and parts of the patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import __version__
from ..check.duplicates import copies_among
from ..grouping.appearance import near_duplicates
from ..grouping.groups import pseudo_slides
from . import subsets
from .inputs import NO_THUMBNAILS, ComparisonData, groupings
from .options import ComparisonOptions
from .paired import compare
from .result import STAIN_CLUSTER, Comparison, PartResult, TrainingCopies, WithoutCopies
from .spread import LEVEL
from .verdict import verdict

STAINS = 5  # clusters of stain and brightness that models are scored on


def run(
    data: ComparisonData,
    options: ComparisonOptions | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Compare models.

    Parameters
    ----------
    data
        The models and patches, from `inputs.gather`.
    options
        The options of the comparison.
    progress
        Called with the number of resamples done.

    Returns
    -------
    Comparison
        Metrics with intervals, differences between pairs, agreement, and scores on parts of the
        patches.

    Raises
    ------
    InputError
        If a pair or a grouping does not match the data, or the slides cannot be resampled.
    """
    options = options or ComparisonOptions()
    parts = parts_of(data, options)
    compared = compare(data.labels, data.entries, data.groups, options, data.over, progress)
    models, differences, design = compared.models, compared.differences, compared.design
    positive_groups, negative_groups = design.holding
    known = [slide for slide in data.slides if slide is not None]
    return Comparison(
        pcam_version=__version__,
        slides=len(set(known)) or None,
        patches_with_slide=len(known),
        resampled_over=data.over,
        protocol=data.protocol,
        notes=data.notes,
        pairs_declared=bool(options.pairs),
        thresholds_chosen_on=data.validation,
        patches=len(data.labels),
        positive=int(data.labels.sum()),
        groups=data.groups.count,
        positive_groups=positive_groups,
        negative_groups=negative_groups,
        level=LEVEL,
        resamples=options.resamples,
        seed=options.seed,
        specificity=options.specificity,
        margin=options.margin,
        models=models,
        differences=differences,
        verdict=verdict(
            models, differences, declared=bool(options.pairs), design=design, over=data.over
        ),
        agreement=subsets.agreement(data.labels, data.entries),
        parts=parts,
        without_copies=without_copies(data),
        training_copies=training_copies(data),
    )


def parts_of(data: ComparisonData, options: ComparisonOptions) -> tuple[PartResult, ...]:
    """The AUC of models by slide, stain cluster and the groupings in the options, where known."""
    parts: list[PartResult] = []

    def add(name: str, groups: Sequence[str | None]) -> None:
        parts.append(subsets.by_group(name, data.labels, data.entries, groups))

    if any(data.slides):
        add("slide", data.slides)
    looks = None if data.features is None else data.features.looks
    if looks is not None and len(data.ids) > STAINS:
        clusters = pseudo_slides(looks.slide, STAINS, options.seed)
        add(STAIN_CLUSTER, [str(k + 1) for k in clusters.tolist()])
    for grouping in groupings(options.by):
        groups = grouping.of(data.ids)
        taken = any(part.name == grouping.name for part in parts)
        add(f"{grouping.name} (--by)" if taken else grouping.name, groups)
    return tuple(parts)


def training_copies(data: ComparisonData) -> TrainingCopies:
    """The AUC of models with and without near-duplicates of training patches."""
    training, small = data.training, None
    problem = training.problem
    if training.thumbnails is not None:
        small = None if data.features is None else data.features.thumbnails()
        problem = NO_THUMBNAILS
    if training.thumbnails is None or small is None:
        return TrainingCopies(training.name, problem=problem)
    is_copy = copies_among(small, training.thumbnails)
    if is_copy is None:
        return TrainingCopies(training.name, problem="too many patches look alike")
    return subsets.training_copies(training.name, data.labels, data.entries, is_copy)


def without_copies(data: ComparisonData) -> WithoutCopies | None:
    """The AUC of models without near-duplicates, or None if these are unknown."""
    looks = None if data.features is None else data.features.looks
    if looks is None or len(data.ids) <= STAINS:
        return None
    return subsets.without_copies(data.labels, data.entries, near_duplicates(looks.copies))
